//! The device: its state, and what the program tells it of the network.

use core::fmt;
use core::net::SocketAddr;

use heapless::Vec;

use crate::rtc::crypto::Crypto;
use crate::rtc::dtls::Identity;
use crate::rtc::ice::{SocketId, Transmit};
use crate::rtc::session::Config;
use crate::rtc::stack::{Route, SessionId, Stack};
use crate::time::{Instant, earlier};

use super::slot::{Slot, State, Taken};
use super::{ADDRESSES_MAX, DeviceResources, UNCLAIMED_PAUSE};

/// The sessions of an engine, over one UDP socket. See the [module](super) for the loop.
pub struct Device<'m, C: Crypto> {
    pub(super) config: Config,
    pub(super) crypto: C,
    pub(super) identity: &'m Identity,
    pub(super) slots: &'m mut [Slot<'m, C>],
    pub(super) stack: Stack<'m>,
    pub(super) addresses: Vec<(SocketId, SocketAddr), ADDRESSES_MAX>,
    /// Whose turn it is to send and to compute.
    turn: usize,
    /// Whether a command waits until a session has said its last words.
    pub(super) holds: bool,
    /// Whether something happened of which the engine may have to hear.
    pub(super) untold: bool,
    /// When sessions heard last of what no one claims.
    unclaimed: Option<Instant>,
    dropped: u32,
}

impl<'m, C: Crypto> Device<'m, C> {
    /// A device without addresses.
    ///
    /// `config` is what each session is made with, but for its ICE role and its `setup`. `identity`
    /// is whose fingerprint browsers hear; keep it, and one identity serves for good.
    pub fn new<
        const SESSIONS: usize,
        const SEND: usize,
        const CHUNKS: usize,
        const RECEIVE: usize,
        const RUNS: usize,
    >(
        config: Config,
        crypto: C,
        identity: &'m Identity,
        memory: &'m mut DeviceResources<'m, C, SESSIONS, SEND, CHUNKS, RECEIVE, RUNS>,
    ) -> Self {
        let (slots, stack) = memory.lend();
        Self {
            config,
            crypto,
            identity,
            slots,
            stack: Stack::new(stack),
            addresses: Vec::new(),
            turn: 0,
            holds: false,
            untold: false,
            unclaimed: None,
            dropped: 0,
        }
    }

    /// Tells where the socket is, with its port: at most one address of each family, of more the
    /// first counts. Connections go on when the address changes.
    pub fn set_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        self.addresses.clear();
        for address in addresses {
            let socket = socket_towards(*address);
            if self.addresses.iter().all(|(other, _)| *other != socket) {
                let kept = self.addresses.push((socket, *address));
                debug_assert!(kept.is_ok(), "there are two families");
            }
        }
        for taken in self.slots.iter_mut().filter_map(Slot::taken) {
            let told = taken.session.set_addresses(now, &self.addresses);
            debug_assert!(told.is_ok(), "there is memory for so many");
        }
        self.untold = true;
    }

    /// Takes a datagram that came from there to the socket, and decrypts it where it lies. What
    /// belongs to no session is dropped. Then poll and transmit.
    ///
    /// Have room for all that the network carries, 1,472 bytes over Ethernet: browsers send more
    /// than 1,200.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let socket = socket_towards(from);
        match self.stack.route(now, socket, from, datagram) {
            Route::Session(id) => self.deliver(now, id, socket, from, datagram),
            Route::Unclaimed
                if self
                    .unclaimed
                    .is_none_or(|last| now >= last + UNCLAIMED_PAUSE) =>
            {
                self.unclaimed = Some(now);
                for id in self.stack.on_socket(socket) {
                    self.deliver(now, id, socket, from, datagram);
                }
            }
            Route::Unclaimed | Route::Nobody => self.dropped = self.dropped.wrapping_add(1),
        }
    }

    fn deliver(
        &mut self,
        now: Instant,
        id: SessionId,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        let mut taken = self.slots.iter_mut().filter_map(Slot::taken);
        let Some(taken) = taken.find(|taken| taken.id == id) else {
            debug_assert!(false, "the table knows sessions that there are");
            return;
        };
        let is_stun = matches!(datagram.first(), Some(0..=3));
        let session = &mut taken.session;
        session.receive(now, &mut self.crypto, socket, from, datagram);
        if is_stun && session.ice().hears(socket, from) {
            // Where it is another one's the next check is not delivered either.
            let _claimed = self.stack.claim(now, id, socket, from);
        }
        self.untold = true;
    }

    /// Does one long operation of a DTLS handshake, at most one on the curve, and returns whether
    /// there is more. Each handshake gets its turn.
    pub fn work(&mut self, now: Instant) -> bool {
        for place in turns(self.turn, self.slots.len()) {
            if let Some(taken) = self.slots.get_mut(place).and_then(Slot::taken)
                && taken.session.wants_work()
            {
                taken.session.work(now, &mut self.crypto, self.identity);
                self.turn = place + 1;
                self.untold = true;
                break;
            }
        }
        self.wants_work()
    }

    /// Returns whether [`work`](Self::work) has something to do.
    #[must_use]
    pub fn wants_work(&self) -> bool {
        self.taken().any(|taken| taken.session.wants_work())
    }

    /// Writes the next datagram that is to be sent now; `None` if there is none. `out` has at least
    /// [`DATAGRAM_MAX`](crate::rtc::session::DATAGRAM_MAX) bytes. Also does what is due.
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        for place in turns(self.turn, self.slots.len()) {
            let Some(taken) = self.slots.get_mut(place).and_then(Slot::taken) else {
                continue;
            };
            let session = &mut taken.session;
            self.untold |= session.timeout().is_some_and(|at| at <= now);
            if let Some(transmit) = session.transmit(now, &mut self.crypto, out) {
                let datagram = out.get(..transmit.len).unwrap_or_default();
                self.stack.sent(taken.id, datagram);
                self.turn = place + 1;
                return Some(transmit);
            }
            if taken.state == State::Leaving && taken.session.is_over() {
                self.free(place);
            }
        }
        None
    }

    /// Returns when to go on at the latest, though nothing comes. To be asked after
    /// [`transmit`](Self::transmit); a time that has passed means at once.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        if self.untold || self.wants_work() {
            return Some(Instant::ZERO);
        }
        let timeouts = self.taken().map(|taken| taken.session.timeout());
        timeouts.fold(None, earlier)
    }

    /// Returns how many datagrams came that belong to no session. Wraps.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    fn taken(&self) -> impl Iterator<Item = &Taken<'m, C>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Taken(taken) => Some(taken),
            Slot::Unlent | Slot::Free(_) => None,
        })
    }

    /// Has the memory of a session serve for another one.
    #[inline(never)]
    pub(super) fn free(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        match core::mem::replace(slot, Slot::Unlent) {
            Slot::Taken(taken) => {
                self.stack.remove(taken.id);
                if let Some(memory) = taken.session.into_memory() {
                    *slot = Slot::Free(memory);
                }
                // A command may have waited for it.
                self.untold |= core::mem::take(&mut self.holds);
            }
            other => *slot = other,
        }
    }
}

/// The socket has one name for each family: ICE sees a socket for each of our addresses.
const fn socket_towards(address: SocketAddr) -> SocketId {
    SocketId(match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(_) => 1,
    })
}

/// All places, from that one on.
fn turns(first: usize, count: usize) -> impl Iterator<Item = usize> {
    let first = if first < count { first } else { 0 };
    (first..count).chain(0..first)
}

impl<C: Crypto> fmt::Debug for Device<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("addresses", &self.addresses)
            .field("sessions", &self.taken().count())
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}
