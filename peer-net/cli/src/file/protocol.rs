//! What sender and receiver say to each other: JSON texts and the file's bytes on one `raw`,
//! ordered connection.
//!
//! ```text
//! sender    {"type":"file","name":"a.bin","size":5,"sha256":"…"}
//! receiver  {"type":"accept","offset":0}        or  {"type":"refuse","reason":"…"}
//! sender    bytes from the offset on, in binary messages
//! receiver  {"type":"done"}                     or  {"type":"refuse","reason":"…"}
//! ```
//! The sender may then offer the next file. A sender that lost the connection connects and offers
//! again; the receiver then accepts from where it stopped.

use std::time::Duration;

use peer_net::{DataConnection, ReceiveError, SendError, Value};
use serde::{Deserialize, Serialize};

/// The label of the connection, which tells a receiver that it is about files.
pub(super) const LABEL: &str = "peer-file";
/// Bytes of a file in one message.
pub(super) const BLOCK: usize = 64 * 1024;
/// How long either side waits for the other before it gives the connection up.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A text of the protocol.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Say {
    File {
        name: String,
        size: u64,
        sha256: String,
    },
    Accept {
        offset: u64,
    },
    Refuse {
        reason: String,
    },
    Done,
}

/// A message of the protocol.
pub(super) enum Message {
    Say(Say),
    Block(bytes::Bytes),
}

/// Why no message came.
pub(super) enum Silence {
    /// The connection is over.
    Ended,
    /// Nothing came for [`STALL_TIMEOUT`].
    Stalled,
    /// The other side speaks something else.
    Nonsense,
}

impl Silence {
    pub(super) const fn sentence(&self) -> &'static str {
        match self {
            Self::Ended => "the connection was lost",
            Self::Stalled => "nothing came from the other side for a minute",
            Self::Nonsense => "the other side does not speak this version of the file protocol",
        }
    }
}

/// Sends a text.
pub(super) async fn say(connection: &DataConnection, what: &Say) -> Result<(), SendError> {
    let text = serde_json::to_string(what).map_err(|error| SendError::Encode(error.to_string()))?;
    connection.send_text(text).await
}

/// The next message.
pub(super) async fn hear(connection: &DataConnection) -> Result<Message, Silence> {
    let received: Result<Option<Value>, ReceiveError> =
        tokio::time::timeout(STALL_TIMEOUT, connection.recv())
            .await
            .map_err(|_| Silence::Stalled)?;
    match received {
        Ok(Some(Value::Bytes(block))) => Ok(Message::Block(block)),
        Ok(Some(Value::String(text))) => serde_json::from_str(&text)
            .map(Message::Say)
            .map_err(|_| Silence::Nonsense),
        Ok(Some(_)) | Err(_) => Err(Silence::Nonsense),
        Ok(None) => Err(Silence::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_documented() {
        let text = r#"{"type":"file","name":"a.bin","size":5,"sha256":"ab"}"#;
        let say: Say = serde_json::from_str(text).expect("a text of the protocol");
        assert_eq!(serde_json::to_string(&say).expect("JSON"), text);
        assert_eq!(
            serde_json::to_string(&Say::Done).expect("JSON"),
            r#"{"type":"done"}"#
        );
    }
}
