//! A short borrow of one connection.

use serde::{Deserialize, Serialize};

use crate::{
    PeerId,
    connection::{ReceiveError, SendError},
    serialization::{Fragment, Serialization},
    time::{Duration, Instant},
};

use super::{
    ConnectionError, Dirty, Stage,
    slot::{Flush, Metadata, Read, Slot, State, pending},
};

/// A short borrow of one connection. PeerJS's `DataConnection`.
///
/// It can be had from the connection's first event, or from `connect`, until the call after the one
/// that polled its last event. Messages that came before the end keep it longer: until they are
/// read or [`release`](Self::release)d, so nothing that was accepted is lost. The slot is free only
/// then.
///
/// Sending and reading need the memory of [`PeerResources`](super::PeerResources): with `OUTBOX` or
/// `INBOX` 0 they are [`SendError::TooLarge`] and [`ReceiveError::Empty`].
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
    pub fn connection_id(&self) -> &str {
        self.slot.id.as_str()
    }

    /// The label.
    pub fn label(&self) -> &str {
        self.slot.label.as_str()
    }

    /// The metadata, a JSON text; `None` when there was none, or the remote's did not fit the
    /// memory.
    pub fn metadata(&self) -> Option<&str> {
        self.slot.metadata(self.metadata)
    }

    /// Whether the remote sent metadata that did not fit the memory, so that
    /// [`metadata`](Self::metadata) is `None`.
    pub fn metadata_too_long(&self) -> bool {
        self.slot.metadata == Metadata::TooLong
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
        self.slot.is_incoming()
    }

    /// Whether both sides may send.
    pub fn is_open(&self) -> bool {
        self.slot.is_open()
    }

    /// Whether nothing more happens to it, except that messages may still be read.
    pub fn is_over(&self) -> bool {
        self.slot.is_over()
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

    /// Announces a BinaryPack message of `len` packed bytes, which
    /// [`stream_write`](Self::stream_write) then takes piece by piece: so it may be longer than
    /// `OUTBOX`. See [`Outbox::stream`](crate::connection::Outbox::stream).
    ///
    /// Until it is written whole nothing else can be sent. [`close_flush`](Self::close_flush) gives
    /// it up and delivers what was sent before.
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed. [`SendError::Unsupported`] where the serialization is
    /// not BinaryPack.
    pub fn stream(&mut self, len: usize, chunk: usize) -> Result<(), SendError> {
        self.check_open()?;
        self.slot.outbox.stream(self.outbox, len, chunk)
    }

    /// Takes the next bytes of a streamed message, as many as there is room for, and says how many.
    ///
    /// # Errors
    /// [`SendError::Full`] when not one byte fits now: [`Event::Writable`](super::Event::Writable)
    /// follows. [`SendError::StreamLength`] when `bytes` go beyond the announced length. Nothing
    /// was taken.
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

    /// Gives up the streamed message. What was sent of it stays with the remote until the
    /// connection closes.
    pub fn abort_stream(&mut self) {
        self.slot.outbox.abort_stream(self.outbox);
        self.dirty.set();
    }

    /// Sets how many bytes the channel may hold before the next message waits in the outbox. 0
    /// means [`HIGH_WATER`](crate::connection::HIGH_WATER), 256 KiB.
    pub fn set_high_water(&mut self, bytes: u32) {
        self.slot.outbox.set_high_water(bytes);
        self.dirty.set();
    }

    /// Bytes that the channel holds and has not delivered. PeerJS: `dataChannel.bufferedAmount`.
    pub fn buffered_amount(&self) -> u32 {
        self.slot.buffered
    }

    /// Messages that can be read.
    pub fn readable(&self) -> usize {
        self.slot.unread()
    }

    /// The oldest message as a value, which may borrow from it. The message is gone with the next
    /// call on this connection, also when it could not be decoded.
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

    /// The oldest message as it came, chunks put together. The message is gone with the next call
    /// on this connection.
    pub fn recv_raw(&mut self) -> Option<Fragment<'_>> {
        self.next_message().ok()?;
        self.slot.inbox.front(self.inbox).map(Fragment::from)
    }

    /// Sets whether messages that do not fit the inbox whole can be read in pieces with
    /// [`recv_piece`](Self::recv_piece). Off at first: such a message is dropped and is a
    /// [`ConnectionError::MessageTooBig`](super::ConnectionError::MessageTooBig).
    ///
    /// PeerJS's chunks are unwrapped as they come, so a message of any length passes through any
    /// inbox. They have to come in order, as on a reliable connection; a message of which one does
    /// not is lost.
    pub fn set_streaming(&mut self, on: bool) {
        self.slot.inbox.set_streaming(on);
    }

    /// The next bytes of the oldest message: all of one that came whole, otherwise what is there;
    /// packed, as [`recv_raw`](Self::recv_raw) has them. `None`: nothing has come. The bytes are
    /// gone with the next call on this connection.
    ///
    /// After [`Event::Data`](super::Event::Data) read until `None`. A piece that is `first` where
    /// the one before was not `last` tells that the rest of that message was lost.
    pub fn recv_piece(&mut self) -> Option<Fragment<'_>> {
        self.drop_read();
        self.dirty.done = true;
        let Some(piece) = self.slot.inbox.piece(self.inbox) else {
            self.slot.events &= !pending::DATA;
            return None;
        };
        self.slot.read = if piece.last {
            Read::LastPiece
        } else {
            Read::Piece
        };
        Some(piece.into())
    }

    /// Drops what is unread. A connection that is over is free then.
    pub fn release(&mut self) {
        while self.next_message().is_ok() {}
        self.drop_read();
    }

    /// Closes at once; what is not yet sent is lost. PeerJS: `close()`.
    ///
    /// The last event follows: `ConnectionClosed`, or `ConnectionFailed` when it had not opened. On
    /// a connection that is over nothing happens.
    pub fn close(&mut self) {
        self.slot.end(ConnectionError::LocalClosed);
        self.dirty.set();
    }

    /// Sends what is queued, then asks the remote to close. PeerJS: `close({flush: true})`. A
    /// streamed message that is not written whole is given up, as by
    /// [`abort_stream`](Self::abort_stream).
    ///
    /// The close message goes when the channel has delivered everything, so that it cannot overtake
    /// data on an unordered one. Raw and postcard connections have no such message and are closed
    /// then. Where nothing moves for [`Config::flush_timeout`](super::Config::flush_timeout), and
    /// where the connection had not opened, this is [`close`](Self::close).
    pub fn close_flush(&mut self, now: Instant) {
        match self.slot.state {
            State::Negotiating { .. } => self.slot.end(ConnectionError::LocalClosed),
            State::Open(Flush::No) => {
                self.slot.outbox.abort_stream(self.outbox);
                let deadline = self.told.max(now) + self.flush_timeout;
                self.slot.state = State::Open(Flush::Draining(deadline));
            }
            State::Open(_) | State::Over { .. } => {}
        }
        self.dirty.set();
    }

    /// Drops what was handed out by the last read.
    fn drop_read(&mut self) {
        let lost = self.slot.drop_read(self.inbox);
        if lost > 0 {
            self.dirty.lost = self.dirty.lost.wrapping_add(lost);
            self.dirty.set();
        }
    }

    fn check_open(&self) -> Result<(), SendError> {
        match self.slot.state {
            State::Negotiating { .. } => Err(SendError::NotOpenYet),
            State::Over { .. } => Err(SendError::Closed),
            State::Open(Flush::No) => Ok(()),
            State::Open(_) => Err(SendError::Closing),
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
        self.drop_read();
        // What was read may have been all that held the slot.
        self.dirty.done = true;
        let is_empty = self.slot.inbox.is_empty();
        if !is_empty {
            self.slot.read = Read::Message;
        }
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
