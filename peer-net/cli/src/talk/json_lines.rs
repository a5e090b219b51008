//! The JSON-lines contract of `--json`: commands on stdin, events on stdout. The README documents it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use peer_net::{
    CloseReason, ConnectionInfo, DataConnection, Event, Events, Peer, PeerError, ReconnectError,
    Serialization, Value,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, stdout};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::json_value::{Json, from_json};
use super::stdin::{LineError, Lines};
use super::{Defaults, Failure};
use crate::failure::sentence;
use crate::peer_options::{PeerOptions, end};
use crate::signals::interrupted;

/// Lines that wait for stdout. At the limit reading from the peers waits, and so do they.
const LINES_MAX: usize = 64;
/// Messages that wait for each connection. At the limit reading from stdin waits.
const SENDS_MAX: usize = 64;
/// Ended connections that wait to be forgotten. At the limit their tasks wait.
const ENDINGS_MAX: usize = 64;
/// How long the last lines may take to go out.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a session that ends looks whether its connections are over.
const ENDED_POLL: Duration = Duration::from_millis(20);
/// The `kind` of errors that are the script's own; all others are PeerJS's.
const BAD_COMMAND: &str = "bad-command";

/// One line of stdout.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Open {
        id: &'a str,
    },
    Connection {
        connection: &'a str,
        peer: &'a str,
        label: &'a str,
        metadata: Option<Json<'a>>,
        serialization: &'a str,
        reliable: bool,
        incoming: bool,
    },
    ConnectionOpen {
        connection: &'a str,
    },
    Data {
        connection: &'a str,
        data: Json<'a>,
    },
    ConnectionClose {
        connection: &'a str,
    },
    Error {
        kind: &'a str,
        connection: Option<&'a str>,
        message: &'a str,
    },
    Disconnected,
    Close,
}

/// One line of stdin.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CommandLine {
    connect: Option<String>,
    label: Option<String>,
    metadata: Option<serde_json::Value>,
    serialization: Option<String>,
    reliable: Option<bool>,
    #[serde(deserialize_with = "present")]
    send: Option<serde_json::Value>,
    connection: Option<String>,
    close: Option<String>,
    flush: bool,
    disconnect: bool,
    reconnect: bool,
    destroy: bool,
}

/// `{"send":null}` is a command; an absent `send` is not.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(d).map(Some)
}

/// What waits for a connection's sender, in order.
enum Job {
    Send(Value),
    CloseFlush,
}

/// A connection that the lines can name.
struct Named {
    connection: DataConnection,
    jobs: mpsc::Sender<Job>,
}

/// Where lines go out.
#[derive(Clone)]
struct Out(mpsc::Sender<String>);

impl Out {
    async fn line(&self, line: &Line<'_>) {
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        // Nobody reads stdout any more: the session ends through the writer.
        let _ = self.0.send(text).await;
    }

    async fn error(&self, kind: &str, connection: Option<&str>, message: &str) {
        self.line(&Line::Error {
            kind,
            connection,
            message,
        })
        .await;
    }

    async fn connection(&self, info: &ConnectionInfo) {
        let metadata = info.metadata();
        self.line(&Line::Connection {
            connection: info.connection_id().as_str(),
            peer: info.peer().as_str(),
            label: info.label(),
            metadata: metadata.as_ref().map(Json),
            serialization: info.serialization().as_str(),
            reliable: info.reliable(),
            incoming: info.is_incoming(),
        })
        .await;
    }
}

/// Runs a session until it is destroyed or interrupted; with `remote`, the end of stdin ends it too.
pub(super) async fn run(
    options: &PeerOptions,
    defaults: Defaults,
    echo: bool,
    remote: Option<String>,
) -> Result<(), Failure> {
    let interrupted = interrupted();
    let peer = options
        .builder()
        .build()
        .map_err(|error| Failure::other(sentence(&error)))?;
    let events = peer.events();
    let (lines, mut waiting) = mpsc::channel::<String>(LINES_MAX);
    let mut writer = tokio::spawn(async move {
        let mut out = stdout();
        while let Some(line) = waiting.recv().await {
            if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
                return;
            }
        }
    });
    let (ended, endings) = mpsc::channel(ENDINGS_MAX);
    let session = Arc::new(Session {
        peer: peer.clone(),
        out: Out(lines),
        defaults,
        echo,
        ended,
        connections: Mutex::default(),
        stays: remote.is_none(),
    });
    let commands = tokio::spawn(Arc::clone(&session).obey_stdin(remote));
    let outcome = tokio::select! {
        outcome = session.tell(events, endings, interrupted) => outcome,
        // Nobody reads stdout any more.
        _ = &mut writer => Ok(()),
    };
    commands.abort();
    end(&peer).await;
    drop(session);
    // The last lines are on their way; a reader that does not read must not hold the exit up.
    let _ = timeout(LAST_LINES_TIMEOUT, writer).await;
    outcome
}

/// What the tasks of a session share.
struct Session {
    peer: Peer,
    out: Out,
    defaults: Defaults,
    echo: bool,
    /// Told the names of connections that are over.
    ended: mpsc::Sender<String>,
    connections: Mutex<HashMap<String, Named>>,
    /// Whether the session goes on after the end of stdin.
    stays: bool,
}

impl Session {
    /// Turns what happens into lines until the peer is destroyed.
    async fn tell(
        self: &Arc<Self>,
        mut events: Events,
        mut endings: mpsc::Receiver<String>,
        interrupted: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let mut announced = HashSet::new();
        let mut opened = false;
        let mut refused = None;
        tokio::pin!(interrupted);
        let mut running = true;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Closed) | None => break,
                    Some(Event::Open(_)) => {
                        opened = true;
                        let id = self.peer.id().map(|id| id.to_string()).unwrap_or_default();
                        self.out.line(&Line::Open { id: &id }).await;
                    }
                    Some(Event::Connection(info)) => {
                        let name = info.connection_id().to_string();
                        if !self.knows(&name).await && announced.insert(name) {
                            self.out.connection(&info).await;
                        }
                    }
                    Some(Event::ConnectionFailed(info, failure)) if info.is_incoming() => {
                        let name = info.connection_id().as_str();
                        if announced.remove(name) {
                            self.out.error(failure.kind(), Some(name), &sentence(&failure)).await;
                        }
                    }
                    Some(Event::ConnectionError(info, error)) => {
                        let name = info.connection_id().as_str();
                        self.out.error(error.as_str(), Some(name), &error.to_string()).await;
                    }
                    // The connection that found nobody reports it itself.
                    Some(Event::Error(failure)) if failure.error() == PeerError::PeerUnavailable => {}
                    Some(Event::Error(failure)) => {
                        let what = sentence(&failure);
                        self.out.error(failure.kind(), None, &what).await;
                        if !opened {
                            refused = Some(what);
                        }
                    }
                    Some(Event::Disconnected) => self.out.line(&Line::Disconnected).await,
                    Some(Event::Lagged(missed)) => {
                        tracing::warn!("stdout was read too slowly: {missed} events are lost");
                    }
                    Some(_) => {}
                },
                Some(connection) = self.peer.accept(), if running => {
                    if !announced.remove(connection.connection_id()) {
                        self.out.connection(connection.info()).await;
                    }
                    self.adopt(connection).await;
                }
                Some(name) = endings.recv() => {
                    let mut connections = self.connections.lock().await;
                    connections.remove(&name);
                }
                () = &mut interrupted, if running => {
                    running = false;
                    self.peer.destroy();
                }
            }
        }
        // Each connection tells its own end before the peer's.
        let _ = timeout(LAST_LINES_TIMEOUT, async {
            while !self.connections.lock().await.is_empty() {
                let Some(name) = endings.recv().await else {
                    return;
                };
                self.connections.lock().await.remove(&name);
            }
        })
        .await;
        self.out.line(&Line::Close).await;
        match refused {
            Some(why) if !opened => Err(Failure::broker(why)),
            _ => Ok(()),
        }
    }

    async fn knows(&self, name: &str) -> bool {
        self.connections.lock().await.contains_key(name)
    }

    /// Gives a connection its tasks. One whose id another peer's connection has already is closed: the lines
    /// could not tell the two apart.
    async fn adopt(self: &Arc<Self>, connection: DataConnection) {
        let name = connection.connection_id().to_owned();
        let (jobs, queue) = mpsc::channel(SENDS_MAX);
        match self.connections.lock().await.entry(name) {
            Entry::Occupied(_) => return connection.close(),
            Entry::Vacant(place) => place.insert(Named {
                connection: connection.clone(),
                jobs,
            }),
        };
        tokio::spawn(Arc::clone(self).send(connection.clone(), queue));
        tokio::spawn(Arc::clone(self).receive(connection));
    }

    /// A connection's data and end, as lines.
    async fn receive(self: Arc<Self>, connection: DataConnection) {
        let name = connection.connection_id();
        match connection.opened().await {
            Ok(()) => {
                self.out
                    .line(&Line::ConnectionOpen { connection: name })
                    .await;
                self.receive_all(&connection).await;
                if let reason @ CloseReason::Lost(_) = connection.closed().await {
                    let kind = "connection-closed";
                    self.out.error(kind, Some(name), &reason.to_string()).await;
                }
                self.out
                    .line(&Line::ConnectionClose { connection: name })
                    .await;
            }
            Err(failure) => {
                let peer = connection.peer();
                let why = format!("could not connect to {peer}: {}", sentence(&failure));
                self.out.error(failure.kind(), Some(name), &why).await;
            }
        }
        let _ = self.ended.send(name.to_owned()).await;
    }

    async fn receive_all(&self, connection: &DataConnection) {
        let name = connection.connection_id();
        loop {
            match connection.recv().await {
                Ok(Some(value)) => {
                    self.out
                        .line(&Line::Data {
                            connection: name,
                            data: Json(&value),
                        })
                        .await;
                    if self.echo
                        && let Err(error) = connection.send(&value).await
                    {
                        self.out
                            .error(error.kind(), Some(name), &sentence(&error))
                            .await;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("{name}: {}", sentence(&error));
                }
            }
        }
    }

    /// Sends what stdin said, in order.
    async fn send(self: Arc<Self>, connection: DataConnection, mut jobs: mpsc::Receiver<Job>) {
        let name = connection.connection_id();
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                _ = connection.closed() => None,
            };
            match job {
                Some(Job::Send(value)) => {
                    if let Err(error) = connection.send(&value).await {
                        self.out
                            .error(error.kind(), Some(name), &sentence(&error))
                            .await;
                    }
                }
                Some(Job::CloseFlush) => {
                    connection.close_flush().await;
                }
                None => return,
            }
        }
    }

    /// Carries out the lines of stdin.
    async fn obey_stdin(self: Arc<Self>, remote: Option<String>) {
        if let Some(remote) = remote {
            let command = CommandLine {
                connect: Some(remote),
                ..CommandLine::default()
            };
            self.obey(command).await;
        }
        let mut stdin = Lines::of_stdin();
        loop {
            let line = match stdin.next().await {
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(LineError::NotText) => {
                    self.out
                        .error(BAD_COMMAND, None, "a line of stdin is not UTF-8")
                        .await;
                    continue;
                }
                Err(LineError::TooLong) => {
                    self.out
                        .error(BAD_COMMAND, None, "a line of stdin is too long")
                        .await;
                    break;
                }
                Err(LineError::Io(error)) => {
                    self.out.error(BAD_COMMAND, None, &error.to_string()).await;
                    break;
                }
            };
            match serde_json::from_str(&line) {
                Ok(command) => self.obey(command).await,
                Err(error) => self.out.error(BAD_COMMAND, None, &error.to_string()).await,
            }
        }
        if !self.stays {
            for named in self.jobs_of(None).await {
                let _ = named.send(Job::CloseFlush).await;
            }
            while !self.connections.lock().await.is_empty() {
                tokio::time::sleep(ENDED_POLL).await;
            }
            self.peer.destroy();
        }
    }

    async fn obey(self: &Arc<Self>, line: CommandLine) {
        if let Some(remote) = &line.connect {
            self.connect(remote, &line).await;
        } else if let Some(json) = line.send {
            match from_json(json) {
                Ok(value) => self.queue(value, line.connection.as_deref()).await,
                Err(why) => {
                    self.out
                        .error(BAD_COMMAND, line.connection.as_deref(), &why)
                        .await;
                }
            }
        } else if let Some(name) = &line.close {
            self.close(name, line.flush).await;
        } else if line.disconnect {
            self.peer.disconnect().await;
        } else if line.reconnect {
            let session = Arc::clone(self);
            tokio::spawn(async move {
                // What the broker says comes as an event of its own.
                if let Err(error @ (ReconnectError::Destroyed | ReconnectError::NotDisconnected)) =
                    session.peer.reconnect().await
                {
                    session
                        .out
                        .error(BAD_COMMAND, None, &error.to_string())
                        .await;
                }
            });
        } else if line.destroy {
            self.peer.destroy();
        } else {
            let known = "connect, send, close, disconnect, reconnect or destroy is needed";
            self.out.error(BAD_COMMAND, None, known).await;
        }
    }

    async fn connect(self: &Arc<Self>, remote: &str, line: &CommandLine) {
        let mut connect = self.defaults.connect(&self.peer, remote);
        if let Some(name) = &line.serialization {
            let Some(serialization) = Serialization::from_wire(name) else {
                let why = format!("there is no serialization {name}");
                return self.out.error(BAD_COMMAND, None, &why).await;
            };
            connect = connect.serialization(serialization);
        }
        if let Some(label) = &line.label {
            connect = connect.label(label);
        }
        if let Some(metadata) = &line.metadata {
            connect = connect.metadata(metadata);
        }
        if let Some(reliable) = line.reliable {
            connect = connect.reliable(reliable);
        }
        match connect.start().await {
            Ok(connection) => {
                self.out.connection(connection.info()).await;
                self.adopt(connection).await;
            }
            Err(error) => self.out.error(error.kind(), None, &sentence(&error)).await,
        }
    }

    async fn queue(&self, value: Value, name: Option<&str>) {
        let mut jobs = self.jobs_of(name).await;
        match (jobs.pop(), jobs.is_empty()) {
            (Some(jobs), true) => {
                if jobs.send(Job::Send(value)).await.is_err() {
                    self.no_such(name).await;
                }
            }
            (Some(_), false) => {
                let why = "there are several connections: say which with \"connection\"";
                self.out.error(BAD_COMMAND, None, why).await;
            }
            (None, _) => self.no_such(name).await,
        }
    }

    async fn close(&self, name: &str, flush: bool) {
        if flush {
            match self.jobs_of(Some(name)).await.pop() {
                Some(jobs) => drop(jobs.send(Job::CloseFlush).await),
                None => self.no_such(Some(name)).await,
            }
        } else {
            match self.connections.lock().await.get(name) {
                Some(named) => named.connection.close(),
                None => self.no_such(Some(name)).await,
            }
        }
    }

    async fn no_such(&self, name: Option<&str>) {
        let kind = "connection-closed";
        self.out
            .error(kind, name, "there is no such connection, or it is over")
            .await;
    }

    /// The queues of the connection of that name, or of all.
    async fn jobs_of(&self, name: Option<&str>) -> Vec<mpsc::Sender<Job>> {
        let connections = self.connections.lock().await;
        let chosen = connections
            .iter()
            .filter(|(known, _)| name.is_none_or(|name| name == *known));
        chosen.map(|(_, named)| named.jobs.clone()).collect()
    }
}
