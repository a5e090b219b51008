//! Closes while packets are lost.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use peer_core::rtc::sctp::{Association, Config, Event, Outgoing, Received};
use peer_core::wire::dcep::{PPID_BINARY, PPID_DCEP};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use webrtc_util::Conn as _;

use super::super::storage::{Size, Sizes, Storage};
use super::{
    Cable, ChannelSender, End, Message, Native, Opening, Ours, PATIENCE, Purpose, SCTP_PORT, cable,
    message, no_tasks, open,
};
use crate::time::{engine_now, of_engine, sleep_until};

const MESSAGES: usize = 60;
const LEN: usize = 5000;
/// Bytes that are acknowledged before somebody closes amid.
const ACKNOWLEDGED: usize = 2 * LEN;
/// So long a remote may seem to be there that has not been heard: each HEARTBEAT is 30 s.
const UNHEARD: Duration = Duration::from_secs(1000);

/// Sends numbered messages until the channel is closed; the bytes that it took.
fn sending(sender: &ChannelSender) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let (sender, sent) = (sender.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let task = tokio::spawn(async move {
        for number in 0..MESSAGES {
            if sender.send(message(number, LEN)).await.is_err() {
                return;
            }
            counted.fetch_add(LEN, Ordering::SeqCst);
        }
    });
    (task, sent)
}

/// The numbers of messages, which were sent so; those of an unordered channel are put in order.
fn numbers(received: &[Message], ordered: bool, case: &str) -> Vec<usize> {
    let number = |one: &Message| {
        let number = (0..MESSAGES).find(|number| *one == message(*number, LEN));
        number.unwrap_or_else(|| panic!("{case}: nobody sent that"))
    };
    let mut numbers: Vec<_> = received.iter().map(number).collect();
    if !ordered {
        numbers.sort_unstable();
    }
    assert!(numbers.is_sorted(), "{case}: {numbers:?}");
    numbers
}

/// Whether all that lie in so many bytes are there.
fn has_first(numbers: &[usize], acknowledged: usize) -> bool {
    let expected: Vec<usize> = (0..acknowledged / LEN).collect();
    numbers.starts_with(&expected)
}

/// How a side closes.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// Once the remote has acknowledged everything.
    Flushed,
    /// While much is under way, to a remote that reads.
    Amid,
    /// While much is under way, to a remote that reads only after it heard of the end.
    AmidUnread,
}

/// Both send while one closes, and a quarter of the packets is lost, those that tell of the end
/// among them: what the remote acknowledged its application gets, whole and in its order.
#[tokio::test(start_paused = true)]
async fn a_close_under_loss_loses_nothing_acknowledged() {
    let mut ends = [0, 0];
    for seed in 0..8 {
        for closing in [Closing::Flushed, Closing::Amid, Closing::AmidUnread] {
            for (ordered, first) in [(true, true), (true, false), (false, true), (false, false)] {
                let end = close_under_loss(seed, closing, ordered, first).await;
                ends[usize::from(end == End::Ended)] += 1;
            }
        }
    }
    let [unheard, heard] = ends;
    assert!(unheard > 0 && heard > unheard, "{unheard}, {heard}");
}

/// `first`: the side that opened the channel closes. Returns what the other one hears.
async fn close_under_loss(seed: u64, closing: Closing, ordered: bool, first: bool) -> End {
    let case = format!("seed {seed}, {closing:?}, ordered {ordered}, by the first {first}");
    let mut sides = open(ordered, Default::default(), 65_536).await;
    if !first {
        sides.reverse();
    }
    let [ours, theirs] = sides;
    ours.cable.lose(25, seed);
    theirs.cable.lose(25, !seed);
    let (our_task, sent) = sending(&ours.sender);
    let (their_task, _) = sending(&theirs.sender);
    let mut their_end = theirs.native.end().subscribe();
    let mut their_receiver = theirs.receiver;
    let reading = tokio::spawn(async move {
        if let Closing::AmidUnread = closing {
            their_end.wait_for(Option::is_some).await.unwrap();
        }
        let mut received = Vec::new();
        while let Some(message) = their_receiver.recv().await {
            received.push(message);
        }
        received
    });
    let mut our_receiver = ours.receiver;
    let our_reading = tokio::spawn(async move { while our_receiver.recv().await.is_some() {} });

    let acknowledged = || sent.load(Ordering::SeqCst) - ours.sender.buffered_amount();
    let amid = async {
        while acknowledged() < ACKNOWLEDGED {
            ours.sender.acknowledged().await;
        }
    };
    let before = async {
        match closing {
            Closing::Flushed => {
                our_task.await.unwrap();
                ours.sender.flushed().await;
            }
            Closing::Amid | Closing::AmidUnread => amid.await,
        }
    };
    timeout(UNHEARD, before).await.expect(&case);
    let acknowledged = acknowledged();
    ours.native.close().await;
    let mut end = theirs.native.end().subscribe();
    let end = timeout(UNHEARD, end.wait_for(Option::is_some)).await;
    let end = end.expect(&case).unwrap().unwrap();
    theirs.native.close().await;

    let received = timeout(PATIENCE, reading).await.expect(&case).unwrap();
    let numbers = numbers(&received, ordered, &case);
    assert!(has_first(&numbers, acknowledged), "{case}: {numbers:?}");
    if let Closing::Flushed = closing {
        assert_eq!(numbers.len(), MESSAGES, "{case}");
    }
    for task in [our_reading, their_task] {
        timeout(PATIENCE, task).await.expect(&case).unwrap();
    }
    no_tasks().await;
    end
}

/// What a remote got that closes as browsers do, and how many bytes of its own it gave to SCTP.
struct Closed {
    received: Vec<Message>,
    sent: usize,
}

/// A remote that opens a channel, sends and receives, and once [`ACKNOWLEDGED`] bytes are
/// acknowledged resets its stream, which waits for what was sent before.
async fn remote(cable: Arc<Cable>, ordered: bool) -> Closed {
    let ours = Ours {
        label: "x".to_owned(),
        ordered,
        dtls_client: true,
    };
    let stream = ours.stream();
    let mut storage = Storage::new(1 << 20, 1 << 20);
    storage.resize(Sizes {
        send: Size::Full,
        receive: Size::Full,
    });
    let mut association = Association::new(Config::new([7; 8]), storage.lend());
    association.connect();
    let epoch = Instant::now();
    let (mut packet, mut out) = (vec![0; 2000], vec![0; 1140]);
    let (mut is_open, mut is_acknowledged, mut is_closing) = (false, !ordered, false);
    let mut partial = Vec::new();
    let mut closed = Closed {
        received: Vec::new(),
        sent: 0,
    };
    loop {
        while let Some(event) = association.poll_event() {
            if let Event::Open = event {
                let opening = ours.message().unwrap();
                let outgoing = Outgoing::message(stream, PPID_DCEP);
                association.send(outgoing, &opening).unwrap();
                is_open = true;
            }
        }
        while let Some(received) = association.read() {
            let count = match received {
                Received::Piece(piece) => {
                    partial.extend_from_slice(piece.bytes);
                    is_acknowledged |= piece.ppid == PPID_DCEP;
                    if piece.last {
                        let whole = Message::from_wire(piece.ppid, &partial);
                        closed.received.extend(whole);
                        partial.clear();
                    }
                    piece.bytes.len()
                }
                Received::Reset(_) => return closed,
                _ => unreachable!("nobody abandons a message"),
            };
            association.consume(count);
        }
        while is_open && !is_closing && closed.sent < MESSAGES * LEN {
            let whole = message(closed.sent / LEN, LEN);
            let Message::Binary(bytes) = whole else {
                unreachable!("it is bytes");
            };
            let from = closed.sent % LEN;
            let outgoing = Outgoing {
                unordered: !ordered && is_acknowledged,
                first: from == 0,
                ..Outgoing::message(stream, PPID_BINARY)
            };
            match association.send(outgoing, &bytes[from..]).unwrap() {
                0 => break,
                count => closed.sent += count,
            }
        }
        let acknowledged = closed.sent.saturating_sub(association.buffered());
        if !is_closing && acknowledged >= ACKNOWLEDGED && closed.sent.is_multiple_of(LEN) {
            association.reset_stream(stream).unwrap();
            is_closing = true;
        }
        while let Some(len) = association.transmit(engine_now(epoch), &mut out) {
            cable.send(&out[..len]).await.unwrap();
        }
        if association.end_reason().is_some() && association.read().is_none() {
            return closed;
        }
        let due = association.timeout().map(|at| of_engine(epoch, at));
        tokio::select! {
            len = cable.recv(&mut packet) => match len {
                Ok(len) => association.receive(engine_now(epoch), &packet[..len]),
                Err(_) => return closed,
            },
            () = sleep_until(due) => {}
        }
    }
}

/// A remote that closes its channel as browsers do, by a reset, while a quarter of the packets is
/// lost: what it sent before arrives, and what it acknowledged it got.
#[tokio::test(start_paused = true)]
async fn a_reset_under_loss_loses_nothing() {
    for seed in 0..16 {
        for ordered in [true, false] {
            reset_under_loss(seed, ordered).await;
        }
    }
}

async fn reset_under_loss(seed: u64, ordered: bool) {
    let case = format!("seed {seed}, ordered {ordered}");
    let [ours, theirs] = cable();
    ours.lose(25, seed);
    theirs.lose(25, !seed);
    let purpose = Purpose {
        config: Arc::default(),
        remote_port: SCTP_PORT,
        max_message_size: 65_536,
        opening: Opening::Theirs,
    };
    let native = Native::new(ours, purpose);
    let remote = tokio::spawn(remote(theirs, ordered));
    let mut end = native.end().subscribe();
    timeout(UNHEARD, native.associate())
        .await
        .expect(&case)
        .unwrap();
    let channel = timeout(UNHEARD, native.open()).await.expect(&case).unwrap();
    let (task, sent) = sending(&channel.sender);
    let mut receiver = channel.receiver;
    let reading = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Some(message) = receiver.recv().await {
            received.push(message);
        }
        received
    });
    let ended = timeout(UNHEARD, end.wait_for(Option::is_some)).await;
    assert_eq!(*ended.expect(&case).unwrap(), Some(End::Ended), "{case}");
    let sent = sent.load(Ordering::SeqCst);
    let acknowledged = sent - channel.sender.buffered_amount();
    native.close().await;
    drop(native);

    let closed = timeout(UNHEARD, remote).await.expect(&case).unwrap();
    let received = timeout(PATIENCE, reading).await.expect(&case).unwrap();
    let came = numbers(&received, ordered, &case);
    assert_eq!(came.len() * LEN, closed.sent, "{case}");
    let came = numbers(&closed.received, ordered, &case);
    assert!(has_first(&came, acknowledged), "{case}: {came:?}");
    timeout(PATIENCE, task).await.expect(&case).unwrap();
    no_tasks().await;
}
