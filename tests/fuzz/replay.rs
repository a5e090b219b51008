//! The fuzz targets, without a fuzzer: every seed, what the fuzzer found, and mutants of both from
//! a fixed random number.

#[allow(
    unreachable_pub,
    reason = "libFuzzer's crate shows them to its binaries"
)]
#[path = "src/targets/mod.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;

use targets::{TARGETS, Target, files, seeds};

/// Mutants of each target. `FUZZ_MUTANTS` asks for another number.
const MUTANTS: usize = 5_000;
/// Longest mutant, in bytes.
const MUTANT_MAX: usize = 4_096;

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\x00\x01\x7f\x80\xff\"\\{}[],:0-e \r\n";
        match self.below(3) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.below(256) as u8,
        }
    }

    /// A seed, changed in one to eight places, perhaps with a piece of another.
    fn mutant(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(7) {
                0 => bytes.insert(at, self.byte()),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.truncate(at),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let to = from + self.below(other.len() - from + 1);
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                5 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.byte();
                    }
                }
            }
        }
        bytes.truncate(MUTANT_MAX);
        bytes
    }
}

fn replay(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut seeds = seeds(name, &folder.join("seeds"));
    assert!(!seeds.is_empty(), "{name} has seeds");
    seeds.extend(files(&folder.join("corpus").join(name)));
    let mutants = std::env::var("FUZZ_MUTANTS").map_or(MUTANTS, |n| n.parse().unwrap());
    let mut random = Random(1);
    let mutants = (0..mutants).map(|_| random.mutant(&seeds));
    for input in [Vec::new()].into_iter().chain(seeds.clone()).chain(mutants) {
        if catch_unwind(|| target(&input)).is_err() {
            panic!(
                "{name} fails with this input: {:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let (name, target) = TARGETS.iter().find(|(name, _)| *name == stringify!($name)).unwrap();
            replay(name, *target);
        })*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replays! {
    json signal sdp candidate dcep chunks binarypack http websocket link engine sctp_packets
    sctp_pair stun dtls handshake ice session envelope realm
}
