//! Without the feature `turn` nothing is relayed: what an agent asks of its allocations, for none.

use core::net::SocketAddr;
use core::ops::Range;

use super::agent::Agent;
use super::candidate::CandidateKind;
use super::gather::{Report, Server};
use super::memory::{Link, Route};
use super::{SocketId, Transmit};
use crate::rtc::crypto::Crypto;
use crate::time::Instant;

/// Bytes of room that is needed around data for a relay.
pub(in crate::rtc) const HEADROOM: usize = 0;
pub(in crate::rtc) const TAILROOM: usize = 0;

/// There is none.
#[derive(Debug)]
pub(super) enum Relay {}

impl Server<'_> {
    pub(in crate::rtc) const fn may_relay(&self) -> bool {
        false
    }
}

impl Agent<'_> {
    pub(super) fn put_relay(&mut self, _: Instant, _: usize, _: Option<u8>, _: SocketId) {}

    pub(super) fn drop_relays_over(&mut self, _: u8) {}

    pub(super) fn probe_relays(&mut self, _: Instant) {}

    pub(super) const fn may_show(&self, _: CandidateKind) -> bool {
        true
    }

    pub(super) fn release_relays(&mut self) {}

    pub(super) fn is_relay_pending(&self) -> bool {
        false
    }

    pub(super) fn relay_reports(&self) -> impl Iterator<Item = Report> {
        core::iter::empty()
    }

    pub(super) fn socket_of(&self, Route::Socket(socket): Route) -> Option<(SocketId, bool)> {
        Some((socket, false))
    }

    /// Whether both ends of a pair are there.
    pub(super) fn is_open(&self, link: Link) -> bool {
        self.base(link).is_some() && self.remote_of(link).is_some()
    }

    pub(super) fn permit(&mut self, _: Instant, _: Link) {}

    pub(super) fn bind_channel(&mut self, _: Instant, _: Link) {}

    pub(super) fn yield_peer(&mut self, _: Link) {}

    pub(super) fn keep_permissions(&mut self, _: Instant) {}

    pub(super) fn transmit_relay<C: Crypto>(
        &mut self,
        _: Instant,
        _: &mut C,
        _: &mut [u8],
    ) -> Option<Transmit> {
        None
    }

    pub(super) fn relays_due(&self) -> Option<Instant> {
        None
    }

    pub(super) fn take_relayed<C: Crypto>(
        &mut self,
        _: Instant,
        _: &mut C,
        _: SocketId,
        _: SocketAddr,
        _: &[u8],
    ) -> Option<(Route, SocketAddr, Range<usize>)> {
        None
    }

    /// Sends the message at the front of a buffer on a route.
    pub(super) fn send_on(
        &mut self,
        route: Route,
        to: SocketAddr,
        out: &mut [u8],
        len: usize,
    ) -> Option<Transmit> {
        let (transmit, _) = self.wrap(route, to, out, 0..len)?;
        Some(transmit)
    }

    /// Makes a datagram for a route of the data there.
    pub(super) fn wrap(
        &mut self,
        Route::Socket(socket): Route,
        destination: SocketAddr,
        _: &mut [u8],
        data: Range<usize>,
    ) -> Option<(Transmit, Range<usize>)> {
        let transmit = Transmit {
            socket,
            destination,
            len: data.len(),
        };
        Some((transmit, data))
    }
}
