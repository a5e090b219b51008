//! `peer receive`.

use std::collections::HashMap;
use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_net::{DataConnection, Peer, PeerBuilder, Serialization};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, timeout_at};

use super::name::safe_name;
use super::places::{Place, Places};
use super::protocol::{LABEL, Message, STALL_TIMEOUT, Say, hear, say};
use super::store::{Key, Limits, Store};
use super::{ReceiveArgs, progress};
use crate::failure::{Failure, sentence};
use crate::online::Start;
use crate::peer_options::end;
use crate::shown::tell;
use crate::signals::interrupted;
use crate::stdout::print;

/// The largest message that is put together, in bytes. Those of the protocol are much smaller.
const MESSAGE_MAX: usize = 1 << 20;
/// Finished files that wait to be told. At the limit their transfers wait.
const FINISHED_MAX: usize = 8;
/// How long a transfer may be slower than `--min-rate`.
const RATE_WINDOW: Duration = Duration::from_secs(30);
/// How often what is too old is looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// `peer receive`.
pub(crate) async fn receive(args: ReceiveArgs) -> Result<(), Failure> {
    let limits = Limits {
        file: args.max_size,
        free: args.keep_free,
    };
    let store = Store::open(&args.into, limits).map_err(|error| {
        let folder = args.into.display();
        Failure::file(format!("files cannot be put into {folder}: {error}"))
    })?;
    let store = Arc::new(store);
    let mut interrupted = pin!(interrupted());
    let small = |builder: PeerBuilder| builder.max_message_size(MESSAGE_MAX);
    let opening = args
        .peer
        .open(Start::Patient, interrupted.as_mut(), small)
        .await;
    let online = match opening {
        Ok(Some(online)) => online,
        ended => {
            store.close();
            return ended.map(|_| ());
        }
    };
    let (id, broker) = (online.id(), args.peer.broker());
    tell!("Ready. From elsewhere: peer send {id} FILE --broker {broker}");
    let outcome = tokio::select! {
        outcome = serve(&online.peer, &args, &store) => outcome,
        failure = online.lost() => Err(failure),
        () = interrupted => Ok(()),
    };
    end(&online.peer).await;
    store.close();
    outcome
}

/// A file that is whole.
struct Finished {
    connection: DataConnection,
    line: String,
}

async fn serve(peer: &Peer, args: &ReceiveArgs, store: &Arc<Store>) -> Result<(), Failure> {
    let (finished, mut wholes) = mpsc::channel::<Finished>(FINISHED_MAX);
    let receiver = Arc::new(Receiver {
        store: Arc::clone(store),
        min_rate: args.min_rate,
        places: Arc::default(),
        running: Mutex::default(),
        finished,
    });
    let mut expiry = interval(EXPIRY_INTERVAL);
    loop {
        tokio::select! {
            connection = peer.accept() => {
                let Some(connection) = connection else {
                    // Why is told by who watches the peer.
                    return pending().await;
                };
                let stranger = args.from.as_ref().is_some_and(|from| from != connection.peer());
                let is_file = connection.label() == LABEL
                    && connection.serialization() == Serialization::Raw;
                if stranger || !is_file {
                    tell!("{} wanted something else and was turned away.", connection.peer());
                    connection.close();
                    continue;
                }
                tokio::spawn(Arc::clone(&receiver).attend(connection));
            }
            Some(Finished { connection, line }) = wholes.recv() => {
                print(&line)?;
                if args.once {
                    // The sender closes once it has read `done`.
                    drop(tokio::time::timeout(STALL_TIMEOUT, connection.closed()).await);
                    return Ok(());
                }
            }
            _ = expiry.tick() => store.expire(),
        }
    }
}

/// A file that comes now.
struct Running {
    /// Tells the transfer that a newer one takes over.
    replaced: watch::Sender<bool>,
    /// Held by the transfer that writes the partial file.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Receiver {
    store: Arc<Store>,
    min_rate: u64,
    places: Arc<Places>,
    /// Files that come now. A sender that lost its connection offers again before this side has
    /// noticed the loss: the new transfer then ends the old one, which is of the same remote.
    running: Mutex<HashMap<Key, Running>>,
    finished: mpsc::Sender<Finished>,
}

impl Receiver {
    async fn attend(self: Arc<Self>, connection: DataConnection) {
        let from = connection.peer().to_owned();
        loop {
            match hear(&connection).await {
                Ok(Message::Say(Say::File { name, size, sha256 })) => {
                    match self.take(&connection, &name, size, &sha256).await {
                        Ok(path) => {
                            let line =
                                format!("{sha256} {} {size} bytes from {from}", path.display());
                            // A sender that is gone has it all the same.
                            drop(say(&connection, &Say::Done).await);
                            let connection = connection.clone();
                            drop(self.finished.send(Finished { connection, line }).await);
                        }
                        Err(reason) => {
                            tell!("peer: {name} from {from}: {reason}");
                            drop(say(&connection, &Say::Refuse { reason }).await);
                        }
                    }
                }
                // Blocks of a file that was refused in the middle.
                Ok(Message::Block(_)) => {}
                Ok(Message::Say(_)) | Err(_) => return connection.close(),
            }
        }
    }

    /// Receives one file. The reason of a failure is for both sides to read.
    async fn take(
        &self,
        connection: &DataConnection,
        name: &str,
        size: u64,
        sha256: &str,
    ) -> Result<PathBuf, String> {
        if sha256.len() != 64
            || !sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err("the checksum is not SHA-256 in lower-case hex".to_owned());
        }
        let name = safe_name(name, sha256);
        let key = Key::new(connection.peer(), sha256);
        // One that ends while it waits waits no more.
        let place = tokio::select! {
            place = self.places.take(connection.peer()) => place,
            reason = connection.closed() => return Err(reason.to_string()),
        };
        let (mut replaced, turn) = self.replace(&key);
        let _turn = turn.lock().await;
        let outcome = tokio::select! {
            outcome = self.write(connection, key.clone(), &name, size, sha256, &place) => outcome,
            Ok(_) = replaced.wait_for(|replaced| *replaced) => {
                connection.close();
                Err("a newer transfer of the same file took over".to_owned())
            }
            () = place.over() => {
                // It may come again and go on.
                connection.close();
                Err("it was the slowest, and others wait".to_owned())
            }
        };
        if !*replaced.borrow() {
            self.running().remove(&key);
        }
        outcome
    }

    /// Tells a running transfer of the same file to end; gives this one's own signal and the file's
    /// turn.
    fn replace(&self, key: &Key) -> (watch::Receiver<bool>, Arc<tokio::sync::Mutex<()>>) {
        let mut running = self.running();
        let turn = match running.remove(key) {
            Some(older) => {
                older.replaced.send_replace(true);
                older.turn
            }
            None => Arc::default(),
        };
        let replaced = watch::Sender::new(false);
        let signal = replaced.subscribe();
        running.insert(
            key.clone(),
            Running {
                replaced,
                turn: Arc::clone(&turn),
            },
        );
        (signal, turn)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Running>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn write(
        &self,
        connection: &DataConnection,
        key: Key,
        name: &str,
        size: u64,
        sha256: &str,
        place: &Place,
    ) -> Result<PathBuf, String> {
        let cannot = |error: std::io::Error| format!("it cannot be written here: {error}");
        let mut partial = self.store.begin(key, size).await?;
        let bar = progress(name, size, partial.length());
        let offset = partial.length();
        say(connection, &Say::Accept { offset })
            .await
            .map_err(|error| sentence(&error))?;
        let mut window = Window::begin(self.min_rate);
        while partial.length() < size {
            match window.hear(connection).await? {
                Message::Block(block) => {
                    partial.write(&block).await.map_err(cannot)?;
                    place.progressed(block.len() as u64);
                    bar.set_position(partial.length());
                }
                Message::Say(_) => return Err("blocks of the file were expected".to_owned()),
            }
        }
        bar.finish_and_clear();
        partial.finish(name, sha256).await.map_err(cannot)
    }
}

/// Some time in which so many bytes must come.
struct Window {
    min_rate: u64,
    end: Instant,
    bytes: u64,
}

impl Window {
    fn begin(min_rate: u64) -> Self {
        Self {
            min_rate,
            end: Instant::now() + RATE_WINDOW,
            bytes: 0,
        }
    }

    /// The next message, unless they come too slowly.
    async fn hear(&mut self, connection: &DataConnection) -> Result<Message, String> {
        let wanted = self.min_rate.saturating_mul(RATE_WINDOW.as_secs());
        let hearing = hear(connection);
        tokio::pin!(hearing);
        let heard = loop {
            match timeout_at(self.end, &mut hearing).await {
                Ok(heard) => break heard.map_err(|silence| silence.sentence().to_owned())?,
                Err(_) if self.bytes < wanted => {
                    return Err(format!("less than {} bytes a second came", self.min_rate));
                }
                Err(_) => *self = Self::begin(self.min_rate),
            }
        };
        if let Message::Block(block) = &heard {
            self.bytes = self.bytes.saturating_add(block.len() as u64);
        }
        if Instant::now() >= self.end && self.bytes >= wanted {
            *self = Self::begin(self.min_rate);
        }
        Ok(heard)
    }
}
