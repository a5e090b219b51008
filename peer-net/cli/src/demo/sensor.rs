//! The demo's sensor: a simulated thermometer that answers every connection.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peer_net::{DataConnection, Peer, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, watch};

/// Time between readings at the start, in milliseconds.
const INTERVAL_MS: u64 = 500;
/// The intervals a page may ask for, in milliseconds.
const INTERVALS_MS: std::ops::RangeInclusive<u64> = 50..=10_000;
/// Readings that wait for a connection. One that is slower misses the oldest.
const READINGS_MAX: usize = 16;
/// Longest text that is acknowledged, in bytes.
const TEXT_MAX: usize = 4096;

/// What the sensor says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Say {
    Reading {
        number: u64,
        time: u64,
        celsius: f64,
        interval: u64,
    },
    Ack(Ack),
    Error {
        message: String,
    },
}

/// What the sensor did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub(super) enum Ack {
    Interval { ms: u64 },
    Message { text: String },
}

impl core::fmt::Display for Ack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Interval { ms } => write!(f, "wants a reading every {ms} ms"),
            Self::Message { text } => write!(f, "says: {text}"),
        }
    }
}

/// What a page asks for.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Interval { ms: u64 },
    Message { text: String },
}

/// Answers every connection until the peer ends.
///
/// What a page says, a text or another interval, goes to `said` as a line; it is not printed when
/// it finds no room there.
pub(super) async fn serve(peer: &Peer, said: mpsc::Sender<String>) {
    let interval = watch::Sender::new(INTERVAL_MS);
    let readings = broadcast::Sender::new(READINGS_MAX);
    let ticking = tick(interval.subscribe(), readings.clone());
    let accepting = async {
        while let Some(connection) = peer.accept().await {
            let (readings, interval) = (readings.subscribe(), interval.clone());
            let attending = attend(connection, readings, interval, said.clone());
            tokio::spawn(attending);
        }
    };
    tokio::select! {
        () = ticking => {}
        () = accepting => {}
    }
}

/// Takes readings.
async fn tick(mut interval: watch::Receiver<u64>, readings: broadcast::Sender<Say>) {
    let mut thermometer = Thermometer::new();
    for number in 1.. {
        let ms = *interval.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            Ok(()) = interval.changed() => {}
        }
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let _ = readings.send(Say::Reading {
            number,
            time: u64::try_from(time).unwrap_or(u64::MAX),
            celsius: thermometer.read(),
            interval: *interval.borrow(),
        });
    }
}

async fn attend(
    connection: DataConnection,
    mut readings: broadcast::Receiver<Say>,
    interval: watch::Sender<u64>,
    said: mpsc::Sender<String>,
) {
    loop {
        tokio::select! {
            reading = readings.recv() => match reading {
                // A reading that finds the connection congested is old news by the time it could
                // go.
                Ok(reading) => drop(connection.try_send(&reading)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            message = connection.recv() => {
                let answer = match message {
                    Ok(Some(value)) => {
                        let answer = obey(&value, &interval);
                        if let Say::Ack(ack) = &answer {
                            drop(said.try_send(format!("{} {ack}", connection.peer())));
                        }
                        answer
                    }
                    Ok(None) => return,
                    Err(error) => Say::Error { message: error.to_string() },
                };
                if connection.send(&answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn obey(value: &Value, interval: &watch::Sender<u64>) -> Say {
    match value.to::<Command>() {
        Ok(Command::Interval { ms }) if INTERVALS_MS.contains(&ms) => {
            interval.send_replace(ms);
            Say::Ack(Ack::Interval { ms })
        }
        Ok(Command::Interval { .. }) => Say::Error {
            message: format!(
                "the interval must be from {} to {} ms",
                INTERVALS_MS.start(),
                INTERVALS_MS.end()
            ),
        },
        Ok(Command::Message { text }) if text.len() <= TEXT_MAX => Say::Ack(Ack::Message { text }),
        Ok(Command::Message { .. }) => Say::Error {
            message: format!("texts of up to {TEXT_MAX} bytes are read"),
        },
        Err(error) => Say::Error {
            message: format!("that is no command: {error}"),
        },
    }
}

/// A room that warms and cools, with some noise.
struct Thermometer {
    celsius: f64,
    drift: f64,
    noise: u64,
}

impl Thermometer {
    const fn new() -> Self {
        Self {
            celsius: 21.0,
            drift: 0.0,
            noise: 0x9E37_79B9_7F4A_7C15,
        }
    }

    fn read(&mut self) -> f64 {
        // A random walk that is pulled back to 21 degrees.
        self.drift = 0.9 * self.drift + 0.06 * self.random() - 0.01 * (self.celsius - 21.0);
        self.celsius += self.drift;
        ((self.celsius + 0.03 * self.random()) * 100.0).round() / 100.0
    }

    /// From -1 to 1 (xorshift: the demo needs no better).
    fn random(&mut self) -> f64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_obeyed_or_refused() {
        let interval = watch::Sender::new(1);
        let command = Value::from([("type", Value::from("interval")), ("ms", Value::from(250))]);
        assert!(matches!(
            obey(&command, &interval),
            Say::Ack(Ack::Interval { ms: 250 })
        ));
        assert_eq!(*interval.borrow(), 250);
        let command = Value::from([("type", Value::from("interval")), ("ms", Value::from(1))]);
        assert!(matches!(obey(&command, &interval), Say::Error { .. }));
        assert_eq!(*interval.borrow(), 250);
        assert!(matches!(
            obey(&Value::from("nonsense"), &interval),
            Say::Error { .. }
        ));
    }

    #[test]
    fn the_room_stays_habitable() {
        let mut thermometer = Thermometer::new();
        assert!((0..10_000).all(|_| (10.0..32.0).contains(&thermometer.read())));
    }
}
