//! A short borrow of one connection.

use serde::{Deserialize, Serialize};

use crate::{
    ConnectionId, Label, PeerId,
    connection::{Message, ReceiveError, SendError},
    serialization::Serialization,
    time::{Duration, Instant},
};

use super::{
    Dirty, FailureReason, Stage,
    slot::{Flush, Phase, Slot, pending},
};

/// A short borrow of one connection. PeerJS's `DataConnection`.
///
/// It can be had from the connection's first event, or from `connect`, until the call after the one that polled
/// its last event. Messages that came before the end keep it longer: until they are read or
/// [`release`](Self::release)d, so nothing that was accepted is lost. The slot is free only then.
///
/// Sending and reading need the memory of [`PeerResources`](super::PeerResources): with `OUTBOX` or `INBOX` 0 they
/// are [`SendError::TooLarge`] and [`ReceiveError::Empty`].
#[derive(Debug)]
pub struct DataConnection<'p> {
    pub(super) slot: &'p mut Slot,
    pub(super) metadata: &'p [u8],
    pub(super) outbox: &'p mut [u8],
    pub(super) inbox: &'p mut [u8],
    pub(super) dirty: &'p mut Dirty,
    pub(super) flush_timeout: Duration,
    /// The latest time the engine was told.
    pub(super) told: Instant,
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

    /// Whether nothing more happens to it, except that messages may still be read.
    pub fn is_over(&self) -> bool {
        self.slot.phase == Phase::Over
    }

    /// How far the connect got.
    pub fn stage(&self) -> Stage {
        self.slot.stage
    }

    /// Encodes a value in the connection's serialization and queues it. PeerJS: `send`.
    ///
    /// On a raw connection the value is a string or bytes. After [`SendError::Full`] comes
    /// [`Event::Writable`](super::Event::Writable) once it is worth another try.
    ///
    /// # Errors
    /// [`SendError`]; nothing of the message is sent.
    pub fn send<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SendError> {
        self.check_open()?;
        let sent = self.slot.outbox.send(self.outbox, value);
        self.note(&sent);
        sent
    }

    /// Announces a BinaryPack message of `len` packed bytes, which [`stream_write`](Self::stream_write) then takes piece
    /// by piece: so it may be longer than `OUTBOX`. See [`Outbox::stream`](crate::connection::Outbox::stream).
    ///
    /// Until it is written whole nothing else can be sent, and [`close_flush`](Self::close_flush) is
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed. [`SendError::Unsupported`] where the serialization is not BinaryPack.
    pub fn stream(&mut self, len: usize, chunk: usize) -> Result<(), SendError> {
        self.check_open()?;
        self.slot.outbox.stream(self.outbox, len, chunk)
    }

    /// Takes the next bytes of a streamed message, as many as there is room for, and says how many.
    ///
    /// # Errors
    /// [`SendError::Full`] when not one byte fits now: [`Event::Writable`](super::Event::Writable) follows.
    /// [`SendError::StreamLength`] when `bytes` go beyond the announced length. Nothing was taken.
    pub fn stream_write(&mut self, bytes: &[u8]) -> Result<usize, SendError> {
        self.check_open()?;
        let written = self.slot.outbox.write(self.outbox, bytes);
        self.note(&written);
        written
    }

    /// Bytes of the streamed message that are still to be written.
    pub fn stream_left(&self) -> usize {
        self.slot.outbox.stream_left()
    }

    /// Gives up the streamed message. What was sent of it stays with the remote until the connection closes.
    pub fn abort_stream(&mut self) {
        self.slot.outbox.abort_stream(self.outbox);
        self.dirty.set();
    }

    /// Bytes that the channel holds and has not delivered. PeerJS: `dataChannel.bufferedAmount`.
    pub fn buffered_amount(&self) -> u32 {
        self.slot.buffered
    }

    /// Messages that can be read.
    pub fn readable(&self) -> usize {
        self.slot.inbox.len().saturating_sub(self.slot.read.into())
    }

    /// The oldest message as a value, which may borrow from it. The message is gone with the next call on this
    /// connection, also when it could not be decoded.
    ///
    /// [`Value`](crate::binarypack::Value) takes any BinaryPack message. After
    /// [`Event::Data`](super::Event::Data) read until [`ReceiveError::Empty`].
    ///
    /// # Errors
    /// [`ReceiveError::Empty`], [`ReceiveError::Decode`].
    pub fn recv<'m, T: Deserialize<'m>>(&'m mut self) -> Result<T, ReceiveError> {
        self.next_message()?;
        self.slot.inbox.decode(self.inbox)
    }

    /// The oldest message as it came, chunks put together. The message is gone with the next call on this connection.
    pub fn recv_raw(&mut self) -> Option<Message<'_>> {
        self.next_message().ok()?;
        self.slot.inbox.front(self.inbox)
    }

    /// Drops what is unread. A connection that is over is free then.
    pub fn release(&mut self) {
        while self.next_message().is_ok() {}
        self.slot.drop_read(self.inbox);
    }

    /// Closes at once; what is not yet sent is lost. PeerJS: `close()`.
    ///
    /// The last event follows: `ConnectionClosed`, or `ConnectionFailed` when it had not opened. On a connection
    /// that is over nothing happens.
    pub fn close(&mut self) {
        self.slot.end(FailureReason::LocalClosed);
        self.dirty.set();
    }

    /// Sends what is queued, then asks the remote to close. PeerJS: `close({flush: true})`.
    ///
    /// The close message goes when the channel has delivered everything, so that it cannot overtake data on an
    /// unordered one. Raw and postcard connections have no such message and are closed then. Where nothing moves
    /// for [`Config::flush_timeout`](super::Config::flush_timeout), and where the connection had not opened, this
    /// is [`close`](Self::close).
    pub fn close_flush(&mut self, now: Instant) {
        match self.slot.phase {
            Phase::Negotiating => self.slot.end(FailureReason::LocalClosed),
            Phase::Open if self.slot.flush == Flush::No => {
                self.slot.flush = Flush::Draining;
                self.slot.deadline = Some(self.told.max(now) + self.flush_timeout);
            }
            Phase::Open | Phase::Over => {}
        }
        self.dirty.set();
    }

    fn check_open(&self) -> Result<(), SendError> {
        match self.slot.phase {
            Phase::Negotiating => Err(SendError::NotOpenYet),
            Phase::Over => Err(SendError::Closed),
            Phase::Open if self.slot.flush != Flush::No => Err(SendError::Closing),
            Phase::Open => Ok(()),
        }
    }

    /// What the engine has to do after something was given to the outbox.
    fn note<T>(&mut self, outcome: &Result<T, SendError>) {
        match outcome {
            Ok(_) => self.dirty.set(),
            Err(SendError::Full) => self.slot.wants_room = true,
            Err(_) => {}
        }
    }

    /// Hands out one more message; the one before goes.
    fn next_message(&mut self) -> Result<(), ReceiveError> {
        self.slot.drop_read(self.inbox);
        // What was read may have been all that held the slot.
        self.dirty.done = true;
        let is_empty = self.slot.inbox.is_empty();
        self.slot.read = !is_empty;
        if self.readable() == 0 {
            // Whoever is told of data finds some.
            self.slot.events &= !pending::DATA;
        }
        if is_empty {
            return Err(ReceiveError::Empty);
        }
        Ok(())
    }
}
