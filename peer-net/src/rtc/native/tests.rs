//! Two associations, each in its task, and a cable between them in place of DTLS.

mod close;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use peer_core::wire::sdp::SCTP_PORT;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use webrtc_util::{Conn, Error};

use super::super::association::{End, Opening, Ours, Purpose};
use super::super::{ChannelReceiver, ChannelSender, Message, RtcConfig};
use super::storage::{SMALL, Traffic};
use super::{Below as _, Native};

/// Generous: it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Packets on the cable; what is more is lost.
const CABLE_MAX: usize = 4096;

/// One end of the cable.
struct Cable {
    to: mpsc::Sender<Vec<u8>>,
    from: Mutex<mpsc::Receiver<Vec<u8>>>,
    /// Whether sending fails.
    broken: AtomicBool,
    /// Whether sending never ends.
    stuck: AtomicBool,
    /// How many packets of 100 are lost on the way.
    loss: AtomicU64,
    random: AtomicU64,
}

impl Cable {
    /// Loses so many of 100 packets from here on, which ones depends on the seed.
    fn lose(&self, percent: u64, seed: u64) {
        self.random.store(seed, Ordering::SeqCst);
        self.loss.store(percent, Ordering::SeqCst);
    }

    fn loses(&self) -> bool {
        let next = |state: u64| {
            let state = state.wrapping_mul(6_364_136_223_846_793_005);
            state.wrapping_add(1_442_695_040_888_963_407)
        };
        let state = next(self.random.load(Ordering::SeqCst));
        self.random.store(state, Ordering::SeqCst);
        (state >> 33) % 100 < self.loss.load(Ordering::SeqCst)
    }
}

fn cable() -> [Arc<Cable>; 2] {
    let (to_a, from_b) = mpsc::channel(CABLE_MAX);
    let (to_b, from_a) = mpsc::channel(CABLE_MAX);
    let end = |to, from| {
        Arc::new(Cable {
            to,
            from: Mutex::new(from),
            broken: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            loss: AtomicU64::new(0),
            random: AtomicU64::new(0),
        })
    };
    [end(to_b, from_b), end(to_a, from_a)]
}

#[async_trait]
impl Conn for Cable {
    async fn connect(&self, _: SocketAddr) -> Result<(), Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let packet = self.from.lock().await.recv().await;
        let packet = packet.ok_or_else(|| Error::Other("closed".to_owned()))?;
        buffer[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }

    async fn recv_from(&self, _: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        unreachable!("nobody asks from where")
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::Other("the network is unreachable".to_owned()));
        }
        if self.stuck.load(Ordering::SeqCst) {
            return core::future::pending().await;
        }
        if !self.loses() {
            drop(self.to.try_send(packet.to_vec()));
        }
        Ok(packet.len())
    }

    async fn send_to(&self, _: &[u8], _: SocketAddr) -> Result<usize, Error> {
        unreachable!("nobody says where to")
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        unreachable!("nobody asks from where")
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// One side.
struct Side {
    native: Native,
    cable: Arc<Cable>,
    sender: ChannelSender,
    receiver: ChannelReceiver,
}

impl Side {
    async fn ended(&self) -> End {
        let mut end = self.native.shared.end().subscribe();
        let ended = timeout(PATIENCE, end.wait_for(Option::is_some)).await;
        ended.expect("it ends").unwrap().unwrap()
    }

    async fn received(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.receiver.recv())
            .await
            .expect("a message or the end")
    }
}

/// An open channel. `most`: the longest message that the side that opened it sends.
async fn open(ordered: bool, configs: [RtcConfig; 2], most: u32) -> [Side; 2] {
    let cable = cable();
    let ours = Opening::Ours(Ours {
        label: "x".to_owned(),
        ordered,
        dtls_client: true,
    });
    let openings = [ours, Opening::Theirs];
    let mut natives = Vec::new();
    for ((config, opening), cable) in configs.into_iter().zip(openings).zip(&cable) {
        let purpose = Purpose {
            config: Arc::new(config),
            remote_port: SCTP_PORT,
            max_message_size: most,
            opening,
        };
        natives.push(Native::new(Arc::clone(cable) as _, purpose));
    }
    let mut sides = Vec::new();
    for (native, cable) in natives.into_iter().zip(cable) {
        native.associate().await.expect("they associate");
        let channel = native.open().await.expect("it opens");
        sides.push(Side {
            native,
            cable,
            sender: channel.sender,
            receiver: channel.receiver,
        });
    }
    sides.try_into().ok().expect("two sides")
}

fn message(number: usize, length: usize) -> Message {
    Message::Binary((0..length).map(|at| (at + number) as u8).collect())
}

/// An application that does not read hears of the end at once, and still gets what was
/// acknowledged.
#[tokio::test]
async fn the_end_does_not_wait_for_the_reader() {
    for ordered in [true, false] {
        let config = || RtcConfig {
            receive_buffer: 1000,
            ..RtcConfig::default()
        };
        let [a, mut b] = open(ordered, [config(), config()], 65_536).await;
        for number in 0..50 {
            a.sender.send(message(number, 10_000)).await.unwrap();
        }
        timeout(PATIENCE, a.sender.flushed()).await.unwrap();
        a.native.close().await;
        assert_eq!(b.ended().await, End::Ended);
        assert!(b.sender.is_closed());
        b.native.close().await;
        for number in 0..50 {
            assert_eq!(b.received().await, Some(message(number, 10_000)));
        }
        assert_eq!(b.received().await, None);
    }
}

/// A path that takes no packets for a while loses them, and ends nothing.
#[tokio::test(start_paused = true)]
async fn packets_that_cannot_be_sent_are_lost() {
    let [a, mut b] = open(true, Default::default(), 65_536).await;
    a.cable.broken.store(true, Ordering::SeqCst);
    a.sender.send(message(1, 50_000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(a.sender.buffered_amount() > 0);
    a.cable.broken.store(false, Ordering::SeqCst);
    assert_eq!(b.received().await, Some(message(1, 50_000)));
    assert!(a.native.end().borrow().is_none());
}

/// A remote that never answers again has not closed anything.
#[tokio::test(start_paused = true)]
async fn a_silent_remote_has_not_closed() {
    let [a, b] = open(true, Default::default(), 65_536).await;
    b.cable.broken.store(true, Ordering::SeqCst);
    a.sender.send(message(1, 100)).await.unwrap();
    let mut end = a.native.end().subscribe();
    let end = *end.wait_for(Option::is_some).await.unwrap();
    assert!(matches!(end, Some(End::Failed(_))), "{end:?}");
    assert!(a.sender.is_closed());
}

/// A remote that breaks what was agreed has not closed anything, and what it sent before is read.
#[tokio::test]
async fn a_message_above_the_size_told_is_a_failure() {
    let small = RtcConfig {
        max_message_size: 5000,
        ..RtcConfig::default()
    };
    let [a, mut b] = open(true, [RtcConfig::default(), small], 65_536).await;
    a.sender.send(message(1, 5000)).await.unwrap();
    a.sender.send(message(2, 5001)).await.unwrap();
    let end = b.ended().await;
    assert!(matches!(end, End::Failed(_)), "{end:?}");
    assert_eq!(b.received().await, Some(message(1, 5000)));
    assert_eq!(b.received().await, None);
    assert_eq!(a.ended().await, End::Ended);
}

/// A close while nobody answers takes no longer than it has to, however often signs of life were
/// asked for.
#[tokio::test(start_paused = true)]
async fn closing_waits_for_nobody() {
    let [a, b] = open(true, Default::default(), 65_536).await;
    b.cable.broken.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        a.native.heartbeat();
    }
    timeout(Duration::from_secs(1), a.native.close())
        .await
        .expect("it closes");
    assert_eq!(
        a.sender.send(Message::Binary(Bytes::new())).await.ok(),
        None
    );
}

/// Waits until no task is left.
async fn no_tasks() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let gone = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the tasks end");
}

/// Who closes wants nothing more: what its receiver has not got is freed at once, though the
/// receiver lives on.
#[tokio::test]
async fn what_waits_is_dropped_by_a_close_of_our_own() {
    let config = || RtcConfig {
        receive_buffer: 1000,
        ..RtcConfig::default()
    };
    let [mut a, b] = open(true, [config(), config()], 65_536).await;
    for number in 0..50 {
        b.sender.send(message(number, 10_000)).await.unwrap();
    }
    timeout(PATIENCE, b.sender.flushed()).await.unwrap();
    a.native.close().await;
    no_tasks().await;
    // There was room for one.
    assert_eq!(a.received().await, Some(message(0, 10_000)));
    assert_eq!(a.received().await, None);
}

/// A DTLS that takes nothing for ever holds up neither a close nor the end of the task.
#[tokio::test(start_paused = true)]
async fn a_send_that_never_ends_is_not_waited_for() {
    let [a, b] = open(true, Default::default(), 65_536).await;
    a.cable.stuck.store(true, Ordering::SeqCst);
    a.sender.send(message(1, 50_000)).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        a.native.heartbeat();
    }
    timeout(Duration::from_secs(1), a.native.close())
        .await
        .expect("it closes");
    b.native.close().await;
    no_tasks().await;
}

/// With the little memory that there is at first no more comes in one round trip: that it comes
/// again within a second tells that it is too little.
#[tokio::test(start_paused = true)]
async fn a_long_way_gets_a_large_window() {
    for (way, much) in [(600, true), (2000, false)] {
        let mut traffic = Traffic::new();
        let mut was_much = false;
        for _ in 0..10 {
            for _ in 0..16 {
                traffic.count(SMALL / 16);
                was_much |= traffic.is_much();
            }
            tokio::time::advance(Duration::from_millis(way)).await;
        }
        assert_eq!(was_much, much, "{way} ms");
    }
}
