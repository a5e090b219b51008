//! SCTP packets before `webrtc-sctp` sees them.
//!
//! Its parsers panic on chunk and parameter lengths that disagree, and one packet can keep it busy
//! for seconds with its lock held. [`validate`] refuses the first kind; [`SctpGuard`] knows the
//! association and refuses the second. The checksum is left to the crate, which verifies it before
//! it parses.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use webrtc_util::{Conn, Error};

use super::inflow::Inflow;
use super::packet::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, Chunks, DATA, ERROR, FORWARD_TSN, Header, INIT, INIT_ACK,
    OUTGOING_RESET, Parameters, RECONFIG, SACK, abort, heartbeat, hide_answers, u16_at, u32_at,
    validate,
};
pub(crate) use super::packet::{SctpRefusal, seal};
use super::{lock, other};

/// Reset requests for a later TSN than was acknowledged, which the crate keeps.
const RESETS_AHEAD_MAX: u32 = 32;

/// A `Conn` between `dtls` and `webrtc-sctp`: passes valid packets, drops and counts others.
///
/// It watches both directions, so it knows the tags and how far the far side's data was
/// acknowledged.
pub(crate) struct SctpGuard {
    inner: Arc<dyn Conn + Send + Sync>,
    association: Mutex<Association>,
    refused: AtomicU64,
    #[cfg(test)]
    aborted: tokio::sync::watch::Sender<bool>,
}

impl SctpGuard {
    /// Guards `inner`, a DTLS connection.
    pub(crate) fn new(inner: Arc<dyn Conn + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            association: Mutex::default(),
            refused: AtomicU64::new(0),
            #[cfg(test)]
            aborted: tokio::sync::watch::Sender::new(false),
        })
    }

    /// Packets of the far side that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Waits until the far side aborted the association: its `close()`.
    #[cfg(test)]
    pub(crate) async fn aborted(&self) {
        let _ = self.aborted.subscribe().wait_for(|aborted| *aborted).await;
    }

    /// Ends the association as browsers do, so that the far side notices at once. Nothing is sent
    /// afterwards, and nothing at all before the far side's tag is known.
    ///
    /// # Errors
    /// Those of the transport.
    pub(crate) async fn abort(&self) -> Result<(), Error> {
        let header = {
            let mut association = lock(&self.association);
            association.ended = true;
            association.outgoing.take()
        };
        if let Some(header) = header {
            self.inner.send(&abort(header)).await?;
        }
        Ok(())
    }

    /// Makes the far side answer, which the association below does not notice. Nothing is sent
    /// before the association stands and after [`abort`](Self::abort).
    ///
    /// # Errors
    /// Those of the transport.
    pub(crate) async fn heartbeat(&self) -> Result<(), Error> {
        let header = {
            let association = lock(&self.association);
            association.outgoing.filter(|_| association.established)
        };
        if let Some(header) = header {
            self.inner.send(&heartbeat(header)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Conn for SctpGuard {
    async fn connect(&self, addr: SocketAddr) -> Result<(), Error> {
        self.inner.connect(addr).await
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        loop {
            let length = self.inner.recv(buf).await?;
            let packet = buf.get(..length).unwrap_or_default();
            let screened = validate(packet).and_then(|()| lock(&self.association).received(packet));
            match screened {
                Ok(_aborts) => {
                    #[cfg(test)]
                    if _aborts {
                        self.aborted.send_replace(true);
                    }
                    hide_answers(buf.get_mut(..length).unwrap_or_default());
                    return Ok(length);
                }
                Err(refusal) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%refusal, "dropped a packet");
                }
            }
        }
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let length = self.recv(buf).await?;
        let remote = self
            .inner
            .remote_addr()
            .ok_or_else(|| other("the transport has no remote"))?;
        Ok((length, remote))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        if !lock(&self.association).sending(buf) {
            return Ok(buf.len());
        }
        self.inner.send(buf).await
    }

    async fn send_to(&self, buf: &[u8], _target: SocketAddr) -> Result<usize, Error> {
        self.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.inner.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    async fn close(&self) -> Result<(), Error> {
        self.inner.close().await
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// What is known of the association from the packets that went by.
#[derive(Default)]
struct Association {
    /// Header of our packets, once the far side's tag is in it.
    outgoing: Option<Header>,
    /// We sent a COOKIE ECHO, so a COOKIE ACK may come.
    echoed: bool,
    established: bool,
    ended: bool,
    inflow: Inflow,
    resets_ahead: u32,
}

impl Association {
    /// Takes a valid packet of the far side; says whether it aborts. A refused one leaves no trace.
    fn received(&mut self, packet: &[u8]) -> Result<bool, SctpRefusal> {
        let mut open = self.established;
        for chunk in Chunks::of(packet) {
            match chunk.kind {
                INIT | INIT_ACK if self.established => return Err(SctpRefusal::State),
                INIT | INIT_ACK => self
                    .inflow
                    .begin(u32_at(chunk.value, 12).unwrap_or_default())?,
                // Data may follow it in the same packet.
                COOKIE_ECHO => open = true,
                COOKIE_ACK => open |= self.echoed,
                ABORT | ERROR => {}
                _ if !open => return Err(SctpRefusal::State),
                DATA => self.inflow.check(&chunk.data())?,
                FORWARD_TSN => {
                    self.inflow
                        .check_tsn(u32_at(chunk.value, 0).unwrap_or_default())?;
                }
                RECONFIG => {
                    self.resets_ahead(chunk.value)?;
                }
                _ => {}
            }
        }
        let mut aborted = false;
        for chunk in Chunks::of(packet) {
            match chunk.kind {
                DATA => self.inflow.take(&chunk.data()),
                FORWARD_TSN => {
                    let tsn = u32_at(chunk.value, 0).unwrap_or_default();
                    let streams = chunk.value.get(4..).unwrap_or_default().chunks_exact(4);
                    let streams =
                        streams.filter_map(|pair| Some((u16_at(pair, 0)?, u16_at(pair, 2)?)));
                    self.inflow.skip(tsn, streams);
                }
                RECONFIG => {
                    self.resets_ahead += self.resets_ahead(chunk.value).unwrap_or_default();
                }
                COOKIE_ACK => self.established |= self.echoed,
                ABORT => aborted = true,
                _ => {}
            }
        }
        Ok(aborted)
    }

    /// Reset requests of a chunk that have to wait for data.
    fn resets_ahead(&self, value: &[u8]) -> Result<u32, SctpRefusal> {
        let mut count = 0;
        for (kind, value) in Parameters(value) {
            if kind == OUTGOING_RESET {
                let last = u32_at(value, 8).unwrap_or_default();
                count += u32::from(self.inflow.check_tsn(last)? > 0);
            }
        }
        if self.resets_ahead + count > RESETS_AHEAD_MAX {
            return Err(SctpRefusal::Streams);
        }
        Ok(count)
    }

    /// Notes a packet of ours; `false` if it is not to be sent any more.
    fn sending(&mut self, packet: &[u8]) -> bool {
        if self.ended {
            return false;
        }
        self.outgoing = Header::parse(packet)
            .filter(|header| header.verification_tag != 0)
            .or(self.outgoing);
        for chunk in Chunks::of(packet) {
            match chunk.kind {
                SACK => {
                    self.established = true;
                    self.inflow
                        .acknowledge(u32_at(chunk.value, 0).unwrap_or_default());
                }
                COOKIE_ECHO => self.echoed = true,
                COOKIE_ACK => self.established = true,
                _ => {}
            }
        }
        true
    }
}
