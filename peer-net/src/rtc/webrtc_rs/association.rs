//! The SCTP association of a session and its channel, by webrtc-sctp.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use peer_core::config::LABEL_MAX;
use peer_core::peer::RtcFailure;
use peer_core::wire::dcep::{self, DcepMessage, OPEN_HEADER_LEN, Open};
use peer_core::wire::sdp::SCTP_PORT;
use tokio::time::timeout;
use webrtc_util::Conn;

use super::CLOSE_STEP;
use super::channel::{Opened, Tasks, accept, open};
use super::sctp::{Packets, Sctp};
use crate::rtc::RtcConfig;
use crate::rtc::channel::{End, end};
use crate::rtc::stage::Failure;

/// Longest message of DCEP in bytes. Messages may always be as long, whatever else the remote
/// takes.
pub(super) const OPENING_LEN: u32 = 4096;

/// What an association is made for.
pub(super) struct Purpose {
    pub(super) config: Arc<RtcConfig>,
    pub(super) remote_port: u16,
    /// The longest message in bytes that both ends take.
    pub(super) max_message_size: u32,
    pub(super) opening: Opening,
}

impl Purpose {
    /// The receive window in bytes at most.
    pub(super) fn receive_window(&self) -> u32 {
        let config = &self.config;
        let two = config.max_message_size.saturating_mul(2);
        config.receive_window.max(two)
    }

    /// The longest message in bytes that the association has to send.
    pub(super) fn send_max(&self) -> u32 {
        self.max_message_size.max(OPENING_LEN)
    }
}

/// Who opens the channel.
pub(super) enum Opening {
    /// We do.
    Ours(Ours),
    /// The remote does.
    Theirs,
}

/// A channel that we open.
pub(super) struct Ours {
    pub(super) label: String,
    pub(super) ordered: bool,
    pub(super) dtls_client: bool,
}

impl Ours {
    /// The id of its stream: the DTLS client has the even ones (RFC 8832, section 6).
    pub(super) fn stream(&self) -> u16 {
        u16::from(!self.dtls_client)
    }

    /// DCEP's OPEN for it.
    pub(super) fn message(&self) -> Result<Bytes, Failure> {
        let mut buffer = [0; OPEN_HEADER_LEN + LABEL_MAX];
        let open = Open {
            ordered: self.ordered,
            label: &self.label,
            ..Open::default()
        };
        match open.write(&mut buffer) {
            Ok(length) => Ok(Bytes::copy_from_slice(
                buffer.get(..length).unwrap_or_default(),
            )),
            Err(error) => {
                let sentence = format!("the channel's label cannot be used: {error}");
                Err((RtcFailure::Channel, sentence))
            }
        }
    }
}

/// Reads the first message of all, with which the remote opens its channel: DCEP's OPEN (RFC 8832,
/// section 5.1).
pub(super) fn theirs(is_dcep: bool, bytes: &[u8]) -> Result<Open<'_>, Failure> {
    let fail = |sentence: String| (RtcFailure::Channel, sentence);
    if !is_dcep {
        let unopened = "the remote sent data on a channel it had not opened";
        return Err(fail(unopened.to_owned()));
    }
    match dcep::parse(bytes) {
        Ok(DcepMessage::Open(open)) => Ok(open),
        Ok(DcepMessage::Ack) => {
            let never = "the remote answered a channel that was never opened";
            Err(fail(never.to_owned()))
        }
        Err(error) => Err(fail(format!(
            "the channel's opening cannot be read: {error}"
        ))),
    }
}

/// One association of webrtc-sctp with its channel.
pub(super) struct Association {
    packets: Arc<Packets>,
    purpose: Purpose,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    sctp: Option<Arc<Sctp>>,
    tasks: Option<Tasks>,
}

impl Association {
    pub(super) fn new(dtls: Arc<dyn Conn + Send + Sync>, purpose: Purpose) -> Self {
        Self {
            packets: Packets::new(dtls, purpose.receive_window()),
            purpose,
            parts: Mutex::default(),
        }
    }

    /// Waits until the remote has answered. Once.
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

    /// Opens the channel, or waits until the remote does. Once, after
    /// [`associate`](Self::associate).
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
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
            Opening::Ours(ours) => open(&sctp, config, ours, max_message_size).await?,
            Opening::Theirs => accept(&sctp, config, max_message_size).await?,
        };
        self.parts(|parts| parts.tasks = Some(tasks));
        Ok(channel)
    }

    /// Waits until the remote closed, reset the channel or broke DTLS, until something failed, or
    /// [`end`](Self::end) was called.
    pub(super) async fn ended(&self) -> End {
        let mut end = self.packets.end_sender().subscribe();
        let ended = end.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        ended.ok().and_then(|end| *end).unwrap_or(End::Ended)
    }

    /// Why it is over, if it is.
    pub(super) fn end_reason(&self) -> Option<End> {
        *self.packets.end_sender().borrow()
    }

    /// Ends the session as if the remote had: what came before is still handed over.
    pub(super) fn end(&self) {
        end(self.packets.end_sender(), End::Ended);
    }

    /// Makes the remote send something, for those who measure its silence.
    pub(super) async fn heartbeat(&self) {
        self.packets.heartbeat().await;
    }

    /// Tells the remote that we are gone, and takes everything down. After an end of the remote's
    /// the receiver may still read what had come.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_opens_the_channel_or_says_why_not() {
        let ours = Ours {
            label: "x".to_owned(),
            ordered: false,
            dtls_client: false,
        };
        assert_eq!(ours.stream(), 1);
        let message = ours.message().unwrap();
        let open = theirs(true, &message).unwrap();
        assert_eq!((open.label, open.ordered), ("x", false));
        for (is_dcep, bytes, why) in [
            (false, &message[..], "it had not opened"),
            (true, &dcep::ACK, "never opened"),
            (true, &[3; 4], "cannot be read"),
        ] {
            let (failure, sentence) = theirs(is_dcep, bytes).unwrap_err();
            assert_eq!(failure, RtcFailure::Channel);
            assert!(sentence.contains(why), "{sentence}");
        }
    }
}
