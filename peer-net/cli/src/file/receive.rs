//! `peer receive`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use peer_net::{DataConnection, Peer};
use tokio::sync::{Semaphore, mpsc, watch};

use super::protocol::{LABEL, Message, STALL_TIMEOUT, Say, hear, say};
use super::store::{Partial, partials, safe_name};
use super::{ReceiveArgs, progress};
use crate::failure::{Failure, sentence};
use crate::peer_options::end;
use crate::signals::interrupted;

/// Files that come at a time. Further senders wait for their `accept`.
const TRANSFERS_MAX: usize = 8;
/// Unfinished files kept in the folder. At the limit new files are refused, unfinished ones go on.
const PARTIALS_MAX: usize = 64;

/// `peer receive`.
pub(crate) async fn receive(args: ReceiveArgs) -> Result<(), Failure> {
    if !args.into.is_dir() {
        return Err(Failure::file(format!(
            "{} is not a folder",
            args.into.display()
        )));
    }
    let interrupted = interrupted();
    let peer = args.peer.open().await?;
    let id = peer.id().map(|id| id.to_string()).unwrap_or_default();
    eprintln!(
        "Ready. From elsewhere: peer send {id} FILE --broker {}",
        args.peer.broker()
    );
    let outcome = tokio::select! {
        outcome = serve(&peer, args) => outcome,
        () = interrupted => Ok(()),
    };
    end(&peer).await;
    outcome
}

async fn serve(peer: &Peer, args: ReceiveArgs) -> Result<(), Failure> {
    let (finished, mut wholes) = mpsc::channel(TRANSFERS_MAX);
    let receiver = Arc::new(Receiver {
        folder: args.into,
        max_size: args.max_size.unwrap_or(u64::MAX),
        places: Semaphore::new(TRANSFERS_MAX),
        running: Mutex::default(),
        finished,
    });
    loop {
        tokio::select! {
            connection = peer.accept() => {
                let Some(connection) = connection else {
                    return Err(Failure::broker("the peer was ended by its broker"));
                };
                let stranger = args.from.as_ref().is_some_and(|from| from != connection.peer());
                if stranger || connection.label() != LABEL {
                    eprintln!("{} wanted something else and was turned away.", connection.peer());
                    connection.close();
                    continue;
                }
                tokio::spawn(Arc::clone(&receiver).attend(connection));
            }
            Some(connection) = wholes.recv() => if args.once {
                // The sender closes once it has read `done`.
                let _ = tokio::time::timeout(STALL_TIMEOUT, connection.closed()).await;
                return Ok(());
            },
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
    folder: PathBuf,
    max_size: u64,
    places: Semaphore,
    /// Files that come now, by checksum. A sender that lost its connection offers again before this side has
    /// noticed the loss: the new transfer then ends the old one.
    running: Mutex<HashMap<String, Running>>,
    finished: mpsc::Sender<DataConnection>,
}

impl Receiver {
    async fn attend(self: Arc<Self>, connection: DataConnection) {
        let from = connection.peer().to_owned();
        loop {
            match hear(&connection).await {
                Ok(Message::Say(Say::File { name, size, sha256 })) => {
                    match self.take(&connection, &name, size, &sha256).await {
                        Ok(path) => {
                            println!("{sha256} {} {size} bytes from {from}", path.display());
                            let _ = say(&connection, &Say::Done).await;
                            let _ = self.finished.send(connection.clone()).await;
                        }
                        Err(reason) => {
                            eprintln!("peer: {name} from {from}: {reason}");
                            let _ = say(&connection, &Say::Refuse { reason }).await;
                        }
                    }
                }
                // Blocks of a file that was refused in the middle.
                Ok(Message::Block(_)) => {}
                Ok(Message::Say(_)) => return connection.close(),
                Err(_) => return connection.close(),
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
        let name = safe_name(name).ok_or("the file has no name that can be used here")?;
        if size > self.max_size {
            return Err(format!("at most {} bytes are taken here", self.max_size));
        }
        if sha256.len() != 64
            || !sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err("the checksum is not SHA-256 in lower-case hex".to_owned());
        }
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|_| "this side is ending")?;
        let (mut replaced, turn) = self.replace(sha256);
        let _turn = turn.lock().await;
        let outcome = tokio::select! {
            outcome = self.write(connection, &name, size, sha256) => outcome,
            Ok(_) = replaced.wait_for(|replaced| *replaced) => {
                connection.close();
                Err("a newer transfer of the same file took over".to_owned())
            }
        };
        if !*replaced.borrow() {
            self.running().remove(sha256);
        }
        outcome
    }

    /// Tells a running transfer of the same file to end; gives this one's own signal and the file's turn.
    fn replace(&self, sha256: &str) -> (watch::Receiver<bool>, Arc<tokio::sync::Mutex<()>>) {
        let mut running = self.running();
        let turn = match running.remove(sha256) {
            Some(older) => {
                older.replaced.send_replace(true);
                older.turn
            }
            None => Arc::default(),
        };
        let replaced = watch::Sender::new(false);
        let signal = replaced.subscribe();
        running.insert(
            sha256.to_owned(),
            Running {
                replaced,
                turn: Arc::clone(&turn),
            },
        );
        (signal, turn)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn write(
        &self,
        connection: &DataConnection,
        name: &str,
        size: u64,
        sha256: &str,
    ) -> Result<PathBuf, String> {
        let cannot = |error: std::io::Error| format!("it cannot be written here: {error}");
        if partials(&self.folder, sha256).await.map_err(cannot)? >= PARTIALS_MAX {
            return Err("too many unfinished files are in the folder".to_owned());
        }
        let mut partial = Partial::open(&self.folder, name, size, sha256)
            .await
            .map_err(cannot)?;
        let bar = progress(name, size, partial.length());
        say(
            connection,
            &Say::Accept {
                offset: partial.length(),
            },
        )
        .await
        .map_err(|error| sentence(&error))?;
        while partial.length() < size {
            match hear(connection).await {
                Ok(Message::Block(block)) => {
                    partial.write(&block).await.map_err(cannot)?;
                    bar.set_position(partial.length());
                }
                Ok(Message::Say(_)) => return Err("blocks of the file were expected".to_owned()),
                Err(silence) => return Err(silence.sentence().to_owned()),
            }
        }
        bar.finish_and_clear();
        partial.finish().await.map_err(cannot)
    }
}
