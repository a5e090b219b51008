//! The JSON-lines contract of `--json`: commands on stdin, events on stdout.
//! `peer-net/docs/json-lines.md` documents it.

mod connection;
mod line;
mod out;
mod value;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peer_net::budget::{Account, Budget};
use peer_net::{
    ConnectionInfo, DataConnection, Event, Events, Peer, PeerError, ReconnectError, Serialization,
    Value,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use self::connection::{Job, Named, Outgoing, attend};
use self::line::{BAD_COMMAND, CLOSED, Command, CommandLine, Connect, GENERAL, LEFT_OUT, Line};
use self::out::{Lines, Out};
pub(super) use self::value::Json;
use self::value::{cost, from_json};
use super::stdin::{LINE_MAX, LineError, Lines as StdinLines};
use super::{Defaults, Failure};
use crate::failure::sentence;
use crate::logs;
use crate::online::{could_not_open, lost};
use crate::peer_options::{PeerOptions, end};
use crate::signals::interrupted;
use crate::stdout::Stdout;

/// Bytes of messages that stdin gave and that wait to be sent, over all connections, beyond the
/// share of each. At the limit reading from stdin waits.
const OUTGOING_MAX: usize = 32 << 20;
/// How long the last lines may take to go out.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(3);
/// The name that means all connections.
const ALL: &str = "*";

/// Runs a session until it is destroyed or interrupted; with `remote`, the end of stdin ends it
/// too.
pub(super) async fn run(
    options: &PeerOptions,
    defaults: Defaults,
    echo: bool,
    remote: Option<String>,
) -> Result<(), Failure> {
    let interrupted = interrupted();
    let (builder, _state) = options.builder()?;
    let peer = builder.build().map_err(|error| Failure::of_build(&error))?;
    let events = peer.events();
    let stdout = Stdout::start()
        .map_err(|error| Failure::other(format!("stdout cannot be written: {error}")))?;
    let out = Out::new(stdout.clone());
    let outgoing = Budget::new(OUTGOING_MAX);
    let session = Arc::new(Session {
        peer: peer.clone(),
        lines: out.account(),
        out,
        to_all: outgoing.account(),
        outgoing,
        defaults,
        echo,
        connections: Mutex::default(),
        attended: watch::Sender::new(0),
        stays: remote.is_none(),
        shared: Mutex::default(),
    });
    let tasks = [
        tokio::spawn(Arc::clone(&session).obey_stdin(remote)),
        tokio::spawn(Arc::clone(&session).accept()),
        tokio::spawn(interrupt(interrupted, Arc::clone(&session))),
    ];
    let outcome = tokio::select! {
        outcome = session.tell(events, options) => outcome,
        failure = stdout.failed() => Err(failure),
        // stdout may not be read; that must not hold the end up.
        () = async { peer.closed().await; sleep(LAST_LINES_TIMEOUT).await } => Ok(()),
    };
    end(&peer).await;
    for task in tasks {
        task.abort();
    }
    // Each connection tells its own end before the peer's.
    let over = async {
        session.all_over().await;
        let tag = session.shared().destroy_tag.take();
        session.lines.line(&Line::Close { tag: tag.as_ref() }).await;
    };
    drop(timeout(LAST_LINES_TIMEOUT, over).await);
    let flushed = stdout.flush(LAST_LINES_TIMEOUT).await;
    let failed = session.shared().outcome.take().unwrap_or(Ok(()));
    outcome.and(failed).and(flushed)
}

async fn interrupt(interrupted: impl Future<Output = ()>, session: Arc<Session>) {
    interrupted.await;
    session.ends(Ok(()));
    session.peer.destroy();
}

/// What the tasks of a session share.
struct Session {
    peer: Peer,
    out: Out,
    /// Of the peer itself.
    lines: Lines,
    outgoing: Budget,
    /// Holds what is sent to all connections.
    to_all: Account,
    defaults: Defaults,
    echo: bool,
    /// By the names that the lines give them.
    connections: Mutex<HashMap<String, Arc<Named>>>,
    /// Connections whose last line is not told yet.
    attended: watch::Sender<usize>,
    /// Whether the session goes on after the end of stdin.
    stays: bool,
    shared: Mutex<SharedState>,
}

#[derive(Default)]
struct SharedState {
    /// How the command ends: the first reason counts, and an end that was asked for is one.
    outcome: Option<Result<(), Failure>>,
    /// A command left the broker.
    left: bool,
    disconnect_tag: Option<Value>,
    reconnect_tag: Option<Value>,
    destroy_tag: Option<Value>,
}

impl Session {
    fn shared(&self) -> MutexGuard<'_, SharedState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<String, Arc<Named>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The command ends so, unless there was a reason before.
    fn ends(&self, how: Result<(), Failure>) {
        self.shared().outcome.get_or_insert(how);
    }

    fn fail(&self, failure: Failure) {
        self.ends(Err(failure));
    }

    async fn all_over(&self) {
        // The sender lives in `self`.
        drop(
            self.attended
                .subscribe()
                .wait_for(|count| *count == 0)
                .await,
        );
    }

    // What happens.

    /// Turns what happens to the peer into lines until it is destroyed.
    async fn tell(&self, mut events: Events, options: &PeerOptions) -> Result<(), Failure> {
        let mut warnings = logs::warnings();
        let (mut opened, mut away) = (false, false);
        let mut why = None;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Some(message) = warnings.recv() => {
                    let (kind, connection) = (GENERAL, None);
                    self.lines.line(&Line::Warning { kind, connection, message: &message }).await;
                    continue;
                }
            };
            match event {
                Some(Event::Closed) | None => break,
                Some(Event::Open(id)) => {
                    (opened, away, why) = (true, false, None);
                    let tag = self.shared().reconnect_tag.take();
                    let (id, tag) = (id.as_str(), tag.as_ref());
                    self.lines.line(&Line::Open { id, tag }).await;
                }
                Some(Event::ConnectionError(info, error)) => {
                    if let Some(named) = self.named(&info) {
                        named.error(error);
                    }
                }
                // The connection that found nobody reports it itself.
                Some(Event::Error(failure)) if failure.error() == PeerError::PeerUnavailable => {}
                Some(Event::Error(failure)) => {
                    let what = sentence(&failure);
                    // Each attempt to come back fails for the same reason, mostly.
                    if !away || why.as_ref() != Some(&what) {
                        let tag = self.shared().reconnect_tag.take();
                        let (kind, tag) = (failure.kind(), tag.as_ref());
                        self.lines.error(kind, None, &what, tag).await;
                    }
                    // A broker that cannot be reached yet is waited for; one that refused has ended
                    // the peer.
                    let waits = self.stays && options.reconnects() && !self.peer.is_destroyed();
                    if !opened && !waits {
                        self.fail(Failure::broker(could_not_open(options.broker(), &what)));
                        self.peer.destroy();
                    }
                    why = Some(what);
                }
                Some(Event::Disconnected) if !away => {
                    away = true;
                    let (left, tag) = {
                        let mut shared = self.shared();
                        (
                            core::mem::take(&mut shared.left),
                            shared.disconnect_tag.take(),
                        )
                    };
                    self.lines
                        .line(&Line::Disconnected { tag: tag.as_ref() })
                        .await;
                    if !left && opened && !options.reconnects() {
                        let why = lost(options.broker(), why.as_deref());
                        self.fail(Failure::broker(why));
                        self.peer.destroy();
                    }
                }
                Some(Event::Lagged(missed)) => {
                    let (kind, connection) = (LEFT_OUT, None);
                    let message = &format!("{missed} events came too fast, and are not told");
                    self.lines
                        .line(&Line::Warning {
                            kind,
                            connection,
                            message,
                        })
                        .await;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Takes connections as they come. Their lines wait for nobody else's.
    async fn accept(self: Arc<Self>) {
        while let Some(connection) = self.peer.accept().await {
            self.adopt(connection, None, false);
        }
    }

    /// Gives a connection its name and its tasks.
    ///
    /// The name is its id, which is the remote's choice: where it is taken, the name gets a number,
    /// so that the lines never tell two connections as one.
    fn adopt(self: &Arc<Self>, connection: DataConnection, tag: Option<Value>, first: bool) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (outgoing, lines) = (self.outgoing.account(), self.out.account());
        let named = {
            let mut connections = self.connections();
            let name = free_name(connection.connection_id(), |name| {
                connections.contains_key(name)
            });
            let named = Named::new(name.clone(), connection, jobs, outgoing, lines);
            let named = Arc::new(named);
            connections.insert(name, Arc::clone(&named));
            named
        };
        self.attended.send_modify(|count| *count += 1);
        tokio::spawn(attend(Arc::clone(self), named, queue, tag, first));
    }

    /// The last line of a connection is told: its name is free.
    fn forget(&self, named: &Named) {
        self.connections().remove(&named.name);
        self.attended.send_modify(|count| *count -= 1);
    }

    /// The connection that an event is about.
    fn named(&self, info: &Arc<ConnectionInfo>) -> Option<Arc<Named>> {
        let connections = self.connections();
        let found = connections
            .values()
            .find(|named| Arc::ptr_eq(named.connection.info(), info));
        found.map(Arc::clone)
    }

    // What stdin says.

    /// Carries out the lines of stdin.
    async fn obey_stdin(self: Arc<Self>, remote: Option<String>) {
        // Why a broker does not take the peer is told by its event, and that alone.
        if let Some(remote) = remote
            && self.peer.opened().await.is_ok()
        {
            let connect = Connect {
                remote,
                ..Connect::default()
            };
            self.connect(connect, None, true).await;
        }
        let mut stdin = StdinLines::of_stdin();
        loop {
            match stdin.next().await {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => self.obey_line(&line).await,
                Ok(None) => break,
                Err(LineError::NotText) => {
                    self.bad_command("a line of stdin is not UTF-8", None).await;
                }
                Err(LineError::TooLong) => {
                    let why = format!("a line of stdin has more than {LINE_MAX} bytes");
                    self.bad_command(&why, None).await;
                }
                Err(LineError::Io(error)) => {
                    let why = format!("stdin cannot be read: {error}");
                    self.bad_command(&why, None).await;
                    self.fail(Failure::other(why));
                    break;
                }
            }
        }
        if !self.stays {
            for named in self.all() {
                named.close(true, None);
            }
            self.all_over().await;
            self.peer.destroy();
        }
    }

    async fn obey_line(self: &Arc<Self>, line: &str) {
        let line: CommandLine = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(error) => return self.bad_command(&error.to_string(), None).await,
        };
        let (command, tag) = line.command();
        match command {
            Err(why) => self.bad_command(why, tag).await,
            Ok(Command::Connect(connect)) => self.connect(connect, tag, false).await,
            Ok(Command::Send { json, connection }) => self.send(&json, connection, tag).await,
            Ok(Command::Close { connection, flush }) => {
                let named = self.connections().get(&connection).map(Arc::clone);
                match (named, &connection[..]) {
                    (Some(named), _) => named.close(flush, tag),
                    (None, ALL) => {
                        for named in self.all() {
                            named.close(flush, tag.clone());
                        }
                    }
                    (None, _) => self.no_such(Some(&connection), tag).await,
                }
            }
            Ok(Command::Disconnect) => {
                {
                    let mut shared = self.shared();
                    (shared.left, shared.disconnect_tag) = (true, tag);
                }
                self.peer.disconnect().await;
            }
            Ok(Command::Reconnect) => self.reconnect(tag),
            Ok(Command::Destroy) => {
                self.shared().destroy_tag = tag;
                self.ends(Ok(()));
                self.peer.destroy();
            }
        }
    }

    fn reconnect(self: &Arc<Self>, tag: Option<Value>) {
        self.shared().reconnect_tag = tag;
        let session = Arc::clone(self);
        tokio::spawn(async move {
            // What the broker says comes as an event of its own.
            let Err(error @ (ReconnectError::Destroyed | ReconnectError::NotDisconnected)) =
                session.peer.reconnect().await
            else {
                return;
            };
            // It may be coming back by itself.
            if session.peer.is_open() || session.peer.is_destroyed() {
                let tag = session.shared().reconnect_tag.take();
                session.bad_command(&error.to_string(), tag).await;
            }
        });
    }

    async fn connect(self: &Arc<Self>, wanted: Connect, tag: Option<Value>, first: bool) {
        let mut connect = self.defaults.connect(&self.peer, &wanted.remote);
        if let Some(name) = &wanted.serialization {
            let Some(serialization) = Serialization::from_wire(name) else {
                let why = format!("there is no serialization {name}");
                return self.bad_command(&why, tag).await;
            };
            connect = connect.serialization(serialization);
        }
        if let Some(label) = &wanted.label {
            connect = connect.label(label);
        }
        if let Some(metadata) = &wanted.metadata {
            connect = connect.metadata(metadata);
        }
        if let Some(reliable) = wanted.reliable {
            connect = connect.reliable(reliable);
        }
        match connect.start().await {
            Ok(connection) => self.adopt(connection, tag, first),
            Err(error) => {
                let (kind, why) = (error.kind(), sentence(&error));
                self.lines.error(kind, None, &why, tag.as_ref()).await;
                if first {
                    self.fail(Failure::of_connect(&wanted.remote, &error));
                }
            }
        }
    }

    async fn send(&self, json: &Value, name: Option<String>, tag: Option<Value>) {
        let value = match from_json(json) {
            Ok(value) => value,
            Err(why) => {
                let (kind, tag) = (BAD_COMMAND, tag.as_ref());
                return self.lines.error(kind, name.as_deref(), &why, tag).await;
            }
        };
        let mut targets = match name.as_deref() {
            Some(ALL) | None => self.all(),
            Some(name) => self
                .connections()
                .get(name)
                .map(Arc::clone)
                .into_iter()
                .collect(),
        };
        if name.is_none() && targets.len() > 1 {
            let why =
                "there are several connections: say which with \"connection\", or \"*\" for all";
            return self.bad_command(why, tag).await;
        }
        let cost = cost(&value) + tag.as_ref().map_or(0, cost);
        let account = match &targets[..] {
            [] => return self.no_such(name.as_deref(), tag).await,
            [named] => &named.outgoing,
            _ => &self.to_all,
        };
        let _held = account.take(cost).await;
        let message = Arc::new(Outgoing { value, tag, _held });
        targets.retain(|named| named.jobs.send(Job::Send(Arc::clone(&message))).is_ok());
        if targets.is_empty() {
            self.no_such(name.as_deref(), message.tag.clone()).await;
        }
    }

    fn all(&self) -> Vec<Arc<Named>> {
        self.connections().values().map(Arc::clone).collect()
    }

    async fn bad_command(&self, why: &str, tag: Option<Value>) {
        self.lines.error(BAD_COMMAND, None, why, tag.as_ref()).await;
    }

    async fn no_such(&self, name: Option<&str>, tag: Option<Value>) {
        let why = "there is no such connection, or it is over";
        self.lines.error(CLOSED, name, why, tag.as_ref()).await;
    }
}

/// The id, with a number behind it where another has it.
fn free_name(id: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = id.to_owned();
    let mut number = 1_u64;
    while is_taken(&name) {
        number += 1;
        name = format!("{id}~{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_remotes_with_one_connection_id_have_two_names() {
        let mut taken: Vec<String> = Vec::new();
        for expected in ["dc_1", "dc_1~2", "dc_1~3"] {
            let name = free_name("dc_1", |name| taken.iter().any(|taken| taken == name));
            assert_eq!(name, expected);
            taken.push(name);
        }
        // Also where a remote chose such an id itself.
        let name = free_name("dc_1~2", |name| taken.iter().any(|taken| taken == name));
        assert_eq!(name, "dc_1~2~2");
    }
}
