//! `sctp-proto` with its defaults.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, Transmit,
    TransportConfig,
};

use crate::end::{End, EndOptions, MTU, Read, Role, STREAM, State};

/// Bytes that wait in the stream, those under way among them: twice the largest window.
const SEND_BUFFER: usize = 8 << 20;

/// Of the common header and of a DATA chunk.
const HEADERS: usize = 28;

/// An end of `sctp-proto`.
pub(super) struct SctpProto {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    outgoing: VecDeque<Bytes>,
    /// A stream may have a message.
    readable: bool,
    state: State,
    epoch: Instant,
    remote: SocketAddr,
}

impl SctpProto {
    pub(super) fn new(options: &EndOptions) -> Self {
        let window = u32::try_from(options.window).unwrap_or(u32::MAX);
        let transport = TransportConfig::default()
            .with_max_receive_buffer_size(window)
            .with_max_send_message_size(u32::MAX)
            .with_max_receive_message_size(u32::MAX);
        let transport = Arc::new(transport);
        let mut config = EndpointConfig::new();
        config.max_payload_size((MTU - HEADERS) as u32);
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        let epoch = Instant::now();
        let (server, client) = match options.role {
            Role::Passive => {
                let mut server = ServerConfig::new();
                server.transport = transport;
                (Some(Arc::new(server)), None)
            }
            Role::Active => {
                let mut client = ClientConfig::new();
                client.transport = transport;
                (None, Some(client))
            }
        };
        let mut endpoint = Endpoint::new(Arc::new(config), server);
        let association = client.and_then(|client| endpoint.connect(client, remote).ok());
        let outgoing = VecDeque::new();
        let state = State::Opening;
        Self {
            endpoint,
            association,
            outgoing,
            readable: false,
            state,
            epoch,
            remote,
        }
    }

    fn events(&mut self) {
        let Some((handle, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    // It is there if a message came with the end of the handshake.
                    let ppid = PayloadProtocolIdentifier::Binary;
                    let opened = association.stream(STREAM).is_ok()
                        || association.open_stream(STREAM, ppid).is_ok();
                    self.state = if opened {
                        State::Open
                    } else {
                        State::Ended("no stream".into())
                    };
                }
                Event::HandshakeFailed { reason } => self.state = State::Ended(reason.to_string()),
                Event::AssociationLost { reason, .. } => {
                    self.state = State::Ended(reason.to_string());
                }
                Event::Stream(StreamEvent::Readable { .. }) => self.readable = true,
                _ => {}
            }
        }
    }

    fn queue(&mut self, transmit: Transmit) {
        if let Payload::RawEncode(packets) = transmit.payload {
            self.outgoing.extend(packets);
        }
    }
}

impl End for SctpProto {
    fn receive(&mut self, now: Duration, packet: &[u8]) {
        let (now, packet) = (self.epoch + now, Bytes::copy_from_slice(packet));
        match self.endpoint.handle(now, self.remote, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
        self.events();
    }

    fn transmit(&mut self, now: Duration, packet: &mut Vec<u8>) -> bool {
        if self.outgoing.is_empty() {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.queue(transmit);
            }
            let now = self.epoch + now;
            if let Some((_, association)) = &mut self.association
                && let Some(transmit) = association.poll_transmit(now)
            {
                self.queue(transmit);
            }
            self.events();
        }
        let next = self.outgoing.pop_front();
        packet.extend(next.iter().flatten());
        next.is_some()
    }

    fn timeout(&self) -> Option<Duration> {
        let at = self.association.as_ref()?.1.poll_timeout()?;
        Some(at.saturating_duration_since(self.epoch))
    }

    fn handle_timeout(&mut self, now: Duration) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(self.epoch + now);
        }
        self.events();
    }

    fn send(&mut self, _: Duration, unordered: bool, message: &[u8]) -> bool {
        let Some((_, association)) = &mut self.association else {
            return false;
        };
        let Ok(mut stream) = association.stream(STREAM) else {
            return false;
        };
        if stream
            .buffered_amount()
            .is_ok_and(|bytes| bytes >= SEND_BUFFER)
        {
            return false;
        }
        stream
            .set_reliability_params(unordered, ReliabilityType::Reliable, 0)
            .is_ok()
            && stream
                .write_with_ppi(message, PayloadProtocolIdentifier::Binary)
                .is_ok()
    }

    fn read(&mut self, _: Duration, bytes: &mut Vec<u8>) -> Option<Read> {
        if !self.readable {
            return None;
        }
        let next = self
            .association
            .as_mut()
            .and_then(|(_, association)| association.stream(STREAM).ok()?.read().ok()?);
        let Some(message) = next else {
            self.readable = false;
            return None;
        };
        let from = bytes.len();
        bytes.resize(from + message.len(), 0);
        if message.read(&mut bytes[from..]).is_err() {
            self.state = State::Ended("a message longer than it says".into());
        }
        Some(Read {
            stream: STREAM,
            ppid: message.ppi as u32,
            last: true,
        })
    }

    fn state(&self) -> State {
        self.state.clone()
    }

    fn abort(&mut self, _: Duration) {
        if let Some((_, association)) = &mut self.association
            && let Err(why) = association.close()
        {
            self.state = State::Ended(why.to_string());
        }
        self.events();
    }
}
