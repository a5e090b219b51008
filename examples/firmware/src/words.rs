//! What firmware and page say to each other: objects, in the connection's serialization. On a raw
//! connection, which has no objects, they are JSON texts.

use peer_core::{
    connection::{ReceiveError, SendError},
    peer::DataConnection,
    serialization::Serialization,
    wire::json,
};
use serde::{Deserialize, Serialize};

/// Longest text that is acknowledged, in bytes.
pub(crate) const TEXT_MAX: usize = 64;
/// Bytes of the longest raw message that is written, and of the longest command that is read.
const RAW_MAX: usize = 256;

/// What a page asks for. Each member is a wish of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Command<'m> {
    /// A reading each so many milliseconds.
    pub(crate) interval: Option<u32>,
    /// LED 0 or 1, to be switched `on`.
    pub(crate) led: Option<u8>,
    pub(crate) on: bool,
    /// A text to be acknowledged.
    #[serde(borrow)]
    pub(crate) text: Option<&'m str>,
    /// The history.
    pub(crate) blob: bool,
    /// The id of another page, to be connected to.
    #[serde(borrow)]
    pub(crate) call: Option<&'m str>,
}

/// What the firmware says.
#[derive(Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Say<'m> {
    Reading {
        number: u32,
        /// Milliseconds since the start.
        uptime: u64,
        /// Thousandths of a degree Celsius: no firmware without a reason has floats.
        millidegrees: i32,
        /// Milliseconds.
        interval: u32,
        leds: [bool; 2],
    },
    Interval {
        ms: u32,
    },
    Led {
        led: u8,
        on: bool,
    },
    Text {
        text: &'m str,
    },
    /// A connection is on its way.
    Call {},
    /// The history follows, of so many bytes: as one binary message, or in parts.
    Blob {
        bytes: usize,
    },
    /// A part of the history, on a JSON connection. On a raw one a part is binary: its place in 4
    /// bytes, the highest first, and the bytes.
    Part {
        at: usize,
        text: &'m str,
    },
    /// A message of so many bytes came that was longer than the inbox.
    Upload {
        bytes: usize,
        /// FNV-1a of 32 bits.
        checksum: u32,
    },
    /// The history is sent.
    Done {
        bytes: usize,
        /// FNV-1a of 32 bits.
        checksum: u32,
    },
    Error {
        message: &'m str,
    },
}

/// Reads the next message and lets `obey` see it; `None` when there is none. A message that is no
/// command is `Err`.
pub(crate) fn hear<T>(
    connection: &mut DataConnection<'_>,
    obey: impl FnOnce(Command<'_>) -> T,
) -> Option<Result<T, ()>> {
    if connection.serialization() == Serialization::Raw {
        let message = connection.recv_raw()?.bytes;
        let mut text = [0; RAW_MAX];
        let Some(text) = text.get_mut(..message.len()) else {
            return Some(Err(()));
        };
        text.copy_from_slice(message);
        return Some(json::from_slice(text).map(obey).map_err(drop));
    }
    match connection.recv() {
        Ok(command) => Some(Ok(obey(command))),
        Err(ReceiveError::Empty) => None,
        Err(_) => Some(Err(())),
    }
}

/// Says it, or not.
pub(crate) fn say(connection: &mut DataConnection<'_>, what: &Say<'_>) -> Result<(), SendError> {
    if connection.serialization() != Serialization::Raw {
        return connection.send(what);
    }
    let mut text = [0; RAW_MAX];
    let text = json::to_slice(what, &mut text).map_err(|_| SendError::TooLarge)?;
    connection.send(core::str::from_utf8(text).unwrap_or_default())
}
