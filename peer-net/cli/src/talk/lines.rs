//! Lines for people: like netcat.

use std::future::pending;
use std::time::Duration;

use peer_net::{CloseReason, DataConnection, Peer, Value};
use tokio::io::{AsyncWriteExt, Stdout, stdout};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use super::json_value::Json;
use super::stdin::{LineError, Lines};
use super::{Defaults, Failure};
use crate::failure::sentence;
use crate::peer_options::{PeerOptions, end};
use crate::signals::interrupted;

/// How long the last lines may take to be delivered.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines that wait for each peer of a `listen`. A peer that is slower misses lines, and stderr says so.
const LINES_MAX: usize = 256;

/// One writer of stdout at a time, so that lines stay whole.
static STDOUT: Mutex<Option<Stdout>> = Mutex::const_new(None);

pub(super) async fn listen(options: &PeerOptions, echo: bool) -> Result<(), Failure> {
    let interrupted = interrupted();
    let peer = options.open().await?;
    let id = peer.id().map(|id| id.to_string()).unwrap_or_default();
    eprintln!(
        "Listening as {id}. From elsewhere: peer connect {id} --broker {}",
        options.broker()
    );
    let outcome = tokio::select! {
        outcome = serve(&peer, echo) => outcome,
        () = interrupted => Ok(()),
    };
    end(&peer).await;
    outcome
}

async fn serve(peer: &Peer, echo: bool) -> Result<(), Failure> {
    let mut stdin = Lines::of_stdin();
    let mut more = true;
    let mut feeds: Vec<(String, mpsc::Sender<String>)> = Vec::new();
    loop {
        tokio::select! {
            connection = peer.accept() => {
                let Some(connection) = connection else {
                    return Err(Failure::broker("the peer was ended by its broker"));
                };
                let name = connection.peer().to_owned();
                let (feed, lines) = mpsc::channel(LINES_MAX);
                feeds.push((name, feed));
                tokio::spawn(attend(connection, lines, echo));
            }
            line = stdin.next(), if more => match read(line)? {
                Some(line) => feeds.retain(|(name, feed)| match feed.try_send(line.clone()) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        eprintln!("peer: {name} is too slow and misses a line");
                        true
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                }),
                None => more = false,
            },
        }
    }
}

/// One connection of a `listen`, from its open to its close.
async fn attend(connection: DataConnection, mut lines: mpsc::Receiver<String>, echo: bool) {
    let name = connection.peer().to_owned();
    eprintln!("{name} connected.");
    // Receiving must not wait for sending: a remote that echoes would wait for us in turn.
    let feed = async {
        while let Some(line) = lines.recv().await {
            say(&connection, line).await;
        }
        pending::<()>().await;
    };
    let printed = watch::Sender::new(());
    tokio::select! {
        () = feed => {}
        () = print_all(&connection, echo, &printed) => {}
    }
    eprintln!("{name} disconnected: {}.", connection.closed().await);
}

pub(super) async fn connect(
    options: &PeerOptions,
    defaults: &Defaults,
    remote: &str,
    echo: bool,
    wait: Duration,
) -> Result<(), Failure> {
    let interrupted = interrupted();
    let peer = options.open().await?;
    let outcome = tokio::select! {
        outcome = converse(&peer, defaults, remote, echo, wait) => outcome,
        () = interrupted => Ok(()),
    };
    end(&peer).await;
    outcome
}

async fn converse(
    peer: &Peer,
    defaults: &Defaults,
    remote: &str,
    echo: bool,
    wait: Duration,
) -> Result<(), Failure> {
    let connection = defaults
        .connect(peer, remote)
        .await
        .map_err(|error| Failure::of_connect(remote, &error))?;
    eprintln!("Connected to {remote}.");
    // As in `attend`, the two directions do not wait for each other.
    let (printed, progress) = watch::channel(());
    tokio::select! {
        outcome = feed(&connection, wait, progress) => outcome,
        () = print_all(&connection, echo, &printed) => ended(remote, connection.closed().await),
    }
}

/// Sends stdin; after its end waits until `wait` passes without a message, and closes.
async fn feed(
    connection: &DataConnection,
    wait: Duration,
    mut progress: watch::Receiver<()>,
) -> Result<(), Failure> {
    let mut stdin = Lines::of_stdin();
    while let Some(line) = read(stdin.next().await)? {
        say(connection, line).await;
    }
    while let Ok(Ok(())) = timeout(wait, progress.changed()).await {}
    let _ = timeout(FLUSH_TIMEOUT, connection.close_flush()).await;
    Ok(())
}

fn ended(remote: &str, reason: CloseReason) -> Result<(), Failure> {
    match reason {
        CloseReason::Lost(_) => Err(Failure::connection(format!("{remote}: {reason}"))),
        _ => Ok(()),
    }
}

fn read(line: Result<Option<String>, LineError>) -> Result<Option<String>, Failure> {
    match line {
        Ok(line) => Ok(line),
        Err(LineError::NotText) => Err(Failure::other(
            "stdin is not UTF-8 text; use `peer send` for files",
        )),
        Err(LineError::TooLong) => Err(Failure::other("a line of stdin is too long")),
        Err(LineError::Io(error)) => Err(Failure::other(format!("stdin cannot be read: {error}"))),
    }
}

async fn say(connection: &DataConnection, line: String) {
    if let Err(error) = connection.send_text(line).await {
        eprintln!("peer: {}: {}", connection.peer(), sentence(&error));
    }
}

/// Prints what comes until the connection is over.
async fn print_all(connection: &DataConnection, echo: bool, printed: &watch::Sender<()>) {
    loop {
        match connection.recv().await {
            Ok(Some(value)) => {
                print(connection, &value, echo).await;
                printed.send_replace(());
            }
            Ok(None) => return,
            Err(error) => eprintln!("peer: {}: {}", connection.peer(), sentence(&error)),
        }
    }
}

async fn print(connection: &DataConnection, value: &Value, echo: bool) {
    let mut line = match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string(&Json(other)).unwrap_or_default(),
    };
    line.push('\n');
    {
        let mut guard = STDOUT.lock().await;
        let out = guard.get_or_insert_with(stdout);
        // A closed pipe is not worth dying for: the other direction may still be in use.
        let _ = out.write_all(line.as_bytes()).await;
        let _ = out.flush().await;
    }
    if echo && let Err(error) = connection.send(value).await {
        eprintln!("peer: {}: {}", connection.peer(), sentence(&error));
    }
}
