//! A short borrow of one connection.

use crate::{ConnectionId, Label, PeerId, serialization::Serialization};

use super::{
    Dirty, FailureReason, Stage,
    slot::{Phase, Slot},
};

/// A short borrow of one connection. PeerJS's `DataConnection`.
///
/// It can be had from the connection's first event, or from `connect`, until the call after the one that polled
/// its last event; as long as messages that came before the end are unread, longer.
#[derive(Debug)]
pub struct DataConnection<'p> {
    pub(super) slot: &'p mut Slot,
    pub(super) metadata: &'p [u8],
    pub(super) dirty: &'p mut Dirty,
}

impl DataConnection<'_> {
    /// The remote peer.
    pub fn peer(&self) -> &PeerId {
        &self.slot.remote
    }

    /// The connection's id on the wire.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.slot.id
    }

    /// The label.
    pub fn label(&self) -> &Label {
        &self.slot.label
    }

    /// The metadata, a JSON text; `None` when there was none, or the remote's did not fit the memory.
    pub fn metadata(&self) -> Option<&str> {
        let bytes = self.metadata.get(..self.slot.metadata)?;
        core::str::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
    }

    /// Whether the remote sent metadata that did not fit the memory, so that [`metadata`](Self::metadata) is `None`.
    pub fn metadata_too_long(&self) -> bool {
        self.slot.metadata_too_long
    }

    /// PeerJS's `reliable`.
    pub fn reliable(&self) -> bool {
        self.slot.reliable
    }

    /// How values travel.
    pub fn serialization(&self) -> Serialization {
        self.slot.serialization
    }

    /// Whether the remote started it.
    pub fn is_incoming(&self) -> bool {
        self.slot.incoming
    }

    /// Whether both sides may send.
    pub fn is_open(&self) -> bool {
        self.slot.phase == Phase::Open
    }

    /// How far the connect got.
    pub fn stage(&self) -> Stage {
        self.slot.stage
    }

    /// Closes at once; what is not yet sent is lost. PeerJS: `close()`.
    ///
    /// The last event follows: `ConnectionClosed`, or `ConnectionFailed` when it had not opened. On a connection
    /// that is over nothing happens.
    pub fn close(&mut self) {
        self.slot.end(FailureReason::LocalClosed);
        self.dirty.set();
    }
}
