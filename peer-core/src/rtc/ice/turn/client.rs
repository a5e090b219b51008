//! The allocation: requests, answers, and what is to be done when.

use core::net::SocketAddr;
use core::ops::Range;

use heapless::Vec;

use super::peers::{Channel, Peers, Permission};
use super::{AGAIN, TurnError, frame};
use crate::rtc::crypto::{Crypto, CryptoError, Secret};
use crate::rtc::ice::check::{SERVER_TRIES, server_wait};
use crate::rtc::stun::{
    Attribute, ChannelData, Class, Family, Message, Method, TransactionId, Writer, long_term_key,
};
use crate::time::{Duration, Instant, earlier};

/// Bytes of a realm.
pub const REALM_MAX: usize = 128;
/// Bytes of a nonce.
pub const NONCE_MAX: usize = 256;

/// UDP between relay and peers.
const UDP: u8 = 17;
/// Seconds that are asked for.
const LIFETIME: u32 = 600;
/// Seconds that an allocation lives at least.
const LIFETIME_MIN: u32 = 30;
/// How many microseconds a request over a stream is waited for: as long as over UDP.
const STREAM_WAIT: u64 = 9_500_000;
/// 401 and 438 to one request.
const REFUSALS_MAX: u8 = 2;

/// User name and password at a TURN server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login<'m> {
    /// The user name.
    pub username: &'m str,
    /// The password.
    pub password: &'m str,
}

impl core::fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What lies between us and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transport {
    /// UDP: requests are repeated.
    Datagram,
    /// TCP or TLS: they are not, and channel data is padded.
    Stream,
}

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An answer, or nothing that counts.
    Taken,
    /// A peer sent what lies there in the datagram.
    Data(SocketAddr, Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocating,
    Allocated {
        relayed: SocketAddr,
        mapped: Option<SocketAddr>,
        refresh: Instant,
        until: Instant,
    },
    /// To be given back, until the server says that it is, or nothing.
    Releasing,
    Ended(Option<TurnError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Allocate,
    Refresh,
    Permissions,
    /// With this number.
    Channel(u16),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    kind: Kind,
    id: TransactionId,
    sent: u32,
    next: Instant,
}

/// One allocation on a TURN server. See the [module](super).
#[derive(Debug)]
pub struct Turn {
    transport: Transport,
    family: Family,
    state: State,
    realm: Vec<u8, REALM_MAX>,
    nonce: Vec<u8, NONCE_MAX>,
    key: Option<Secret<16>>,
    /// 401 and 438 since the last answer that was none of them.
    refusals: u8,
    request: Option<Request>,
    peers: Peers,
    indications: u64,
}

impl Turn {
    /// Returns an allocation that is to be made, for a relayed address of this family.
    pub const fn new(transport: Transport, family: Family) -> Self {
        Self {
            transport,
            family,
            state: State::Allocating,
            realm: Vec::new(),
            nonce: Vec::new(),
            key: None,
            refusals: 0,
            request: None,
            peers: Peers::new(),
            indications: 0,
        }
    }

    /// Makes it one that is to be made, in place: it is too large for a stack.
    pub(in crate::rtc::ice) fn begin_anew(&mut self, transport: Transport, family: Family) {
        self.transport = transport;
        self.family = family;
        self.state = State::Allocating;
        self.realm.clear();
        self.nonce.clear();
        self.key = None;
        self.refusals = 0;
        self.request = None;
        self.peers.clear();
        self.indications = 0;
    }

    pub(in crate::rtc::ice) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the relayed address, while there is one.
    pub const fn relayed(&self) -> Option<SocketAddr> {
        match self.state {
            State::Allocated { relayed, .. } => Some(relayed),
            _ => None,
        }
    }

    /// Returns how we look from the server.
    pub const fn mapped(&self) -> Option<SocketAddr> {
        match self.state {
            State::Allocated { mapped, .. } => mapped,
            _ => None,
        }
    }

    /// Returns why it ended.
    pub const fn error(&self) -> Option<TurnError> {
        match self.state {
            State::Ended(error) => error,
            _ => None,
        }
    }

    /// Whether nothing more is asked or sent.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Whether the server has not yet said whether there will be an address.
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Allocating)
    }

    /// Lets a peer in. `false` if there is no room for another one.
    pub fn permit(&mut self, now: Instant, peer: SocketAddr) -> bool {
        let binding = match self.request {
            Some(Request {
                kind: Kind::Channel(number),
                ..
            }) => Some(number),
            _ => None,
        };
        self.peers.add(now, peer, binding)
    }

    /// Whether another peer can be let in without one that is still wanted giving way for it.
    pub(in crate::rtc::ice) fn has_room(&self) -> bool {
        self.peers.has_room()
    }

    /// Whether a peer was let in, is to be, or was refused.
    pub(in crate::rtc::ice) fn knows(&self, peer: SocketAddr) -> bool {
        self.peers.get(peer).is_some()
    }

    /// Nothing is to be sent to this peer for now: it stays until another one needs its room.
    pub(in crate::rtc::ice) fn yields(&mut self, peer: SocketAddr) {
        self.peers.yields(peer);
    }

    /// Whether the server does not let some peer in.
    pub(in crate::rtc::ice) fn refuses(&self) -> bool {
        let mut peers = self.peers.all.iter();
        peers.any(|peer| peer.permission == Permission::Refused)
    }

    /// Asks the server now whether it still knows the allocation.
    pub fn probe(&mut self, now: Instant) {
        if let State::Allocated { refresh, .. } = &mut self.state {
            *refresh = now.min(*refresh);
        }
    }

    /// Whether something can be sent to a peer.
    pub fn is_permitted(&self, peer: SocketAddr) -> bool {
        self.relayed().is_some() && self.peers.is_permitted(peer)
    }

    /// Whether the server does not let this peer in.
    pub fn is_refused(&self, peer: SocketAddr) -> bool {
        let found = self.peers.get(peer);
        found.is_some_and(|peer| peer.permission == Permission::Refused)
    }

    /// Gives a peer that was let in a channel: 4 bytes a datagram in place of 36 or 48.
    pub fn bind(&mut self, now: Instant, peer: SocketAddr) {
        self.peers.bind(now, peer);
    }

    /// Gives the allocation back: [`transmit`](Self::transmit) has one more request, repeated as
    /// others are, with another nonce if the server wants that. Go on until
    /// [`timeout`](Self::timeout) is `None`; who cannot leaves it to its lifetime.
    pub fn release(&mut self) {
        match self.state {
            State::Allocated { .. } => {
                self.state = State::Releasing;
                self.request = None;
            }
            State::Allocating => self.abandon(),
            State::Releasing | State::Ended(_) => {}
        }
    }

    /// Forgets the allocation without giving it back: there is no way to the server any more.
    pub fn abandon(&mut self) {
        self.state = State::Ended(None);
        self.request = None;
        self.key = None;
    }

    /// The stream to the server has ended, and with it the allocation.
    pub fn stream_closed(&mut self) {
        self.end(TurnError::StreamClosed);
    }

    fn end(&mut self, error: TurnError) {
        self.state = State::Ended(Some(error));
        self.request = None;
        self.key = None;
    }

    /// Wraps the data there for a peer, in place, and returns where the message lies. There have to
    /// be [`HEADROOM`](super::HEADROOM) bytes before and [`TAILROOM`](super::TAILROOM) after it.
    pub fn frame(
        &mut self,
        peer: SocketAddr,
        buffer: &mut [u8],
        data: Range<usize>,
    ) -> Option<Range<usize>> {
        self.relayed()?;
        self.peers.used(peer);
        match self.peers.get(peer) {
            Some(it) if matches!(it.channel, Channel::Bound(_)) => {
                let padded = self.transport == Transport::Stream;
                frame::channel_data(it.number, padded, buffer, data)
            }
            _ if self.peers.is_permitted(peer) => {
                self.indications = self.indications.wrapping_add(1);
                let mut id = TransactionId::default();
                let count = self.indications.to_be_bytes();
                id.iter_mut().zip(count).for_each(|(to, from)| *to = from);
                frame::send_indication(id, peer, buffer, data)
            }
            _ => None,
        }
    }

    /// When [`transmit`](Self::transmit) has something to do; `None` for never.
    pub fn timeout(&self) -> Option<Instant> {
        if let Some(request) = &self.request {
            return Some(request.next);
        }
        match self.state {
            State::Allocating | State::Releasing => Some(Instant::ZERO),
            State::Allocated { refresh, .. } => earlier(Some(refresh), self.peers.due()),
            State::Ended(_) => None,
        }
    }

    /// Writes the next request to the server that is due, and returns its length.
    ///
    /// # Errors
    /// [`CryptoError::Random`].
    pub fn transmit<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        login: Login<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, CryptoError> {
        let tries = match self.transport {
            Transport::Datagram => SERVER_TRIES,
            Transport::Stream => 1,
        };
        if let Some(request) = self.request {
            if request.next > now {
                return Ok(None);
            }
            if request.sent >= tries {
                self.request = None;
                self.unanswered(now, request.kind);
            }
        }
        if self.request.is_none() {
            let Some(kind) = self.next(now) else {
                return Ok(None);
            };
            let mut id = TransactionId::default();
            crypto.random(&mut id)?;
            self.request = Some(Request {
                kind,
                id,
                sent: 0,
                next: now,
            });
        }
        let Some(request) = &mut self.request else {
            return Ok(None);
        };
        request.sent += 1;
        request.next = now.plus(match (self.transport, request.sent) {
            (Transport::Stream, _) => STREAM_WAIT,
            (Transport::Datagram, sent) => server_wait(sent),
        });
        let (kind, id) = (request.kind, request.id);
        let written = self.write(crypto, login, kind, id, out);
        if written.is_none() {
            self.end(TurnError::TooLong);
        }
        Ok(written)
    }

    /// What is to be asked next, now.
    fn next(&mut self, now: Instant) -> Option<Kind> {
        match self.state {
            State::Allocating => Some(Kind::Allocate),
            State::Releasing => Some(Kind::Refresh),
            State::Ended(_) => None,
            State::Allocated { refresh, .. } if refresh <= now => Some(Kind::Refresh),
            State::Allocated { .. } => {
                if self.peers.permissions_due().is_some_and(|at| at <= now) {
                    self.peers.choose(now);
                    return Some(Kind::Permissions);
                }
                let (at, number) = self.peers.channel_due()?;
                (at <= now).then_some(Kind::Channel(number))
            }
        }
    }

    fn write<C: Crypto>(
        &self,
        crypto: &mut C,
        login: Login<'_>,
        kind: Kind,
        id: TransactionId,
        out: &mut [u8],
    ) -> Option<usize> {
        let method = match kind {
            Kind::Allocate => Method::ALLOCATE,
            Kind::Refresh => Method::REFRESH,
            Kind::Permissions => Method::CREATE_PERMISSION,
            Kind::Channel(_) => Method::CHANNEL_BIND,
        };
        let mut writer = Writer::new(out, Class::Request, method, id);
        match kind {
            Kind::Allocate => {
                writer = writer
                    .put(Attribute::RequestedTransport(UDP))
                    .put(Attribute::Lifetime(LIFETIME));
                // Without it IPv4 is meant; servers of RFC 5766 know only that.
                if self.family == Family::Ipv6 {
                    writer = writer.put(Attribute::RequestedAddressFamily(self.family));
                }
            }
            Kind::Refresh => {
                let releases = self.state == State::Releasing;
                writer = writer.put(Attribute::Lifetime(if releases { 0 } else { LIFETIME }));
            }
            Kind::Permissions => {
                for peer in self.peers.all.iter().filter(|peer| peer.asked) {
                    writer = writer.put(Attribute::XorPeerAddress(peer.address));
                }
            }
            Kind::Channel(number) => {
                let peer = self.peers.by_channel(number)?;
                writer = writer
                    .put(Attribute::ChannelNumber(peer.number))
                    .put(Attribute::XorPeerAddress(peer.address));
            }
        }
        if let Some(key) = &self.key {
            writer = writer
                .put(Attribute::Username(login.username.as_bytes()))
                .put(Attribute::Realm(&self.realm))
                .put(Attribute::Nonce(&self.nonce))
                .integrity(crypto, key.as_bytes());
        }
        Some(writer.fingerprint().finish().ok()?.len())
    }

    /// Takes a datagram, or a message of the stream, of the server.
    pub fn receive<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        login: Login<'_>,
        datagram: &[u8],
    ) -> Incoming {
        if let Some(data) = ChannelData::parse(datagram) {
            let start = ChannelData::HEADER_LEN;
            let Some(peer) = self.peers.by_channel(data.channel).map(|peer| peer.address) else {
                return Incoming::Taken;
            };
            self.peers.used(peer);
            return Incoming::Data(peer, start..start + data.data.len());
        }
        let Ok(message) = Message::parse(datagram) else {
            return Incoming::Taken;
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::DATA) => {
                return self.data(&message, datagram).unwrap_or(Incoming::Taken);
            }
            (Class::Success | Class::Error, _) => self.answer(now, crypto, login, &message),
            _ => {}
        }
        Incoming::Taken
    }

    fn data(&mut self, message: &Message<'_>, datagram: &[u8]) -> Option<Incoming> {
        let (mut peer, mut data) = (None, None);
        for attribute in message.attributes() {
            match attribute {
                Attribute::XorPeerAddress(address) => peer = peer.or(Some(address)),
                Attribute::Data(bytes) => data = data.or(Some(bytes)),
                _ => {}
            }
        }
        let (peer, data) = (peer?, data?);
        let start = data.as_ptr().addr().checked_sub(datagram.as_ptr().addr())?;
        if !self.peers.is_permitted(peer) {
            return None;
        }
        self.peers.used(peer);
        Some(Incoming::Data(peer, start..start + data.len()))
    }

    fn answer<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        login: Login<'_>,
        message: &Message<'_>,
    ) {
        let Some(request) = self.request.filter(|it| it.id == *message.transaction()) else {
            return;
        };
        let (mut code, mut alternate, mut realm, mut nonce) = (0, None, None, None);
        let (mut relayed, mut mapped, mut lifetime) = (None, None, None);
        for attribute in message.attributes() {
            match attribute {
                Attribute::ErrorCode { code: value, .. } => code = value,
                Attribute::AlternateServer(address) => alternate = Some(address),
                Attribute::Realm(value) => realm = Some(value),
                Attribute::Nonce(value) => nonce = Some(value),
                Attribute::XorRelayedAddress(address) => relayed = Some(address),
                Attribute::XorMappedAddress(address) => mapped = Some(address),
                Attribute::Lifetime(seconds) => lifetime = Some(seconds),
                _ => {}
            }
        }
        let success = message.class() == Class::Success;
        // Who has not seen our key yet, or refuses it, cannot prove itself by it.
        let unproved = !success && (self.key.is_none() || matches!(code, 401 | 438));
        let proved = self
            .key
            .as_ref()
            .is_some_and(|key| message.verify_integrity(crypto, key.as_bytes()).is_ok());
        if !proved && !unproved {
            return;
        }
        self.request = None;
        if self.state == State::Releasing && (success || !matches!(code, 401 | 438)) {
            self.abandon();
            return;
        }
        if !success {
            match code {
                401 | 438 => {
                    self.challenged(code, realm, nonce);
                    if !self.is_over() {
                        let (user, password) = (login.username, login.password);
                        let (user, password) = (user.as_bytes(), password.as_bytes());
                        self.key = Some(long_term_key(crypto, user, &self.realm, password));
                    }
                }
                _ => self.refused(now, request.kind, TurnError::of(code, alternate)),
            }
            return;
        }
        self.refusals = 0;
        match request.kind {
            Kind::Allocate => {
                self.state = match relayed {
                    Some(relayed) => State::Allocated {
                        relayed,
                        mapped,
                        refresh: now + refresh_after(lifetime),
                        until: now + seconds(lifetime),
                    },
                    None => State::Ended(Some(TurnError::BadAnswer)),
                };
            }
            Kind::Refresh => {
                if let State::Allocated { refresh, until, .. } = &mut self.state {
                    *refresh = now + refresh_after(lifetime);
                    *until = now + seconds(lifetime);
                }
            }
            Kind::Permissions => self.peers.permitted(now),
            Kind::Channel(number) => self.peers.bound(now, number),
        }
    }

    /// The server wants credentials, or a new nonce. What was asked is still due, and is asked
    /// again, with another id.
    fn challenged(&mut self, code: u16, realm: Option<&[u8]>, nonce: Option<&[u8]>) {
        self.refusals += 1;
        if self.refusals > REFUSALS_MAX || (code == 401 && self.key.is_some()) {
            return self.end(TurnError::of(code, None));
        }
        let Some(nonce) = nonce else {
            return self.end(TurnError::BadAnswer);
        };
        if let Some(realm) = realm {
            let Ok(realm) = Vec::from_slice(realm) else {
                return self.end(TurnError::TooLong);
            };
            self.realm = realm;
        } else if self.key.is_none() {
            return self.end(TurnError::BadAnswer);
        }
        let Ok(nonce) = Vec::from_slice(nonce) else {
            return self.end(TurnError::TooLong);
        };
        self.nonce = nonce;
    }

    fn refused(&mut self, now: Instant, kind: Kind, error: TurnError) {
        match (kind, error) {
            (Kind::Allocate | Kind::Refresh, _) | (_, TurnError::AllocationMismatch) => {
                self.end(error);
            }
            (Kind::Permissions, _) => self.peers.not_permitted(now, true),
            (Kind::Channel(number), _) => self.peers.not_bound(now, number),
        }
    }

    fn unanswered(&mut self, now: Instant, kind: Kind) {
        match kind {
            Kind::Allocate => self.end(TurnError::NoAnswer),
            Kind::Refresh if self.state == State::Releasing => self.abandon(),
            Kind::Refresh => match &mut self.state {
                State::Allocated { refresh, until, .. } if *until > now => {
                    *refresh = now + AGAIN;
                }
                _ => self.end(TurnError::NoAnswer),
            },
            Kind::Permissions => self.peers.not_permitted(now, false),
            Kind::Channel(number) => self.peers.not_bound(now, number),
        }
    }
}

/// A server that says less does not make us ask without pause.
fn seconds(lifetime: Option<u32>) -> Duration {
    Duration::from_secs(u64::from(lifetime.unwrap_or(LIFETIME).max(LIFETIME_MIN)))
}

/// A minute before it ends, or after half of it.
fn refresh_after(lifetime: Option<u32>) -> Duration {
    let all = seconds(lifetime).as_secs();
    Duration::from_secs((all / 2).max(all.saturating_sub(60)))
}
