//! Two sessions on the loopback interface, wired back to back through their events.

mod ice;
mod ports;

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use peer_core::peer::RtcFailure;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{
    ChannelReceiver, ChannelSender, Endpoint, IceServer, IceState, Message, RtcConfig, SendError,
    Session, SessionEvent, Stack,
};

/// Generous: it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stacks under test, by the variable `PEER_STACK`: of the offerer and of the answerer.
fn stacks() -> [Stack; 2] {
    match std::env::var("PEER_STACK").as_deref() {
        #[cfg(all(feature = "native", feature = "webrtc-rs"))]
        Ok("cross") => [Stack::Native, Stack::WebrtcRs],
        Ok(name) => [name.parse().expect("PEER_STACK names a stack"); 2],
        Err(_) => [Stack::default(); 2],
    }
}

/// The configuration of both ends.
fn both(config: RtcConfig) -> [Arc<RtcConfig>; 2] {
    stacks().map(|stack| {
        Arc::new(RtcConfig {
            stack,
            ..config.clone()
        })
    })
}

fn config() -> RtcConfig {
    RtcConfig {
        stack: stacks()[0],
        include_loopback: true,
        ip_filter: vec![core::net::Ipv4Addr::LOCALHOST.into()],
        ..RtcConfig::default()
    }
}

/// Starts an offerer that shares nothing with others.
fn offer(
    config: Arc<RtcConfig>,
    label: String,
    ordered: bool,
    events: mpsc::Sender<SessionEvent>,
) -> Session {
    Endpoint::new((*config).clone()).offer("remote", label, ordered, events)
}

/// Starts an answerer that shares nothing with others.
fn answer(config: Arc<RtcConfig>, offer: String, events: mpsc::Sender<SessionEvent>) -> Session {
    Endpoint::new((*config).clone()).answer("remote", offer, events)
}

struct End {
    session: Session,
    /// Its candidates so far.
    candidates: Vec<String>,
    events: mpsc::Receiver<SessionEvent>,
    sender: ChannelSender,
    receiver: ChannelReceiver,
}

impl End {
    /// Waits for the last event.
    async fn last(&mut self) -> SessionEvent {
        last(&mut self.events).await
    }
}

async fn last(events: &mut mpsc::Receiver<SessionEvent>) -> SessionEvent {
    let wait = async {
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        last.expect("at least one event")
    };
    timeout(PATIENCE, wait).await.expect("the session ends")
}

/// Starts both, which share nothing with others, and carries signals between them until both are
/// open. The answerer may run somewhere else.
async fn pair_between(config: RtcConfig, ordered: bool, there: Option<Handle>) -> (End, End) {
    let [ours, theirs] = both(config).map(|config| Endpoint::new((*config).clone()));
    pair_of([&ours, &theirs], "remote", ordered, there).await
}

/// The same of two that may have other sessions, whose remote is named so.
async fn pair_of(
    endpoints: [&Endpoint; 2],
    remote: &str,
    ordered: bool,
    there: Option<Handle>,
) -> (End, End) {
    pair_offered(endpoints, remote, ordered, there, |offer| offer).await
}

/// The same with an offer that is changed on its way.
async fn pair_offered(
    [ours, theirs]: [&Endpoint; 2],
    remote: &str,
    ordered: bool,
    there: Option<Handle>,
    change: fn(String) -> String,
) -> (End, End) {
    let there = there.unwrap_or_else(Handle::current);
    let (events, mut from_a) = mpsc::channel(16);
    let a = ours.offer(remote, "dc_test".into(), ordered, events);
    let Some(SessionEvent::LocalDescription(offer)) = from_a.recv().await else {
        panic!("the description comes first");
    };
    let (events, mut from_b) = mpsc::channel(16);
    let b = {
        let _entered = there.enter();
        theirs.answer(remote, change(offer), events)
    };
    let (mut open_a, mut open_b) = (None, None);
    let mut candidates = [const { Vec::new() }; 2];
    let (mut encrypted_a, mut encrypted_b) = (false, false);
    let wire = async {
        while open_a.is_none() || open_b.is_none() {
            tokio::select! {
                Some(event) = from_a.recv() => match event {
                    SessionEvent::LocalCandidate(candidate) => {
                        candidates[0].push(candidate.clone());
                        b.add_candidate(candidate);
                    }
                    SessionEvent::Open(sender, receiver) => {
                        assert!(encrypted_a, "DTLS is told before");
                        open_a = Some((sender, receiver));
                    }
                    SessionEvent::DtlsConnected => encrypted_a = true,
                    SessionEvent::IceState(_) => {}
                    event => panic!("unexpected {event:?}"),
                },
                Some(event) = from_b.recv() => match event {
                    SessionEvent::LocalDescription(answer) => a.apply_answer(answer),
                    SessionEvent::LocalCandidate(candidate) => {
                        candidates[1].push(candidate.clone());
                        a.add_candidate(candidate);
                    }
                    SessionEvent::Open(sender, receiver) => {
                        assert!(encrypted_b, "DTLS is told before");
                        open_b = Some((sender, receiver));
                    }
                    SessionEvent::DtlsConnected => encrypted_b = true,
                    SessionEvent::IceState(_) => {}
                    event => panic!("unexpected {event:?}"),
                },
            }
        }
    };
    timeout(PATIENCE, wire).await.expect("both sides open");
    let ((sender_a, receiver_a), (sender_b, receiver_b)) = (open_a.unwrap(), open_b.unwrap());
    let [candidates_a, candidates_b] = candidates;
    (
        End {
            session: a,
            candidates: candidates_a,
            events: from_a,
            sender: sender_a,
            receiver: receiver_a,
        },
        End {
            session: b,
            candidates: candidates_b,
            events: from_b,
            sender: sender_b,
            receiver: receiver_b,
        },
    )
}

async fn pair(ordered: bool) -> (End, End) {
    pair_between(config(), ordered, None).await
}

async fn receive(receiver: &mut ChannelReceiver) -> Message {
    timeout(PATIENCE, receiver.recv())
        .await
        .expect("a message comes")
        .expect("the channel is open")
}

fn bytes(length: usize, seed: usize) -> Message {
    Message::Binary(
        (0..length)
            .map(|i| (i * 31 + seed * 7 + (i >> 8)) as u8)
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_kind_both_ways() {
    for ordered in [true, false] {
        let (mut a, mut b) = pair(ordered).await;
        let messages = [
            Message::Text("grüße".into()),
            Message::Text(String::new()),
            Message::Binary(Bytes::new()),
            bytes(1, 1),
            bytes(16_300, 2),
            bytes(65_536, 3),
            bytes(262_144, 4),
        ];
        for message in &messages {
            a.sender.send(message.clone()).await.unwrap();
            assert_eq!(receive(&mut b.receiver).await, *message);
            b.sender.send(message.clone()).await.unwrap();
            assert_eq!(receive(&mut a.receiver).await, *message);
        }
        assert_eq!(a.sender.max_message_size(), 262_144);
        assert_eq!(
            a.sender.send(bytes(262_145, 0)).await,
            Err(SendError::TooBig)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_small_messages_in_order() {
    let (mut a, mut b) = pair(true).await;
    let sender = a.sender.clone();
    let sending = tokio::spawn(async move {
        for i in 0..1000 {
            sender
                .send(Message::Text(format!("message {i}")))
                .await
                .unwrap();
        }
        sender.flushed().await;
        assert_eq!(sender.buffered_amount(), 0);
    });
    for i in 0..1000 {
        assert_eq!(
            receive(&mut b.receiver).await,
            Message::Text(format!("message {i}"))
        );
    }
    timeout(PATIENCE, sending).await.unwrap().unwrap();
    drop(b);
    assert!(matches!(a.last().await, SessionEvent::Closed));
    assert_eq!(a.receiver.recv().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_noticed_and_leaves_nothing_behind() {
    let metrics = Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for round in 0..20 {
        let (mut a, mut b) = pair(round % 2 == 0).await;
        let (closer, other) = if round % 3 == 0 {
            (&mut a, &mut b)
        } else {
            (&mut b, &mut a)
        };
        let started = Instant::now();
        closer.session.close();
        assert!(matches!(other.last().await, SessionEvent::Closed));
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        assert!(matches!(closer.last().await, SessionEvent::Closed));
        assert_eq!(other.sender.send(bytes(1, 1)).await, Err(SendError::Closed));
        assert_eq!(closer.sender.try_send(bytes(1, 1)), Err(SendError::Closed));
        assert_eq!(other.receiver.recv().await, None);
    }
    settle(before).await;
}

/// Waits until no more tasks are there than `before`: the crates' own end a moment after they were
/// told to.
async fn settle(before: usize) {
    let metrics = Handle::current().metrics();
    let settled = async {
        while metrics.num_alive_tasks() > before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let settled = timeout(PATIENCE, settled).await;
    let left = metrics.num_alive_tasks() - before;
    assert!(settled.is_ok(), "{left} tasks left over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_flushed_before_a_close_arrives() {
    let (a, mut b) = pair(true).await;
    for i in 0..40 {
        a.sender.send(bytes(50_000, i)).await.unwrap();
    }
    timeout(PATIENCE, a.sender.flushed()).await.unwrap();
    drop(a);
    for i in 0..40 {
        assert_eq!(receive(&mut b.receiver).await, bytes(50_000, i));
    }
    assert_eq!(timeout(PATIENCE, b.receiver.recv()).await.unwrap(), None);
    assert!(matches!(b.last().await, SessionEvent::Closed));
}

/// The receiver pauses until the sender has been stuck for a while; the closed window then opens
/// again.
async fn a_pause_stalls_nothing(from_offerer: bool) {
    const MESSAGES: usize = 512;
    const SIZE: usize = 65_536;
    let (a, b) = pair(true).await;
    let (from, mut to) = if from_offerer { (a, b) } else { (b, a) };
    let [offerer, answerer] = stacks().map(Stack::name);
    // See the known limits of `rtc`: towards another SCTP, webrtc-sctp goes on by its timer.
    let stall = match if from_offerer { offerer } else { answerer } {
        "webrtc-rs" if offerer != answerer => PATIENCE,
        _ => Duration::from_secs(5),
    };
    let sender = from.sender.clone();
    let sending = tokio::spawn(async move {
        for i in 0..MESSAGES {
            sender.send(bytes(SIZE, i)).await.unwrap();
        }
        sender.flushed().await;
    });
    for i in 0..MESSAGES {
        if i == MESSAGES / 4 {
            // The sender's timer has backed off to 8 s by then: it cannot be what makes things go
            // on.
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert!(from.sender.buffered_amount() > 0, "the sender had to wait");
        }
        let message = timeout(stall, to.receiver.recv()).await;
        assert_eq!(message.expect("no stall").unwrap(), bytes(SIZE, i));
    }
    timeout(PATIENCE, sending).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pausing_answerer_stalls_nothing() {
    a_pause_stalls_nothing(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pausing_offerer_stalls_nothing() {
    a_pause_stalls_nothing(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_congested_channel_says_so() {
    let (a, b) = pair(true).await;
    let RtcConfig {
        send_buffer,
        receive_buffer,
        receive_window,
        ..
    } = RtcConfig::default();
    // Nobody reads: what is taken fills the buffers of both ends, and nothing else.
    let most = send_buffer + receive_buffer + receive_window as usize;
    let (mut sent, mut full) = (0, 0);
    while full < 20 {
        match a.sender.try_send(bytes(65_536, 0)) {
            Ok(()) => {
                (sent, full) = (sent + 65_536, 0);
                let buffered = a.sender.buffered_amount();
                assert!(buffered <= send_buffer, "{buffered} bytes wait");
                assert!(sent <= most, "{sent} bytes were taken");
            }
            Err(error) => {
                assert_eq!(error, SendError::Full);
                full += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    // A sender that waits is freed by the close.
    let sender = a.sender.clone();
    let waiting = tokio::spawn(async move {
        loop {
            if let Err(error) = sender.send(bytes(65_536, 0)).await {
                return error;
            }
        }
    });
    drop(b.session);
    assert_eq!(
        timeout(PATIENCE, waiting).await.unwrap().unwrap(),
        SendError::Closed
    );
}

async fn offer_of(config: &Arc<RtcConfig>) -> (Session, mpsc::Receiver<SessionEvent>, String) {
    let (sender, mut events) = mpsc::channel(16);
    let session = offer(Arc::clone(config), "x".into(), true, sender);
    match events.recv().await {
        Some(SessionEvent::LocalDescription(sdp)) => (session, events, sdp),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_refused() {
    // The answer, then the offer, carries a fingerprint that is not its sender's.
    for forged_offer in [false, true] {
        let config = Arc::new(config());
        let (a, mut from_a, offer) = offer_of(&config).await;
        let (_, _, other) = offer_of(&config).await;
        let forge = |sdp: &str| {
            let line = |sdp: &str| {
                sdp.lines()
                    .find(|line| line.starts_with("a=fingerprint"))
                    .unwrap()
                    .to_owned()
            };
            sdp.replace(&line(sdp), &line(&other))
        };
        let (sender, mut from_b) = mpsc::channel(16);
        let offer = if forged_offer { forge(&offer) } else { offer };
        let b = answer(Arc::clone(&config), offer, sender);
        let mut ends = (None, None);
        let wire = async {
            while ends.0.is_none() || ends.1.is_none() {
                tokio::select! {
                    Some(event) = from_a.recv() => match event {
                        SessionEvent::LocalCandidate(candidate) => b.add_candidate(candidate),
                        SessionEvent::Open(..) => assert!(forged_offer, "opened"),
                        SessionEvent::Failed(failure, _) => ends.0 = Some(Some(failure)),
                        SessionEvent::Closed => ends.0 = Some(None),
                        _ => {}
                    },
                    Some(event) = from_b.recv() => match event {
                        SessionEvent::LocalDescription(answer) if forged_offer => {
                            a.apply_answer(answer);
                        }
                        SessionEvent::LocalDescription(answer) => a.apply_answer(forge(&answer)),
                        SessionEvent::LocalCandidate(candidate) => a.add_candidate(candidate),
                        SessionEvent::Open(..) => panic!("opened"),
                        SessionEvent::Failed(failure, _) => ends.1 = Some(Some(failure)),
                        SessionEvent::Closed => ends.1 = Some(None),
                        _ => {}
                    },
                }
            }
        };
        timeout(PATIENCE, wire).await.expect("both sides end");
        let deceived = if forged_offer { ends.1 } else { ends.0 };
        assert_eq!(deceived, Some(Some(RtcFailure::Dtls)));
    }
}

#[tokio::test]
async fn descriptions_that_cannot_be_used() {
    let config = Arc::new(config());
    for sdp in ["", "v=0", "garbage\r\n", &"x".repeat(100_000)] {
        let (sender, mut events) = mpsc::channel(16);
        let _session = answer(Arc::clone(&config), sdp.to_owned(), sender);
        let failed = last(&mut events).await;
        assert!(
            matches!(failed, SessionEvent::Failed(RtcFailure::Description, _)),
            "{failed:?}"
        );

        let (session, mut events, _) = offer_of(&config).await;
        session.apply_answer(sdp.to_owned());
        let failed = last(&mut events).await;
        assert!(
            matches!(failed, SessionEvent::Failed(RtcFailure::Description, _)),
            "{failed:?}"
        );
    }
}

/// libdatachannel refuses a certificate that comes before it has noted its fingerprint.
#[cfg(feature = "native")]
#[tokio::test]
async fn libdatachannel_has_time_to_note_the_fingerprint() {
    let config = RtcConfig {
        stack: Stack::Native,
        ..config()
    };
    let [ours, theirs] = [(); 2].map(|()| Endpoint::new(config.clone()));
    let libdatachannels = |offer: String| offer.replace("o=- ", "o=rtc ");
    let started = Instant::now();
    let _pair = pair_offered([&ours, &theirs], "remote", true, None, libdatachannels).await;
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn no_answer() {
    let config = RtcConfig {
        connect_timeout: Duration::from_millis(200),
        ..config()
    };
    let (session, mut events, _) = offer_of(&Arc::new(config)).await;
    for i in 0..1000 {
        session.add_candidate(format!("garbage {i}"));
    }
    let failed = last(&mut events).await;
    assert!(
        matches!(failed, SessionEvent::Failed(RtcFailure::Ice, _)),
        "{failed:?}"
    );
}

#[tokio::test]
async fn closing_before_anything_happened() {
    let (session, mut events, _) = offer_of(&Arc::new(config())).await;
    session.close();
    session.close();
    assert!(matches!(last(&mut events).await, SessionEvent::Closed));
}

/// The crate forgets to acknowledge a lone packet; its sender would then wait a second for its
/// timer each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lone_messages_are_acknowledged() {
    let (a, mut b) = pair(true).await;
    let talk = async {
        for i in 0..150 {
            a.sender.send(bytes(10, i)).await.unwrap();
            assert_eq!(receive(&mut b.receiver).await, bytes(10, i));
            a.sender.flushed().await;
            assert_eq!(a.sender.buffered_amount(), 0);
        }
    };
    timeout(PATIENCE, talk)
        .await
        .expect("acknowledgements come without timers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_vanishes_is_noticed() {
    let config = RtcConfig {
        disconnected_timeout: Duration::from_millis(500),
        survive: Duration::from_millis(1500),
        ..config()
    };
    // The answerer runs in a thread that stops where it is, with its sockets open: no ABORT, no
    // alert.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let there = runtime.handle().clone();
    let (vanish, vanished) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = runtime.block_on(vanished);
        loop {
            std::thread::park();
        }
    });
    let (mut a, _b) = pair_between(config, true, Some(there)).await;
    vanish.send(()).unwrap();
    let mut disconnected = false;
    let wait = async {
        loop {
            match a.events.recv().await {
                Some(SessionEvent::IceState(IceState::Disconnected)) => disconnected = true,
                Some(SessionEvent::IceState(_) | SessionEvent::LocalCandidate(_)) => {}
                end => break end,
            }
        }
    };
    let end = timeout(PATIENCE, wait)
        .await
        .expect("the silence is noticed");
    assert!(disconnected, "disconnected comes first");
    // Not that the remote had closed it.
    assert!(matches!(end, Some(SessionEvent::Failed(..))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_servers_hold_nothing_up() {
    // Bound and silent.
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = dead.local_addr().unwrap().port();
    let config = RtcConfig {
        ice_servers: vec![IceServer {
            urls: vec![
                format!("stun:127.0.0.1:{port}"),
                format!("turn:127.0.0.1:{port}"),
                format!("turns:127.0.0.1:{port}"),
            ],
            username: "peer".into(),
            credential: "secret".into(),
        }],
        ..config()
    };
    let (mut a, mut b) = pair_between(config, true, None).await;
    a.sender.send(bytes(10, 1)).await.unwrap();
    assert_eq!(receive(&mut b.receiver).await, bytes(10, 1));
    a.session.close();
    assert!(matches!(a.last().await, SessionEvent::Closed));
    assert!(matches!(b.last().await, SessionEvent::Closed));
}
