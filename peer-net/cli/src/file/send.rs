//! `peer send`.

use std::io::SeekFrom;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use indicatif::ProgressBar;
use peer_net::{ConnectError, DataConnection, Peer, SendError, Serialization};
use ring::digest::{Context, SHA256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::protocol::{BLOCK, LABEL, Message, STALL_TIMEOUT, Say, Silence, hear, say};
use super::{SendArgs, progress, store};
use crate::failure::{Failure, sentence};
use crate::online::{Online, Start, lost};
use crate::peer_options::{PeerOptions, end, refuse_offers};
use crate::shown::tell;
use crate::signals::interrupted;
use crate::stdout::print;

/// Pause before a lost connection is made again. It doubles with each attempt that brings nothing,
/// to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long one attempt to connect may take. Offers to a receiver that is away are answered by
/// nobody, and the next attempt may find it back.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked whether something got on.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than anybody waits: a year.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// `peer send`.
pub(crate) async fn send(args: SendArgs) -> Result<(), Failure> {
    let patience = Duration::try_from_secs_f64(args.timeout)
        .map_err(|_| Failure::usage("--timeout takes a number of seconds, zero or more"))?;
    // A file that is not there is told before anything is started.
    for path in &args.files {
        if !path.is_file() {
            return Err(Failure::file(format!(
                "{} is not a file that can be read",
                path.display()
            )));
        }
    }
    let mut interrupted = pin!(interrupted());
    let opening = args
        .peer
        .open(Start::Once, interrupted.as_mut(), |builder| {
            refuse_offers(builder).connect_timeout(CONNECT_TIMEOUT)
        });
    let Some(online) = opening.await? else {
        return Err(Failure::other("interrupted before anything was sent"));
    };
    let outcome = tokio::select! {
        outcome = send_all(&online, &args, patience) => outcome,
        failure = online.lost() => Err(failure),
        () = interrupted => Err(Failure::other(format!(
            "interrupted; the same command with --id {} goes on where it stopped",
            online.id()
        ))),
    };
    end(&online.peer).await;
    outcome
}

async fn send_all(online: &Online, args: &SendArgs, patience: Duration) -> Result<(), Failure> {
    let peer = &online.peer;
    let mut connection = Some(
        connect(peer, &args.remote)
            .await
            .map_err(Trouble::failure)?,
    );
    for path in &args.files {
        let mut offer = Offer::of(path).await.map_err(|error| {
            Failure::file(format!("{} cannot be read: {error}", path.display()))
        })?;
        let mut attempts = Attempts::begin(&offer.bar, patience);
        loop {
            let trouble = tokio::select! {
                outcome = attempt(peer, &args.remote, &mut connection, &mut offer) => match outcome {
                    Ok(()) => break,
                    Err(trouble) => trouble,
                },
                () = attempts.given_up() => return Err(attempts.failure(online, &args.peer)),
            };
            let why = match trouble {
                Trouble::Lost(failure) => failure,
                Trouble::Final(failure) => return Err(failure),
            };
            offer
                .bar
                .suspend(|| tell!("peer: {}: {}; trying again", offer.name, why.sentence()));
            if !attempts.pause(why).await {
                return Err(attempts.failure(online, &args.peer));
            }
        }
        print(&format!(
            "{} {} {} bytes",
            offer.sha256, offer.name, offer.size
        ))?;
    }
    if let Some(connection) = connection {
        drop(timeout(STALL_TIMEOUT, connection.close_flush()).await);
    }
    Ok(())
}

/// Tries to send the file, over the connection of before if it lives.
async fn attempt(
    peer: &Peer,
    remote: &str,
    connection: &mut Option<DataConnection>,
    offer: &mut Offer,
) -> Result<(), Trouble> {
    let current = match connection.take() {
        Some(connection) => connection,
        None => connect(peer, remote).await?,
    };
    let outcome = offer.transfer(&current).await;
    match outcome {
        Ok(()) => *connection = Some(current),
        Err(_) => current.close(),
    }
    outcome
}

/// Connects, once there is a broker.
async fn connect(peer: &Peer, remote: &str) -> Result<DataConnection, Trouble> {
    // Why not is told by who watches the peer.
    drop(peer.opened().await);
    let connecting = peer
        .connect(remote)
        .label(LABEL)
        .reliable(true)
        .serialization(Serialization::Raw);
    connecting.await.map_err(|error| {
        let failure = Failure::of_connect(remote, &error);
        match error {
            ConnectError::Failed(_) | ConnectError::Disconnected => Trouble::Lost(failure),
            _ => Trouble::Final(failure),
        }
    })
}

/// The attempts to send one file, and the pauses between those that bring nothing.
struct Attempts {
    bar: ProgressBar,
    patience: Duration,
    /// Where the file was, and until when it may stay there.
    position: u64,
    until: Instant,
    pause: Duration,
    /// Of the last attempt.
    why: Option<Failure>,
}

impl Attempts {
    fn begin(bar: &ProgressBar, patience: Duration) -> Self {
        Self {
            bar: bar.clone(),
            patience,
            position: bar.position(),
            until: later(patience),
            pause: PAUSE,
            why: None,
        }
    }

    /// Looks whether something got on.
    fn look(&mut self) {
        let position = self.bar.position();
        if position > self.position {
            self.until = later(self.patience);
            self.pause = PAUSE;
        }
        self.position = position;
    }

    /// Waits until nothing got on for as long as there is patience. Cancel safe.
    async fn given_up(&mut self) {
        loop {
            self.look();
            let now = Instant::now();
            if now >= self.until {
                return;
            }
            sleep_until(self.until.min(now + LOOK)).await;
        }
    }

    /// Waits before the next attempt; `false` where there is no patience for another.
    async fn pause(&mut self, why: Failure) -> bool {
        self.look();
        self.why = Some(why);
        let pause = self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = sleep(pause) => true,
            () = self.given_up() => false,
        }
    }

    /// Why nothing got on.
    fn failure(&mut self, online: &Online, options: &PeerOptions) -> Failure {
        let seconds = self.patience.as_secs_f32();
        let nothing = format!("nothing got on for {seconds} s (--timeout)");
        if !online.peer.is_open() {
            return Failure::broker(lost(options.broker(), None)).after(&nothing);
        }
        match self.why.take() {
            Some(why) => why.after(&nothing),
            None => Failure::connection(nothing),
        }
    }
}

fn later(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now + FOREVER)
}

/// Why a transfer stopped.
enum Trouble {
    /// Another connection may help.
    Lost(Failure),
    /// Nothing helps.
    Final(Failure),
}

impl Trouble {
    fn failure(self) -> Failure {
        match self {
            Self::Lost(failure) | Self::Final(failure) => failure,
        }
    }
}

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        let failure = Failure::connection(silence.sentence());
        match silence {
            Silence::Ended | Silence::Stalled => Self::Lost(failure),
            Silence::Nonsense => Self::Final(failure),
        }
    }
}

impl From<SendError> for Trouble {
    fn from(error: SendError) -> Self {
        Self::Lost(Failure::connection(sentence(&error)))
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
        say(connection, &offer).await?;
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
            timeout(STALL_TIMEOUT, connection.send_bytes(block.freeze()))
                .await
                .map_err(|_| Trouble::from(Silence::Stalled))??;
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
