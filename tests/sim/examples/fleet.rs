//! A fleet of sensors reports through a gateway to a dashboard. In the middle the gateway loses
//! power for ten seconds.
//!
//! `cargo run -p peer-sim --example fleet`. The test `tests/fleet.rs` runs the same and asserts
//! what the dashboard saw.

use peer_core::peer::ConnectOptions;
use peer_core::serialization::Serialization;
use peer_core::time::Duration;
use peer_sim::{Capacity, Conn, HostId, HostOptions, HostState, Link, Sim};
use serde::{Deserialize, Serialize};

/// What a sensor sends, and the gateway passes on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Reading {
    /// Which sensor.
    pub(crate) sensor: u32,
    /// Its readings are numbered.
    pub(crate) number: u32,
    /// Degrees Celsius.
    pub(crate) celsius: f32,
}

/// A reading as the dashboard got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// What it was.
    pub(crate) reading: Reading,
}

/// How often a sensor reports.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// How often the applications look around.
const TICK: Duration = Duration::from_millis(250);

/// An application that keeps one connection to the gateway, connecting again whenever it is over.
struct Client {
    host: HostId,
    conn: Option<Conn>,
}

impl Client {
    fn new(host: HostId) -> Self {
        Self { host, conn: None }
    }

    /// The connection, when it is open.
    fn open(&mut self, sim: &mut Sim) -> Option<Conn> {
        match self.conn {
            Some(conn) if sim.is_open(conn) => return Some(conn),
            Some(conn) if !sim.is_over(conn) => return None,
            _ => {}
        }
        let options = ConnectOptions {
            serialization: Serialization::Json,
            reliable: true,
            ..ConnectOptions::default()
        };
        // Refused while it has no broker; the next tick tries again.
        self.conn = sim.connect(self.host, "gateway", options).ok();
        None
    }
}

/// The whole plant.
pub(crate) struct Fleet {
    /// The world.
    pub(crate) sim: Sim,
    /// The gateway.
    pub(crate) gateway: HostId,
    dashboard: Client,
    sensors: Vec<(Client, u32)>,
    ticks: u32,
    /// What the dashboard saw, in order.
    pub(crate) seen: Vec<Seen>,
}

impl Fleet {
    /// So many sensors on Wi-Fi, a gateway in the house, a dashboard on a cellular modem.
    pub(crate) fn new(seed: u64, sensors: usize) -> Self {
        let mut sim = Sim::new(seed);
        let gateway = sim.add_host(HostOptions {
            capacity: Capacity {
                connections: 2 * sensors + 8,
                control: 32 * 1024,
                ..Capacity::default()
            },
            ..HostOptions::new("gateway")
        });
        let dashboard = sim.add_host(HostOptions {
            link: Link::cellular(),
            ..HostOptions::new("dashboard")
        });
        let sensor = HostOptions {
            link: Link::wifi(),
            capacity: Capacity {
                connections: 1,
                control: 4_096,
                outbox: 512,
                inbox: 256,
                metadata: 0,
            },
            ..HostOptions::new("")
        };
        let sensors = sim.add_hosts("sensor", sensors, &sensor);
        Self {
            sim,
            gateway,
            dashboard: Client::new(dashboard),
            sensors: sensors
                .into_iter()
                .map(|host| (Client::new(host), 0))
                .collect(),
            ticks: 0,
            seen: Vec::new(),
        }
    }

    /// Lets so much time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.sim.run_for(TICK);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let sim = &mut self.sim;
        self.ticks += 1;
        let period = (EVERY.as_millis() / TICK.as_millis()) as u32;
        for (index, (client, next)) in (0..).zip(&mut self.sensors) {
            let Some(conn) = client.open(sim) else {
                continue;
            };
            // They take turns, so that not all report at once.
            if (self.ticks + index).is_multiple_of(period) {
                let reading = Reading {
                    sensor: index,
                    number: *next,
                    celsius: 20.0 + (sim.rng().below(50) as f32) / 10.0,
                };
                if sim.send(conn, reading).is_ok() {
                    *next += 1;
                }
            }
        }

        let dashboard = self.dashboard.open(sim);
        if sim.state(self.gateway) == HostState::Up {
            let to_dashboard = sim
                .open_connections(self.gateway)
                .into_iter()
                .rfind(|conn| sim.remote(*conn) == Some("dashboard"));
            for message in sim.take_messages(self.gateway) {
                let reading: Reading = message.decode().expect("sensors send readings");
                if let Some(conn) = to_dashboard {
                    // A full outbox drops readings: newer ones follow.
                    let _ = sim.send(conn, reading);
                }
            }
        }

        if let Some(conn) = dashboard {
            for message in sim.take_messages(conn.host) {
                self.seen.push(Seen {
                    at: message.at.as_micros() as f64 / 1e6,
                    reading: message.decode().expect("the gateway passes on readings"),
                });
            }
        }
    }

    /// Sensors whose readings came in this time.
    pub(crate) fn sensors_seen(&self, from: f64, to: f64) -> usize {
        let mut sensors: Vec<u32> = self
            .seen
            .iter()
            .filter(|seen| (from..to).contains(&seen.at))
            .map(|seen| seen.reading.sensor)
            .collect();
        sensors.sort_unstable();
        sensors.dedup();
        sensors.len()
    }
}

/// The story: half a minute of peace, the gateway is away from second 30 to 40, and a minute later
/// all is well.
pub(crate) fn run(seed: u64, sensors: usize) -> Fleet {
    let mut fleet = Fleet::new(seed, sensors);
    fleet.run_for(Duration::from_secs(30));
    let gateway = fleet.gateway;
    fleet.sim.restart_host(gateway, Duration::from_secs(10));
    fleet.run_for(Duration::from_secs(70));
    fleet
}

#[allow(dead_code, reason = "the test uses the rest of this file")]
fn main() {
    let fleet = run(1, 200);
    println!("second  sensors seen");
    for second in (0..100).step_by(5) {
        let count = fleet.sensors_seen(f64::from(second), f64::from(second + 5));
        println!("{second:>6}  {count:>4} {}", "#".repeat(count / 4));
    }
    println!(
        "{} readings, trace {:016x}",
        fleet.seen.len(),
        fleet.sim.trace_hash()
    );
}
