//! A real engine together with the memory it borrows.

use peer_core::peer::{Config, ConnectionSlot, Peer, PeerSlices};

use crate::device::{Attachment, Device, FaceMemory};
use crate::house::{House, Tenant};

/// What a host's engine may use. See [`PeerResources`](peer_core::peer::PeerResources).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections at once.
    pub connections: usize,
    /// Bytes for signals.
    pub control: usize,
    /// Bytes a connection for messages going out.
    pub outbox: usize,
    /// Bytes a connection for messages coming in.
    pub inbox: usize,
    /// Bytes a connection for metadata.
    pub metadata: usize,
}

impl Default for Capacity {
    /// Four connections and the defaults of [`PeerResources`](peer_core::peer::PeerResources).
    fn default() -> Self {
        Self {
            connections: 4,
            control: 4096,
            outbox: 2048,
            inbox: 2048,
            metadata: 256,
        }
    }
}

pub(crate) struct Devices;

impl Tenant for Devices {
    type With<'m> = Device<'m>;
}

/// An engine that owns its memory, and what is around it.
pub(crate) struct Engine(House<Devices>);

impl Engine {
    pub(crate) fn new(config: Config, capacity: Capacity, attachment: Option<Attachment>) -> Self {
        Self(House::new(move |jobs| async move {
            let count = capacity.connections;
            let mut slots: Vec<ConnectionSlot> =
                (0..count).map(|_| ConnectionSlot::default()).collect();
            let mut control = vec![0; capacity.control];
            let mut outbox = vec![0; count * capacity.outbox];
            let mut inbox = vec![0; count * capacity.inbox];
            let mut metadata = vec![0; count * capacity.metadata];
            let mut face = FaceMemory::new(attachment.as_ref(), capacity);
            let memory = PeerSlices {
                slots: &mut slots,
                control: &mut control,
                outbox: &mut outbox,
                inbox: &mut inbox,
                metadata: &mut metadata,
            };
            let peer = Peer::with_slices(config, memory);
            let mut device = Device::new(peer, attachment, &mut face);
            jobs.serve(&mut device).await;
        }))
    }

    /// Has the engine do something.
    pub(crate) fn with<R: 'static>(&mut self, job: impl FnOnce(&mut Peer<'_>) -> R + 'static) -> R {
        self.0.with(move |device| job(&mut device.peer))
    }

    /// Has the device around it do something.
    pub(crate) fn with_device<R: 'static>(
        &mut self,
        job: impl FnOnce(&mut Device<'_>) -> R + 'static,
    ) -> R {
        self.0.with(job)
    }
}
