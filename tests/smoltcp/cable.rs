//! A cable in memory: what one end sends the other receives. No TAP device, no privileges.

use core::cell::RefCell;
use std::{collections::VecDeque, rc::Rc};

use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

/// Frames on their way in one direction. More are dropped, as a switch would.
const FRAMES_MAX: usize = 256;

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a cable.
pub(crate) struct End {
    medium: Medium,
    mtu: usize,
    incoming: Queue,
    outgoing: Queue,
}

/// Both ends of a new cable. `mtu` counts the IP packet, not the Ethernet header.
pub(crate) fn cable(medium: Medium, mtu: usize) -> (End, End) {
    let (there, back) = (Queue::default(), Queue::default());
    let header = if medium == Medium::Ethernet { 14 } else { 0 };
    let end = |incoming: &Queue, outgoing: &Queue| End {
        medium,
        mtu: mtu + header,
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
    };
    (end(&back, &there), end(&there, &back))
}

impl End {
    /// Whether nothing is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.incoming.borrow().is_empty() && self.outgoing.borrow().is_empty()
    }
}

impl Device for End {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.incoming.borrow_mut().pop_front()?;
        Some((Received(frame), Sending(&self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(crate) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

pub(crate) struct Sending<'a>(&'a Queue);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, give: F) -> R {
        let mut frame = vec![0; len];
        let result = give(&mut frame);
        let mut queue = self.0.borrow_mut();
        if queue.len() < FRAMES_MAX {
            queue.push_back(frame);
        }
        result
    }
}
