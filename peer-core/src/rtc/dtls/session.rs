//! A session: records in and out, and what they do to it.

use core::ops::Range;

use heapless::Deque;

use super::certificate::Identity;
use super::error::{DtlsError, SealError};
use super::flight::{FLIGHT_MAX, Flight, Sequences};
use super::fragments::{Fragment, Fragments, Taken};
use super::handshake::Handshake;
use super::protection::{KeyBlock, Keys};
use super::reader::Reader;
use super::record::{self, Content, Header};
use super::replay::ReplayWindow;
use super::step::{Message, Step};
use super::timer::Timer;
use super::{
    Config, DATAGRAM_MAX, DATAGRAM_MIN, Event, HANDSHAKE_MAX, MESSAGE_MAX, Role, TAILROOM, TEXT_MAX,
};
use crate::bytes;
use crate::rtc::crypto::Crypto;
use crate::time::Instant;

/// Records with a wrong tag that the keys may see: RFC 9147 §4.5.3 bounds them for AES-GCM.
const FORGERIES_MAX: u64 = 1 << 36;
/// Encrypted records that are kept until they can be opened: a Finished that is cut in two. Of more
/// the oldest is dropped, and comes again.
const EARLY: usize = 2;
/// Bytes of the body of such a record: of a whole Finished.
const EARLY_MAX: usize = 48;
/// Events before they are polled: opened, ended.
const EVENTS: usize = 2;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// Memory for a session, to be lent: `M` bytes for a handshake message, and 1 KiB for the flight
/// that may have to be sent again.
///
/// 4 KiB take every certificate that is used with WebRTC; 1.5 KiB take those of browsers, and their
/// post-quantum ClientHello of 1,461 bytes. It is all zeros at first, so that a static of it costs
/// no flash. No secrets are kept in it.
#[derive(Debug)]
pub struct Resources<const M: usize = MESSAGE_MAX> {
    message: [u8; M],
    flight: [u8; FLIGHT_MAX],
}

impl<const M: usize> Resources<M> {
    const FITS: () = assert!(M <= HANDSHAKE_MAX, "a handshake has at most 16 KiB");

    /// Returns zeros.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self {
            message: [0; M],
            flight: [0; FLIGHT_MAX],
        }
    }

    /// Lends it to a session.
    pub const fn lend(&mut self) -> Memory<'_> {
        Memory {
            message: &mut self.message,
            flight: &mut self.flight,
        }
    }
}

/// The memory of a session, all of it lent; see [`Resources::lend`].
#[derive(Debug)]
pub struct Memory<'m> {
    message: &'m mut [u8],
    flight: &'m mut [u8; FLIGHT_MAX],
}

impl<const M: usize> Default for Resources<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// A session of DTLS 1.2.
///
/// ```
/// use peer_core::rtc::crypto::{CryptoError, RustCrypto};
/// use peer_core::rtc::dtls::{Config, Dtls, Event, HEADROOM, Identity, Resources, Role};
/// use peer_core::time::Instant;
/// # let mut state = 1_u8;
/// # let mut crypto = RustCrypto::new(|out: &mut [u8]| {
/// #     for byte in out { state = state.wrapping_mul(5).wrapping_add(7); *byte = state; }
/// #     Ok::<(), CryptoError>(())
/// # });
/// let (ours, theirs) = (Identity::generate(&mut crypto)?, Identity::generate(&mut crypto)?);
/// let now = Instant::ZERO;
/// let mut memory = [const { Resources::<1536>::new() }; 2];
/// let [for_client, for_server] = &mut memory;
/// let config = Config::new(Role::Client, *theirs.fingerprint());
/// let mut client = Dtls::new(now, &mut crypto, &config, for_client);
/// let config = Config::new(Role::Server, *ours.fingerprint());
/// let mut server = Dtls::new(now, &mut crypto, &config, for_server);
///
/// // What two drivers do, with a network that loses nothing.
/// let mut buffer = [0; 1200];
/// for _ in 0..10 {
///     while client.work(now, &mut crypto, &ours) {}
///     while let Some(len) = client.transmit(now, &mut crypto, &mut buffer) {
///         let mut datagram = &mut buffer[..len];
///         while server.receive(now, &mut crypto, &mut datagram).is_some() {}
///     }
///     while server.work(now, &mut crypto, &theirs) {}
///     while let Some(len) = server.transmit(now, &mut crypto, &mut buffer) {
///         let mut datagram = &mut buffer[..len];
///         while client.receive(now, &mut crypto, &mut datagram).is_some() {}
///     }
/// }
/// assert_eq!(client.poll_event(), Some(Event::Connected));
/// assert_eq!(server.poll_event(), Some(Event::Connected));
///
/// // Application data: encrypted where it lies, decrypted where it lies.
/// buffer[HEADROOM..HEADROOM + 5].copy_from_slice(b"hello");
/// let sealed = client.seal(&mut crypto, &mut buffer, HEADROOM..HEADROOM + 5)?;
/// let mut datagram = &mut buffer[sealed];
/// let data = server.receive(now, &mut crypto, &mut datagram);
/// assert_eq!(data.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dtls<'m, C: Crypto> {
    role: Role,
    state: State<'m, C>,
    flight: Flight<'m>,
    /// What handshake messages lay in, once the handshake is over.
    message: &'m mut [u8],
    sequences: Sequences,
    /// Once they are agreed on.
    keys: Option<KeyBlock>,
    replay: ReplayWindow,
    forgeries: u64,
    /// To be sent: level, description, epoch.
    alert: Option<(u8, u8, u16)>,
    /// The last that came in plaintext.
    plain_alert: Option<u8>,
    events: Deque<Event, EVENTS>,
    datagram_max: usize,
}

/// What only a handshake needs and what only an open session needs share their memory, so that a
/// remote that has not proved who it is costs little.
///
/// The first is zeros, so that overwriting another one with it takes no constant of its length.
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator to box it")]
enum State<'m, C: Crypto> {
    Ended,
    Handshake(Pending<'m, C>),
    Open(Prepared<C>),
}

/// A handshake, and what came of it.
struct Pending<'m, C: Crypto> {
    handshake: Handshake<C>,
    fragments: Fragments<'m>,
    early: Deque<Early, EARLY>,
    timer: Timer,
}

/// The keys of an open session.
struct Prepared<C: Crypto> {
    read: Keys<C>,
    write: Keys<C>,
}

/// A record with an encrypted Finished, or a part of it, that came before its keys, or before the
/// ChangeCipherSpec.
struct Early {
    header: Header,
    body: [u8; EARLY_MAX],
    len: usize,
}

impl<'m, C: Crypto> Dtls<'m, C> {
    /// Begins a handshake. Draws 32 random bytes; if that fails, so does the session.
    pub fn new<const M: usize>(
        now: Instant,
        crypto: &mut C,
        config: &Config,
        memory: &'m mut Resources<M>,
    ) -> Self {
        Self::with_memory(now, crypto, config, memory.lend())
    }

    /// As [`new`](Self::new), with memory that was lent before.
    pub fn with_memory(now: Instant, crypto: &mut C, config: &Config, memory: Memory<'m>) -> Self {
        let mut session = Self::unbegun(config, memory);
        session.begin(now, crypto, config);
        session
    }

    /// A session that is to be [begun](Self::begin) where it stays: a handshake is long.
    pub(crate) fn unbegun(config: &Config, memory: Memory<'m>) -> Self {
        Self {
            role: config.role,
            state: State::Ended,
            flight: Flight::new(memory.flight),
            message: memory.message,
            sequences: Sequences::default(),
            keys: None,
            replay: ReplayWindow::default(),
            forgeries: 0,
            alert: None,
            plain_alert: None,
            events: Deque::new(),
            datagram_max: config.datagram_max.clamp(DATAGRAM_MIN, DATAGRAM_MAX),
        }
    }

    #[inline(never)]
    pub(crate) fn begin(&mut self, now: Instant, crypto: &mut C, config: &Config) {
        match Handshake::begin(crypto, config, &mut self.flight) {
            Ok(handshake) => {
                self.state = State::Handshake(Pending {
                    handshake,
                    fragments: Fragments::new(core::mem::take(&mut self.message)),
                    early: Deque::new(),
                    timer: Timer::new(now, config.first_wait, config.time_limit),
                });
            }
            Err(error) => self.tell(Event::Failed(error)),
        }
    }

    /// Ends the session without a word, and gives its memory back for another one.
    pub fn into_memory(mut self) -> Memory<'m> {
        self.keep_message();
        Memory {
            message: self.message,
            flight: self.flight.into_memory(),
        }
    }

    /// Takes the records of a datagram up to the next application data, and returns that.
    ///
    /// `datagram` is shortened to what is still to be read: call until `None`. What does not belong
    /// to the session is dropped.
    pub fn receive<'d>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        datagram: &mut &'d mut [u8],
    ) -> Option<&'d mut [u8]> {
        while let Some((header, body)) = record::next(datagram) {
            if let Some(text) = self.record(now, crypto, &header, body) {
                return body.get_mut(text);
            }
        }
        None
    }

    /// The place of application data in the body of a record.
    fn record(
        &mut self,
        now: Instant,
        crypto: &mut C,
        header: &Header,
        body: &mut [u8],
    ) -> Option<Range<usize>> {
        match (&mut self.state, header.epoch) {
            (State::Handshake(_), 0) => self.plaintext(now, crypto, header.content, body),
            (State::Handshake(pending), 1) if !pending.handshake.awaits_finished() => {
                pending.keep_early(header, body);
            }
            (State::Handshake(_) | State::Open(_), 1) => {
                return self.protected(crypto, header, body);
            }
            _ => {}
        }
        None
    }

    fn plaintext(&mut self, now: Instant, crypto: &mut C, content: Content, body: &[u8]) {
        match content {
            Content::Handshake => {
                let mut reader = Reader::new(body);
                while let Some(fragment) = Fragment::read(&mut reader) {
                    self.plain_fragment(now, &fragment);
                }
                self.deliver(crypto);
            }
            Content::ChangeCipherSpec => {
                if let (State::Handshake(pending), [1]) = (&mut self.state, body)
                    && pending.handshake.step == Step::Change
                {
                    pending.handshake.step = Step::Finished;
                    self.open_early(crypto);
                }
            }
            Content::Alert => {
                if let &[_, description] = body {
                    self.plain_alert = Some(description);
                }
            }
            Content::ApplicationData => {}
        }
    }

    fn plain_fragment(&mut self, now: Instant, fragment: &Fragment<'_>) {
        let State::Handshake(pending) = &mut self.state else {
            return;
        };
        match Message::read(fragment.kind) {
            // These do not come in plaintext; a forged one is to end nothing.
            Message::Finished | Message::Other(0) => {}
            message => match pending.fragments.insert(fragment) {
                Taken::Kept | Taken::Dropped => {}
                // The remote sent something that we have: it may not have our flight.
                Taken::Old => {
                    if self.flight.is_sent() && pending.timer.answers(now) {
                        self.flight.restart();
                    }
                }
                Taken::TooLong => self.fail(DtlsError::MessageTooLong(message)),
            },
        }
    }

    /// Takes the messages that are complete and whose turn it is, until one needs work.
    fn deliver(&mut self, crypto: &mut C) {
        while let State::Handshake(pending) = &mut self.state
            && let Some((kind, sequence, body)) = pending.fragments.ready()
        {
            let handshake = &mut pending.handshake;
            if handshake.is_busy() {
                break;
            }
            let taken = handshake.message(crypto, &mut self.flight, kind, sequence, body);
            pending.fragments.take();
            match taken {
                Ok(()) => self.follow_flight(),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Opens what came early of the Finished, if it can be now.
    fn open_early(&mut self, crypto: &mut C) {
        while let State::Handshake(pending) = &mut self.state
            && pending.handshake.awaits_finished()
            && let Some(mut early) = pending.early.pop_front()
        {
            let body = bytes::front_mut(&mut early.body, early.len);
            let data = self.protected(crypto, &early.header, body);
            debug_assert!(data.is_none(), "only a handshake record is kept");
        }
    }

    /// Does one long operation of the handshake, at most one on the curve. Whether there is more.
    ///
    /// `identity` is ours, and the same in each call.
    pub fn work(&mut self, now: Instant, crypto: &mut C, identity: &Identity) -> bool {
        if let State::Handshake(pending) = &mut self.state {
            if pending.timer.is_over(now) {
                self.time_out();
                return false;
            }
            let handshake = &mut pending.handshake;
            match handshake.work(crypto, identity, &mut self.flight) {
                Ok(None) => self.follow_flight(),
                Ok(keys) => self.keys = keys,
                Err(error) => self.fail(error),
            }
            self.deliver(crypto);
            self.open_early(crypto);
        }
        self.wants_work()
    }

    /// Whether [`work`](Self::work) has something to do.
    #[must_use]
    pub fn wants_work(&self) -> bool {
        match &self.state {
            State::Handshake(pending) => pending.handshake.wants_work(),
            State::Open(_) | State::Ended => false,
        }
    }

    /// Writes the next datagram to be sent to `out`; its bytes. Also does what is due.
    ///
    /// `out` has at least the configured size of a datagram.
    pub fn transmit(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<usize> {
        if let State::Handshake(pending) = &mut self.state {
            if pending.timer.is_over(now) {
                self.time_out();
            } else if pending.timer.expires(now) {
                self.flight.restart();
            }
        }
        if let Some((level, description, epoch)) = self.alert.take() {
            let len = self.send_alert(crypto, epoch, [level, description], out);
            self.end();
            return len;
        }
        if self.flight.is_sent() {
            return None;
        }
        let len = out.len().min(self.datagram_max);
        let out = bytes::front_mut(out, len);
        let keys = self.keys.as_ref();
        let written = self.flight.datagram(crypto, keys, &mut self.sequences, out);
        if self.flight.is_sent()
            && let State::Handshake(pending) = &mut self.state
        {
            pending.timer.sent(now);
        }
        written
    }

    /// Returns when [`transmit`](Self::transmit) is to be called again, if nothing happens before.
    /// An open session has no deadline.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(pending) => pending.timer.next(),
            State::Open(_) | State::Ended => None,
        }
    }

    /// Returns what happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether application data can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Encrypts the bytes at `text` where they lie, and returns where the datagram lies.
    ///
    /// The buffer needs [`HEADROOM`](super::HEADROOM) bytes before the text and
    /// [`TAILROOM`] after it, which are overwritten. At most [`TEXT_MAX`] bytes of text.
    pub fn seal(
        &mut self,
        crypto: &mut C,
        buffer: &mut [u8],
        text: Range<usize>,
    ) -> Result<Range<usize>, SealError> {
        let State::Open(Prepared { write: keys, .. }) = &self.state else {
            return Err(SealError::NotOpen);
        };
        let start = text
            .start
            .checked_sub(keys.text_at())
            .ok_or(SealError::NoRoom)?;
        let end = text.end.checked_add(TAILROOM).ok_or(SealError::NoRoom)?;
        let record = buffer.get_mut(start..end).ok_or(SealError::NoRoom)?;
        if text.end < text.start || text.len() > TEXT_MAX {
            return Err(SealError::NoRoom);
        }
        let Some(sequence) = self.sequences.next(1) else {
            self.fail(DtlsError::SequenceExhausted);
            return Err(SealError::Exhausted);
        };
        let header = Header {
            content: Content::ApplicationData,
            epoch: 1,
            sequence,
            len: 0,
        };
        let len = keys
            .seal(crypto, header, record, text.len())
            .ok_or(SealError::NoRoom)?;
        Ok(start..start + len)
    }

    /// Ends the session. The remote is told by the next [`transmit`](Self::transmit), if the
    /// handshake was done. Secrets are wiped.
    pub fn close(&mut self) {
        if self.is_open() {
            self.alert = Some((WARNING, CLOSE_NOTIFY, 1));
        }
        self.end();
    }
}

impl<C: Crypto> Pending<'_, C> {
    fn keep_early(&mut self, header: &Header, body: &[u8]) {
        if header.content != Content::Handshake {
            return;
        }
        let mut early = Early {
            header: *header,
            body: [0; EARLY_MAX],
            len: body.len(),
        };
        if bytes::copy(&mut early.body, body).is_some() {
            if self.early.is_full() {
                self.early.pop_front();
            }
            let kept = self.early.push_back(early);
            debug_assert!(kept.is_ok(), "room was made");
        }
    }
}

/// What a secret is overwritten with. Constants, since a value made on the stack brings along what
/// lay there before: keys.
impl<C: Crypto> Dtls<'_, C> {
    const NO_KEYS: Option<KeyBlock> = None;
    const ENDED: State<'static, C> = State::Ended;
}

impl<C: Crypto> Dtls<'_, C> {
    /// Our flight may have changed: another one, or none because it arrived.
    const fn follow_flight(&mut self) {
        if let State::Handshake(pending) = &mut self.state {
            if self.flight.is_empty() {
                pending.timer.stop();
            } else if self.flight.is_new() {
                pending.timer.new_flight(self.keys.is_some());
            }
        }
    }

    /// A record of epoch 1. The place of application data in it.
    fn protected(
        &mut self,
        crypto: &mut C,
        header: &Header,
        body: &mut [u8],
    ) -> Option<Range<usize>> {
        let block = self.keys.as_ref()?;
        if !self.replay.is_new(header.sequence) {
            return None;
        }
        let opened = match &self.state {
            State::Handshake(_) => block.read(crypto)?.open(crypto, header, body),
            State::Open(keys) => keys.read.open(crypto, header, body),
            State::Ended => return None,
        };
        let Ok(text) = opened else {
            self.forgeries += 1;
            if self.forgeries >= FORGERIES_MAX {
                self.fail(DtlsError::TooManyForgeries);
            }
            return None;
        };
        self.replay.mark(header.sequence);
        match (header.content, &self.state) {
            (Content::ApplicationData, State::Open(keys)) => {
                let start = keys.read.text_at().checked_sub(record::HEADER_LEN)?;
                return Some(start..start.checked_add(text.len())?);
            }
            (Content::Alert, _) => {
                if let &mut [level, description] = text {
                    self.remote_alert(level, description);
                }
            }
            (Content::Handshake, _) => {
                let mut reader = Reader::new(text);
                while let Some(fragment) = Fragment::read(&mut reader) {
                    self.encrypted_fragment(crypto, &fragment);
                }
            }
            _ => {}
        }
        None
    }

    /// All but a Finished is dropped: a HelloRequest or a hello would be renegotiation.
    fn encrypted_fragment(&mut self, crypto: &mut C, fragment: &Fragment<'_>) {
        if Message::read(fragment.kind) != Message::Finished {
            return;
        }
        match &mut self.state {
            State::Handshake(pending) if fragment.sequence == pending.fragments.next() => {
                let handshake = &mut pending.handshake;
                match handshake.finished(crypto, &mut self.flight, fragment) {
                    Ok(true) => self.open(crypto),
                    Ok(false) => {}
                    Err(error) => self.fail(error),
                }
            }
            // The remote repeats its last flight: it did not get ours.
            State::Open(_) if self.role.is_server() && fragment.is_first() => {
                self.flight.restart();
            }
            State::Handshake(_) | State::Open(_) | State::Ended => {}
        }
    }

    /// Prepares the keys, and forgets the handshake.
    fn open(&mut self, crypto: &mut C) {
        let keys = self.keys.as_ref();
        let prepared = keys.and_then(|block| {
            Some(Prepared {
                read: block.read(crypto)?,
                write: block.write(crypto)?,
            })
        });
        let Some(prepared) = prepared else {
            debug_assert!(false, "a Finished was opened with them");
            return self.fail(DtlsError::Internal);
        };
        self.keep_message();
        self.state = State::Open(prepared);
        self.tell(Event::Connected);
    }

    /// The handshake is over: its memory can be given back.
    fn keep_message(&mut self) {
        if let State::Handshake(pending) = &mut self.state {
            self.message = pending.fragments.take_memory();
        }
    }

    fn tell(&mut self, event: Event) {
        let told = self.events.push_back(event);
        debug_assert!(told.is_ok(), "a session opens once and ends once");
    }

    fn remote_alert(&mut self, level: u8, description: u8) {
        if description == CLOSE_NOTIFY {
            self.alert = Some((WARNING, CLOSE_NOTIFY, 1));
            self.end();
            self.tell(Event::Closed);
        } else if level == FATAL {
            self.end();
            self.tell(Event::Failed(DtlsError::Alert(description)));
        }
    }

    /// Ends the session and tells both sides why.
    fn fail(&mut self, error: DtlsError) {
        let encrypted = match &self.state {
            State::Handshake(pending) => {
                let handshake = &pending.handshake;
                self.keys.is_some() && !self.role.is_server() && !handshake.is_busy()
            }
            State::Open(_) => true,
            State::Ended => return,
        };
        self.alert = Some((FATAL, error.alert(), u16::from(encrypted)));
        self.end();
        self.tell(Event::Failed(error));
    }

    /// The remote is gone, or does not want: it is told nothing more.
    fn time_out(&mut self) {
        let alert = self.plain_alert;
        self.end();
        self.tell(Event::Failed(DtlsError::TimedOut { alert }));
    }

    /// Drops the handshake and the keys, but for what a last alert needs.
    fn end(&mut self) {
        self.keep_message();
        self.state = Self::ENDED;
        self.flight.clear();
        if !matches!(self.alert, Some((_, _, 1))) {
            self.keys = Self::NO_KEYS;
        }
    }

    fn send_alert(
        &mut self,
        crypto: &mut C,
        epoch: u16,
        alert: [u8; 2],
        out: &mut [u8],
    ) -> Option<usize> {
        let mut header = Header {
            content: Content::Alert,
            epoch,
            sequence: self.sequences.next(epoch)?,
            len: 2,
        };
        if epoch == 0 {
            return bytes::concat(out, &[&header.write(), &alert]);
        }
        header.len = 0;
        let keys = self.keys.as_ref()?.write(crypto)?;
        bytes::copy(out.get_mut(keys.text_at()..)?, &alert)?;
        keys.seal(crypto, header, out, alert.len())
    }
}

#[cfg(test)]
impl<C: Crypto> Dtls<'_, C> {
    /// Whether nothing is left of the handshake and the keys.
    pub(super) fn is_wiped(&self) -> bool {
        matches!(self.state, State::Ended) && self.keys.is_none()
    }

    /// As if so many records of epoch 1 had been sent.
    pub(super) const fn set_sequence(&mut self, next: u64) {
        self.sequences.set(1, next);
    }

    /// As if so many records with a wrong tag had come.
    pub(super) const fn set_forgeries(&mut self, forgeries: u64) {
        self.forgeries = forgeries;
    }

    pub(super) const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// The sequence number and the body of the Finished that is to be sent.
    pub(super) fn own_finished(&self) -> (u16, [u8; 12]) {
        self.flight.own_finished()
    }

    /// Changes a bit of the Finished that is to be sent.
    pub(super) fn spoil_finished(&mut self) {
        self.flight.spoil_finished();
    }

    /// An encrypted record of any kind, with up to 100 bytes.
    pub(super) fn seal_as(
        &mut self,
        crypto: &mut C,
        content: Content,
        text: &[u8],
    ) -> ([u8; 200], usize) {
        let mut out = [0; 200];
        let keys = self
            .keys
            .as_ref()
            .and_then(|keys| keys.write(crypto))
            .expect("there are keys");
        let at = keys.text_at();
        out[at..at + text.len()].copy_from_slice(text);
        let header = Header {
            content,
            epoch: 1,
            sequence: self.sequences.next(1).expect("there is one left"),
            len: 0,
        };
        let len = keys.seal(crypto, header, &mut out, text.len());
        (out, len.expect("it fits"))
    }
}
