//! Lines on their way to stdout.

use peer_net::budget::{Account, Budget, Held};
use peer_net::{ConnectionInfo, DataConnection, ReceiveError, Value};

use super::super::incoming::{MESSAGE_COST, WAITING_MAX, receive};
use super::line::Line;
use super::value::Json;
use crate::shown;
use crate::stdout::Stdout;

/// stdout, and what waits for it.
#[derive(Clone)]
pub(super) struct Out {
    pub(super) stdout: Stdout,
    budget: Budget,
}

impl Out {
    pub(super) fn new(stdout: Stdout) -> Self {
        let budget = Budget::new(WAITING_MAX);
        Self { stdout, budget }
    }

    /// The lines of one connection, or of the peer itself.
    pub(super) fn account(&self) -> Lines {
        Lines {
            out: self.clone(),
            account: self.budget.account(),
        }
    }

    fn text(&self, line: &Line<'_>) -> Vec<u8> {
        let mut text = match serde_json::to_string(line) {
            Ok(text) => text,
            Err(error) => {
                debug_assert!(false, "a line cannot be written: {error}");
                return Vec::new();
            }
        };
        if self.stdout.is_terminal() {
            text = shown::json(text);
        }
        text.push('\n');
        text.into_bytes()
    }
}

/// Where lines of one account go out.
#[derive(Clone)]
pub(super) struct Lines {
    out: Out,
    account: Account,
}

impl Lines {
    /// Writes a line, once there is room for it.
    pub(super) async fn line(&self, line: &Line<'_>) {
        let text = self.out.text(line);
        let held = self.account.take(text.len() + MESSAGE_COST).await;
        self.out.stdout.write(text, Some(held));
    }

    /// Writes a line if there is room for it now.
    pub(super) fn try_line(&self, line: &Line<'_>) -> bool {
        let text = self.out.text(line);
        let held = self.account.try_take(text.len() + MESSAGE_COST);
        let fits = held.is_some();
        if fits {
            self.out.stdout.write(text, held);
        }
        fits
    }

    pub(super) async fn error(
        &self,
        kind: &str,
        connection: Option<&str>,
        message: &str,
        tag: Option<&Value>,
    ) {
        self.line(&Line::Error {
            kind,
            connection,
            message,
            tag,
        })
        .await;
    }

    pub(super) async fn connection(&self, name: &str, info: &ConnectionInfo, tag: Option<&Value>) {
        let metadata = info.metadata();
        self.line(&Line::Connection {
            connection: name,
            peer: info.peer().as_str(),
            label: info.label(),
            metadata: metadata.as_ref().map(Json),
            serialization: info.serialization().as_str(),
            reliable: info.reliable(),
            incoming: info.is_incoming(),
            tag,
        })
        .await;
    }

    /// The next message of a connection, once there is room for it; `None` at the end.
    pub(super) async fn receive(
        &self,
        connection: &DataConnection,
    ) -> Option<(Result<Value, ReceiveError>, Held)> {
        receive(connection, &self.account).await
    }

    /// Writes the line of a message, which [`receive`](Self::receive) made room for.
    pub(super) fn data(&self, name: &str, value: &Value, mut held: Held) {
        let text = self.out.text(&Line::Data {
            connection: name,
            data: Json(value),
        });
        held.shrink(text.len() + MESSAGE_COST);
        self.out.stdout.write(text, Some(held));
    }
}
