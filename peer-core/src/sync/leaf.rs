//! A shared engine behind a link.

use embassy_sync::blocking_mutex::raw::RawMutex;
use embedded_io_async::{Read, Write};

use crate::{
    link::{Leaf, LeafOutput, pump},
    time::Instant,
};

use super::Shared;

impl<M: RawMutex, const TASKS: usize, C: Fn() -> Instant> Shared<'_, M, TASKS, C> {
    /// Runs the engine over a link until its stream fails or ends; the engine's driver, then.
    ///
    /// Events of the engine go to [`event`](Self::event), those of the link to `link`: `Up`,
    /// `Down`, `Refused`. `sleep_until` waits until a time of the clock, for ever for `None`;
    /// needless wakes are harmless. A read that is dropped while it waits must not lose bytes,
    /// which holds for buffered UARTs and TCP.
    ///
    /// # Errors
    /// Those of the stream. The link's session is over then, and the engine knows.
    pub async fn run_leaf<R, W>(
        &self,
        leaf: &mut Leaf<'_>,
        reader: &mut R,
        writer: &mut W,
        sleep_until: impl AsyncFn(Option<Instant>),
        mut link: impl FnMut(LeafOutput),
    ) -> Result<(), R::Error>
    where
        R: Read,
        W: Write<Error = R::Error>,
    {
        let turn = |leaf: &mut Leaf<'_>, now, bytes: &[u8]| {
            self.receive_leaf(leaf, now, bytes);
            self.poll_leaf(leaf, now, &mut link)
        };
        let outcome = pump(leaf, reader, writer, &self.clock, sleep_until, turn, || {
            self.wanted()
        })
        .await;
        self.poll_leaf(leaf, (self.clock)(), link);
        outcome
    }

    /// Hands the leaf bytes of its stream; see [`Leaf::receive`]. Then
    /// [`poll_leaf`](Self::poll_leaf).
    pub fn receive_leaf(&self, leaf: &mut Leaf<'_>, now: Instant, bytes: &[u8]) {
        self.drive(|peer, _| leaf.receive(now, bytes, peer));
    }

    /// One turn of the leaf: as [`poll`](Self::poll), for a driver with a link.
    pub fn poll_leaf(
        &self,
        leaf: &mut Leaf<'_>,
        now: Instant,
        mut link: impl FnMut(LeafOutput),
    ) -> Option<Instant> {
        self.begin_turn();
        loop {
            let output = self.drive(|peer, publish| {
                let output = leaf.poll(now, peer);
                if let LeafOutput::Event(event) = output {
                    publish(event);
                }
                output
            });
            match output {
                LeafOutput::Timeout(at) => return at,
                LeafOutput::Event(_) => {}
                output => link(output),
            }
        }
    }
}
