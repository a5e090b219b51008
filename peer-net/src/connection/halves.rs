//! A connection in two halves, as futures' `Sink` and `Stream`.

use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use futures_util::{Sink, Stream};
use serde::Serialize;

use super::queue::{Ended, Queue, Reader, Writer};
use super::receiving::Arrived;
use super::{DataConnection, Tether};
use crate::codec::{self, Outgoing};
use crate::error::{ReceiveError, SendError};
use crate::value::Value;

/// A future of a connection that is not polled to its end yet.
pub(super) type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The queue of what was sent.
#[derive(Clone)]
pub(super) struct Outbox(pub(super) Arc<Tether>);

impl Deref for Outbox {
    type Target = Queue<Outgoing>;

    fn deref(&self) -> &Queue<Outgoing> {
        &self.0.plane.outbox
    }
}

/// The queue of what is to be read.
pub(super) struct Inbox(pub(super) Arc<Tether>);

impl Deref for Inbox {
    type Target = Queue<Arrived>;

    fn deref(&self) -> &Queue<Arrived> {
        &self.0.plane.inbox
    }
}

/// The sending half of a [`DataConnection`], and a handle of it: a [`Sink`] of everything that can
/// be serialized.
///
/// `flush` waits until the channel has everything, `close` as [`DataConnection::close_flush`].
/// Dropping it closes nothing while another handle is there.
#[must_use = "it sends nothing by itself"]
pub struct SendHalf {
    connection: DataConnection,
    writer: Writer<Outbox, Outgoing>,
    pending: Option<Task<()>>,
}

impl SendHalf {
    pub(super) fn new(connection: DataConnection) -> Self {
        Self {
            writer: Writer::new(Outbox(connection.tether.clone())),
            connection,
            pending: None,
        }
    }

    /// The connection, to send without the `Sink`, too.
    pub fn connection(&self) -> &DataConnection {
        &self.connection
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        begin: impl FnOnce(Arc<Tether>) -> Task<()>,
    ) -> Poll<()> {
        let tether = &self.connection.tether;
        let pending = self.pending.get_or_insert_with(|| begin(tether.clone()));
        ready!(pending.as_mut().poll(context));
        self.pending = None;
        Poll::Ready(())
    }
}

impl<T: Serialize> Sink<T> for SendHalf {
    type Error = SendError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let plane = self.connection.tether.plane.clone();
        if plane.channel.get().is_none() && !plane.is_ending() {
            let settled = |tether: Arc<Tether>| -> Task<()> {
                Box::pin(async move { tether.plane.settled().await })
            };
            ready!(self.poll(context, settled));
        }
        let room = ready!(self.writer.poll_ready(context));
        Poll::Ready(room.map_err(|Ended| plane.closed_error()))
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), SendError> {
        let plane = &self.connection.tether.plane;
        let (message, len) = plane
            .message(|serialization, as_text| codec::encode(serialization, as_text, &value))?;
        plane
            .outbox
            .push_now(message, len)
            .map_err(|Ended| plane.closed_error())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        ready!(self.poll(context, |tether| Box::pin(async move {
            tether.plane.outbox.idle().await;
        })));
        Poll::Ready(Ok(()))
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.connection.tether.plane.close_later();
        ready!(self.poll(context, |tether| Box::pin(async move {
            tether.plane.closed().await;
        })));
        Poll::Ready(Ok(()))
    }
}

impl core::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("SendHalf").field(&self.connection).finish()
    }
}

/// The receiving half of a [`DataConnection`], and a handle of it: a [`Stream`] of its messages
/// that ends when the connection is over and everything was read. Dropping it closes nothing while
/// another handle is there.
#[must_use = "it receives nothing by itself"]
pub struct ReceiveHalf {
    connection: DataConnection,
    reader: Reader<Inbox, Arrived>,
}

impl ReceiveHalf {
    pub(super) fn new(connection: DataConnection) -> Self {
        Self {
            reader: Reader::new(Inbox(connection.tether.clone())),
            connection,
        }
    }

    /// The connection, to receive without the `Stream`, too.
    pub fn connection(&self) -> &DataConnection {
        &self.connection
    }
}

impl Stream for ReceiveHalf {
    type Item = Result<Value, ReceiveError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Value, ReceiveError>>> {
        let arrived = ready!(self.reader.poll_pop(context));
        let connection = &self.connection;
        let decode = |payload| codec::decode(connection.serialization(), payload);
        Poll::Ready(arrived.map(|arrived| connection.tether.read(arrived.payload, decode)))
    }
}

impl core::fmt::Debug for ReceiveHalf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ReceiveHalf")
            .field(&self.connection)
            .finish()
    }
}
