//! Lines for people: like netcat.

use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use peer_net::budget::{Account, Budget, Held};
use peer_net::{CloseReason, DataConnection, Peer, SendError, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::incoming::{MESSAGE_COST, WAITING_MAX, receive};
use super::json::Json;
use super::stdin::{LINE_MAX, LineError, Lines};
use super::{Defaults, Failure};
use crate::failure::sentence;
use crate::online::{Online, Start};
use crate::peer_options::{PeerOptions, end, refuse_offers};
use crate::shown::{Shown, tell};
use crate::signals::interrupted;
use crate::stdout::Stdout;

/// Bytes of lines that wait for the peers of a `listen`, beyond the share of each.
const LINES_MAX: usize = 32 << 20;
/// How long a connection that ends may deliver nothing of what was sent before the rest is given
/// up.
const FLUSH_STALL: Duration = Duration::from_secs(10);
/// How often it is looked whether everything is delivered.
const FLUSH_LOOK: Duration = Duration::from_millis(20);
/// How long the last lines may take to be printed.
const PRINT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where messages are printed.
#[derive(Clone)]
pub(super) struct Printer {
    pub(super) stdout: Stdout,
    budget: Budget,
}

impl Printer {
    pub(super) fn start() -> Result<Self, Failure> {
        let stdout = Stdout::start()
            .map_err(|error| Failure::other(format!("stdout cannot be written: {error}")))?;
        let budget = Budget::new(WAITING_MAX);
        Ok(Self { stdout, budget })
    }

    pub(super) fn account(&self) -> Account {
        self.budget.account()
    }

    /// Runs until `work` is done, stdout fails, the broker is lost for good or somebody wants the
    /// end; then ends the peer and waits for what is printed.
    pub(super) async fn run(
        &self,
        online: &Online,
        interrupted: impl Future<Output = ()>,
        work: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            failure = self.stdout.failed() => Err(failure),
            failure = online.lost() => Err(failure),
            () = interrupted => Ok(()),
        };
        end(&online.peer).await;
        outcome.and(self.stdout.flush(PRINT_TIMEOUT).await)
    }

    fn print(&self, value: &Value, mut held: Held) {
        let mut line = match value {
            Value::String(text) => text.clone(),
            other => match serde_json::to_string(&Json(other)) {
                Ok(text) => text,
                Err(error) => return debug_assert!(false, "a value has no text: {error}"),
            },
        };
        if self.stdout.is_terminal() {
            line = Shown(&line).to_string();
        }
        line.push('\n');
        held.shrink(line.len() + MESSAGE_COST);
        self.stdout.write(line.into_bytes(), Some(held));
    }
}

pub(super) async fn listen(options: &PeerOptions, echo: bool) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let printer = Printer::start()?;
    let opening = options.open(Start::Patient, interrupted.as_mut(), |builder| builder);
    let Some(online) = opening.await? else {
        return Ok(());
    };
    listening(&online, options);
    let serving = serve(&online.peer, echo, &printer);
    printer.run(&online, interrupted, serving).await
}

pub(super) fn listening(online: &Online, options: &PeerOptions) {
    let (id, broker) = (online.id(), options.broker());
    tell!("Listening as {id}. From elsewhere: peer connect {id} --broker {broker}");
}

/// A line for several peers.
type Line = Arc<str>;

/// The way to one peer of a `listen`.
struct Feed {
    name: String,
    lines: mpsc::UnboundedSender<(Line, Held)>,
    /// What waits for it. A peer that is slower misses lines, and stderr says so.
    account: Account,
}

async fn serve(peer: &Peer, echo: bool, printer: &Printer) -> Result<(), Failure> {
    let mut stdin = Lines::of_stdin();
    let mut more = true;
    let waiting = Budget::new(LINES_MAX);
    let mut feeds: HashMap<u64, Feed> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            connection = peer.accept() => {
                let Some(connection) = connection else {
                    // Why is told by who watches the peer.
                    return pending().await;
                };
                number += 1;
                let (lines, queue) = mpsc::unbounded_channel();
                let (name, account) = (connection.peer().to_owned(), waiting.account());
                feeds.insert(number, Feed { name, lines, account });
                let attending = attend(connection, queue, echo, printer.clone());
                tasks.spawn(async move {
                    attending.await;
                    number
                });
            }
            Some(ended) = tasks.join_next() => {
                if let Ok(number) = ended {
                    feeds.remove(&number);
                }
            }
            line = stdin.next(), if more => match read(line)? {
                Read::Line(line) => {
                    let line = Line::from(line);
                    for feed in feeds.values() {
                        // One whose peer is gone is forgotten in a moment.
                        match feed.account.try_take(line.len() + MESSAGE_COST) {
                            Some(held) => drop(feed.lines.send((Arc::clone(&line), held))),
                            None => tell!("peer: {} is too slow and misses a line", feed.name),
                        }
                    }
                }
                Read::PassedOver => {}
                Read::End => more = false,
            },
        }
    }
}

/// One connection of a `listen`, from its open to its close.
async fn attend(
    connection: DataConnection,
    mut lines: mpsc::UnboundedReceiver<(Line, Held)>,
    echo: bool,
    printer: Printer,
) {
    let name = connection.peer().to_owned();
    tell!("{name} connected.");
    // Receiving must not wait for sending: a remote that echoes would wait for us in turn.
    let feed = async {
        while let Some((line, _held)) = lines.recv().await {
            if let Err(error) = connection.send_text(&*line).await {
                tell!("peer: {name}: {}", sentence(&error));
            }
        }
        pending::<()>().await;
    };
    let printed = watch::Sender::new(());
    tokio::select! {
        () = feed => {}
        () = print_all(&connection, echo, &printer, &printed) => {}
    }
    tell!("{name} disconnected: {}.", connection.closed().await);
}

pub(super) async fn connect(
    options: &PeerOptions,
    defaults: &Defaults,
    remote: &str,
    echo: bool,
    wait: Duration,
) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let printer = Printer::start()?;
    let opening = options.open(Start::Once, interrupted.as_mut(), refuse_offers);
    let Some(online) = opening.await? else {
        return Ok(());
    };
    let conversing = converse(&online.peer, defaults, remote, echo, wait, &printer);
    printer.run(&online, interrupted, conversing).await
}

async fn converse(
    peer: &Peer,
    defaults: &Defaults,
    remote: &str,
    echo: bool,
    wait: Duration,
    printer: &Printer,
) -> Result<(), Failure> {
    let connection = defaults
        .connect(peer, remote)
        .await
        .map_err(|error| Failure::of_connect(remote, &error))?;
    tell!("Connected to {remote}.");
    // As in `attend`, the two directions do not wait for each other.
    let (printed, progress) = watch::channel(());
    let feeding = async {
        let outcome = feed(&connection).await;
        idle(&connection, wait, progress).await;
        outcome.and(finish(remote, &connection).await)
    };
    let printing = print_all(&connection, echo, printer, &printed);
    let ends = async {
        printing.await;
        ended(remote, connection.closed().await)
    };
    alongside(feeding, ends).await
}

/// Runs both until one is done. Where both are, the first counts: the end that it asked for is no
/// news.
pub(super) async fn alongside<T>(
    first: impl Future<Output = T>,
    second: impl Future<Output = T>,
) -> T {
    let mut first = pin!(first);
    let mut second = pin!(second);
    let outcome = tokio::select! {
        biased;
        outcome = &mut first => return outcome,
        outcome = &mut second => outcome,
    };
    timeout(Duration::ZERO, first).await.unwrap_or(outcome)
}

/// Sends the lines of stdin.
async fn feed(connection: &DataConnection) -> Result<(), Failure> {
    let mut stdin = Lines::of_stdin();
    let mut outcome = Ok(());
    loop {
        match read(stdin.next().await)? {
            Read::Line(line) => match connection.send_text(line).await {
                Ok(()) => {}
                // The end is told by who prints.
                Err(SendError::Closed(_)) => return pending().await,
                Err(error) => {
                    let why = format!("a line was not sent: {}", sentence(&error));
                    tell!("peer: {why}");
                    outcome = Err(Failure::other(why));
                }
            },
            Read::PassedOver => outcome = Err(Failure::other("a line of stdin was not sent")),
            Read::End => return outcome,
        }
    }
}

/// Waits until `wait` passes in which nothing is printed, received or delivered.
pub(super) async fn idle(
    connection: &DataConnection,
    wait: Duration,
    mut printed: watch::Receiver<()>,
) {
    let state = || (connection.buffered_amount(), connection.bytes_received());
    let mut before = state();
    loop {
        match timeout(wait, printed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) if state() == before => return,
            Err(_) => {}
        }
        before = state();
    }
}

/// Closes once everything is delivered.
pub(super) async fn finish(remote: &str, connection: &DataConnection) -> Result<(), Failure> {
    let (mut left, mut since) = (connection.buffered_amount(), Instant::now());
    while left > 0 && connection.is_open() && since.elapsed() < FLUSH_STALL {
        sleep(FLUSH_LOOK).await;
        let now = connection.buffered_amount();
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    let reason = connection.close_flush().await;
    match left {
        0 => ended(remote, reason),
        left => Err(Failure::connection(format!(
            "{remote}: the last {left} bytes were not delivered: {reason}"
        ))),
    }
}

pub(super) fn ended(remote: &str, reason: CloseReason) -> Result<(), Failure> {
    match reason {
        CloseReason::Lost(_) => Err(Failure::connection(format!("{remote}: {reason}"))),
        _ => Ok(()),
    }
}

/// What stdin gave.
enum Read {
    Line(String),
    /// A line that was too long, of which stderr says so.
    PassedOver,
    End,
}

fn read(line: Result<Option<String>, LineError>) -> Result<Read, Failure> {
    match line {
        Ok(Some(line)) => Ok(Read::Line(line)),
        Ok(None) => Ok(Read::End),
        Err(LineError::TooLong) => {
            tell!("peer: a line of stdin has more than {LINE_MAX} bytes and is passed over");
            Ok(Read::PassedOver)
        }
        Err(LineError::NotText) => Err(Failure::other(
            "stdin is not UTF-8 text; --bytes takes any bytes, and `peer send` files",
        )),
        Err(LineError::Io(error)) => Err(Failure::other(format!("stdin cannot be read: {error}"))),
    }
}

/// Prints what comes until the connection is over.
async fn print_all(
    connection: &DataConnection,
    echo: bool,
    printer: &Printer,
    printed: &watch::Sender<()>,
) {
    let account = printer.account();
    while let Some((value, held)) = receive(connection, &account).await {
        match value {
            Ok(value) => {
                printer.print(&value, held);
                printed.send_replace(());
                if echo && let Err(error) = connection.send(&value).await {
                    tell!("peer: {}: {}", connection.peer(), sentence(&error));
                }
            }
            Err(error) => tell!("peer: {}: {}", connection.peer(), sentence(&error)),
        }
    }
}
