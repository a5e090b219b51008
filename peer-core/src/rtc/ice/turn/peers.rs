//! Peers: their permissions and channels.

use core::net::SocketAddr;

use super::AGAIN;
use crate::time::{Duration, Instant, earlier};

/// Peers of one allocation.
pub const PEERS_MAX: usize = 16;
/// Peers whose permission is asked for in one request.
pub(super) const BATCH: usize = 8;
/// A permission lives 5 minutes, a channel 10 (RFC 8656 §9 and §12).
const PERMISSION_REFRESH: Duration = Duration::from_secs(240);
const CHANNEL_REFRESH: Duration = Duration::from_secs(540);
/// The place among the uses of a peer that gives way before others.
const YIELDS: u64 = 0;
/// The first channel.
const CHANNEL: u16 = 0x4000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// To be asked for from then on.
    Wanted(Instant),
    /// It is there, to be asked for again then.
    Given(Instant),
    /// The server does not let this peer in.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    None,
    Wanted(Instant),
    Bound(Instant),
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) number: u16,
    pub(super) permission: Permission,
    pub(super) channel: Channel,
    /// Whether the request under way is about its permission.
    pub(super) asked: bool,
    /// Its place among the uses of all peers: the least is the one longest ago, [`YIELDS`] one that
    /// nothing is to be sent to.
    used: u64,
}

#[derive(Debug)]
pub(super) struct Peers {
    pub(super) all: heapless::Vec<Peer, PEERS_MAX>,
    /// How many permissions are asked for at once: fewer after a refusal, to know of whom.
    pub(super) batch: usize,
    /// Channels that were given to peers so far.
    numbers: u16,
    /// Uses of peers so far: let in, bound, written to, heard.
    uses: u64,
}

impl Peers {
    pub(super) const fn new() -> Self {
        Self {
            all: heapless::Vec::new(),
            batch: BATCH,
            numbers: 0,
            uses: YIELDS,
        }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.batch = BATCH;
        self.numbers = 0;
        self.uses = YIELDS;
    }

    pub(super) fn get(&self, address: SocketAddr) -> Option<&Peer> {
        self.all.iter().find(|peer| peer.address == address)
    }

    pub(super) fn by_channel(&self, number: u16) -> Option<&Peer> {
        let mut peers = self.all.iter();
        peers.find(|peer| peer.number == number && peer.channel != Channel::None)
    }

    /// Whether anything of this address is let in: permissions are for an address, not a port.
    pub(super) fn is_permitted(&self, address: SocketAddr) -> bool {
        self.all.iter().any(|peer| {
            peer.address.ip() == address.ip() && matches!(peer.permission, Permission::Given(_))
        })
    }

    /// Takes note that a peer was written to, or heard.
    pub(super) fn used(&mut self, address: SocketAddr) {
        self.uses = self.uses.saturating_add(1);
        let uses = self.uses;
        let found = self.all.iter_mut().find(|peer| peer.address == address);
        if let Some(peer) = found {
            peer.used = uses;
        }
    }

    /// Whether there is room. What was refused, then what has no channel, then what has one gives
    /// way, and of these what was used longest ago; not what the request under way is about, with
    /// `binding` for its channel.
    pub(super) fn add(&mut self, now: Instant, address: SocketAddr, binding: Option<u16>) -> bool {
        self.used(address);
        if self.get(address).is_some() {
            return true;
        }
        if self.all.is_full() {
            let idle = |it: &&Peer| !it.asked && Some(it.number) != binding;
            let gone = self.all.iter().filter(idle).min_by_key(|it| {
                let refused = it.permission == Permission::Refused;
                (!refused, it.channel != Channel::None, it.used)
            });
            let Some(gone) = gone.map(|it| it.address) else {
                return false;
            };
            self.all.retain(|peer| peer.address != gone);
        }
        // A number is not used again for another peer while the server may remember it.
        let number = CHANNEL | self.numbers & 0x0fff;
        self.numbers = self.numbers.wrapping_add(1);
        let peer = Peer {
            address,
            number,
            permission: Permission::Wanted(now),
            channel: Channel::None,
            asked: false,
            used: self.uses,
        };
        self.all.push(peer).is_ok()
    }

    /// Lets a peer without a channel give way before others.
    pub(super) fn yields(&mut self, address: SocketAddr) {
        let found = self.all.iter_mut().find(|peer| peer.address == address);
        if let Some(peer) = found {
            peer.used = YIELDS;
        }
    }

    /// Whether there is room, or a peer that gives way before others.
    pub(super) fn has_room(&self) -> bool {
        let yields = |it: &Peer| it.used == YIELDS && it.channel == Channel::None && !it.asked;
        !self.all.is_full() || self.all.iter().any(yields)
    }

    pub(super) fn bind(&mut self, now: Instant, address: SocketAddr) {
        let found = self.all.iter_mut().find(|peer| peer.address == address);
        if let Some(peer) = found
            && peer.channel == Channel::None
        {
            peer.channel = Channel::Wanted(now);
        }
    }

    /// When a permission is to be asked for.
    pub(super) fn permissions_due(&self) -> Option<Instant> {
        let due = self.all.iter().filter_map(|peer| match peer.permission {
            Permission::Wanted(at) | Permission::Given(at) => Some(at),
            Permission::Refused => None,
        });
        due.min()
    }

    /// The channel that is to be bound next, and when.
    pub(super) fn channel_due(&self) -> Option<(Instant, u16)> {
        let due = self.all.iter().filter_map(|peer| {
            let given = matches!(peer.permission, Permission::Given(_));
            match peer.channel {
                Channel::Wanted(at) | Channel::Bound(at) if given => Some((at, peer.number)),
                _ => None,
            }
        });
        due.min_by_key(|(at, _)| *at)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        earlier(self.permissions_due(), self.channel_due().map(|(at, _)| at))
    }

    /// Marks those that the next request asks for.
    pub(super) fn choose(&mut self, now: Instant) {
        let mut left = self.batch;
        for peer in &mut self.all {
            peer.asked = matches!(
                peer.permission,
                Permission::Wanted(at) | Permission::Given(at) if at <= now
            ) && left > 0;
            left -= usize::from(peer.asked);
        }
    }

    pub(super) fn permitted(&mut self, now: Instant) {
        for peer in self.all.iter_mut().filter(|peer| peer.asked) {
            peer.asked = false;
            peer.permission = Permission::Given(now + PERMISSION_REFRESH);
        }
    }

    /// The server refused, or did not answer. Of many it is not known whom it means.
    pub(super) fn not_permitted(&mut self, now: Instant, refused: bool) {
        let one = self.all.iter().filter(|peer| peer.asked).count() == 1;
        for peer in self.all.iter_mut().filter(|peer| peer.asked) {
            peer.asked = false;
            peer.permission = match (refused, one) {
                (true, true) => Permission::Refused,
                (true, false) => Permission::Wanted(now),
                (false, _) => Permission::Wanted(now + AGAIN),
            };
        }
        if refused {
            self.batch = 1;
        }
    }

    pub(super) fn bound(&mut self, now: Instant, number: u16) {
        if let Some(peer) = self.all.iter_mut().find(|peer| peer.number == number) {
            peer.channel = Channel::Bound(now + CHANNEL_REFRESH);
            peer.permission = Permission::Given(now + PERMISSION_REFRESH);
        }
    }

    /// Without a channel data goes in Send indications.
    pub(super) fn not_bound(&mut self, now: Instant, number: u16) {
        if let Some(peer) = self.all.iter_mut().find(|peer| peer.number == number) {
            peer.channel = Channel::Wanted(now + AGAIN);
        }
    }
}
