//! One connection of a session: its lines, from `connection` to its one last.

use std::sync::{Arc, Mutex, PoisonError};

use peer_net::budget::{Account, Held};
use peer_net::{CloseReason, ConnectionError, DataConnection, Value};
use tokio::sync::mpsc;

use super::Session;
use super::line::{CLOSED, LEFT_OUT, Line, UNREADABLE, side};
use super::out::Lines;
use crate::failure::{Failure, could_not, sentence};

/// What waits for a connection's sender, in order.
pub(super) enum Job {
    Send(Arc<Outgoing>),
    CloseFlush,
}

/// A message that waits to be sent, to one connection or to all.
pub(super) struct Outgoing {
    pub(super) value: Value,
    pub(super) tag: Option<Value>,
    /// Given back once it is sent everywhere.
    pub(super) _held: Held,
}

/// A connection that the lines can name.
pub(super) struct Named {
    /// The connection's id; another where a second connection of that id came.
    pub(super) name: String,
    pub(super) connection: DataConnection,
    /// Bounded by the bytes that the jobs hold.
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) outgoing: Account,
    pub(super) lines: Lines,
    /// Of the command that closed it.
    close_tag: Mutex<Option<Value>>,
    /// Lines about it that found no room.
    left_out: Mutex<u64>,
}

impl Named {
    pub(super) fn new(
        name: String,
        connection: DataConnection,
        jobs: mpsc::UnboundedSender<Job>,
        outgoing: Account,
        lines: Lines,
    ) -> Self {
        Self {
            name,
            connection,
            jobs,
            outgoing,
            lines,
            close_tag: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// Closes it, at once or after what was sent. `tag` is told with its last line.
    pub(super) fn close(&self, flush: bool, tag: Option<Value>) {
        *self
            .close_tag
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = tag;
        if flush {
            // A sender that is gone has told the end already.
            drop(self.jobs.send(Job::CloseFlush));
        } else {
            self.connection.close();
        }
    }

    /// Something went wrong on it and it goes on. Its own errors wait for nobody: those that find
    /// no room are counted, and told later.
    pub(super) fn error(&self, error: ConnectionError) {
        let told = self.lines.try_line(&Line::Error {
            kind: error.as_str(),
            connection: Some(&self.name),
            message: &error.to_string(),
            tag: None,
        });
        if !told {
            *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }
}

/// Lives through a connection. `first`: it is the one that `peer connect` is about, and how it ends
/// is how the command ends.
pub(super) async fn attend(
    session: Arc<Session>,
    named: Arc<Named>,
    jobs: mpsc::UnboundedReceiver<Job>,
    tag: Option<Value>,
    first: bool,
) {
    let (name, connection, lines) = (&named.name[..], &named.connection, &named.lines);
    lines
        .connection(name, connection.info(), tag.as_ref())
        .await;
    match connection.opened().await {
        Ok(()) => {
            let stack = connection.info().stack().name();
            let line = Line::ConnectionOpen {
                connection: name,
                stack,
            };
            lines.line(&line).await;
            tokio::join!(receive(&session, &named), send(&named, jobs));
            tell_left_out(&named).await;
            let reason = connection.closed().await;
            if first && matches!(reason, CloseReason::Lost(_)) {
                session.fail(Failure::connection(format!(
                    "{}: {reason}",
                    connection.peer()
                )));
            }
            let tag = named
                .close_tag
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let line = Line::ConnectionClose {
                connection: name,
                side: side(&reason),
                reason: &reason.to_string(),
                tag: tag.as_ref(),
            };
            lines.line(&line).await;
        }
        Err(failure) => {
            if first {
                session.fail(Failure::of_failure(connection.peer(), &failure));
            }
            refuse(&named, jobs).await;
            let why = could_not(connection.peer(), &failure);
            lines
                .error(failure.kind(), Some(name), &why, tag.as_ref())
                .await;
        }
    }
    session.forget(&named);
}

/// Tells what comes until the connection is over.
async fn receive(session: &Session, named: &Named) {
    let (name, connection) = (&named.name[..], &named.connection);
    while let Some((value, held)) = named.lines.receive(connection).await {
        tell_left_out(named).await;
        match value {
            Ok(value) => {
                named.lines.data(name, &value, held);
                if session.echo
                    && let Err(error) = connection.send(&value).await
                {
                    let why = sentence(&error);
                    named
                        .lines
                        .error(error.kind(), Some(name), &why, None)
                        .await;
                }
            }
            Err(error) => {
                drop(held);
                let line = Line::Warning {
                    kind: UNREADABLE,
                    connection: Some(name),
                    message: &sentence(&error),
                };
                named.lines.line(&line).await;
            }
        }
    }
}

async fn tell_left_out(named: &Named) {
    let left_out = core::mem::take(
        &mut *named
            .left_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    if left_out > 0 {
        let line = Line::Warning {
            kind: LEFT_OUT,
            connection: Some(&named.name),
            message: &format!(
                "{left_out} errors of this connection found no room and are not told"
            ),
        };
        named.lines.line(&line).await;
    }
}

/// Sends what stdin said, in order, until the connection is over.
async fn send(named: &Named, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let (name, connection) = (&named.name[..], &named.connection);
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            _ = connection.closed() => None,
        };
        match job {
            Some(Job::Send(message)) => match connection.send(&message.value).await {
                Ok(()) => {
                    if let Some(tag) = &message.tag {
                        let line = Line::Sent {
                            connection: name,
                            tag,
                        };
                        named.lines.line(&line).await;
                    }
                }
                Err(error) => {
                    let (kind, why) = (error.kind(), sentence(&error));
                    let tag = message.tag.as_ref();
                    named.lines.error(kind, Some(name), &why, tag).await;
                }
            },
            Some(Job::CloseFlush) => {
                connection.close_flush().await;
            }
            None => return refuse(named, jobs).await,
        }
    }
}

/// Answers the commands that come too late and want an answer.
async fn refuse(named: &Named, mut jobs: mpsc::UnboundedReceiver<Job>) {
    jobs.close();
    while let Some(job) = jobs.recv().await {
        if let Job::Send(message) = job
            && let Some(tag) = &message.tag
        {
            let why = "the connection was over before this was sent";
            named
                .lines
                .error(CLOSED, Some(&named.name), why, Some(tag))
                .await;
        }
    }
}
