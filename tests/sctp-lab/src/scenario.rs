//! The scenarios: loads and networks with names.

use std::time::Duration;

use crate::end::{EndOptions, Role};
use crate::ends::Implementation;
use crate::load::{Load, Pattern, Reader};
use crate::network::{LinkOptions, Loss};
use crate::run::{Outcome, RunOptions, Tap, run};

/// A load over a network.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is, in words that the command's filters look for.
    pub name: String,
    /// What is sent.
    pub load: Load,
    /// Receive window of both ends.
    pub window: usize,
    /// Each direction is such a line.
    pub link: LinkOptions,
    /// Virtual time after which it ends.
    pub limit: Duration,
    /// Both ends send INIT, as in browsers.
    pub both_open: bool,
}

impl Scenario {
    /// Runs it between two implementations.
    pub fn run(&self, pair: [Implementation; 2], seed: u64, tap: Tap<'_>) -> Outcome {
        let roles = [
            Role::Active,
            if self.both_open {
                Role::Active
            } else {
                Role::Passive
            },
        ];
        let ends = [0, 1].map(|n: usize| EndOptions {
            role: roles[n],
            window: self.window,
            seed: seed.wrapping_mul(2).wrapping_add(n as u64),
        });
        let options = RunOptions {
            load: self.load,
            links: [self.link; 2],
            limit: self.limit,
            seed,
        };
        pair[0].with_end(&ends[0], |first| {
            pair[1].with_end(&ends[1], |second| run(&options, [first, second], tap))
        })
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Messages of bulk transfers.
const BULK: usize = 16 * KIB;

/// One-way delays of paths.
const LAN: [(&str, Duration); 2] = [
    ("0.1ms", Duration::from_micros(100)),
    ("0.2ms", Duration::from_micros(200)),
];
const WAN: [(&str, Duration); 2] = [
    ("rtt20ms", Duration::from_millis(10)),
    ("rtt50ms", Duration::from_millis(25)),
];

const NO_LOSS: (&str, Loss) = ("0%", Loss::None);
const ONE: (&str, Loss) = ("1%", Loss::Random(0.01));
const FIVE: (&str, Loss) = ("5%", Loss::Random(0.05));
const TEN: (&str, Loss) = ("10%", Loss::Random(0.1));
const TWENTY: (&str, Loss) = ("20%", Loss::Random(0.2));

/// All of them, in the order of the table.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    bulk(&mut all);
    other_loads(&mut all);
    short_messages(&mut all);
    small_windows(&mut all);
    disturbed(&mut all);
    lossy(&mut all);
    all
}

/// The one of this name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

fn bulk(all: &mut Vec<Scenario>) {
    let bursts = [
        ("bursts1%", Loss::bursts(0.01, 4.0)),
        ("bursts5%", Loss::bursts(0.05, 8.0)),
    ];
    let losses = [NO_LOSS, ONE, FIVE, TWENTY, bursts[0], bursts[1]];
    for (path, delay) in LAN {
        for loss in losses {
            for window in [MIB, 4 * MIB] {
                let mib = if loss == TWENTY { 4 } else { 32 };
                all.push(scenario("bulk", (path, delay), loss, window, stream(mib)));
            }
        }
    }
    for (path, delay) in WAN {
        for loss in losses {
            for window in [MIB, 4 * MIB] {
                let mib = if loss == NO_LOSS { 64 } else { 8 };
                all.push(scenario("bulk", (path, delay), loss, window, stream(mib)));
            }
        }
        // 170 full packets: less than slow start overshoots.
        let mut small = scenario(
            "bulk small-queue",
            (path, delay),
            NO_LOSS,
            4 * MIB,
            stream(64),
        );
        small.link.queue = 170 * 1191;
        all.push(small);
    }
}

fn other_loads(all: &mut Vec<Scenario>) {
    for loss in [NO_LOSS, ONE, FIVE] {
        let both = Load {
            pattern: Pattern::BothWays,
            ..stream(16)
        };
        all.push(scenario("both-ways", LAN[0], loss, MIB, both));
        let unordered = Load {
            unordered: true,
            ..stream(32)
        };
        all.push(scenario("unordered", LAN[0], loss, MIB, unordered));
        for path in [LAN[0], WAN[0]] {
            let echo = Load {
                pattern: Pattern::Echo,
                messages: 500,
                size: 64,
                ..stream(1)
            };
            all.push(scenario("echo", path, loss, MIB, echo));
        }
    }
}

fn short_messages(all: &mut Vec<Scenario>) {
    for (messages, size) in [(70_000, 1), (70_000, 6), (250_000, 1), (250_000, 6)] {
        for window in [2 * KIB, 4 * KIB, MIB] {
            for loss in [NO_LOSS, ONE] {
                let load = Load {
                    messages,
                    size,
                    ..stream(1)
                };
                let what = format!("short {messages}x{size}B");
                all.push(scenario(&what, LAN[0], loss, window, load));
            }
        }
        let load = Load {
            pattern: Pattern::BothWays,
            messages,
            size,
            ..stream(1)
        };
        let what = format!("short both-ways {messages}x{size}B");
        all.push(scenario(&what, LAN[0], NO_LOSS, MIB, load));
    }
}

fn small_windows(all: &mut Vec<Scenario>) {
    for path in [LAN[0], WAN[0]] {
        for loss in [NO_LOSS, ONE, FIVE] {
            for window in [2 * KIB, 4 * KIB] {
                let load = Load {
                    messages: 2_000,
                    size: KIB,
                    ..stream(1)
                };
                all.push(scenario("1KiB-messages", path, loss, window, load));
            }
        }
    }
}

/// What a session of 64 KiB a direction meets at 10 % loss.
fn lossy(all: &mut Vec<Scenario>) {
    for (what, pattern) in [("bulk", Pattern::OneWay), ("both-ways", Pattern::BothWays)] {
        for path in [LAN[0], WAN[0]] {
            let load = Load {
                pattern,
                ..stream(1)
            };
            all.push(scenario(what, path, TEN, 64 * KIB, load));
        }
    }
}

fn disturbed(all: &mut Vec<Scenario>) {
    for loss in [NO_LOSS, ONE] {
        let mut reordered = scenario("bulk reordered", LAN[0], loss, MIB, stream(16));
        reordered.link.reorder = 0.02;
        reordered.link.late = Duration::from_micros(300);
        all.push(reordered);
        let mut doubled = scenario("bulk doubled", LAN[0], loss, MIB, stream(16));
        doubled.link.duplicate = 0.05;
        all.push(doubled);
        let mut both = scenario("bulk both-open", LAN[0], loss, MIB, stream(8));
        both.both_open = true;
        all.push(both);
        let reader = Reader::Pausing(128, Duration::from_secs(2));
        let pausing = Load {
            reader,
            ..stream(8)
        };
        all.push(scenario("bulk pausing", LAN[0], loss, MIB, pausing));
    }
}

/// So many MiB one way.
fn stream(mib: usize) -> Load {
    Load {
        pattern: Pattern::OneWay,
        messages: (mib * MIB / BULK) as u32,
        size: BULK,
        unordered: false,
        reader: Reader::AtOnce,
    }
}

fn scenario(
    what: &str,
    (path, delay): (&str, Duration),
    (loss, lost): (&str, Loss),
    window: usize,
    load: Load,
) -> Scenario {
    let size = if window < MIB {
        format!("{}K", window / KIB)
    } else {
        format!("{}M", window / MIB)
    };
    Scenario {
        name: format!("{what} {path} {loss} {size}"),
        load,
        window,
        link: LinkOptions {
            loss: lost,
            ..LinkOptions::gigabit(delay)
        },
        limit: Duration::from_secs(60),
        both_open: false,
    }
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = all().into_iter().map(|scenario| scenario.name).collect();
        let many = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), many);
    }
}
