//! The streams of one session to TURN servers, TCP and TLS, whose messages are framed as RFC 8656
//! §12.5 and RFC 8489 §6.2.2 say.
//!
//! There is no task: who owns the [`Streams`] waits for [`next`](Streams::next), which also writes
//! what was [sent](Streams::send). Nothing is lost where the waiting is given up.
//!
//! | what | limit | at the limit |
//! |---|---|---|
//! | streams | [`STREAMS_MAX`] | [`TooManyStreams`] |
//! | opening, TLS included | [`OPENING`] | [`Event::Closed`] |
//! | pause until one that ended is opened again | [`PAUSE_MIN`], doubled up to [`PAUSE_MAX`] | |
//! | time until what was sent is acknowledged, on Linux | [`UNACKNOWLEDGED`] | [`Event::Closed`] |
//! | bytes of a message that comes | [`MESSAGE_MAX`] | the stream ends, as TURN would be lost in it |
//! | bytes that wait unsent | [`UNSENT_MAX`], with TLS a record more | the datagram is dropped |
//! | of these in the kernel, on Linux | [`NOT_SENT`], and what is under way | the rest waits here |
//!
//! What waits longer is worth less than what comes after it, and a datagram may be lost. Memory:
//! [`RECEIVED`] and as much as ever waited, for each stream that is open.

use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use peer_core::rtc::ice::SocketId;
use peer_core::rtc::ice::turn::message_len;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::servers::{Resolved, ServerUrl, Servers, Transport};

/// Streams of a session at a time.
pub(super) const STREAMS_MAX: usize = 8;
/// How long a stream may take to open.
const OPENING: Duration = Duration::from_secs(10);
/// How long nothing is tried after a stream has ended, at first, and when nothing came on it again
/// and again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long the server may leave unacknowledged what was sent.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Bytes of the longest message that comes: what a datagram carries, and a STUN header.
const MESSAGE_MAX: usize = 1_500 + 20;
/// Bytes that are read at once.
const RECEIVED: usize = 8 * 1024;
/// Bytes that wait unsent.
const UNSENT_MAX: usize = 64 * 1024;
/// Bytes that are written at once: one record of TLS.
const WRITTEN_AT_ONCE: usize = 16 * 1024;
/// Bytes that the kernel takes before it sends them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOT_SENT: u32 = 16 * 1024;

/// What happened on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// It is open.
    Opened(SocketId),
    /// A message came, from the server at this address.
    Message(SocketId, SocketAddr, &'a mut [u8]),
    /// It could not be opened, or has ended: a sentence says why. After a pause it is opened again.
    Closed(SocketId, String),
}

/// There are as many streams as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyStreams;

/// The streams of a session.
pub(super) struct Streams {
    servers: Arc<Servers>,
    streams: Vec<Stream>,
    /// The one that is looked at first next time.
    turn: usize,
}

struct Stream {
    id: SocketId,
    address: SocketAddr,
    url: Arc<ServerUrl>,
    /// From which address of ours, if it matters.
    from: Option<IpAddr>,
    state: State,
    /// How long nothing is tried when it ends.
    pause: Duration,
    /// Why it ended, until something comes on it.
    trouble: Option<String>,
}

enum State {
    Opening(Pin<Box<dyn Future<Output = Result<Pipe, Trouble>> + Send>>),
    Open(Open),
    Paused(Pin<Box<Sleep>>),
}

/// Why a stream cannot be opened.
enum Trouble {
    Tcp(io::Error),
    Tls(io::Error),
    Setup(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(error) => write!(f, "cannot be reached over TCP: {error}"),
            Self::Tls(error) => {
                let cause = error.get_ref().and_then(|it| it.downcast_ref());
                match cause {
                    Some(rustls::Error::InvalidCertificate(_)) => write!(
                        f,
                        "has a certificate that is not trusted ({error}): trust it \
                         (turn_certificates), or name the server as its certificate does"
                    ),
                    _ => write!(f, "does not speak TLS with us: {error}"),
                }
            }
            Self::Setup(why) => write!(f, "cannot be reached over TLS: {why}"),
        }
    }
}

/// What bytes go through.
enum Pipe {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that is open.
struct Open {
    pipe: Pipe,
    received: Box<[u8]>,
    /// What came and was not handed over.
    unread: Range<usize>,
    unsent: VecDeque<u8>,
    /// Whether something was written that may still wait in the pipe.
    unflushed: bool,
}

/// What a poll found, without what it borrows.
enum Found {
    Opened,
    Message(Range<usize>),
    Closed(String),
}

impl Streams {
    /// Returns none, which will lead to these servers.
    pub(super) const fn new(servers: Arc<Servers>) -> Self {
        Self {
            servers,
            streams: Vec::new(),
            turn: 0,
        }
    }

    /// Begins to open a stream, in place of the one that has this id if there is one; from this
    /// address of ours, if it matters. It goes on in [`next`](Self::next).
    pub(super) fn connect(
        &mut self,
        id: SocketId,
        to: &Resolved,
        from: Option<IpAddr>,
    ) -> Result<(), TooManyStreams> {
        self.close(id);
        if self.streams.len() >= STREAMS_MAX {
            return Err(TooManyStreams);
        }
        let mut stream = Stream {
            id,
            address: to.address,
            url: Arc::clone(&to.url),
            from,
            state: State::paused(Duration::ZERO),
            pause: PAUSE_MIN,
            trouble: None,
        };
        stream.begin(&self.servers);
        self.streams.push(stream);
        Ok(())
    }

    /// Ends those from an address that is not among these, which are ours now. They are opened
    /// again at once. Returns their ids; nothing more is told of their end.
    pub(super) fn leave(&mut self, ours: &[IpAddr]) -> Vec<SocketId> {
        let mut left = Vec::new();
        for stream in &mut self.streams {
            if let State::Open(open) = &stream.state
                && open.pipe.ours().is_some_and(|ip| !ours.contains(&ip))
            {
                stream.state = State::paused(Duration::ZERO);
                left.push(stream.id);
            }
        }
        left
    }

    /// Returns a sentence for each on which nothing comes, why it ended.
    pub(super) fn troubles(&self) -> impl Iterator<Item = &String> {
        self.streams.iter().filter_map(|it| it.trouble.as_ref())
    }

    /// Whether one is not open yet.
    pub(super) fn are_opening(&self) -> bool {
        let mut streams = self.streams.iter();
        streams.any(|stream| matches!(stream.state, State::Opening(_)))
    }

    /// Ends a stream. Nothing more is told of it.
    pub(super) fn close(&mut self, id: SocketId) {
        self.streams.retain(|stream| stream.id != id);
    }

    /// Takes a datagram, framed already, which [`next`](Self::next) writes. It is dropped if there
    /// is no such stream, or as much waits unsent as may.
    pub(super) fn send(&mut self, id: SocketId, datagram: &[u8]) {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id);
        if let Some(Stream {
            state: State::Open(open),
            ..
        }) = stream
            && open.unsent.len() + datagram.len() <= UNSENT_MAX
        {
            open.unsent.extend(datagram);
        }
    }

    /// Returns whether something waits to be written: before the end
    /// [`next`](Self::next) is to be waited for a little longer.
    #[cfg(test)]
    pub(super) fn has_unsent(&self) -> bool {
        self.streams.iter().any(|stream| match &stream.state {
            State::Opening(_) | State::Paused(_) => false,
            State::Open(open) => !open.unsent.is_empty() || open.unflushed,
        })
    }

    /// Waits for what happens next; without streams for ever. It may be given up at any time.
    pub(super) async fn next(&mut self) -> Event<'_> {
        let (place, found) = poll_fn(|context| self.poll(context)).await;
        self.tell(place, found)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Found)> {
        let count = self.streams.len();
        for step in 0..count {
            let place = (self.turn + step) % count;
            let Some(stream) = self.streams.get_mut(place) else {
                continue;
            };
            if let State::Paused(pause) = &mut stream.state
                && pause.as_mut().poll(context).is_ready()
            {
                stream.begin(&self.servers);
            }
            if let Poll::Ready(found) = stream.poll(context) {
                self.turn = place + 1;
                return Poll::Ready((place, found));
            }
        }
        Poll::Pending
    }

    fn tell(&mut self, place: usize, found: Found) -> Event<'_> {
        let stream = &mut self.streams[place];
        if let Found::Closed(why) = found {
            stream.state = State::paused(stream.pause);
            stream.pause = PAUSE_MAX.min(stream.pause * 2);
            let why = format!("the TURN server {} ({}) {why}", stream.url, stream.address);
            stream.trouble = Some(why.clone());
            return Event::Closed(stream.id, why);
        }
        match (found, &mut stream.state) {
            (Found::Message(range), State::Open(open)) => {
                stream.pause = PAUSE_MIN;
                stream.trouble = None;
                Event::Message(stream.id, stream.address, &mut open.received[range])
            }
            _ => Event::Opened(stream.id),
        }
    }
}

fn tls(servers: &Servers, url: &ServerUrl) -> Result<(TlsConnector, ServerName<'static>), Trouble> {
    let config = servers.tls();
    let config = config.map_err(|error| Trouble::Setup(error.to_string()))?;
    let name = ServerName::try_from(url.host.to_string());
    let name = name.map_err(|error| Trouble::Setup(error.to_string()))?;
    Ok((TlsConnector::from(config), name))
}

/// Opens a stream.
async fn open(
    to: SocketAddr,
    from: Option<IpAddr>,
    tls: Option<Result<(TlsConnector, ServerName<'static>), Trouble>>,
) -> Result<Pipe, Trouble> {
    let tls = tls.transpose()?;
    let opening = async {
        let tcp = connect(to, from).await.map_err(Trouble::Tcp)?;
        match tls {
            None => Ok(Pipe::Tcp(tcp)),
            Some((connector, name)) => {
                let stream = connector.connect(name, tcp).await.map_err(Trouble::Tls)?;
                Ok(Pipe::Tls(Box::new(stream)))
            }
        }
    };
    let in_time = timeout(OPENING, opening).await;
    in_time.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", OPENING.as_secs());
        Err(Trouble::Tcp(io::Error::new(io::ErrorKind::TimedOut, why)))
    })
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_notsent_lowat(NOT_SENT)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    }
    Ok(stream)
}

impl State {
    fn paused(pause: Duration) -> Self {
        Self::Paused(Box::pin(sleep(pause)))
    }
}

impl Stream {
    /// Begins to open it.
    fn begin(&mut self, servers: &Servers) {
        let tls = match self.url.transport {
            Transport::Tls => Some(tls(servers, &self.url)),
            Transport::Tcp | Transport::Udp => None,
        };
        self.state = State::Opening(Box::pin(open(self.address, self.from, tls)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Found> {
        match &mut self.state {
            State::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                Ok(pipe) => {
                    self.state = State::Open(Open::new(pipe));
                    Poll::Ready(Found::Opened)
                }
                Err(trouble) => Poll::Ready(Found::Closed(trouble.to_string())),
            },
            State::Open(open) => {
                let broken = |error| Found::Closed(format!("is not reached any more: {error}"));
                match open.poll_write(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(broken(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => open.poll_read(context, broken),
                }
            }
            State::Paused(_) => Poll::Pending,
        }
    }
}

impl Open {
    fn new(pipe: Pipe) -> Self {
        Self {
            pipe,
            received: vec![0; RECEIVED].into(),
            unread: 0..0,
            unsent: VecDeque::new(),
            unflushed: false,
        }
    }

    /// Writes what waits.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.unflushed {
                ready!(self.pipe.flush(context))?;
                self.unflushed = false;
            }
            let (front, _) = self.unsent.as_slices();
            if front.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let front = &front[..front.len().min(WRITTEN_AT_ONCE)];
            let written = ready!(self.pipe.write(context, front))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.drain(..written);
            self.unflushed = true;
        }
    }

    /// Reads up to the next message.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        broken: impl Fn(io::Error) -> Found,
    ) -> Poll<Found> {
        loop {
            let unread = &self.received[self.unread.clone()];
            match message_len(unread) {
                Err(error) => return closed(format_args!("cannot be understood: {error}")),
                Ok(Some(len)) if len > MESSAGE_MAX => {
                    return closed(format_args!("sent a message of {len} bytes"));
                }
                Ok(Some(len)) if len <= unread.len() => {
                    let start = self.unread.start;
                    self.unread.start += len;
                    return Poll::Ready(Found::Message(start..start + len));
                }
                Ok(_) => {}
            }
            // Of what is left of the one that has begun there is less than a message.
            if self.unread.is_empty() || self.received.len() - self.unread.start < MESSAGE_MAX {
                self.received.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
            }
            let mut room = ReadBuf::new(&mut self.received[self.unread.end..]);
            if let Err(error) = ready!(self.pipe.read(context, &mut room)) {
                return Poll::Ready(broken(error));
            }
            match room.filled().len() {
                0 => return closed(format_args!("has ended the stream")),
                count => self.unread.end += count,
            }
        }
    }
}

fn closed(why: fmt::Arguments<'_>) -> Poll<Found> {
    Poll::Ready(Found::Closed(why.to_string()))
}

impl Pipe {
    /// Our own address of it.
    fn ours(&self) -> Option<IpAddr> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        stream.local_addr().ok().map(|ours| ours.ip())
    }

    fn read(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, out),
        }
    }

    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
}

#[cfg(test)]
mod tests;
