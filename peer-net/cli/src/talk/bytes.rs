//! `--bytes`: stdin and stdout as they are, over one ordered connection.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use peer_net::{DataConnection, Peer, SendError, Value};
use tokio::io::{AsyncReadExt as _, stdin};
use tokio::sync::watch;

use super::incoming::{MESSAGE_COST, receive};
use super::lines::{Printer, alongside, ended, finish, idle, listening};
use super::{Defaults, Failure};
use crate::failure::sentence;
use crate::online::Start;
use crate::peer_options::{PeerOptions, refuse_offers};
use crate::shown::{self, tell};
use crate::signals::interrupted;

/// Bytes of stdin in one message.
const BLOCK: usize = 64 << 10;

/// Serves the first peer that comes, and ends with it. Others are turned away meanwhile.
pub(super) async fn listen(options: &PeerOptions) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let printer = Printer::start()?;
    let opening = options.open(Start::Patient, interrupted.as_mut(), |builder| builder);
    let Some(online) = opening.await? else {
        return Ok(());
    };
    listening(&online, options);
    let serving = async {
        let Some(connection) = online.peer.accept().await else {
            // Why is told by who watches the peer.
            return pending().await;
        };
        let remote = connection.peer().to_owned();
        tell!("{remote} connected.");
        let (printed, _) = watch::channel(());
        let feeding = async {
            let outcome = feed(&connection).await;
            // What there is to say is said; the remote ends it.
            match outcome {
                Ok(()) => pending().await,
                failed => failed,
            }
        };
        let ends = async {
            write_all(&connection, &printer, &printed).await?;
            ended(&remote, connection.closed().await)
        };
        tokio::select! {
            outcome = alongside(feeding, ends) => outcome,
            () = refuse(&online.peer) => pending().await,
        }
    };
    printer.run(&online, interrupted, serving).await
}

async fn refuse(peer: &Peer) {
    while let Some(other) = peer.accept().await {
        tell!("{} was turned away: there is a connection.", other.peer());
        other.close();
    }
    pending::<()>().await;
}

pub(super) async fn connect(
    options: &PeerOptions,
    defaults: &Defaults,
    remote: &str,
    wait: Duration,
) -> Result<(), Failure> {
    let mut interrupted = pin!(interrupted());
    let printer = Printer::start()?;
    let opening = options.open(Start::Once, interrupted.as_mut(), refuse_offers);
    let Some(online) = opening.await? else {
        return Ok(());
    };
    let conversing = async {
        let connection = defaults
            .connect(&online.peer, remote)
            .await
            .map_err(|error| Failure::of_connect(remote, &error))?;
        tell!("Connected to {remote}.");
        let (printed, progress) = watch::channel(());
        let feeding = async {
            let outcome = feed(&connection).await;
            idle(&connection, wait, progress).await;
            outcome.and(finish(remote, &connection).await)
        };
        let ends = async {
            write_all(&connection, &printer, &printed).await?;
            ended(remote, connection.closed().await)
        };
        alongside(feeding, ends).await
    };
    printer.run(&online, interrupted, conversing).await
}

/// Sends stdin to its end.
async fn feed(connection: &DataConnection) -> Result<(), Failure> {
    let mut stdin = stdin();
    loop {
        let mut block = BytesMut::with_capacity(BLOCK);
        let read = stdin.read_buf(&mut block).await;
        if read.map_err(|error| Failure::other(format!("stdin cannot be read: {error}")))? == 0 {
            return Ok(());
        }
        match connection.send_bytes(block.freeze()).await {
            Ok(()) => {}
            // The end is told by who reads.
            Err(SendError::Closed(_)) => return pending().await,
            Err(error) => return Err(Failure::connection(sentence(&error))),
        }
    }
}

/// Writes what comes until the connection is over. What is no bytes and no text ends it.
async fn write_all(
    connection: &DataConnection,
    printer: &Printer,
    printed: &watch::Sender<()>,
) -> Result<(), Failure> {
    let account = printer.account();
    while let Some((value, mut held)) = receive(connection, &account).await {
        let mut bytes = match value {
            Ok(Value::Bytes(bytes)) => bytes.to_vec(),
            Ok(Value::String(text)) => text.into_bytes(),
            Ok(_) => {
                return Err(Failure::connection(format!(
                    "{} sends values, not bytes; its side needs --bytes, or serialization raw",
                    connection.peer()
                )));
            }
            Err(error) => {
                return Err(Failure::connection(format!(
                    "{}: {}",
                    connection.peer(),
                    sentence(&error)
                )));
            }
        };
        if printer.stdout.is_terminal() {
            bytes = shown::page(&bytes).into_bytes();
        }
        held.shrink(bytes.len() + MESSAGE_COST);
        printer.stdout.write(bytes, Some(held));
        printed.send_replace(());
    }
    Ok(())
}
