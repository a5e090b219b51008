//! A handle for one connection.

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bytes,
    connection::{ReceiveError, SendError},
    peer::{ConnectionHandle, DataConnection},
    serialization::Fragment,
    time::Instant,
};

use super::Shared;

/// A handle for one connection of a [`Shared`] engine. Copies name the same connection; dropping
/// one closes nothing.
pub struct Connection<'s, 'r, M: RawMutex, const TASKS: usize, C = fn() -> Instant> {
    pub(super) shared: &'s Shared<'r, M, TASKS, C>,
    pub(super) handle: ConnectionHandle,
}

impl<M: RawMutex, const TASKS: usize, C> Clone for Connection<'_, '_, M, TASKS, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: RawMutex, const TASKS: usize, C> Copy for Connection<'_, '_, M, TASKS, C> {}

impl<M: RawMutex, const TASKS: usize, C> fmt::Debug for Connection<'_, '_, M, TASKS, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.handle).finish()
    }
}

impl<M: RawMutex, const TASKS: usize, C: Fn() -> Instant> Connection<'_, '_, M, TASKS, C> {
    /// Returns the engine's handle.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle
    }

    /// Whether both sides may send.
    pub fn is_open(&self) -> bool {
        self.shared.lock(|inner| {
            let connection = inner.peer.connection(self.handle);
            connection.is_some_and(|connection| connection.is_open())
        })
    }

    /// Lends the connection: its remote, label and metadata can be read, and whatever else
    /// [`DataConnection`] offers be done. Then the driver and the waiting tasks look again. Returns
    /// `None` if the connection is over and free.
    ///
    /// `look` is called while the mutex is held.
    pub fn look<T>(&self, look: impl FnOnce(&mut DataConnection<'_>) -> T) -> Option<T> {
        self.shared.change(|inner| {
            let mut connection = inner.peer.connection(self.handle)?;
            Some(look(&mut connection))
        })
    }

    /// Sends a value as soon as the outbox has room. Dropped before, it sent nothing.
    ///
    /// # Errors
    /// [`SendError`], but never `Full` and never `NotOpenYet`: it waits for that too.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendError> {
        self.give(|connection| connection.send(value)).await
    }

    /// Writes the next bytes of a message that was announced with [`DataConnection::stream`] in a
    /// [`look`](Self::look), as soon as there is room for one of them. Returns how many were taken.
    ///
    /// # Errors
    /// [`SendError`], but never `Full`.
    pub async fn stream_write(&self, bytes: &[u8]) -> Result<usize, SendError> {
        self.give(|connection| connection.stream_write(bytes)).await
    }

    /// Waits for the next message and decodes it. The value borrows nothing; for values that do use
    /// [`recv_with`](Self::recv_with).
    ///
    /// # Errors
    /// [`ReceiveError::Empty`]: the connection is over and everything was read.
    /// [`ReceiveError::Decode`]: the message is not what was asked for, and is gone.
    pub async fn recv<T: DeserializeOwned>(&self) -> Result<T, ReceiveError> {
        self.take(|connection| connection.recv::<T>()).await
    }

    /// Waits for the next message and copies it into `memory`.
    ///
    /// # Errors
    /// [`ReceiveError::Empty`]: the connection is over and everything was read.
    /// [`ReceiveError::TooLarge`]: the message is longer than `memory`, and is gone.
    pub async fn recv_into<'m>(&self, memory: &'m mut [u8]) -> Result<Fragment<'m>, ReceiveError> {
        let copied = self.take(|connection| {
            let message = connection.recv_raw().ok_or(ReceiveError::Empty)?;
            bytes::copy(memory, message.bytes).ok_or(ReceiveError::TooLarge)?;
            Ok((message.kind, message.bytes.len()))
        });
        let (kind, len) = copied.await?;
        debug_assert!(len <= memory.len(), "it was copied");
        Ok(Fragment::whole(kind, memory.get(..len).unwrap_or_default()))
    }

    /// Waits for the next message and lends it to `use_it`, in place. That is called while the
    /// mutex is held.
    ///
    /// # Errors
    /// [`ReceiveError::Empty`]: the connection is over and everything was read.
    pub async fn recv_with<T>(
        &self,
        mut use_it: impl FnMut(Fragment<'_>) -> T,
    ) -> Result<T, ReceiveError> {
        self.take(|connection| {
            let message = connection.recv_raw().ok_or(ReceiveError::Empty)?;
            Ok(use_it(message))
        })
        .await
    }

    /// Waits for the next piece of a message and lends it to `use_it`, in place. That is called
    /// while the mutex is held. As [`DataConnection::recv_piece`], for messages longer than the
    /// inbox where [`look`](Self::look) set [`set_streaming`](DataConnection::set_streaming).
    ///
    /// # Errors
    /// [`ReceiveError::Empty`]: the connection is over and everything was read.
    pub async fn recv_piece<T>(
        &self,
        mut use_it: impl FnMut(Fragment<'_>) -> T,
    ) -> Result<T, ReceiveError> {
        self.shared
            .wait(|inner| {
                let Some(mut connection) = inner.peer.connection(self.handle) else {
                    return Some(Err(ReceiveError::Empty));
                };
                let piece = connection.recv_piece().map(&mut use_it);
                if piece.is_none() && !connection.is_over() {
                    return None;
                }
                // The driver may hold fragments that have room now.
                inner.want();
                Some(piece.ok_or(ReceiveError::Empty))
            })
            .await
    }

    /// Waits until the connection is over and what came before is read.
    pub async fn closed(&self) {
        self.shared
            .wait(|inner| match inner.peer.connection(self.handle) {
                Some(connection) if !connection.is_over() || connection.readable() > 0 => None,
                _ => Some(()),
            })
            .await;
    }

    /// As [`DataConnection::close`].
    pub fn close(&self) {
        self.look(|connection| connection.close());
    }

    /// As [`DataConnection::close_flush`].
    pub fn close_flush(&self) {
        let now = (self.shared.clock)();
        self.look(|connection| connection.close_flush(now));
    }

    /// Drops what is unread, so that a connection that is over is free.
    pub fn release(&self) {
        self.look(|connection| connection.release());
    }

    /// Waits until the outbox takes something.
    async fn give<T>(
        &self,
        mut give: impl FnMut(&mut DataConnection<'_>) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        self.shared
            .wait(|inner| {
                let Some(mut connection) = inner.peer.connection(self.handle) else {
                    return Some(Err(SendError::Closed));
                };
                match give(&mut connection) {
                    Err(SendError::Full | SendError::NotOpenYet) => None,
                    outcome => {
                        inner.want();
                        Some(outcome)
                    }
                }
            })
            .await
    }

    /// Waits for a message and takes it in the same moment.
    async fn take<T>(
        &self,
        mut take: impl FnMut(&mut DataConnection<'_>) -> Result<T, ReceiveError>,
    ) -> Result<T, ReceiveError> {
        self.shared
            .wait(|inner| {
                let Some(mut connection) = inner.peer.connection(self.handle) else {
                    return Some(Err(ReceiveError::Empty));
                };
                if connection.readable() == 0 {
                    return connection.is_over().then_some(Err(ReceiveError::Empty));
                }
                let taken = take(&mut connection);
                // The driver may hold messages that have room now.
                inner.want();
                Some(taken)
            })
            .await
    }
}
