//! What both sockets do with a smoltcp TCP socket.

use smoltcp::{
    iface::Interface,
    socket::tcp::{self, ConnectError, State},
    wire::IpEndpoint,
};

use crate::time::{Duration, Instant};

/// The first of the dynamic ports (RFC 6335, section 6), of which there are 2^14.
const PORT_FIRST: u16 = 49_152;

/// Starts to connect from a port that the last connection did not have.
pub(super) fn connect(
    socket: &mut tcp::Socket<'_>,
    iface: &mut Interface,
    remote: IpEndpoint,
    random: u16,
    last_port: &mut u16,
) -> Result<(), ConnectError> {
    let mut port = PORT_FIRST | random >> 2;
    if port == *last_port {
        port = PORT_FIRST | port.wrapping_add(1);
    }
    *last_port = port;
    socket.connect(iface.context(), remote, port)
}

/// Whether the last connection is over, its reset sent if there was one, and the socket can be used
/// again.
pub(super) fn is_gone(socket: &tcp::Socket<'_>) -> bool {
    match socket.state() {
        State::Closed => socket.remote_endpoint().is_none(),
        State::TimeWait => true,
        _ => false,
    }
}

/// Whether nothing more will come than what has.
pub(super) fn is_finished(socket: &tcp::Socket<'_>) -> bool {
    matches!(
        socket.state(),
        State::Closed | State::CloseWait | State::LastAck | State::Closing | State::TimeWait
    )
}

/// Lets a connection end: reads and forgets what comes, and closes once the other side has. Whether
/// it is over.
pub(super) fn leave(socket: &mut tcp::Socket<'_>) -> bool {
    while socket.can_recv() {
        if socket.recv(|bytes| (bytes.len(), ())).is_err() {
            break;
        }
    }
    if socket.state() == State::CloseWait {
        socket.close();
    }
    is_gone(socket)
}

/// Bytes that can be written now.
pub(super) fn room(socket: &tcp::Socket<'_>) -> usize {
    if socket.may_send() {
        socket.send_capacity().saturating_sub(socket.send_queue())
    } else {
        0
    }
}

/// Notices when nothing that was sent is acknowledged any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// Since when, and how much waited then.
    waiting: Option<(Instant, usize)>,
}

impl Watch {
    /// Looks before anything new is written; whether there was no progress for too long.
    pub(super) fn is_stalled(
        &mut self,
        now: Instant,
        socket: &tcp::Socket<'_>,
        timeout: Duration,
    ) -> bool {
        let queued = socket.send_queue();
        self.waiting = match self.waiting {
            _ if queued == 0 => None,
            Some((since, before)) if queued >= before => Some((since, queued)),
            _ => Some((now, queued)),
        };
        self.deadline(timeout).is_some_and(|at| at <= now)
    }

    /// Something was written.
    pub(super) fn wrote(&mut self, now: Instant, socket: &tcp::Socket<'_>) {
        let since = self.waiting.map_or(now, |(since, _)| since);
        self.waiting = Some((since, socket.send_queue()));
    }

    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        self.waiting.map(|(since, _)| since + timeout)
    }
}
