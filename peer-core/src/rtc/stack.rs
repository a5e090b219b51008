//! Which session a datagram is for, where sessions share sockets.
//!
//! STUN says it: a request names our ufrag, an answer carries the transaction of a request of ours.
//! All else (DTLS, TURN's indications and ChannelData) names nobody: the pair of socket and source
//! does, so that one pair belongs to one session.
//!
//! A [`Stack`] owns no session and sends nothing. One task may own it together with the sessions
//! and their sockets, or each session may have a task of its own that is fed by it.
//!
//! # The loop
//! 1. [`add`](Stack::add) a session by its ufrag, when it is made; [`set_ufrag`](Stack::set_ufrag)
//!    after a restart of ICE; [`remove`](Stack::remove) it when it is over.
//! 2. [`reserve`](Stack::reserve) each pair of socket and TURN server that it asks. A server knows
//!    one allocation for each socket, so another session asks it from another socket.
//! 3. [`sent`](Stack::sent) each datagram that it transmits.
//! 4. [`route`](Stack::route) each datagram that came, and feed the session that it names. Then
//!    [`claim`](Stack::claim) the pair of socket and source if
//!    [`Agent::hears`](super::ice::Agent::hears) it.
//!
//! Two ends that have several connections with each other need several sockets at one end at
//! least: give a session a socket that no other one to the same remote uses.
//!
//! ```
//! use peer_core::rtc::ice::SocketId;
//! use peer_core::rtc::stack::{Resources, Route, Stack};
//! use peer_core::time::Instant;
//!
//! let mut memory = Resources::<4, 16>::new();
//! let mut stack = Stack::new(memory.lend());
//! let session = stack.add("ufrag-of")?;
//! let (socket, source) = (SocketId(0), "192.0.2.1:5000".parse()?);
//! let record = [22; 13];
//! assert_eq!(stack.route(Instant::ZERO, socket, source, &record), Route::Unclaimed);
//!
//! // A check from there was authentic.
//! assert!(stack.claim(Instant::ZERO, session, socket, source));
//! assert_eq!(stack.route(Instant::ZERO, socket, source, &record), Route::Session(session));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//! | what | limit | at the limit |
//! |---|---|---|
//! | sessions | `SESSIONS` of [`Resources`] | [`AddError::Full`] |
//! | sources of a session | [`SOURCES_MAX`] | the one that was claimed longest ago gives way; those of TURN servers stay |
//! | requests that may be answered | `REQUESTS` of [`Resources`] | the oldest is forgotten: its answer counts only where the source is claimed |
//! | how long a source is kept that nothing authentic comes from | [`STALE`] | another session may claim it |
//! | sessions that hear of a source nobody claims | [`UNCLAIMED_MAX`] | others do not |

#[cfg(test)]
mod tests;

use core::fmt;
use core::net::SocketAddr;

use heapless::deque::DequeView;
use heapless::{Deque, Vec, VecView};

use super::ice::{LOCAL_UFRAG_LEN, SocketId};
use super::stun::{Attribute, Class, Message, TransactionId};
use crate::time::{Duration, Instant};

/// Sources that one session may claim, those of TURN servers included.
pub const SOURCES_MAX: usize = 8;
/// How long a source belongs to a session without a new claim. A path that is alive is claimed with
/// each check for consent, every 5 s.
pub const STALE: Duration = Duration::from_secs(15);
/// Sessions that are told of data from a source which nobody claims.
pub const UNCLAIMED_MAX: usize = 4;

/// Memory for the table: sessions, and requests of theirs that are under way.
#[derive(Debug)]
pub struct Resources<const SESSIONS: usize, const REQUESTS: usize> {
    sessions: Vec<Place, SESSIONS>,
    requests: Deque<(TransactionId, SessionId), REQUESTS>,
}

impl<const SESSIONS: usize, const REQUESTS: usize> Resources<SESSIONS, REQUESTS> {
    /// Returns unused memory.
    pub const fn new() -> Self {
        Self {
            sessions: Vec::new(),
            requests: Deque::new(),
        }
    }

    /// Lends it to a [`Stack`].
    pub fn lend(&mut self) -> Memory<'_> {
        Memory {
            sessions: self.sessions.as_mut_view(),
            requests: self.requests.as_mut_view(),
        }
    }
}

impl<const SESSIONS: usize, const REQUESTS: usize> Default for Resources<SESSIONS, REQUESTS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The memory of a table, all of it lent; see [`Resources::lend`].
#[derive(Debug)]
pub struct Memory<'m> {
    sessions: &'m mut VecView<Place>,
    requests: &'m mut DequeView<(TransactionId, SessionId)>,
}

/// Names a session of a table. One that was removed is never named again, but after 65,536 others
/// in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    place: u16,
    generation: u16,
}

impl SessionId {
    /// Returns its place in the table, below `SESSIONS`: that of its session in an array.
    pub const fn place(self) -> usize {
        self.place as usize
    }
}

/// For whom a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// For that session.
    Session(SessionId),
    /// It is data of somebody who has perhaps moved: feed it to the sessions of
    /// [`Stack::on_socket`], which have the source checked.
    Unclaimed,
    /// For none: drop it.
    Nobody,
}

/// Whom a datagram itself names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// A request: the session that has this ufrag.
    Ufrag([u8; LOCAL_UFRAG_LEN]),
    /// An answer: the session whose request has this transaction.
    Transaction(TransactionId),
    /// DTLS: the session to which its source belongs, or one whose remote has moved.
    Source,
    /// What a TURN server relays: the session to which its source belongs.
    Server,
    /// Nobody: drop it.
    Nobody,
}

impl Addressee {
    /// Returns whom a datagram names, by its first byte (RFC 7983), and of STUN by what it says.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::of_stun(datagram).unwrap_or(Self::Nobody),
            Some(20..=63) => Self::Source,
            Some(64..=79) => Self::Server,
            _ => Self::Nobody,
        }
    }

    fn of_stun(datagram: &[u8]) -> Option<Self> {
        let message = Message::parse(datagram).ok()?;
        Some(match message.class() {
            Class::Request => {
                let user = message.attributes().find_map(|attribute| match attribute {
                    Attribute::Username(user) => Some(user),
                    _ => None,
                });
                let (ufrag, rest) = user?.split_first_chunk::<LOCAL_UFRAG_LEN>()?;
                match rest.first() {
                    Some(b':') => Self::Ufrag(*ufrag),
                    _ => Self::Nobody,
                }
            }
            Class::Success | Class::Error => Self::Transaction(*message.transaction()),
            Class::Indication => Self::Server,
        })
    }
}

/// Returns the transaction of a datagram if it is a request, so that its answer can be told from
/// others.
pub fn request(datagram: &[u8]) -> Option<TransactionId> {
    if !matches!(datagram.first(), Some(0..=3)) {
        return None;
    }
    let message = Message::parse(datagram).ok()?;
    (message.class() == Class::Request).then(|| *message.transaction())
}

/// Why a session is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// There are as many as there may be.
    Full,
    /// Another session has that ufrag: restart ICE.
    Taken,
    /// It is no ufrag of an [`Agent`](super::ice::Agent).
    NoUfrag,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there are as many sessions as the sockets may have",
            Self::Taken => "another session has the same ufrag",
            Self::NoUfrag => "that is no ufrag of a session of ours",
        })
    }
}

impl core::error::Error for AddError {}

type Ufrag = [u8; LOCAL_UFRAG_LEN];

/// A place for a session.
#[derive(Debug)]
struct Place {
    generation: u16,
    /// `None`: it is free.
    ufrag: Option<Ufrag>,
    sources: Vec<Source, SOURCES_MAX>,
}

impl Place {
    const FREE: Self = Self {
        generation: 0,
        ufrag: None,
        sources: Vec::new(),
    };

    /// The name of the session at this place of the table, of at most 65,536.
    const fn id(&self, at: usize) -> SessionId {
        SessionId {
            place: at as u16,
            generation: self.generation,
        }
    }
}

/// From where data is that session's.
#[derive(Clone, Copy, Debug)]
struct Source {
    socket: SocketId,
    address: SocketAddr,
    /// When it was claimed last; `None` for a TURN server, whose stays.
    claimed: Option<Instant>,
}

impl Source {
    fn is(&self, socket: SocketId, address: SocketAddr) -> bool {
        self.socket == socket && self.address == address
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.claimed.is_some_and(|at| at + STALE <= now)
    }
}

/// The table of the sessions that share sockets. See the [module](self) for the loop.
#[derive(Debug)]
pub struct Stack<'m> {
    memory: Memory<'m>,
    /// The place that the last datagram was for: datagrams come in trains.
    last: usize,
}

impl<'m> Stack<'m> {
    /// Returns a table without sessions.
    pub fn new(memory: Memory<'m>) -> Self {
        memory.sessions.clear();
        memory.requests.clear();
        Self { memory, last: 0 }
    }

    /// Adds the session whose [`Agent::ufrag`](super::ice::Agent::ufrag) that is.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add(&mut self, ufrag: &str) -> Result<SessionId, AddError> {
        let ufrag = self.untaken(ufrag, None)?;
        let sessions = &mut self.memory.sessions;
        let free = sessions.iter().position(|place| place.ufrag.is_none());
        let at = free.unwrap_or(sessions.len());
        if at == sessions.len() {
            if at > usize::from(u16::MAX) {
                return Err(AddError::Full);
            }
            sessions.push(Place::FREE).map_err(|_| AddError::Full)?;
        }
        let free = sessions.get_mut(at).ok_or(AddError::Full)?;
        free.ufrag = Some(ufrag);
        Ok(free.id(at))
    }

    /// Names a session anew, after its ICE has restarted.
    ///
    /// # Errors
    /// [`AddError::Taken`] and [`AddError::NoUfrag`]; it keeps the old one.
    pub fn set_ufrag(&mut self, session: SessionId, ufrag: &str) -> Result<(), AddError> {
        let ufrag = self.untaken(ufrag, Some(session))?;
        if let Some(place) = self.place_mut(session) {
            place.ufrag = Some(ufrag);
        }
        Ok(())
    }

    /// Removes a session, and gives its sources back. One that is not there is no error.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(place) = self.place_mut(session) {
            place.ufrag = None;
            place.sources.clear();
            place.generation = place.generation.wrapping_add(1);
            self.memory.requests.retain(|(_, of)| *of != session);
        }
    }

    /// Keeps a pair of socket and TURN server for a session, until it is removed. `false` if it is
    /// another's, or the session has too many.
    #[must_use = "from a socket that is another's the session may not ask that server"]
    pub fn reserve(&mut self, session: SessionId, socket: SocketId, server: SocketAddr) -> bool {
        self.hold(session, socket, server, None)
    }

    /// Claims a pair of socket and source for a session whose remote has proved itself there, and
    /// keeps it claimed. `false` if it is another's.
    pub fn claim(
        &mut self,
        now: Instant,
        session: SessionId,
        socket: SocketId,
        source: SocketAddr,
    ) -> bool {
        self.hold(session, socket, source, Some(now))
    }

    /// Notes a datagram that a session has transmitted: if it is a request, its answer is for that
    /// session.
    pub fn sent(&mut self, session: SessionId, datagram: &[u8]) {
        let Some(transaction) = request(datagram) else {
            return;
        };
        let request = (transaction, session);
        let requests = &mut self.memory.requests;
        // One that is sent again is under way already.
        if requests.iter().any(|it| *it == request) {
            return;
        }
        if requests.is_full() {
            requests.pop_front();
        }
        let kept = requests.push_back(request);
        debug_assert!(
            kept.is_ok() || requests.storage_capacity() == 0,
            "room was made"
        );
    }

    /// Returns for whom a datagram is that came from `source` to a socket (RFC 7983).
    pub fn route(
        &mut self,
        now: Instant,
        socket: SocketId,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Route {
        let owner = self.owner(socket, source);
        let named = match Addressee::of(datagram) {
            Addressee::Ufrag(ufrag) => self.of_ufrag(&ufrag),
            Addressee::Transaction(transaction) => self.of_request(&transaction),
            Addressee::Source if owner.is_none() => return Route::Unclaimed,
            Addressee::Source | Addressee::Server => None,
            Addressee::Nobody => return Route::Nobody,
        };
        let session = match (named, owner) {
            // Data from there would be the other's: there can be no path.
            (Some(session), Some((owner, source))) if session != owner && !source.is_stale(now) => {
                return Route::Nobody;
            }
            (Some(session), _) | (None, Some((session, _))) => session,
            (None, None) => return Route::Nobody,
        };
        self.last = session.place();
        Route::Session(session)
    }

    /// Returns the sessions on a socket, those first whose remote has been silent longest: one of
    /// them may have moved. At most [`UNCLAIMED_MAX`].
    pub fn on_socket(&self, socket: SocketId) -> impl Iterator<Item = SessionId> + use<> {
        let mut found = Vec::<(Instant, SessionId), UNCLAIMED_MAX>::new();
        for (id, place) in self.sessions() {
            let here = place
                .sources
                .iter()
                .filter(|source| source.socket == socket);
            let Some(heard) = here.filter_map(|source| source.claimed).max() else {
                continue;
            };
            let at = found.iter().position(|(other, _)| heard < *other);
            let at = at.unwrap_or(found.len());
            if at == found.capacity() {
                continue;
            }
            if found.is_full() {
                found.pop();
            }
            let kept = found.insert(at, (heard, id));
            debug_assert!(kept.is_ok(), "room was made");
        }
        found.into_iter().map(|(_, id)| id)
    }

    fn of_request(&self, transaction: &TransactionId) -> Option<SessionId> {
        let mut requests = self.memory.requests.iter();
        let found = requests.find(|(id, _)| id == transaction);
        found.map(|(_, session)| *session)
    }

    fn of_ufrag(&self, ufrag: &Ufrag) -> Option<SessionId> {
        let mut sessions = self.sessions();
        let found = sessions.find(|(_, place)| place.ufrag.as_ref() == Some(ufrag));
        found.map(|(id, _)| id)
    }

    /// The ufrag, if no other session has it.
    fn untaken(&self, ufrag: &str, but: Option<SessionId>) -> Result<Ufrag, AddError> {
        let ufrag = ufrag.as_bytes().try_into().map_err(|_| AddError::NoUfrag)?;
        match self.of_ufrag(&ufrag) {
            Some(other) if Some(other) != but => Err(AddError::Taken),
            _ => Ok(ufrag),
        }
    }

    /// Whose a source is.
    fn owner(&self, socket: SocketId, address: SocketAddr) -> Option<(SessionId, Source)> {
        let of = |(id, place): (SessionId, &Place)| {
            let source = place
                .sources
                .iter()
                .find(|source| source.is(socket, address))?;
            Some((id, *source))
        };
        let last = self.memory.sessions.get(self.last);
        let last = last.map(|place| (place.id(self.last), place));
        last.and_then(of).or_else(|| self.sessions().find_map(of))
    }

    fn hold(
        &mut self,
        session: SessionId,
        socket: SocketId,
        address: SocketAddr,
        claimed: Option<Instant>,
    ) -> bool {
        let other = self.owner(socket, address);
        let other = other.filter(|(owner, _)| *owner != session);
        let is_free = |source: &Source| claimed.is_some_and(|now| source.is_stale(now));
        if other.is_some_and(|(_, source)| !is_free(&source)) {
            return false;
        }
        let Some(place) = self.place_mut(session) else {
            return false;
        };
        if let Some(source) = place.sources.iter_mut().find(|it| it.is(socket, address)) {
            // A TURN server's stays one.
            source.claimed = source.claimed.and(claimed);
            return true;
        }
        if place.sources.is_full() {
            let sources = place.sources.iter().enumerate();
            let peers = sources.filter_map(|(at, source)| Some((source.claimed?, at)));
            let Some((_, oldest)) = peers.min() else {
                return false;
            };
            place.sources.swap_remove(oldest);
        }
        let source = Source {
            socket,
            address,
            claimed,
        };
        let kept = place.sources.push(source);
        debug_assert!(kept.is_ok(), "room was made");
        if let Some(place) = other.and_then(|(owner, _)| self.place_mut(owner)) {
            place.sources.retain(|it| !it.is(socket, address));
        }
        kept.is_ok()
    }

    /// All places, those in use and those that are free.
    fn sessions(&self) -> impl Iterator<Item = (SessionId, &Place)> {
        let places = self.memory.sessions.iter().enumerate();
        places.map(|(at, place)| (place.id(at), place))
    }

    fn place_mut(&mut self, session: SessionId) -> Option<&mut Place> {
        let place = self.memory.sessions.get_mut(session.place())?;
        (place.generation == session.generation && place.ufrag.is_some()).then_some(place)
    }
}
