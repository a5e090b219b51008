//! A shared engine behind a link.

use embassy_sync::blocking_mutex::raw::RawMutex;
use embedded_io_async::{Read, Write};

use crate::{
    link::{Leaf, LeafOutput, PIECE, Sleep, either, write_all_async},
    time::Instant,
};

use super::Shared;

impl<M: RawMutex, const TASKS: usize> Shared<'_, M, TASKS> {
    /// Runs the engine over a link until its stream fails or ends; the engine's driver, then.
    ///
    /// Events of the engine go to [`event`](Self::event), those of the link to `link`: `Up`, `Down`, `Refused`. A read
    /// that is dropped while it waits must not lose bytes, which holds for buffered UARTs and TCP.
    ///
    /// # Errors
    /// Those of the stream. The link's session is over then, and the engine knows.
    pub async fn run_leaf<R, W>(
        &self,
        leaf: &mut Leaf<'_>,
        reader: &mut R,
        writer: &mut W,
        sleep: &mut impl Sleep,
        mut link: impl FnMut(LeafOutput),
    ) -> Result<(), R::Error>
    where
        R: Read,
        W: Write<Error = R::Error>,
    {
        let mut piece = [0; PIECE];
        let outcome = loop {
            let now = sleep.now();
            let timeout = self.poll_leaf(leaf, now, &mut link);
            if let Err(error) = write_all_async(writer, |room| leaf.transmit(now, room)).await {
                break Err(error);
            }
            let idle = async {
                let _ = either(self.wanted(), sleep.sleep_until(timeout)).await;
            };
            match either(reader.read(&mut piece), idle).await {
                Some(Ok(0)) => break Ok(()),
                Some(Ok(len)) => leaf.receive(sleep.now(), piece.get(..len).unwrap_or_default()),
                Some(Err(error)) => break Err(error),
                None => {}
            }
        };
        leaf.disconnected();
        self.poll_leaf(leaf, sleep.now(), &mut link);
        outcome
    }

    /// One turn of the leaf: as [`poll`](Self::poll), for a driver with a link.
    pub fn poll_leaf(
        &self,
        leaf: &mut Leaf<'_>,
        now: Instant,
        mut link: impl FnMut(LeafOutput),
    ) -> Option<Instant> {
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
