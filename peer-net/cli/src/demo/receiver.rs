//! The demo's second peer: connects to the sensor and prints what comes.

use std::io::IsTerminal as _;
use std::time::Instant;

use peer_net::{DataConnection, Peer};
use tokio::sync::mpsc;

use super::sensor::Say;
use crate::failure::{Failure, sentence};
use crate::shown::Shown;
use crate::stdout::{print, write};

/// Without a terminal, one reading in so many is printed.
const PRINTED_EVERY: u64 = 10;

/// The readings of a sensor.
pub(super) struct Readings {
    connection: DataConnection,
}

/// Connects, and waits for the first reading.
pub(super) async fn connect(peer: &Peer, sensor: &str) -> Result<Readings, Failure> {
    let start = Instant::now();
    let connection = peer
        .connect(sensor)
        .label("receiver")
        .reliable(true)
        .await
        .map_err(|error| Failure::of_connect(sensor, &error))?;
    print(&format!(
        "receiver  connected over ICE, DTLS and SCTP in {} ms",
        start.elapsed().as_millis()
    ))?;
    let readings = Readings { connection };
    let (number, celsius) = readings.next().await?;
    print(&format!("receiver  reading {number}: {celsius:.2} °C"))?;
    Ok(readings)
}

impl Readings {
    async fn next(&self) -> Result<(u64, f64), Failure> {
        loop {
            match self.connection.recv_as::<Say>().await {
                Ok(Some(Say::Reading {
                    number, celsius, ..
                })) => return Ok((number, celsius)),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Failure::connection("the sensor closed the connection")),
                Err(error) => return Err(Failure::connection(sentence(&error))),
            }
        }
    }

    /// Prints readings for ever, on a terminal in one line, else now and then in a new one; and
    /// what pages say.
    pub(super) async fn print(&self, said: &mut mpsc::Receiver<String>) -> Result<(), Failure> {
        let live = std::io::stdout().is_terminal();
        loop {
            let text = tokio::select! {
                reading = self.next() => {
                    let (number, celsius) = reading?;
                    if live {
                        format!("\rreceiver  reading {number}: {celsius:.2} °C \x1b[K")
                    } else if number % PRINTED_EVERY == 0 {
                        format!("receiver  reading {number}: {celsius:.2} °C\n")
                    } else {
                        continue;
                    }
                }
                Some(words) = said.recv() => {
                    let (start, end) = if live { ("\r", "\x1b[K\n") } else { ("", "\n") };
                    format!("{start}sensor    page {}{end}", Shown(&words))
                }
            };
            write(&text)?;
        }
    }
}
