//! Many seeds, many peers.

use core::sync::atomic::{AtomicU64, Ordering};

use peer_core::peer::ConnectOptions;
use peer_core::time::Duration;
use peer_sim::scenario::{Hard, crowd, hard, hard_with, idle};
use peer_sim::{Action, HostOptions, Link, Sim};

/// Set to run one seed only, as a failure tells to.
const SEED: &str = "PEER_SIM_SEED";

/// Runs seeds from 0 on all cores, or the one that is asked for; messages read by all of them.
fn seeds(count: u64, run: impl Fn(u64) -> Sim + Sync) -> u64 {
    if let Ok(seed) = std::env::var(SEED) {
        run(seed.parse().expect("PEER_SIM_SEED is a number"));
        return u64::MAX;
    }
    let next = AtomicU64::new(0);
    let read = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    let sim = run(seed);
                    read.fetch_add(sim.stats().messages_read, Ordering::Relaxed);
                }
            });
        }
    });
    read.into_inner()
}

#[test]
fn two_hundred_seeds_of_the_hard_scenario() {
    // It was not all quiet.
    assert!(seeds(200, hard) > 200 * 100);
}

#[test]
fn forty_seeds_of_the_hard_scenario_with_leaves() {
    assert!(seeds(40, |seed| hard_with(seed, Hard::leaves())) > 40 * 20);
}

#[test]
fn twenty_seeds_of_the_hard_scenario_with_real_sessions() {
    assert!(seeds(20, |seed| hard_with(seed, Hard::real())) > 20 * 50);
}

#[test]
fn one_seed_is_one_trace() {
    let (first, again, other) = (hard(17), hard(17), hard(18));
    assert!(first.trace_lines() > 1_000);
    assert_eq!(first.trace(), again.trace());
    assert_eq!(first.trace_hash(), again.trace_hash());
    assert_eq!(first.stats(), again.stats());
    assert_ne!(first.trace_hash(), other.trace_hash());
}

#[test]
fn a_script_is_part_of_the_trace() {
    let run = |away| {
        let mut sim = Sim::new(3);
        let bob = sim.add_host(HostOptions::new("bob"));
        let alice = sim.add_host(HostOptions {
            link: Link::wifi(),
            ..HostOptions::new("alice")
        });
        let second = Duration::from_secs(1);
        sim.script([
            (second, Action::Partition(vec![alice])),
            (second + away, Action::Heal),
            (2 * second + away, Action::Disconnect(bob)),
        ]);
        sim.run_for(30 * second);
        assert!(sim.connect(alice, "bob", ConnectOptions::default()).is_ok());
        sim.run_for(5 * second);
        (sim.trace(), sim.trace_hash())
    };
    let (trace, hash) = run(Duration::from_secs(3));
    assert_eq!(run(Duration::from_secs(3)), (trace.clone(), hash));
    assert_ne!(run(Duration::from_secs(4)).1, hash);
    assert!(trace.contains("network heals") && trace.contains("bob#1 event Disconnected"));
}

#[test]
fn a_crowd_connects_across_a_broker_restart() {
    let (sim, crowd) = crowd(1, 200, 2_000);
    assert_eq!(crowd.opened + crowd.failed, 2_000);
    assert!(crowd.opened > 1_800, "{crowd:?}");
    assert_eq!(sim.stats().messages_read, crowd.opened as u64);
    assert_eq!(sim.realm().stats().clients, 200);
}

#[test]
fn idle_peers_stay() {
    let sim = idle(1, 2_000, Duration::from_secs(120));
    assert_eq!(sim.realm().stats().clients, 2_000);
    assert_eq!(sim.realm().stats().timed_out, 0);
}
