//! What of ours is under way: when the remote is asked to acknowledge at once, and how much the
//! association may have unacknowledged.
//!
//! The association below recovers badly. Its congestion window only grows while more waits to be
//! sent; after a retransmission timeout it is one packet, and the remote keeps the acknowledgement
//! of a lone packet back for 200 ms: the rest of a message then takes 200 ms a packet. And on a
//! short path slow start ends in a burst that no socket takes, of which all but the first packets
//! are lost, with nothing behind them to report the gap.

use core::time::Duration;
use std::time::Instant;

/// With no more packets under way than this there is no second one soon that would make the remote
/// acknowledge.
const FEW: u32 = 4;
/// Octets of a packet from which on it counts as full: the association had more to send, unless it
/// is shorter.
const FULL: usize = 1000;
/// Octets that fit into the smallest receive buffer in use. Browsers ask for 64 KiB, which Linux
/// doubles and then charges 2304 octets a packet: 56 packets of ours, and some room for what is not
/// data.
const SOCKET: u32 = 48 * 1024;
/// Octets the path itself is trusted to hold for each millisecond of its round trip: half a gigabit
/// a second.
const OCTETS_PER_MS: u32 = 64 * 1024;

/// The DATA packets between the association and the remote.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The newest TSN that was sent.
    newest: Option<u32>,
    /// The newest TSN that is acknowledged with all before it.
    acknowledged: Option<u32>,
    /// A TSN whose round trip is measured.
    probe: Option<(u32, Instant)>,
    /// The shortest round trip seen.
    round_trip: Option<Duration>,
}

impl Flight {
    /// Notes a packet whose last DATA chunk has `tsn`; `ends_message` if a message ends in it.
    /// Whether the remote is to acknowledge at once (RFC 7053).
    pub(super) fn sends(
        &mut self,
        tsn: u32,
        ends_message: bool,
        length: usize,
        now: Instant,
    ) -> bool {
        if self.newest.is_some_and(|newest| !is_after(tsn, newest)) {
            // Sent again: an acknowledgement would not tell of which time.
            self.probe = None;
            return true;
        }
        self.newest = Some(tsn);
        let measures = self.probe.is_none();
        if measures {
            self.probe = Some((tsn, now));
        }
        let few = self
            .acknowledged
            .is_none_or(|acknowledged| tsn.wrapping_sub(acknowledged) <= FEW);
        measures || few || (ends_message && length < FULL)
    }

    /// Notes the cumulative acknowledgement of a SACK.
    pub(super) fn acknowledged(&mut self, tsn: u32, now: Instant) {
        // What was never sent is for the association to refuse.
        if self.newest.is_none_or(|newest| is_after(tsn, newest)) {
            return;
        }
        if self.acknowledged.is_none_or(|before| is_after(tsn, before)) {
            self.acknowledged = Some(tsn);
        }
        if let Some((probe, sent)) = self.probe
            && !is_after(probe, tsn)
        {
            self.probe = None;
            let sample = now.saturating_duration_since(sent);
            self.round_trip = Some(self.round_trip.map_or(sample, |least| least.min(sample)));
        }
    }

    /// The window the association is told, of one that the remote advertised: as much as a socket
    /// and the path hold.
    ///
    /// The shortest round trip ever seen counts, because queues make it longer. On a path that
    /// becomes longer later the window stays what it was.
    pub(super) fn window(&self, advertised: u32) -> u32 {
        let millis = self.round_trip.map_or(0, |least| least.as_millis());
        let millis = u32::try_from(millis).unwrap_or(u32::MAX);
        advertised.min(millis.saturating_mul(OCTETS_PER_MS).saturating_add(SOCKET))
    }
}

/// Whether TSN `a` comes after `b` (RFC 1982).
pub(super) fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TSNs from here on wrap soon.
    const FIRST: u32 = u32::MAX - 20;

    fn tsn(index: u32) -> u32 {
        FIRST.wrapping_add(index)
    }

    #[test]
    fn tsns_wrap() {
        assert!(is_after(0, u32::MAX));
        assert!(!is_after(u32::MAX, 0));
        assert!(!is_after(7, 7));
    }

    #[test]
    fn asks_while_little_is_under_way() {
        let now = Instant::now();
        let mut flight = Flight::default();
        assert!(
            flight.sends(tsn(0), false, 1191, now),
            "nothing is known yet"
        );
        flight.acknowledged(tsn(0), now);
        let asked: Vec<bool> = (1..40)
            .map(|index| flight.sends(tsn(index), false, 1191, now))
            .collect();
        assert!(asked[..4].iter().all(|asked| *asked));
        assert!(asked[4..].iter().all(|asked| !asked));
        flight.acknowledged(tsn(37), now);
        assert!(flight.sends(tsn(40), false, 1191, now));
    }

    #[test]
    fn asks_at_the_end_and_when_repeating() {
        let now = Instant::now();
        let mut flight = Flight::default();
        flight.sends(tsn(0), false, 1191, now);
        flight.acknowledged(tsn(0), now);
        for index in 1..40 {
            flight.sends(tsn(index), false, 1191, now);
        }
        assert!(flight.sends(tsn(40), true, 300, now));
        assert!(!flight.sends(tsn(41), true, 1191, now), "more will follow");
        assert!(flight.sends(tsn(10), false, 1191, now));
        assert!(flight.sends(tsn(41), false, 1191, now));
    }

    #[test]
    fn window_follows_the_shortest_round_trip() {
        const PLENTY: u32 = 5_000_000;
        let start = Instant::now();
        let mut flight = Flight::default();
        assert_eq!(flight.window(PLENTY), SOCKET);
        assert_eq!(flight.window(1000), 1000);
        let mut round = |index: u32, millis: u64| {
            flight.sends(tsn(index), true, 300, start);
            flight.acknowledged(tsn(index), start + Duration::from_millis(millis));
            flight.window(PLENTY)
        };
        assert_eq!(round(0, 30), SOCKET + 30 * OCTETS_PER_MS);
        assert_eq!(round(1, 20), SOCKET + 20 * OCTETS_PER_MS);
        assert_eq!(round(2, 400), SOCKET + 20 * OCTETS_PER_MS);
        assert_eq!(round(3, 0), SOCKET);
    }

    #[test]
    fn a_repeated_packet_measures_nothing() {
        let start = Instant::now();
        let mut flight = Flight::default();
        flight.sends(tsn(0), true, 300, start);
        flight.sends(tsn(0), true, 300, start);
        flight.acknowledged(tsn(0), start + Duration::from_secs(1));
        assert_eq!(flight.round_trip, None);
    }

    proptest::proptest! {
        #[test]
        fn any_numbers(steps: Vec<(bool, u32, bool, usize)>, advertised: u32) {
            let start = Instant::now();
            let mut flight = Flight::default();
            for (sends, tsn, ends, length) in steps {
                if sends {
                    flight.sends(tsn, ends, length, start);
                } else {
                    flight.acknowledged(tsn, start + Duration::from_millis(u64::from(tsn)));
                }
                let window = flight.window(advertised);
                assert!(window <= advertised);
                assert!(window >= advertised.min(SOCKET));
            }
        }
    }
}
