//! The laboratory with the other implementations: what it says of them is known.

use std::time::Duration;

use peer_sctp_lab::ends::Implementation::{self, Dcsctp, SctpProto, WebrtcSctp};
use peer_sctp_lab::run::Outcome;
use peer_sctp_lab::scenario::{Scenario, named};

const SEED: u64 = 1;

fn run(scenario: &Scenario, pair: [Implementation; 2]) -> Outcome {
    let outcome = scenario.run(pair, SEED, &mut |_, _, _| ());
    assert_eq!(outcome.fault, None, "{}, {pair:?}", scenario.name);
    outcome
}

/// The scenario of this name with so many messages.
fn short(name: &str, messages: u32) -> Scenario {
    let mut scenario = named(name).expect("the grid has it");
    scenario.load.messages = messages;
    scenario
}

/// Each implementation understands each.
#[test]
fn all_pairs_transfer() {
    for first in Implementation::ALL {
        for second in Implementation::ALL {
            for name in ["bulk 0.1ms 0% 1M", "bulk 0.1ms 1% 1M"] {
                let outcome = run(&short(name, 30), [first, second]);
                assert!(outcome.complete, "{name}, {first:?} to {second:?}");
                assert_eq!(outcome.ends[1].messages, 30);
                assert_eq!(outcome.ends[1].bytes, 30 << 14);
            }
        }
    }
}

#[test]
fn loads_arrive() {
    for name in [
        "both-ways 0.1ms 1% 1M",
        "unordered 0.1ms 1% 1M",
        "echo 0.1ms 1% 1M",
    ] {
        let outcome = run(&short(name, 100), [Dcsctp, Dcsctp]);
        assert!(outcome.complete, "{name}");
    }
}

/// A run is the same whenever it is repeated, but for the CPU.
#[test]
fn runs_repeat() {
    let figures = || {
        let mut outcome = run(&short("bulk 0.1ms 5% 1M", 200), [Dcsctp, Dcsctp]);
        for end in &mut outcome.ends {
            end.cpu = None;
        }
        (outcome.elapsed, outcome.ends, outcome.links)
    };
    assert_eq!(figures(), figures());
}

/// A window of 1 MiB lets 1 MiB through in a round trip, and no more.
#[test]
fn window_rules_long_paths() {
    let outcome = run(&short("bulk rtt50ms 0% 1M", 1024), [Dcsctp, Dcsctp]);
    let rate = outcome.bytes_per_second() / f64::from(1 << 20);
    assert!((12.0..20.0).contains(&rate), "{rate} MiB/s");
}

/// What is known of these crates: where it shows, the laboratory measures what it says.
#[test]
fn lineage_of_webrtc_sctp_stands_still_under_loss() {
    let scenario = short("bulk 0.1ms 5% 1M", 100);
    let best = run(&scenario, [Dcsctp, Dcsctp]);
    assert!(
        best.silence() < Duration::from_millis(20),
        "{:?}",
        best.silence()
    );
    for other in [SctpProto, WebrtcSctp] {
        let outcome = run(&scenario, [other, other]);
        assert!(
            outcome.silence() > Duration::from_millis(500),
            "{other:?}: {:?}",
            outcome.silence()
        );
    }
}
