//! Candidates that came before what they belong to. PeerJS's `_lostMessages`, bounded.

use crate::{bytes, config::EARLY_SIGNALS_MAX, storage::Handle};

/// Signals of one remote that may wait, so that no single stranger can push out everybody else's.
const REMOTE_MAX: usize = if EARLY_SIGNALS_MAX > 1 {
    EARLY_SIGNALS_MAX / 2
} else {
    1
};

/// Bytes before the texts of a record: three lengths and whose it is.
const HEADER: usize = 7;

/// Candidates waiting, oldest first, packed in one slice.
///
/// *Remote* candidates wait for the OFFER of their connection: at most [`EARLY_SIGNALS_MAX`] in
/// all, at most half of that, and half of the bytes, from one remote. At a limit the oldest of that
/// remote goes, then the oldest of all. *Local* candidates wait for their own description; only
/// bytes limit them, and they push out remote ones but never the other way round.
#[derive(Debug)]
pub(super) struct EarlySignals<'r> {
    memory: &'r mut [u8],
    used: usize,
}

/// Whom a candidate waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// The OFFER with this source and connection id.
    Remote { src: &'a str, id: &'a str },
    /// The local description of this connection.
    Local(Handle),
}

/// One waiting candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Early<'a> {
    pub(super) owner: Owner<'a>,
    pub(super) candidate: &'a str,
    at: usize,
    len: usize,
}

impl<'r> EarlySignals<'r> {
    pub(super) fn new(memory: &'r mut [u8]) -> Self {
        Self { memory, used: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Early<'_>> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let early = parse(self.memory.get(at..self.used)?, at)?;
            at += early.len;
            Some(early)
        })
    }

    /// Keeps one candidate. Returns how many were dropped for it; itself when it cannot fit.
    pub(super) fn keep(&mut self, owner: Owner<'_>, candidate: &str) -> u32 {
        let handle;
        let (tag, first, second): (u8, &[u8], &[u8]) = match owner {
            Owner::Remote { src, id } => (0, src.as_bytes(), id.as_bytes()),
            Owner::Local(local) => {
                handle = local.to_bytes();
                (1, &handle, &[])
            }
        };
        let lens = [first.len(), second.len(), candidate.len()];
        let need = HEADER + lens.iter().sum::<usize>();
        let half = self.memory.len() / 2;
        if need > half || lens.iter().any(|&len| len > usize::from(u16::MAX)) {
            return 1;
        }
        let mut dropped = 0;
        if let Owner::Remote { src, .. } = owner {
            let own = |early: &Early<'_>| is_from(early, src);
            while self.count(own) >= REMOTE_MAX || self.bytes(own) + need > half {
                dropped += u32::from(self.drop_oldest(own));
            }
            while self.count(is_remote) >= EARLY_SIGNALS_MAX {
                dropped += u32::from(self.drop_oldest(is_remote));
            }
        }
        while self.used + need > self.memory.len() {
            if !self.drop_oldest(is_remote) {
                return dropped + 1;
            }
            dropped += 1;
        }
        // Checked above to fit in 16 bits.
        let [[a, b], [c, d], [e, f]] = lens.map(|len| (len as u16).to_be_bytes());
        let head: [u8; HEADER] = [tag, a, b, c, d, e, f];
        for part in [&head[..], first, second, candidate.as_bytes()] {
            let appended = bytes::append(self.memory, &mut self.used, part);
            debug_assert!(appended.is_some(), "room was made");
        }
        dropped
    }

    /// The oldest one that `wanted` picks.
    pub(super) fn find(&self, wanted: impl Fn(&Early<'_>) -> bool) -> Option<Early<'_>> {
        self.iter().find(wanted)
    }

    /// Drops the oldest one that `wanted` picks; whether there was one.
    pub(super) fn drop_oldest(&mut self, wanted: impl Fn(&Early<'_>) -> bool) -> bool {
        let Some((at, len)) = self.find(wanted).map(|early| (early.at, early.len)) else {
            return false;
        };
        let moved = bytes::copy_within(self.memory, at + len..self.used, at);
        debug_assert!(moved.is_some(), "the record was found there");
        self.used -= len;
        true
    }

    fn count(&self, wanted: impl Fn(&Early<'_>) -> bool) -> usize {
        self.iter().filter(wanted).count()
    }

    fn bytes(&self, wanted: impl Fn(&Early<'_>) -> bool) -> usize {
        self.iter().filter(wanted).map(|early| early.len).sum()
    }
}

fn is_remote(early: &Early<'_>) -> bool {
    matches!(early.owner, Owner::Remote { .. })
}

fn is_from(early: &Early<'_>, wanted: &str) -> bool {
    matches!(early.owner, Owner::Remote { src, .. } if src == wanted)
}

fn parse(bytes: &[u8], at: usize) -> Option<Early<'_>> {
    let (&[tag, a, b, c, d, e, f], rest) = bytes.split_first_chunk::<HEADER>()?;
    let len = |high, low| usize::from(u16::from_be_bytes([high, low]));
    let (first, rest) = rest.split_at_checked(len(a, b))?;
    let (second, rest) = rest.split_at_checked(len(c, d))?;
    let candidate = core::str::from_utf8(rest.get(..len(e, f))?).ok()?;
    let owner = if tag == 0 {
        Owner::Remote {
            src: core::str::from_utf8(first).ok()?,
            id: core::str::from_utf8(second).ok()?,
        }
    } else {
        Owner::Local(Handle::from_bytes(first.try_into().ok()?))
    };
    let len = HEADER + first.len() + second.len() + candidate.len();
    Some(Early {
        owner,
        candidate,
        at,
        len,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    fn held(early: &EarlySignals<'_>, wanted: &str) -> usize {
        early.count(|early| is_from(early, wanted))
    }

    #[test]
    fn a_stranger_cannot_push_out_others() {
        let mut memory = [0; 1024];
        let mut early = EarlySignals::new(&mut memory);
        assert_eq!(
            early.keep(
                Owner::Remote {
                    src: "bob",
                    id: "dc_1"
                },
                "candidate:bob"
            ),
            0
        );
        for n in 0..100 {
            early.keep(
                Owner::Remote {
                    src: "eve",
                    id: "dc_x",
                },
                &format!("candidate:{n}"),
            );
        }
        assert_eq!((held(&early, "bob"), held(&early, "eve")), (1, REMOTE_MAX));
        let newest = early.iter().last().unwrap();
        assert_eq!(newest.candidate, "candidate:99");
    }

    #[test]
    fn local_candidates_push_out_remote_ones_only() {
        let mut memory = [0; 128];
        let mut early = EarlySignals::new(&mut memory);
        let local = Owner::Local(Handle::from_bytes([0, 1, 0, 1]));
        assert_eq!(
            early.keep(
                Owner::Remote {
                    src: "bob",
                    id: "dc_1"
                },
                &"r".repeat(40)
            ),
            0
        );
        assert_eq!(early.keep(local, &"a".repeat(40)), 0);
        assert_eq!(early.keep(local, &"b".repeat(40)), 1, "bob's goes");
        assert_eq!(early.keep(local, &"c".repeat(40)), 1, "itself");
        assert_eq!(
            early.keep(
                Owner::Remote {
                    src: "bob",
                    id: "dc_1"
                },
                &"r".repeat(40)
            ),
            1,
            "itself"
        );
        assert_eq!(early.iter().count(), 2);
        assert!(early.drop_oldest(|early| early.owner == local));
        assert_eq!(early.iter().next().unwrap().candidate, "b".repeat(40));
    }

    #[test]
    fn without_memory_everything_is_dropped() {
        let mut early = EarlySignals::new(&mut []);
        assert_eq!(
            early.keep(
                Owner::Remote {
                    src: "bob",
                    id: "dc_1"
                },
                ""
            ),
            1
        );
        assert_eq!(early.iter().count(), 0);
    }
}
