//! The byte stream of a link as one smoltcp TCP socket.

use smoltcp::{
    iface::Interface,
    socket::tcp::{self, State},
    wire::IpEndpoint,
};

use crate::{link::Leaf, peer::Peer, time::Instant};

use super::{
    SocketError, SocketTiming,
    backoff::Backoff,
    stream::{self, Watch},
};

/// Moves bytes between a [`Leaf`] and its gateway over one smoltcp TCP socket, and keeps that
/// connected: a leaf always wants its gateway.
///
/// One turn is [`Interface::poll`], [`poll`](Self::poll), the leaf's own [`poll`](Leaf::poll) until
/// it returns [`Timeout`](crate::link::LeafOutput::Timeout), then [`flush`](Self::flush). Wait for
/// the device, that timeout, [`next_timeout`](Self::next_timeout) or [`Interface::poll_at`],
/// whichever is first.
///
/// # Limits
/// | what | limit | at the limit |
/// |---|---|---|
/// | bytes received, to be sent | the TCP buffers, of any size | TCP's window closes; the rest stays in the leaf |
/// | a TCP connect | [`connect_timeout`](SocketTiming::connect_timeout) | [`SocketError::ConnectTimeout`] |
/// | bytes that nobody acknowledges | [`stall_timeout`](SocketTiming::stall_timeout) | [`SocketError::Stalled`] |
/// | pauses between two attempts | [`backoff_first`](SocketTiming::backoff_first), doubled to [`backoff_max`](SocketTiming::backoff_max) | each is cut by up to half at random; the first again once the leaf has a session |
///
/// The number of attempts has no limit. The other times of [`SocketTiming`] are not used: the leaf
/// has timers of its own.
///
/// ```
/// use peer_core::link::{Leaf, LeafOutput};
/// use peer_core::{net::{LinkSocket, timestamp}, peer::Peer, time::Instant};
/// use smoltcp::{iface::{Interface, SocketHandle, SocketSet}, phy::Device, socket::tcp};
///
/// fn turn<D: Device>(
///     now: Instant, iface: &mut Interface, device: &mut D, sockets: &mut SocketSet<'_>,
///     tcp: SocketHandle, link: &mut LinkSocket<fn(&mut [u8])>,
///     leaf: &mut Leaf<'_>, peer: &mut Peer<'_>,
/// ) -> Option<Instant> {
///     iface.poll(timestamp(now), device, sockets);
///     let socket = sockets.get_mut::<tcp::Socket<'_>>(tcp);
///     link.poll(now, iface, socket, leaf, peer);
///     let timeout = loop {
///         match leaf.poll(now, peer) {
///             LeafOutput::Timeout(at) => break at,
///             _ => { /* the application's */ }
///         }
///     };
///     link.flush(now, socket, leaf);
///     timeout.into_iter().chain(link.next_timeout()).min()
/// }
/// ```
#[derive(Debug)]
pub struct LinkSocket<R> {
    remote: IpEndpoint,
    timing: SocketTiming,
    random: R,
    phase: Phase,
    backoff: Backoff,
    last_port: u16,
    watch: Watch,
    last_error: Option<SocketError>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Pausing { until: Instant },
    Connecting { deadline: Instant },
    Open,
}

impl<R: FnMut(&mut [u8])> LinkSocket<R> {
    /// Makes a socket that connects to the gateway at its first [`poll`](Self::poll). `random`
    /// fills a slice with random bytes; ports and pauses are drawn from it.
    pub fn new(remote: impl Into<IpEndpoint>, timing: SocketTiming, random: R) -> Self {
        Self {
            remote: remote.into(),
            timing,
            random,
            phase: Phase::Pausing {
                until: Instant::ZERO,
            },
            backoff: Backoff::new(timing.backoff_first, timing.backoff_max),
            last_port: 0,
            watch: Watch::default(),
            last_error: None,
        }
    }

    /// Whether the TCP connection is open. A session of the link comes after it.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Why the last connection failed; `None` once one has been opened since.
    pub fn last_error(&self) -> Option<SocketError> {
        self.last_error
    }

    /// Sets where the next connect goes.
    pub fn set_remote(&mut self, remote: impl Into<IpEndpoint>) {
        self.remote = remote.into();
    }

    /// Connects if need be, and hands the leaf what came. Call it after each [`Interface::poll`].
    pub fn poll(
        &mut self,
        now: Instant,
        iface: &mut Interface,
        socket: &mut tcp::Socket<'_>,
        leaf: &mut Leaf<'_>,
        peer: &mut Peer<'_>,
    ) {
        match self.phase {
            Phase::Pausing { until } if until <= now => self.connect(now, iface, socket),
            Phase::Pausing { .. } => {}
            Phase::Connecting { deadline } => match socket.state() {
                State::Closed => self.failed(now, socket, SocketError::Refused),
                _ if socket.may_send() => {
                    self.phase = Phase::Open;
                    self.watch = Watch::default();
                    self.last_error = None;
                }
                _ if now < deadline => {}
                _ => self.failed(now, socket, SocketError::ConnectTimeout),
            },
            Phase::Open => {}
        }
        if !self.is_open() {
            return;
        }
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                leaf.receive(now, bytes, peer);
                (bytes.len(), ())
            });
            if taken.is_err() {
                break;
            }
        }
        if leaf.is_up() {
            self.backoff.reset();
        }
        let stalled = self
            .watch
            .is_stalled(now, socket, self.timing.stall_timeout);
        if stalled || stream::is_finished(socket) {
            leaf.disconnected();
            self.failed(
                now,
                socket,
                if stalled {
                    SocketError::Stalled
                } else {
                    SocketError::Lost
                },
            );
        }
    }

    /// Writes what the leaf has to say, as far as there is room. The rest stays with the leaf.
    pub fn flush(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, leaf: &mut Leaf<'_>) {
        while self.is_open() && stream::room(socket) > 0 {
            let written = socket.send(|room| {
                let len = leaf.transmit(now, room).min(room.len());
                (len, len)
            });
            match written {
                Ok(len) if len > 0 => self.watch.wrote(now, socket),
                _ => break,
            }
        }
    }

    /// Returns when to poll again at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Pausing { until } => Some(until),
            Phase::Connecting { deadline } => Some(deadline),
            Phase::Open => self.watch.deadline(self.timing.stall_timeout),
        }
    }

    fn connect(&mut self, now: Instant, iface: &mut Interface, socket: &mut tcp::Socket<'_>) {
        let random = self.random_bits();
        if socket.is_open() {
            socket.abort();
        }
        match stream::connect(socket, iface, self.remote, random, &mut self.last_port) {
            Ok(()) => {
                self.phase = Phase::Connecting {
                    deadline: now + self.timing.connect_timeout,
                };
            }
            Err(_) => self.failed(now, socket, SocketError::Unaddressable),
        }
    }

    /// Resets what there is, and plans the next attempt.
    fn failed(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, error: SocketError) {
        warning!("the link's socket failed: {}", error);
        self.last_error = Some(error);
        socket.abort();
        let random = self.random_bits();
        self.phase = Phase::Pausing {
            until: self.backoff.next(now, random),
        };
    }

    fn random_bits(&mut self) -> u16 {
        let mut bytes = [0; 2];
        (self.random)(&mut bytes);
        u16::from_be_bytes(bytes)
    }
}
