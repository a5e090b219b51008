//! SCTP by the crate webrtc-sctp, with what guards and mends it.

mod channel;
mod flight;
mod sctp;

use std::sync::{Arc, Mutex, PoisonError};

use peer_core::peer::RtcFailure;
use peer_core::wire::sdp::SCTP_PORT;
use tokio::sync::watch;
use tokio::time::timeout;
use webrtc_util::Conn;

use self::channel::Tasks;
use self::sctp::{Packets, Sctp};
use super::CLOSE_STEP;
use super::association::{End, Failure, Opening, Purpose};
use super::channel::Channel;

/// One association of webrtc-sctp with its channel.
pub(super) struct WebrtcRs {
    packets: Arc<Packets>,
    purpose: Purpose,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    sctp: Option<Arc<Sctp>>,
    tasks: Option<Tasks>,
}

impl WebrtcRs {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, purpose: Purpose) -> Self {
        Self {
            packets: Packets::new(dtls, purpose.receive_window()),
            purpose,
            parts: Mutex::default(),
        }
    }

    pub(super) async fn associate(&self) -> Result<(), Failure> {
        let ports = (SCTP_PORT, self.purpose.remote_port);
        let sctp = Sctp::connect(Arc::clone(&self.packets), ports, self.purpose.send_max())
            .await
            .map_err(|error| {
                let sentence = format!("the SCTP association failed: {error}");
                (RtcFailure::Sctp, sentence)
            })?;
        self.parts(|parts| parts.sctp = Some(Arc::new(sctp)));
        Ok(())
    }

    pub(super) async fn open(&self) -> Result<Channel, Failure> {
        let Purpose {
            config,
            max_message_size,
            opening,
            ..
        } = &self.purpose;
        let max_message_size = *max_message_size as usize;
        let Some(sctp) = self.parts(|parts| parts.sctp.clone()) else {
            let sentence = "there is no SCTP association".to_owned();
            return Err((RtcFailure::Channel, sentence));
        };
        let (channel, tasks) = match opening {
            Opening::Ours(ours) => channel::open(&sctp, config, ours, max_message_size).await?,
            Opening::Theirs => channel::accept(&sctp, config, max_message_size).await?,
        };
        self.parts(|parts| parts.tasks = Some(tasks));
        Ok(channel)
    }

    pub(super) fn end(&self) -> &watch::Sender<Option<End>> {
        self.packets.end_sender()
    }

    pub(super) async fn heartbeat(&self) {
        self.packets.heartbeat().await;
    }

    pub(super) async fn close(&self) {
        let (sctp, tasks) = self.parts(|parts| (parts.sctp.take(), parts.tasks.take()));
        if let Some(tasks) = tasks {
            // A remote's end leaves the reader what it has to hand over; ours does not.
            if self.packets.has_ended() {
                tasks.end();
            } else {
                tasks.abort();
            }
        }
        step(self.packets.answer_reset()).await;
        step(self.packets.abort()).await;
        self.packets.shut();
        if let Some(sctp) = sctp {
            step(sctp.association.close()).await;
        }
    }

    fn parts<T>(&self, change: impl FnOnce(&mut Parts) -> T) -> T {
        change(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What could wait for the stack has so long.
async fn step(closing: impl Future) {
    let _ = timeout(CLOSE_STEP, closing).await;
}
