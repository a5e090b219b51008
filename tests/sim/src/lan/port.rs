//! A network card in memory.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Frames that wait in one direction. More are dropped, as a card does.
const FRAMES_MAX: usize = 256;

/// A network card in memory: what it is given smoltcp receives, what smoltcp sends waits to be
/// taken.
#[derive(Debug)]
pub struct Port {
    medium: Medium,
    mtu: usize,
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Port {
    /// A card. `mtu` counts the IP packet, not the Ethernet header.
    pub fn new(medium: Medium, mtu: usize) -> Self {
        let header = if medium == Medium::Ethernet { 14 } else { 0 };
        Self {
            medium,
            mtu: mtu + header,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
        }
    }

    /// A frame has come.
    pub fn deliver(&mut self, frame: Vec<u8>) {
        if self.incoming.len() < FRAMES_MAX {
            self.incoming.push_back(frame);
        }
    }

    /// The next frame that was sent.
    pub fn take_sent(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// Whether no frame waits.
    pub fn is_quiet(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_empty()
    }
}

/// A cable between two cards: carries over what each has sent.
pub fn carry(one: &mut Port, other: &mut Port) {
    while let Some(frame) = one.take_sent() {
        other.deliver(frame);
    }
    while let Some(frame) = other.take_sent() {
        one.deliver(frame);
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Received(frame), Sending(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A frame for smoltcp.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

/// Room for a frame of smoltcp.
#[derive(Debug)]
pub struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, give: F) -> R {
        let mut frame = vec![0; len];
        let result = give(&mut frame);
        if self.0.len() < FRAMES_MAX {
            self.0.push_back(frame);
        }
        result
    }
}
