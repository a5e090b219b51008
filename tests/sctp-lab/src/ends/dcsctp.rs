//! `dcsctp`, as Chromium sets it up.

use std::time::Duration;

use dcsctp::api::{
    DcSctpSocket, Message, Options, PpId, SendOptions, SocketEvent, SocketTime, StreamId,
};

use crate::end::{End, EndOptions, MTU, PPID, Read, Role, STREAM, State};

/// Bytes that wait in the socket: more than is ever sent at once.
const SEND_BUFFER: usize = 2 << 20;

/// An end of `dcsctp`.
pub(super) struct Dcsctp {
    socket: Box<dyn DcSctpSocket>,
    state: State,
}

impl Dcsctp {
    pub(super) fn new(options: &EndOptions) -> Self {
        fastrand::seed(options.seed);
        let settings = Options {
            mtu: MTU,
            max_receiver_window_buffer_size: options.window,
            max_message_size: SEND_BUFFER,
            max_send_buffer_size: 2 * SEND_BUFFER,
            per_stream_send_queue_limit: 2 * SEND_BUFFER,
            // What Chromium changes of the defaults: it leaves giving up to ICE.
            max_retransmissions: None,
            max_init_retransmits: None,
            max_timer_backoff_duration: Some(Duration::from_secs(3)),
            ..Options::default()
        };
        let mut socket = dcsctp::new_socket("", &settings);
        if options.role == Role::Active {
            socket.connect();
        }
        Self {
            socket,
            state: State::Opening,
        }
    }

    fn at(&mut self, now: Duration) {
        self.socket.advance_time(SocketTime::zero() + now);
    }
}

impl End for Dcsctp {
    fn receive(&mut self, now: Duration, packet: &[u8]) {
        self.at(now);
        self.socket.handle_input(packet);
    }

    fn transmit(&mut self, _: Duration, packet: &mut Vec<u8>) -> bool {
        while let Some(event) = self.socket.poll_event() {
            match event {
                SocketEvent::SendPacket(bytes) => {
                    *packet = bytes;
                    return true;
                }
                SocketEvent::OnConnected() => self.state = State::Open,
                SocketEvent::OnAborted(kind, why) => {
                    self.state = State::Ended(format!("{kind:?}: {why}"));
                }
                SocketEvent::OnClosed() => self.state = State::Ended("closed".into()),
                SocketEvent::OnConnectionRestarted() => {
                    self.state = State::Ended("restarted".into());
                }
                SocketEvent::OnError(kind, why) => {
                    self.state = State::Ended(format!("error {kind:?}: {why}"));
                }
                _ => {}
            }
        }
        false
    }

    fn timeout(&self) -> Option<Duration> {
        let at = self.socket.poll_timeout();
        (at < SocketTime::infinite_future()).then(|| at - SocketTime::zero())
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.at(now);
    }

    fn send(&mut self, now: Duration, unordered: bool, message: &[u8]) -> bool {
        if self.socket.buffered_amount(StreamId(STREAM)) >= SEND_BUFFER {
            return false;
        }
        self.at(now);
        let options = SendOptions {
            unordered,
            ..SendOptions::default()
        };
        let message = Message::new(StreamId(STREAM), PpId(PPID), message.to_vec());
        self.socket.send(message, &options).is_ok()
    }

    fn read(&mut self, _: Duration, bytes: &mut Vec<u8>) -> Option<Read> {
        let message = self.socket.get_next_message()?;
        bytes.extend_from_slice(&message.payload);
        Some(Read {
            stream: message.stream_id.0,
            ppid: message.ppid.0,
            last: true,
        })
    }

    fn state(&self) -> State {
        self.state.clone()
    }

    fn abort(&mut self, now: Duration) {
        self.at(now);
        self.socket.close();
    }
}
