//! The SCTP association, and what the crate below leaves out: an ABORT when we close, notice of the
//! remote's end, acknowledgements that are not forgotten, a receive window that opens again, and a
//! sending side that is told at once what arrived and does not send more than sockets take
//! ([`Flight`]).
//!
//! All of it is done on the packets between the association and DTLS, by [`Packets`]; what the
//! remote sends was checked by [`SctpGuard`] before.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use webrtc_sctp::Error;
use webrtc_sctp::association::{Association, Config};
use webrtc_util::Conn;

use super::flight::{Flight, is_after};
use super::guard::SctpGuard;
use super::guard::sctp::seal;
use super::unread::Unread;
use crate::rtc::channel::{End, end};

/// The crate keeps an acknowledgement back for a second packet, and after the first time for ever:
/// its timer does not start again. After this long we make it send one.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// Tasks and handles of a live association that hold its connection: two loops and the association
/// itself.
const HOLDERS: usize = 3;
const HEADER_LEN: usize = 12;
/// TSN, stream, sequence number and protocol of DATA.
const DATA_HEAD_LEN: usize = 12;
const DATA: u8 = 0;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const RECONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;
const ENDING: u8 = 0x01;
const UNORDERED: u8 = 0x04;
const IMMEDIATE: u8 = 0x08;

/// An established association.
pub(super) struct Sctp {
    pub(super) association: Arc<Association>,
    pub(super) packets: Arc<Packets>,
    below: Weak<Below>,
}

impl Sctp {
    /// Sends INIT and waits for the association. The remote may do the same at the same time.
    pub(super) async fn connect(
        packets: Arc<Packets>,
        ports: (u16, u16),
        max_message_size: u32,
    ) -> Result<Self, Error> {
        let below = Arc::new(Below(Arc::clone(&packets)));
        let weak = Arc::downgrade(&below);
        let config = Config {
            net_conn: below,
            max_receive_buffer_size: packets.window,
            max_message_size,
            mtu: 0,
            name: String::new(),
            local_port: ports.0,
            remote_port: ports.1,
        };
        let association = tokio::select! {
            result = Association::client(config) => result?,
            _ = packets.ended() => return Err(Error::ErrAssociationHandshakeClosed),
        };
        Ok(Self {
            association: Arc::new(association),
            packets,
            below: weak,
        })
    }

    /// Whether both loops of the association run. They do until it ends, unless one of them
    /// panicked.
    pub(super) fn is_alive(&self) -> bool {
        self.below.strong_count() >= HOLDERS
    }
}

/// The packets between an association and DTLS.
pub(super) struct Packets {
    below: Arc<SctpGuard>,
    window: u32,
    seen: Mutex<Seen>,
    repeat: Notify,
    release: Notify,
    reset_answered: Notify,
    acknowledged: Notify,
    delivered: Notify,
    shut: AtomicBool,
    shutting: Notify,
    end: watch::Sender<Option<End>>,
}

/// What was seen in passing.
#[derive(Default)]
struct Seen {
    /// The data channel's stream.
    stream: Option<u16>,
    /// The last packet with DATA from the remote.
    data: Vec<u8>,
    /// Its first TSN.
    tsn: u32,
    /// The newest TSN of the remote.
    newest: Option<u32>,
    /// DATA came after our last SACK.
    owes_sack: bool,
    /// The remote is gone by its own account.
    gone: bool,
    /// The remote's reset of the channel, kept back until the channel is read to its end.
    reset: Vec<u8>,
    /// A SACK was handed to the association.
    sack: bool,
    /// The window in our last SACK.
    advertised: Option<u32>,
    /// Bytes read by the channel since then.
    read: u32,
    /// Messages of an ordered channel that it has not read. Not known any more once the remote has
    /// given up some.
    unread: Option<Unread>,
    /// Our DATA.
    flight: Flight,
}

impl Packets {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, window: u32) -> Arc<Self> {
        Arc::new(Self {
            below: SctpGuard::new(dtls),
            window,
            seen: Mutex::default(),
            repeat: Notify::new(),
            release: Notify::new(),
            reset_answered: Notify::new(),
            acknowledged: Notify::new(),
            delivered: Notify::new(),
            shut: AtomicBool::new(false),
            shutting: Notify::new(),
            end: watch::Sender::new(None),
        })
    }

    /// Names the stream whose reset ends the session.
    pub(super) fn watch_stream(&self, stream: u16) {
        self.seen().stream = Some(stream);
    }

    /// Keeps the unread messages of that stream below what the association can tell apart. The
    /// channel is ordered, and so many of its messages were read.
    pub(super) fn bound_unread(&self, read: u16) {
        self.seen().unread = Some(Unread::after(read));
    }

    /// Waits until the remote closed, reset the channel or broke DTLS. Everything that had arrived
    /// before is with the association by then, and stays readable.
    pub(super) async fn ended(&self) {
        let _ = self.end.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Ends the session as if the remote had.
    pub(super) fn end(&self) {
        end(&self.end, End::Ended);
    }

    /// Ends the session, which failed: `why` begins a sentence.
    pub(super) fn fail(&self, why: &'static str) {
        end(&self.end, End::Failed(why));
    }

    /// Woken after each SACK the association has processed.
    pub(super) fn acknowledged(&self) -> tokio::sync::futures::Notified<'_> {
        self.acknowledged.notified()
    }

    /// The same, to wait on.
    pub(super) const fn acknowledgements(&self) -> &Notify {
        &self.acknowledged
    }

    /// Why the session is over, if it is.
    pub(super) const fn end_sender(&self) -> &watch::Sender<Option<End>> {
        &self.end
    }

    /// Woken after each packet that the association has processed, and each SACK it has made:
    /// whenever it may have made a stream readable or let go of its lock.
    pub(super) fn delivered(&self) -> tokio::sync::futures::Notified<'_> {
        self.delivered.notified()
    }

    /// Wakes those too who wait for the sending side to move.
    pub(super) fn wake(&self) {
        self.acknowledged.notify_waiters();
    }

    /// The channel took a message of `length` bytes from the association. If the window had been
    /// all but closed, the remote has to be told that it is open again, or it would wait for its
    /// retransmission timer.
    pub(super) fn consumed(&self, length: usize) {
        let mut seen = self.seen();
        seen.read = seen
            .read
            .saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        let nearly_closed = seen
            .advertised
            .is_some_and(|window| window < self.window / 4);
        let opens = seen.unread.as_mut().is_some_and(Unread::read);
        if opens || nearly_closed && seen.read >= self.window / 8 {
            seen.read = 0;
            drop(seen);
            self.repeat.notify_one();
        }
    }

    /// Lets the association answer the remote's reset of the channel, if that is what ended the
    /// session: the remote then sees its channel close in order. Takes for ever if the association
    /// does not answer.
    pub(super) async fn answer_reset(&self) {
        if !self.seen().reset.is_empty() {
            self.release.notify_one();
            self.reset_answered.notified().await;
        }
    }

    /// Tells the remote that we are gone.
    pub(super) async fn abort(&self) {
        let refused = self.below.refused();
        if refused > 0 {
            tracing::debug!(refused, "a session had SCTP packets refused");
        }
        if self.seen().gone {
            return;
        }
        if let Err(error) = self.below.abort().await {
            tracing::debug!(%error, "ABORT not sent");
        }
    }

    /// Makes the remote send something, for those who measure its silence.
    pub(super) async fn heartbeat(&self) {
        if let Err(error) = self.below.heartbeat().await {
            tracing::debug!(%error, "HEARTBEAT not sent");
        }
    }

    /// Makes every call of the association fail, which ends its loops, even if nobody holds it any
    /// more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.shutting.notify_waiters();
        self.end();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        // Being called again means that the association is done with the packet before.
        if core::mem::take(&mut self.seen().sack) {
            self.acknowledged.notify_waiters();
        }
        self.delivered.notify_waiters();
        loop {
            let shutting = self.shutting.notified();
            if self.shut.load(Ordering::SeqCst) {
                return Err(closed());
            }
            let owes_sack = self.seen().owes_sack;
            tokio::select! {
                () = shutting => return Err(closed()),
                () = self.repeat.notified() => {
                    if let Some(length) = self.repeated(buffer) {
                        return Ok(length);
                    }
                }
                () = tokio::time::sleep(ACK_DELAY), if owes_sack => {
                    if let Some(length) = self.repeated(buffer) {
                        return Ok(length);
                    }
                }
                result = self.below.recv(buffer) => {
                    let length = match result {
                        Ok(length) => length,
                        Err(error) => {
                            tracing::debug!(%error, "DTLS ended");
                            return self.park(buffer).await;
                        }
                    };
                    match self.arrived(buffer.get_mut(..length).unwrap_or_default()) {
                        Verdict::Pass => return Ok(length),
                        Verdict::Drop => {}
                        Verdict::End => return self.park(buffer).await,
                    }
                }
            }
        }
    }

    /// Reports the end and keeps it from the association, which would throw away what the channel
    /// has not read.
    async fn park(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        self.end();
        let shutting = self.shutting.notified();
        if self.shut.load(Ordering::SeqCst) {
            return Err(closed());
        }
        tokio::select! {
            () = shutting => Err(closed()),
            () = self.release.notified() => {
                let reset = core::mem::take(&mut self.seen().reset);
                let packet = buffer.get_mut(..reset.len()).ok_or_else(closed)?;
                packet.copy_from_slice(&reset);
                Ok(reset.len())
            }
        }
    }

    fn arrived(&self, packet: &mut [u8]) -> Verdict {
        let Some(chunks) = Chunks::new(packet) else {
            return Verdict::Drop;
        };
        let mut seen = self.seen();
        let mut has_data = false;
        let mut window = None;
        for chunk in chunks {
            match chunk.kind {
                DATA => {
                    let Some(tsn) = be32(chunk.body, 0) else {
                        return Verdict::Drop;
                    };
                    if !has_data {
                        has_data = true;
                        seen.tsn = tsn;
                    }
                    let (stream, sequence) = (be16(chunk.body, 4), be16(chunk.body, 6));
                    let length = chunk.body.len().saturating_sub(DATA_HEAD_LEN);
                    if stream == seen.stream
                        && chunk.flags & UNORDERED == 0
                        && let Some(unread) = &mut seen.unread
                        && !sequence.is_some_and(|sequence| unread.take(sequence, length))
                    {
                        return Verdict::Drop;
                    }
                    if seen.newest.is_none_or(|newest| is_after(tsn, newest)) {
                        seen.newest = Some(tsn);
                    }
                }
                SACK => {
                    let Some((tsn, advertised)) = be32(chunk.body, 0).zip(be32(chunk.body, 4))
                    else {
                        return Verdict::Drop;
                    };
                    seen.sack = true;
                    seen.flight.acknowledged(tsn, Instant::now());
                    let allowed = seen.flight.window(advertised);
                    if allowed < advertised {
                        window = Some((chunk.at, allowed));
                    }
                }
                ABORT => {
                    seen.gone = true;
                    return Verdict::End;
                }
                SHUTDOWN | SHUTDOWN_ACK => return Verdict::End,
                FORWARD_TSN => seen.unread = None,
                RECONFIG if !has_data && seen.is_reset(chunk.body) => {
                    seen.reset = packet.to_vec();
                    return Verdict::End;
                }
                _ => {}
            }
        }
        if has_data {
            seen.owes_sack = true;
            seen.data.clear();
            seen.data.extend_from_slice(packet);
        }
        drop(seen);
        if let Some((at, allowed)) = window {
            set_window(packet, at, allowed);
        }
        Verdict::Pass
    }

    /// The last packet with DATA once more, with the request to acknowledge at once. To the
    /// association it is a duplicate, unless it had dropped the packet for want of room: then this
    /// is a second chance.
    fn repeated(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut seen = self.seen();
        seen.owes_sack = false;
        let length = seen.data.len();
        let packet = buffer.get_mut(..length)?;
        packet.copy_from_slice(&seen.data);
        drop(seen);
        ask_at_once(packet);
        (length > HEADER_LEN).then_some(length)
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, webrtc_util::Error> {
        if self.shut.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let leaving = self.leaving(packet);
        let mut changed = Cow::Borrowed(packet);
        if leaving.asks {
            ask_at_once(changed.to_mut());
        }
        if let Some((at, allowed)) = leaving.window {
            set_window(changed.to_mut(), at, allowed);
        }
        match self.below.send(&changed).await {
            Ok(length) => {
                if leaving.answers_reset {
                    self.reset_answered.notify_one();
                }
                Ok(length)
            }
            Err(error) => {
                tracing::debug!(%error, "an SCTP packet was not sent");
                self.fail("the transport failed");
                Err(error)
            }
        }
    }

    /// Notes what goes out.
    fn leaving(&self, packet: &[u8]) -> Leaving {
        let mut leaving = Leaving::default();
        let Some(chunks) = Chunks::new(packet) else {
            return leaving;
        };
        let mut last = None;
        let mut ends_message = false;
        let mut seen = self.seen();
        for chunk in chunks {
            match chunk.kind {
                DATA => {
                    last = be32(chunk.body, 0);
                    ends_message |= chunk.flags & ENDING != 0;
                }
                SACK => {
                    self.delivered.notify_waiters();
                    seen.owes_sack = false;
                    seen.advertised = be32(chunk.body, 4);
                    seen.read = 0;
                    let allowed = seen.unread.as_mut().map(Unread::window);
                    if let Some(allowed) = allowed.filter(|it| Some(*it) < seen.advertised) {
                        leaving.window = Some((chunk.at, allowed));
                    }
                }
                RECONFIG => {
                    leaving.answers_reset |= be16(chunk.body, 0) == Some(RECONFIG_RESPONSE);
                }
                _ => {}
            }
        }
        if let Some(tsn) = last {
            leaving.asks = seen
                .flight
                .sends(tsn, ends_message, packet.len(), Instant::now());
        }
        leaving
    }
}

/// What there is to do about a packet of ours.
#[derive(Default)]
struct Leaving {
    /// It asks the remote to acknowledge at once.
    asks: bool,
    /// Its SACK, which begins here, has to tell of a smaller window.
    window: Option<(usize, u32)>,
    /// It answers a reset, which the association does after its own reset.
    answers_reset: bool,
}

impl Seen {
    /// Whether a RE-CONFIG resets the channel's stream, after everything the remote had sent on it.
    /// With data still missing the association answers "in progress" and the remote asks again.
    fn is_reset(&self, body: &[u8]) -> bool {
        let Some(stream) = self.stream else {
            return false;
        };
        let mut rest = body;
        while let Some((kind, length)) = be16(rest, 0).zip(be16(rest, 2)) {
            let Some(parameter) = rest.get(4..usize::from(length)) else {
                return false;
            };
            if kind == OUTGOING_RESET {
                let arrived = be32(parameter, 8)
                    .zip(self.newest)
                    .is_none_or(|(last, newest)| !is_after(last, newest));
                let streams = parameter.get(12..).unwrap_or_default();
                let mut named = streams.chunks_exact(2).map(|id| be16(id, 0));
                if arrived && (streams.is_empty() || named.any(|id| id == Some(stream))) {
                    return true;
                }
            }
            rest = rest
                .get(usize::from(length).next_multiple_of(4)..)
                .unwrap_or_default();
        }
        false
    }
}

enum Verdict {
    Pass,
    Drop,
    End,
}

struct Chunk<'a> {
    kind: u8,
    flags: u8,
    body: &'a [u8],
    /// Where it begins in the packet.
    at: usize,
}

/// The chunks of a packet, up to the first one that does not fit.
struct Chunks<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Chunks<'a> {
    fn new(packet: &'a [u8]) -> Option<Self> {
        let rest = packet.get(HEADER_LEN..)?;
        Some(Self {
            rest,
            at: HEADER_LEN,
        })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let &[kind, flags] = self.rest.first_chunk()?;
        let length = usize::from(be16(self.rest, 2)?);
        let body = self.rest.get(4..length)?;
        let at = self.at;
        let padded = length.next_multiple_of(4);
        self.rest = self.rest.get(padded..).unwrap_or_default();
        self.at += padded;
        Some(Chunk {
            kind,
            flags,
            body,
            at,
        })
    }
}

/// What the association sees of [`Packets`].
struct Below(Arc<Packets>);

#[async_trait]
impl Conn for Below {
    async fn connect(&self, _: SocketAddr) -> Result<(), webrtc_util::Error> {
        Err(closed())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        self.0.recv(buffer).await
    }

    async fn recv_from(&self, _: &mut [u8]) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        Err(closed())
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, webrtc_util::Error> {
        self.0.send(packet).await
    }

    async fn send_to(&self, _: &[u8], _: SocketAddr) -> Result<usize, webrtc_util::Error> {
        Err(closed())
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        self.0.below.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.below.remote_addr()
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        self.0.shut();
        Ok(())
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

fn closed() -> webrtc_util::Error {
    webrtc_util::Error::ErrUseClosedNetworkConn
}

/// Sets the I bit of all DATA chunks (RFC 7053).
fn ask_at_once(packet: &mut [u8]) {
    let mut at = HEADER_LEN;
    while let Some((&kind, length)) = packet.get(at).zip(be16(packet, at + 2)) {
        if let Some(flags) = packet.get_mut(at + 1).filter(|_| kind == DATA) {
            *flags |= IMMEDIATE;
        }
        at += usize::from(length).max(4).next_multiple_of(4);
    }
    seal(packet);
}

/// Sets the window of the SACK that begins there.
fn set_window(packet: &mut [u8], at: usize, window: u32) {
    if let Some(field) = packet.get_mut(at + 8..at + 12) {
        field.copy_from_slice(&window.to_be_bytes());
        seal(packet);
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with one chunk.
    fn packet(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
        let mut packet = vec![0; HEADER_LEN];
        packet.extend_from_slice(&[kind, flags, length[0], length[1]]);
        packet.extend_from_slice(body);
        seal(&mut packet);
        packet
    }

    fn data(tsn: u32, flags: u8) -> Vec<u8> {
        let mut body = tsn.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 53]);
        body.resize(1174, 7);
        packet(DATA, flags, &body)
    }

    fn sack(tsn: u32, window: u32) -> Vec<u8> {
        let mut body = tsn.to_be_bytes().to_vec();
        body.extend_from_slice(&window.to_be_bytes());
        body.extend_from_slice(&[0; 4]);
        packet(SACK, 0, &body)
    }

    fn packets() -> (Arc<Packets>, impl Conn) {
        let (near, far) = webrtc_util::conn::conn_pipe::pipe();
        (Packets::new(Arc::new(near), 1 << 20), far)
    }

    fn is_sealed(packet: &[u8]) -> bool {
        let mut again = packet.to_vec();
        seal(&mut again);
        again == packet
    }

    #[tokio::test]
    async fn asks_for_the_sack_it_would_wait_for() {
        let (packets, far) = packets();
        let mut buffer = [0; 1500];
        let mut asked = Vec::new();
        for tsn in [1, 2, 3, 4, 5, 6, 7, 4] {
            let sent = data(tsn, 0);
            packets.send(&sent).await.unwrap();
            let length = far.recv(&mut buffer).await.unwrap();
            let arrived = &buffer[..length];
            assert!(is_sealed(arrived));
            let chunk = Chunks::new(arrived).unwrap().next().unwrap();
            assert_eq!(chunk.body, &sent[HEADER_LEN + 4..]);
            asked.push(chunk.flags == IMMEDIATE);
            if tsn == 1 {
                packets.arrived(&mut sack(1, 1 << 20));
            }
        }
        let first_to_fifth_and_repeated = [true, true, true, true, true, false, false, true];
        assert_eq!(asked, first_to_fifth_and_repeated);
    }

    #[tokio::test]
    async fn the_association_sees_a_window_that_sockets_take() {
        let (packets, _far) = packets();
        let mut large = sack(0, 5_000_000);
        assert!(matches!(packets.arrived(&mut large), Verdict::Pass));
        let told = be32(&large, HEADER_LEN + 8).unwrap();
        assert_eq!(told, packets.seen().flight.window(u32::MAX));
        assert!(is_sealed(&large));
        let mut small = sack(0, 1000);
        assert!(matches!(packets.arrived(&mut small), Verdict::Pass));
        assert_eq!(small, sack(0, 1000));
        let mut short = packet(SACK, 0, &[0; 7]);
        assert!(matches!(packets.arrived(&mut short), Verdict::Drop));
    }

    #[test]
    fn stream_reset() {
        let seen = Seen {
            stream: Some(1),
            newest: Some(10),
            ..Seen::default()
        };
        let reset = |last: u8, streams: &[u8]| {
            let length = 16 + u8::try_from(streams.len()).unwrap();
            let mut body = vec![0, 13, 0, length, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, last];
            body.extend_from_slice(streams);
            body
        };
        assert!(seen.is_reset(&reset(10, &[0, 1])));
        assert!(seen.is_reset(&reset(10, &[])));
        assert!(!seen.is_reset(&reset(10, &[0, 3])));
        assert!(
            !seen.is_reset(&reset(11, &[0, 1])),
            "data is still under way"
        );
        assert!(!seen.is_reset(&[0, 13, 0, 0]));
        assert!(!seen.is_reset(&[0, 13, 255, 255, 0]));
    }

    proptest::proptest! {
        #[test]
        fn chunks_of_anything(packet: Vec<u8>) {
            let count = Chunks::new(&packet).map_or(0, Iterator::count);
            assert!(count <= packet.len() / 4);
            Seen { stream: Some(1), ..Seen::default() }.is_reset(&packet);
        }
    }
}
