//! `peer send`.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use indicatif::ProgressBar;
use peer_net::{DataConnection, Peer, Serialization};
use ring::digest::{Context, SHA256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::protocol::{BLOCK, LABEL, Message, STALL_TIMEOUT, Say, Silence, hear, say};
use super::{SendArgs, progress, store};
use crate::failure::{Failure, sentence};
use crate::peer_options::end;
use crate::signals::interrupted;

/// How often a lost connection is made again without a byte of progress in between.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before a lost connection is made again; it grows by as much with each attempt.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(2);

/// `peer send`.
pub(crate) async fn send(args: SendArgs) -> Result<(), Failure> {
    // A file that is not there is told before anything is started.
    for path in &args.files {
        if !path.is_file() {
            return Err(Failure::file(format!(
                "{} is not a file that can be read",
                path.display()
            )));
        }
    }
    let interrupted = interrupted();
    let peer = args.peer.open().await?;
    let outcome = tokio::select! {
        outcome = send_all(&peer, &args) => outcome,
        () = interrupted => Err(Failure::other("interrupted; the same command goes on where it stopped")),
    };
    end(&peer).await;
    outcome
}

async fn send_all(peer: &Peer, args: &SendArgs) -> Result<(), Failure> {
    let mut connection = None;
    for path in &args.files {
        let mut offer = Offer::of(path).await.map_err(|error| {
            Failure::file(format!("{} cannot be read: {error}", path.display()))
        })?;
        let mut attempts = 0;
        loop {
            let current = match connection.take() {
                Some(connection) => connection,
                None => connect(peer, &args.remote).await?,
            };
            let before = offer.bar.position();
            match offer.transfer(&current).await {
                Ok(()) => {
                    connection = Some(current);
                    break;
                }
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Lost(why)) => {
                    current.close();
                    attempts = if offer.bar.position() > before {
                        1
                    } else {
                        attempts + 1
                    };
                    if attempts > ATTEMPTS_MAX {
                        return Err(Failure::connection(format!("{}: {why}", offer.name)));
                    }
                    offer
                        .bar
                        .println(format!("{}: {why}; trying again", offer.name));
                    tokio::time::sleep(ATTEMPT_PAUSE * attempts).await;
                }
            }
        }
    }
    if let Some(connection) = connection {
        let _ = tokio::time::timeout(STALL_TIMEOUT, connection.close_flush()).await;
    }
    Ok(())
}

async fn connect(peer: &Peer, remote: &str) -> Result<DataConnection, Failure> {
    peer.connect(remote)
        .label(LABEL)
        .reliable(true)
        .serialization(Serialization::Raw)
        .await
        .map_err(|error| Failure::of_connect(remote, &error))
}

/// Why a transfer stopped.
enum Trouble {
    /// Another connection may help.
    Lost(String),
    /// Nothing helps.
    Final(Failure),
}

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Ended | Silence::Stalled => Self::Lost(silence.sentence().to_owned()),
            Silence::Nonsense => Self::Final(Failure::connection(silence.sentence())),
        }
    }
}

/// A file that is to be sent.
struct Offer {
    file: File,
    name: String,
    size: u64,
    sha256: String,
    bar: ProgressBar,
}

impl Offer {
    async fn of(path: &Path) -> std::io::Result<Self> {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let mut file = File::open(path).await?;
        let mut context = Context::new(&SHA256);
        let size = store::hash_rest(&mut file, &mut context).await?;
        let sha256 = store::hex(context.finish().as_ref());
        let bar = progress(&name, size, 0);
        Ok(Self {
            file,
            name,
            size,
            sha256,
            bar,
        })
    }

    async fn transfer(&mut self, connection: &DataConnection) -> Result<(), Trouble> {
        let offer = Say::File {
            name: self.name.clone(),
            size: self.size,
            sha256: self.sha256.clone(),
        };
        say(connection, &offer)
            .await
            .map_err(|error| Trouble::Lost(sentence(&error)))?;
        let offset = match hear(connection).await? {
            Message::Say(Say::Accept { offset }) if offset <= self.size => offset,
            Message::Say(Say::Refuse { reason }) => return Err(self.refused(&reason)),
            _ => return Err(Silence::Nonsense.into()),
        };
        self.bar.set_position(offset);
        let outcome = {
            // The receiver may refuse in the middle, for example when its disk is full.
            let answer = hear_at_last(connection);
            tokio::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                sent = Self::send_from(&mut self.file, &self.bar, connection, offset) => match sent {
                    Ok(()) => answer.await,
                    Err(trouble) => return Err(trouble),
                },
            }
        };
        match outcome? {
            Message::Say(Say::Done) => {
                self.bar.finish_and_clear();
                println!("{} {} {} bytes", self.sha256, self.name, self.size);
                Ok(())
            }
            Message::Say(Say::Refuse { reason }) => Err(self.refused(&reason)),
            _ => Err(Silence::Nonsense.into()),
        }
    }

    fn refused(&self, reason: &str) -> Trouble {
        Trouble::Final(Failure::file(format!(
            "the other side refused {}: {reason}",
            self.name
        )))
    }

    async fn send_from(
        file: &mut File,
        bar: &ProgressBar,
        connection: &DataConnection,
        offset: u64,
    ) -> Result<(), Trouble> {
        let unreadable =
            |error| Trouble::Final(Failure::file(format!("the file cannot be read: {error}")));
        file.seek(SeekFrom::Start(offset))
            .await
            .map_err(unreadable)?;
        loop {
            let mut block = BytesMut::with_capacity(BLOCK);
            // `read_buf` may give less than the file has; a block is a message either way.
            if file.read_buf(&mut block).await.map_err(unreadable)? == 0 {
                return Ok(());
            }
            let length = block.len() as u64;
            tokio::time::timeout(STALL_TIMEOUT, connection.send_bytes(block.freeze()))
                .await
                .map_err(|_| Trouble::from(Silence::Stalled))?
                .map_err(|error| Trouble::Lost(sentence(&error)))?;
            bar.inc(length);
        }
    }
}

/// The receiver's last word. While the file is being sent, its silence is no stall.
async fn hear_at_last(connection: &DataConnection) -> Result<Message, Silence> {
    loop {
        match hear(connection).await {
            Err(Silence::Stalled) if connection.buffered_amount() > 0 => {}
            other => return other,
        }
    }
}
