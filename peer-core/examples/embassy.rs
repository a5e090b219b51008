//! A peer that several embassy tasks share: a sensor's readings go to a dashboard, which sends
//! commands back.
//!
//! `cargo run -p peer-core --features sync --example embassy`
//!
//! On a board the executor is that of the board, `network` is `Shared::run_leaf` over a UART, and
//! the dashboard a browser with PeerJS. Here both peers and what is between them live in one
//! process.

use std::{
    fs::File,
    io::{self, Read},
};

use embassy_executor::{Executor, Spawner};
use embassy_futures::select::{Either, select, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, Timer};
use peer_core::{
    PeerId,
    peer::{Config, ConnectOptions, Peer, PeerResources},
    sync::Shared,
    time::Instant,
};

#[path = "support/network.rs"]
mod network;

use network::Network;

type SharedPeer = Shared<'static, CriticalSectionRawMutex>;

/// Readings until the sensor has said enough.
const READINGS: u32 = 10;

fn main() -> ! {
    let sensor = share("sensor-7");
    let dashboard = share("dashboard");
    // On a board these are `StaticCell`s.
    let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
    executor.run(|spawner| start(spawner, sensor, dashboard).expect("each task once"))
}

fn start(
    spawner: Spawner,
    sensor: &'static SharedPeer,
    dashboard: &'static SharedPeer,
) -> Result<(), embassy_executor::SpawnError> {
    spawner.spawn(drive([sensor, dashboard])?);
    spawner.spawn(measure(sensor)?);
    spawner.spawn(watch(dashboard)?);
    Ok(())
}

fn share(id: &str) -> &'static SharedPeer {
    let mut config = Config::new(random().expect("the host has a random device"));
    config.id = Some(PeerId::new(id).expect("a plain id"));
    let memory: &'static mut PeerResources<2> = Box::leak(Box::new(PeerResources::new()));
    Box::leak(Box::new(Shared::new(Peer::new(config, memory), clock)))
}

/// On a board: its random number generator.
fn random() -> io::Result<[u8; 32]> {
    let mut random = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random)
}

fn clock() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros())
}

/// The driver: carries out what the engines want, tells them what happened, and watches their
/// clocks.
#[embassy_executor::task]
async fn drive(peers: [&'static SharedPeer; 2]) {
    let mut network = Network::default();
    loop {
        let mut timeouts = [None; 2];
        let mut busy = false;
        for (side, peer) in peers.into_iter().enumerate() {
            busy |= network.deliver(side, |input| peer.handle_input(input));
            timeouts[side] = peer.poll(|output| network.carry_out(side, output));
        }
        if busy {
            continue;
        }
        let next = timeouts.into_iter().flatten().min();
        let sleep = async {
            match next {
                Some(at) => Timer::at(embassy_time::Instant::from_micros(at.as_micros())).await,
                None => core::future::pending().await,
            }
        };
        select3(peers[0].wanted(), peers[1].wanted(), sleep).await;
    }
}

/// The sensor: connects, and sends a reading now and then, or at once when it is told to.
#[embassy_executor::task]
async fn measure(peer: &'static SharedPeer) {
    peer.open().await.expect("the broker is there");
    let dashboard = PeerId::new("dashboard").expect("a plain id");
    let options = ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    };
    let connection = peer
        .connect(&dashboard, options)
        .await
        .expect("the dashboard is there");
    let mut period = Duration::from_millis(200);
    for reading in 0..READINGS {
        connection
            .send(&("reading", reading))
            .await
            .expect("it is open");
        let mut command = [0; 16];
        match select(Timer::after(period), connection.recv_into(&mut command)).await {
            Either::First(()) => {}
            Either::Second(received) => {
                println!(
                    "sensor: a command of {} bytes",
                    received.expect("it is open").bytes.len()
                );
                period = Duration::from_millis(20);
            }
        }
    }
    connection.close_flush();
    connection.closed().await;
    println!("sensor: done");
}

/// The dashboard: waits for who connects, and shows what it hears.
#[embassy_executor::task]
async fn watch(peer: &'static SharedPeer) {
    let connection = peer.accept().await;
    let who = connection.look(|connection| connection.peer().clone());
    println!("dashboard: {} connects", who.expect("it has just come"));
    let mut heard = 0;
    while let Ok(reading) = connection
        .recv_with(|message| message.bytes.last().copied())
        .await
    {
        println!("dashboard: reading {}", reading.unwrap_or_default());
        heard += 1;
        if heard == 3 {
            connection.send("faster").await.expect("it is open");
        }
    }
    assert_eq!(heard, READINGS);
    println!("dashboard: {heard} readings, all there");
    std::process::exit(0);
}
