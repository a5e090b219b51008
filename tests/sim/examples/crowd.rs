//! Measures large worlds: `cargo run --release -p peer-sim --example crowd`.

use std::time::Instant;

use peer_core::time::Duration;
use peer_sim::scenario::{crowd, idle};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| {
        word.parse::<usize>().unwrap_or_else(|_| {
            eprintln!("{word} is not a number\nusage: crowd [PEERS [CONNECTS [IDLE_PEERS]]]");
            std::process::exit(2);
        })
    });
    let peers = numbers.next().unwrap_or(1_000).max(2);
    let connects = numbers.next().unwrap_or(10_000);
    let idlers = numbers.next().unwrap_or(10_000);

    let before = resident();
    let start = Instant::now();
    let sim = idle(1, idlers, Duration::from_secs(60));
    println!(
        "{idlers} idle peers for {:.0} s: {:.1} s real, {} MiB more resident, {} at the broker",
        sim.elapsed().as_secs_f64(),
        start.elapsed().as_secs_f64(),
        resident().saturating_sub(before),
        sim.realm().stats().clients,
    );
    drop(sim);

    let start = Instant::now();
    let (sim, result) = crowd(1, peers, connects);
    let real = start.elapsed().as_secs_f64();
    println!(
        "{peers} peers, {connects} connects, one broker restart: {result:?}, {:.0} s in {real:.1} s real ({:.0} to 1), {} steps, {} MiB resident",
        sim.elapsed().as_secs_f64(),
        sim.elapsed().as_secs_f64() / real,
        sim.steps(),
        resident(),
    );
}

/// MiB of this process in memory, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}
