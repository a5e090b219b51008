//! What waits to be read: whole messages in a bounded queue, and the parts of those that come in chunks.

mod assembly;
mod queue;

pub(crate) use assembly::{Assembly, Budget, Part};
pub(crate) use queue::Queue;

use bytes::Bytes;

/// One message of the remote, still in its serialization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Text(String),
    Binary(Bytes),
}

impl Payload {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}
