//! Serves one stream: moves bytes, events and messages between a [`LeafStream`] and the tasks that
//! own sockets and sessions.

use peer_core::link::{KEY_LEN, LinkSlices, SessionSlot};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use core::time::Duration;

use super::Common;
use super::leaf::{Action, End, LeafStream, Line, PIECE, Room};
use super::options::CONNECTIONS_MAX;
use super::sessions::{FromSession, Sessions};
use crate::signalling::BrokerSocket;
use crate::sync::lock;
use crate::time::{of_engine, sleep_until};

/// Memory for frames to a leaf that it has not acknowledged.
const TRANSMIT_BYTES: usize = 64 << 10;
/// Memory for messages and data of a leaf that wait for this task.
const RECEIVE_BYTES: usize = 64 << 10;
/// How long the stream may take to flush what it was given last.
const FLUSH: Duration = Duration::from_millis(300);
/// How long the broker's socket may take to end.
const BROKER_END: Duration = Duration::from_secs(2);

/// Serves a stream until it ends, or `stop` says so. Whether a leaf has come on it, too.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    line: Line,
    mut stop: watch::Receiver<bool>,
    random: [u8; KEY_LEN],
    common: &Common,
) -> (End, bool) {
    let mut slots = vec![SessionSlot::default(); CONNECTIONS_MAX];
    let mut frame = vec![0; line.frame];
    let mut transmit = vec![0; TRANSMIT_BYTES];
    let mut receive = vec![0; RECEIVE_BYTES];
    let memory = LinkSlices {
        sessions: &mut slots,
        frame: &mut frame,
        transmit: &mut transmit,
        receive: &mut receive,
    };
    let Some(alive) = lock(&common.alive).clone() else {
        return (End::Stop, false);
    };
    let mut settings = common.settings.subscribe();
    let current = settings.borrow_and_update().clone();
    let client = current.client.clone();
    let leaf = LeafStream::new(
        common.now(),
        line,
        random,
        memory,
        &common.registry,
        current,
    );
    let mut leaf = match leaf {
        Ok(leaf) => leaf,
        Err(error) => return (End::Stream(error.to_string()), false),
    };
    let mut lent = Lent {
        broker: BrokerSocket::new(client),
        sessions: Sessions::new(alive),
    };
    let shown = leaf.shown().clone();
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = core::pin::pin!(reader);
    let mut writer = core::pin::pin!(writer);
    let mut piece = vec![0; PIECE];
    let end = loop {
        if let Some(end) = lent.turn(&mut leaf, common) {
            break end;
        }
        lent.sessions.allow(leaf.takes());
        let deadline = leaf.timeout().map(|at| of_engine(common.epoch, at));
        let serving = leaf.is_serving();
        tokio::select! {
            read = reader.read(&mut piece), if serving => match read {
                Ok(0) => leaf.stop(common.now(), End::Stream("it was closed".to_owned())),
                Ok(len) => leaf.receive(common.now(), piece.get(..len).unwrap_or_default()),
                Err(error) => leaf.stop(common.now(), End::Stream(error.to_string())),
            },
            written = writer.write(leaf.output()), if !leaf.output().is_empty() => match written {
                Ok(0) => leaf.broken(common.now(), "it takes no more".to_owned()),
                Ok(len) => leaf.written(common.now(), len),
                Err(error) => leaf.broken(common.now(), error.to_string()),
            },
            () = lent.broker.room(), if !lent.broker.has_room() => {}
            event = lent.broker.next(), if leaf.takes_broker() => leaf.broker(event),
            (handle, from) = lent.sessions.next() => match from {
                FromSession::Input(input) => leaf.session(handle, input),
                FromSession::Sent(result) => leaf.sent(handle, result),
            },
            () = sleep_until(deadline) => {}
            Ok(()) = settings.changed(), if serving => {
                let settings = settings.borrow_and_update().clone();
                if !leaf.settings().client.is_same(&settings.client) {
                    lent.broker.change(settings.client.clone());
                }
                leaf.set(settings);
            }
            () = shown.cut.notified(), if serving => leaf.stop(common.now(), End::Replaced),
            () = super::stopped(&mut stop), if serving => leaf.stop(common.now(), End::Stop),
        }
    };
    let Lent { mut broker, .. } = lent;
    if !matches!(end, End::Stream(_) | End::Stuck(_)) {
        // Who does not take it in time goes without.
        let _ = timeout(FLUSH, writer.flush()).await;
    }
    broker.close();
    let _ = timeout(BROKER_END, broker.ended()).await;
    tracing::debug!(target: "peer_net", line = shown.line, "a stream ended: {end:?}");
    (end, leaf.was_welcome())
}

/// What the leaf is lent.
struct Lent {
    broker: BrokerSocket,
    sessions: Sessions,
}

impl Lent {
    /// Does what there is to do. What comes back is the end.
    fn turn(&mut self, leaf: &mut LeafStream<'_>, common: &Common) -> Option<End> {
        loop {
            let room = Room {
                broker: self.broker.has_room(),
                sessions: self.sessions.running(),
            };
            match leaf.poll(common.now(), room)? {
                Action::RetrieveId => self.broker.retrieve_id(&Handle::current()),
                Action::OpenBroker { id, token } => {
                    self.broker.open(&Handle::current(), &id, &token);
                }
                Action::SendSignal(text) => {
                    let sent = self.broker.send(&text);
                    debug_assert!(
                        sent || !leaf.is_serving(),
                        "there was room when it was asked"
                    );
                }
                Action::CloseBroker => self.broker.close(),
                Action::Begin(handle, beginning) => {
                    let rtc = &leaf.settings().rtc;
                    self.sessions.begin(rtc, handle, beginning);
                }
                Action::ApplyAnswer(handle, sdp) => {
                    if let Some(session) = self.sessions.session(handle) {
                        session.apply_answer(sdp);
                    }
                }
                Action::AddCandidate(handle, candidate) => {
                    if let Some(session) = self.sessions.session(handle) {
                        session.add_candidate(candidate);
                    }
                }
                Action::Send(handle, message) => {
                    if let Some(result) = self.sessions.send(handle, message) {
                        leaf.sent(handle, result);
                    }
                }
                Action::Close(handle) => self.sessions.close(handle),
                Action::End(end) => return Some(end),
            }
        }
    }
}
