//! A handle for one connection.

use core::fmt;

use embassy_sync::blocking_mutex::raw::RawMutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bytes,
    connection::{Message, ReceiveError, SendError},
    peer::{ConnectionHandle, DataConnection},
    serialization::FrameKind,
};

use super::Shared;

/// A handle for one connection of a [`Shared`] engine. Copies name the same connection; dropping one closes nothing.
pub struct Connection<'s, 'r, M: RawMutex, const TASKS: usize> {
    pub(super) shared: &'s Shared<'r, M, TASKS>,
    pub(super) handle: ConnectionHandle,
}

impl<M: RawMutex, const TASKS: usize> Clone for Connection<'_, '_, M, TASKS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: RawMutex, const TASKS: usize> Copy for Connection<'_, '_, M, TASKS> {}

impl<M: RawMutex, const TASKS: usize> fmt::Debug for Connection<'_, '_, M, TASKS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.handle).finish()
    }
}

/// One message that was copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Copied {
    /// Text or binary.
    pub kind: FrameKind,
    /// Its bytes.
    pub len: usize,
}

impl<M: RawMutex, const TASKS: usize> Connection<'_, '_, M, TASKS> {
    /// The engine's handle.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle
    }

    /// Whether both sides may send.
    pub fn is_open(&self) -> bool {
        self.look(|connection| connection.is_open())
            .unwrap_or(false)
    }

    /// Looks at the connection: remote, label, metadata. `None`: it is over. `look` must not call back.
    pub fn look<T>(&self, look: impl FnOnce(&mut DataConnection<'_>) -> T) -> Option<T> {
        self.shared.lock(|inner| {
            inner
                .peer
                .connection(self.handle)
                .map(|mut connection| look(&mut connection))
        })
    }

    /// Sends a value as soon as the outbox has room. Dropped before, it sent nothing.
    ///
    /// # Errors
    /// [`SendError`], but never `Full` and never `NotOpenYet`: it waits for that too.
    pub async fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), SendError> {
        self.shared
            .wait(|inner| {
                let Some(mut connection) = inner.peer.connection(self.handle) else {
                    return Some(Err(SendError::Closed));
                };
                match connection.send(value) {
                    Err(SendError::Full | SendError::NotOpenYet) => None,
                    outcome => {
                        inner.want();
                        Some(outcome)
                    }
                }
            })
            .await
    }

    /// Waits for the next message and decodes it. The value borrows nothing; see [`recv_with`](Self::recv_with) for
    /// those that do.
    ///
    /// # Errors
    /// [`RecvError`].
    pub async fn recv<T: DeserializeOwned>(&self) -> Result<T, RecvError> {
        self.take(|connection| connection.recv::<T>().map_err(RecvError::from))
            .await
    }

    /// Waits for the next message and copies it into `memory`.
    ///
    /// # Errors
    /// [`RecvError`]; a message that is longer is gone, see [`RecvError::TooLong`].
    pub async fn recv_into(&self, memory: &mut [u8]) -> Result<Copied, RecvError> {
        self.take(|connection| {
            let message = connection.recv_raw().ok_or(RecvError::Closed)?;
            let len = message.bytes.len();
            bytes::copy(memory, message.bytes).ok_or(RecvError::TooLong(len))?;
            Ok(Copied {
                kind: message.kind,
                len,
            })
        })
        .await
    }

    /// Waits for the next message and hands it to `use_it` in place. That must not call back.
    ///
    /// # Errors
    /// [`RecvError::Closed`].
    pub async fn recv_with<T>(
        &self,
        mut use_it: impl FnMut(Message<'_>) -> T,
    ) -> Result<T, RecvError> {
        self.take(|connection| {
            let message = connection.recv_raw().ok_or(RecvError::Closed)?;
            Ok(use_it(message))
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
        self.shared.change(|inner| {
            if let Some(mut connection) = inner.peer.connection(self.handle) {
                connection.close();
            }
            inner.tasks.wake();
        });
    }

    /// As [`DataConnection::close_flush`].
    pub fn close_flush(&self) {
        let now = (self.shared.clock)();
        self.shared.change(|inner| {
            if let Some(mut connection) = inner.peer.connection(self.handle) {
                connection.close_flush(now);
            }
        });
    }

    /// Drops what is unread, so that a connection that is over is free.
    pub fn release(&self) {
        self.shared.change(|inner| {
            if let Some(mut connection) = inner.peer.connection(self.handle) {
                connection.release();
            }
        });
    }

    /// Waits for a message and takes it in the same moment.
    async fn take<T>(
        &self,
        mut take: impl FnMut(&mut DataConnection<'_>) -> Result<T, RecvError>,
    ) -> Result<T, RecvError> {
        self.shared
            .wait(|inner| {
                let Some(mut connection) = inner.peer.connection(self.handle) else {
                    return Some(Err(RecvError::Closed));
                };
                if connection.readable() == 0 {
                    return connection.is_over().then_some(Err(RecvError::Closed));
                }
                let taken = take(&mut connection);
                // The driver may hold messages that have room now.
                inner.want();
                Some(taken)
            })
            .await
    }
}

/// No message was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecvError {
    /// The connection is over and everything was read.
    Closed,
    /// The message has this many bytes, more than the caller's memory, and is gone.
    TooLong(usize),
    /// The message is not what was asked for, and is gone.
    Decode(ReceiveError),
}

impl From<ReceiveError> for RecvError {
    fn from(error: ReceiveError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is over and everything was read"),
            Self::TooLong(len) => write!(
                f,
                "the message has {len} bytes, more than the memory it was to be copied into"
            ),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RecvError {}
