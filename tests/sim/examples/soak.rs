//! Runs the hard scenario over many seeds: `cargo run -p peer-sim --example soak -- --seeds 10000
//! [--from N]`.
//!
//! Ends at the first seed that fails; with `--all` it runs the others too and lists those that
//! failed. Exits with 1 where one did, and with 2 where it was called in a wrong way.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use peer_sim::scenario::{Hard, hard_with};

fn main() {
    let (from, seeds, hard, all) = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "{error}\nusage: soak [--seeds N] [--from N] [--leaves | --real] [--hosts N] [--actions N] [--all]"
            );
            std::process::exit(2);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, messages, virtual_time) =
        (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
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
                        if !all {
                            std::process::exit(1);
                        }
                        failed.lock().expect("nobody panics with it").push(seed);
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
    let mut failed = failed.into_inner().expect("nobody panics with it");
    failed.sort_unstable();
    let outcome = match failed.len() {
        0 => "no violation".to_owned(),
        count => format!("{count} failed"),
    };
    println!(
        "{seeds} seeds from {from}: {outcome}. {} messages read, {simulated:.0} s simulated in {real:.1} s: {:.0} to 1",
        messages.into_inner(),
        simulated / real
    );
    if !failed.is_empty() {
        let failed: Vec<String> = failed.iter().map(u64::to_string).collect();
        println!("failed seeds: {}", failed.join(" "));
        std::process::exit(1);
    }
}

fn options() -> Result<(u64, u64, Hard, bool), String> {
    let (mut from, mut seeds, mut hard, mut all) = (0, 200, Hard::default(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--leaves" {
            hard = Hard::leaves();
            continue;
        }
        if word == "--real" {
            hard = Hard::real();
            continue;
        }
        if word == "--all" {
            all = true;
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
    Ok((from, seeds, hard, all))
}
