//! Runs the hard scenario over many seeds: `cargo run --release -p peer-sim --example soak -- --seeds 10000 [--from N]`.

use core::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use peer_sim::scenario::{Hard, hard_with};

fn main() {
    let (from, seeds, hard) = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "{error}\nusage: soak [--seeds N] [--from N] [--leaves] [--hosts N] [--actions N]; the first seed that fails is told"
            );
            std::process::exit(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, messages, virtual_time) =
        (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(seeds) {
                        return;
                    }
                    let result = std::panic::catch_unwind(|| {
                        let sim = hard_with(seed, hard);
                        messages.fetch_add(sim.stats().messages_read, Ordering::Relaxed);
                        virtual_time.fetch_add(sim.now().as_micros(), Ordering::Relaxed);
                    });
                    if result.is_err() {
                        eprintln!("seed {seed} failed, see above");
                        std::process::exit(1);
                    }
                    let done = seed + 1 - from;
                    if done.is_multiple_of(500) {
                        eprintln!("{done} seeds, {:.0} s", start.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let real = start.elapsed().as_secs_f64();
    let simulated = virtual_time.into_inner() as f64 / 1e6;
    println!(
        "{seeds} seeds from {from}: no violation. {} messages read, {simulated:.0} s simulated in {real:.1} s: {:.0} to 1",
        messages.into_inner(),
        simulated / real
    );
}

fn options() -> Result<(u64, u64, Hard), String> {
    let (mut from, mut seeds, mut hard) = (0, 200, Hard::default());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--leaves" {
            hard = Hard::leaves();
            continue;
        }
        let number = words
            .next()
            .ok_or_else(|| format!("{word} needs a number"))?;
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{number} is not a number"))?;
        match word.as_str() {
            "--seeds" => seeds = number,
            "--from" => from = number,
            "--hosts" => hard.hosts = usize::try_from(number).map_err(|error| error.to_string())?,
            "--actions" => {
                hard.actions = usize::try_from(number).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok((from, seeds, hard))
}
