//! Servers: how each base looks from there (RFC 8445 §5.1.1.2), and what came of asking.

use core::fmt;
use core::net::SocketAddr;

use super::PACE;
#[cfg(feature = "turn")]
use super::SocketId;
use super::Transmit;
use super::agent::{Agent, Phase};
use super::check::{SERVER_TRIES, server_wait};
use super::event::Failure;
use super::memory::{Base, Question, Route};
#[cfg(feature = "turn")]
use super::turn::{Login, TurnError};
use crate::rtc::crypto::Crypto;
#[cfg(feature = "turn")]
use crate::rtc::stun::Family;
use crate::rtc::stun::{Attribute, Class, Message, Method, TransactionId, Writer};
use crate::time::{Duration, Instant};

/// How long after an answer, or after none, a STUN server is asked anew while no path answers.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A STUN or TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server<'m> {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is reached.
    pub via: Via,
    /// For TURN. Without one it is only asked how we look from there.
    #[cfg(feature = "turn")]
    pub login: Option<Login<'m>>,
    /// Of the address that a TURN server is asked for.
    #[cfg(feature = "turn")]
    pub family: Family,
    /// What is lent is the login.
    #[cfg(not(feature = "turn"))]
    lent: core::marker::PhantomData<&'m str>,
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Via {
    /// Over UDP, from each of our addresses.
    Udp,
    /// Over a stream of the caller's, TCP or TLS; see [`Agent::stream_opened`].
    #[cfg(feature = "turn")]
    Stream(SocketId),
}

impl<'m> Server<'m> {
    /// Returns a STUN server, which is asked over UDP.
    pub const fn stun(address: SocketAddr) -> Self {
        Self {
            address,
            via: Via::Udp,
            #[cfg(feature = "turn")]
            login: None,
            #[cfg(feature = "turn")]
            family: Family::Ipv4,
            #[cfg(not(feature = "turn"))]
            lent: core::marker::PhantomData,
        }
    }

    /// Returns a TURN server, which is asked for an IPv4 address.
    #[cfg(feature = "turn")]
    pub const fn turn(address: SocketAddr, login: Login<'m>, via: Via) -> Self {
        Self {
            address,
            via,
            login: Some(login),
            family: Family::Ipv4,
        }
    }
}

/// What came of asking a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was not asked yet, or has not answered yet.
    Pending,
    /// We look like this from there.
    Reflexive(SocketAddr),
    /// It relays for us at this address.
    #[cfg(feature = "turn")]
    Relayed(SocketAddr),
    /// It does not relay for us.
    #[cfg(feature = "turn")]
    NotRelayed(TurnError),
    /// It did not answer, though asked 5 times in 9.5 s. The address may be wrong, or UDP blocked.
    NoAnswer,
    /// It answered with this error code.
    Refused(u16),
    /// Its answer has no address.
    NoAddress,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("not answered yet"),
            Self::Reflexive(address) => write!(f, "seen as {address}"),
            #[cfg(feature = "turn")]
            Self::Relayed(address) => write!(f, "relays at {address}"),
            #[cfg(feature = "turn")]
            Self::NotRelayed(error) => error.fmt(f),
            Self::NoAnswer => {
                f.write_str("no answer: the server's address is wrong, or UDP is blocked")
            }
            Self::Refused(code) => write!(f, "the server refused with error {code}"),
            Self::NoAddress => f.write_str("the server's answer tells no address"),
        }
    }
}

/// What came of asking a server from one of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The place of the server in the list.
    pub server: usize,
    /// From where; `None` over a stream.
    pub base: Option<SocketAddr>,
    /// What came of it.
    pub outcome: Outcome,
}

impl Question {
    /// When it is asked next, or given up. `again`: also if it was answered or given up.
    pub(super) fn due(&self, again: bool) -> Option<Instant> {
        (self.is_asked || again).then_some(self.next)
    }
}

impl Agent<'_> {
    /// Returns what came of asking each server from each address, so far.
    pub fn reports(&self) -> impl Iterator<Item = Report> {
        let questions = self.memory.questions.iter().map(|question| Report {
            server: usize::from(question.server),
            base: self.address_of(question.base),
            outcome: question.outcome,
        });
        questions.chain(self.relay_reports())
    }

    pub(super) fn address_of(&self, base: u8) -> Option<SocketAddr> {
        let base = self.memory.bases.get(usize::from(base))?;
        Some(base.address)
    }

    /// Has each server asked from a new base. Where there is no room for more questions the last
    /// servers are left out.
    pub(super) fn ask_servers(&mut self, now: Instant, base: u8) {
        let Some(Base {
            address,
            route: Route::Socket(socket),
            ..
        }) = self.memory.bases.get(usize::from(base))
        else {
            return;
        };
        let (ip, socket) = (address.ip(), *socket);
        if self.config.lite {
            return;
        }
        for (place, server) in self.servers.iter().enumerate() {
            let Ok(server_place) = u8::try_from(place) else {
                return;
            };
            let near = ip.is_loopback() && !server.address.ip().is_loopback();
            if server.address.is_ipv4() != ip.is_ipv4() || near || server.via != Via::Udp {
                continue;
            }
            self.put_relay(now, place, Some(base), socket);
            let question = Question {
                server: server_place,
                base,
                id: TransactionId::default(),
                sent: 0,
                next: now,
                is_asked: true,
                outcome: Outcome::Pending,
                told: false,
            };
            // Without room for it, it is left out.
            if self.memory.questions.push(question).is_ok() {
                self.gathering_told = false;
            }
        }
    }

    pub(super) fn forget_questions(&mut self, base: usize) {
        self.memory
            .questions
            .retain(|question| usize::from(question.base) != base);
    }

    /// Whether there is an address, and every question was answered or given up.
    pub(super) fn gathering_over(&self) -> bool {
        let mut questions = self.memory.questions.iter();
        self.has_base()
            && questions.all(|question| question.outcome != Outcome::Pending)
            && !self.is_relay_pending()
    }

    /// Whether questions are asked that have been answered or given up, while there is no path:
    /// what was lost may be all that lacks, and a NAT may have given us another address.
    pub(super) fn asks_again(&self) -> bool {
        self.is_checking() || self.silent_since().is_some()
    }

    /// Whether the first path is looked for.
    fn is_checking(&self) -> bool {
        matches!(self.phase, Phase::Checking { .. }) && self.remote.is_some()
    }

    /// Whether a question waits for longer than one check takes.
    pub(super) fn is_question_overdue(&self, now: Instant) -> bool {
        let again = self.asks_again();
        let mut questions = self.memory.questions.iter();
        questions.any(|question| question.due(again).is_some_and(|at| at + PACE <= now))
    }

    /// Writes the next question that is due.
    pub(super) fn ask<C: Crypto>(
        &mut self,
        now: Instant,
        crypto: &mut C,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let (again, checks) = (self.asks_again(), self.is_checking());
        let question = loop {
            let mut questions = self.memory.questions.iter_mut();
            let question =
                questions.find(|question| question.due(again).is_some_and(|due| due <= now))?;
            if !question.is_asked {
                (question.is_asked, question.sent) = (true, 0);
            }
            if question.sent < SERVER_TRIES {
                break question;
            }
            question.is_asked = false;
            question.next = match checks {
                true => now,
                false => now + ASK_AGAIN,
            };
            if question.outcome == Outcome::Pending {
                question.outcome = Outcome::NoAnswer;
            }
        };
        if question.sent == 0 && crypto.random(&mut question.id).is_err() {
            self.fail(Failure::Random);
            return None;
        }
        question.sent += 1;
        question.next = now.plus(server_wait(question.sent));
        let written = Writer::new(out, Class::Request, Method::BINDING, question.id)
            .fingerprint()
            .finish();
        let len = written.ok()?.len();
        let destination = self.servers.get(usize::from(question.server))?.address;
        let route = self.memory.bases.get(usize::from(question.base))?.route;
        let (socket, _) = self.socket_of(route)?;
        Some(Transmit {
            socket,
            destination,
            len,
        })
    }

    /// Takes a response of a server, which is known by its address and the transaction.
    pub(super) fn server_answered(
        &mut self,
        now: Instant,
        route: Route,
        source: SocketAddr,
        message: &Message<'_>,
    ) {
        let (bases, servers) = (&self.memory.bases, self.servers);
        let mut questions = self.memory.questions.iter_mut();
        let Some(question) = questions.find(|question| {
            question.is_asked
                && question.sent > 0
                && question.id == *message.transaction()
                && servers
                    .get(usize::from(question.server))
                    .is_some_and(|server| server.address == source)
                && bases
                    .get(usize::from(question.base))
                    .is_some_and(|base| base.route == route)
        }) else {
            return;
        };
        let (mut mapped, mut xor_mapped, mut error) = (None, None, None);
        for attribute in message.attributes() {
            match attribute {
                Attribute::XorMappedAddress(address) => xor_mapped = Some(address),
                Attribute::MappedAddress(address) => mapped = Some(address),
                Attribute::ErrorCode { code, .. } => error = Some(code),
                _ => {}
            }
        }
        let outcome = match (message.class(), xor_mapped.or(mapped), error) {
            (Class::Success, Some(address), _) => Outcome::Reflexive(address),
            (Class::Success, None, _) => Outcome::NoAddress,
            (_, _, code) => Outcome::Refused(code.unwrap_or(0)),
        };
        question.is_asked = false;
        question.next = now + ASK_AGAIN;
        let before = core::mem::replace(&mut question.outcome, outcome);
        if before == outcome {
            return;
        }
        question.told = false;
        let base = question.base;
        if let (Outcome::Reflexive(_), Outcome::Reflexive(_)) = (before, outcome) {
            self.moves = self.moves.saturating_add(1);
            self.changed = Some((now, 0));
            self.nomination = self.nomination.saturating_add(1);
            if let Some(base) = self.memory.bases.get_mut(usize::from(base)) {
                base.moves = self.moves;
            }
        }
    }
}
