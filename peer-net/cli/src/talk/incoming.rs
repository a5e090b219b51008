//! What remotes sent, taken as fast as there is room for it.

use peer_net::budget::{Account, Held};
use peer_net::{DataConnection, ReceiveError, Value};

/// Bytes that wait for stdout, over all connections, beyond the share of each; messages that are
/// decoded and not yet written are among them. At the limit reading from the remotes waits, those
/// that hold least come first.
pub(super) const WAITING_MAX: usize = 32 << 20;
/// What a message costs besides its bytes.
pub(super) const MESSAGE_COST: usize = 128;
/// How much longer a message may be as text than in its serialization: a control character in a
/// string becomes six.
const GROWTH: usize = 6;

/// The next message of a connection, once there is room for it: it is decoded no earlier. `None` at
/// the end.
pub(super) async fn receive(
    connection: &DataConnection,
    account: &Account,
) -> Option<(Result<Value, ReceiveError>, Held)> {
    let size = connection.next_size().await?;
    let cost = size.saturating_mul(GROWTH).saturating_add(MESSAGE_COST);
    let held = account.take(cost).await;
    match connection.recv().await {
        Ok(Some(value)) => Some((Ok(value), held)),
        Ok(None) => None,
        Err(error) => Some((Err(error), held)),
    }
}
