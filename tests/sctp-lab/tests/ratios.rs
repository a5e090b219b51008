//! Ours beside `dcsctp`, Chromium's, in the same run. Virtual time decides, never the CPU.

use std::time::Duration;

use peer_sctp_lab::ends::Implementation::{self, Dcsctp, Ours, SctpProto, WebrtcSctp};
use peer_sctp_lab::run::Outcome;
use peer_sctp_lab::scenario::{Scenario, named};

/// Of dcsctp's throughput, at least.
const RATE: f64 = 1.0;
/// Of dcsctp's longest silence, at most.
const SILENCE: u32 = 2;

fn short(name: &str, messages: u32) -> Scenario {
    let mut scenario = named(name).expect("the grid has it");
    scenario.load.messages = messages;
    scenario
}

#[track_caller]
fn run(scenario: &Scenario, pair: [Implementation; 2], seed: u64) -> Outcome {
    let outcome = scenario.run(pair, seed, &mut |_, _, _| ());
    assert_eq!(
        outcome.fault, None,
        "{}, {pair:?}, seed {seed}",
        scenario.name
    );
    outcome
}

/// The median throughput of five seeds in MiB/s, and the longest silence.
fn figures(scenario: &Scenario, pair: [Implementation; 2]) -> (f64, Duration) {
    let outcomes: Vec<Outcome> = (1..=5).map(|seed| run(scenario, pair, seed)).collect();
    let mut rates: Vec<f64> = outcomes.iter().map(Outcome::bytes_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let silence = outcomes
        .iter()
        .map(Outcome::silence)
        .max()
        .unwrap_or_default();
    (rates[2] / f64::from(1 << 20), silence)
}

#[test]
fn loss_costs_no_more_than_dcsctp() {
    for name in [
        "bulk 0.1ms 1% 1M",
        "bulk 0.2ms 1% 1M",
        "bulk 0.1ms 5% 1M",
        "bulk 0.2ms 5% 1M",
    ] {
        let scenario = short(name, 400);
        let (ours, silence) = figures(&scenario, [Ours, Ours]);
        let (theirs, their_silence) = figures(&scenario, [Dcsctp, Dcsctp]);
        println!("{name}: {ours:.1} MiB/s, {silence:?}; dcsctp {theirs:.1}, {their_silence:?}");
        assert!(
            ours >= RATE * theirs,
            "{name}: {ours:.2} MiB/s, dcsctp {theirs:.2}"
        );
        assert!(
            silence <= SILENCE * their_silence,
            "{name}: silent for {silence:?}, dcsctp {their_silence:?}"
        );
    }
}

/// The line or the window is the bound where nothing is lost.
#[test]
fn nothing_lost_nothing_wasted() {
    for (name, messages, floor) in [
        ("bulk 0.1ms 0% 1M", 1000, 110.0),
        ("bulk rtt20ms 0% 1M", 4000, 40.0),
        ("bulk rtt50ms 0% 1M", 4000, 17.0),
    ] {
        let outcome = run(&short(name, messages), [Ours, Ours], 1);
        let rate = outcome.bytes_per_second() / f64::from(1 << 20);
        assert!(rate >= floor, "{name}: {rate:.2} MiB/s");
    }
}

/// 250,000 messages of 1 byte from ours into every window, and some from dcsctp and to it.
#[test]
fn amounts_of_short_messages_arrive() {
    for window in ["2K", "4K", "1M"] {
        let name = format!("short 250000x1B 0.1ms 0% {window}");
        let scenario = named(&name).expect("the grid has it");
        assert!(run(&scenario, [Ours, Ours], 1).complete, "{name}");
        // dcsctp makes a packet of each message, and takes its time for it: a part of them.
        let scenario = short(&name, 20_000);
        for pair in [[Dcsctp, Ours], [Ours, Dcsctp]] {
            assert!(run(&scenario, pair, 1).complete, "{name}, {pair:?}");
        }
    }
}

/// Ours and each other implementation, both ways, with loss.
#[test]
fn others_understand_ours() {
    for other in [Dcsctp, SctpProto, WebrtcSctp] {
        for pair in [[Ours, other], [other, Ours]] {
            for name in [
                "bulk 0.1ms 1% 1M",
                "unordered 0.1ms 1% 1M",
                "both-ways 0.1ms 1% 1M",
            ] {
                assert!(run(&short(name, 20), pair, 3).complete, "{name}, {pair:?}");
            }
        }
    }
}
