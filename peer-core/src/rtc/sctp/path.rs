//! How long a packet the path takes: a length that any path takes, and the longest as soon as a
//! probe of it has arrived (RFC 8899, with HEARTBEAT and PAD as in its section 6.2).

use super::packet::{PacketWriter, kind};
use crate::time::Instant;

/// Probes until the path counts as one that takes no more.
const PROBES_MAX: u8 = 3;
/// Microseconds until it is tried again (PMTU_RAISE_TIMER of RFC 8899, section 5.1.1).
const RAISE: u64 = 600_000_000;
/// The information of a HEARTBEAT that probes: the first byte tells it from others of ours.
const PROBE: u8 = 1;

/// What is known of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Bytes of a packet that arrives.
    length: u16,
    /// Bytes of the longest.
    longest: u16,
    /// Probes that were sent and not answered.
    probes: u8,
    /// When the next one is due.
    due: Option<Instant>,
}

impl Path {
    pub(super) fn new(length: u16, longest: u16) -> Self {
        Self {
            length: length.min(longest) & !3,
            longest: longest & !3,
            probes: 0,
            due: None,
        }
    }

    /// Returns how many bytes a packet may have.
    pub(super) fn length(&self) -> usize {
        usize::from(self.length)
    }

    /// Longer packets would be of use now.
    pub(super) fn wants_more(&mut self, now: Instant) {
        if self.length < self.longest {
            self.due.get_or_insert(now);
        }
    }

    /// Returns when a probe is due.
    pub(super) const fn timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Writes a probe into an empty packet, if one is due. The next one follows after `wait`
    /// microseconds.
    pub(super) fn write(
        &mut self,
        now: Instant,
        wait: u64,
        writer: &mut PacketWriter<'_>,
    ) -> Option<()> {
        self.due.filter(|at| now >= *at)?;
        let longest = usize::from(self.longest);
        if self.probes == PROBES_MAX || !writer.takes(longest) {
            self.probes = 0;
            self.due = Some(now.plus(RAISE));
            return None;
        }
        let [l0, l1] = self.longest.to_be_bytes();
        writer.chunk(kind::HEARTBEAT, 0, &[&[0, 1, 0, 8, PROBE, 0, l0, l1]])?;
        writer.pad(longest)?;
        self.probes += 1;
        self.due = Some(now.plus(wait));
        Some(())
    }

    /// Takes the information of a HEARTBEAT ACK.
    pub(super) fn acknowledged(&mut self, info: &[u8]) {
        let [l0, l1] = self.longest.to_be_bytes();
        if info == [0, 1, 0, 8, PROBE, 0, l0, l1] {
            self.length = self.longest;
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::sctp::packet::Header;
    use crate::time::Instant;

    const HEADER: Header = Header {
        source_port: 5000,
        destination_port: 5000,
        tag: 7,
    };

    /// The length of the packet with the probe, if one is due.
    fn probe(path: &mut Path, now: Instant, room: usize) -> Option<usize> {
        let mut buffer = [0; 1200];
        let mut writer = PacketWriter::new(&mut buffer[..room], HEADER)?;
        path.write(now, 1000, &mut writer)?;
        let length = writer.finish(|_| 0)?;
        // HEARTBEAT, then PAD to the end.
        assert_eq!(buffer[12..16], [4, 0, 0, 12]);
        assert_eq!(buffer[24], 132);
        assert_eq!(
            usize::from(u16::from_be_bytes([buffer[26], buffer[27]])),
            length - 24
        );
        Some(length)
    }

    #[test]
    fn longer_packets_once_one_has_arrived() {
        let now = Instant::from_millis(5);
        let mut path = Path::new(896, 1140);
        assert_eq!((path.length(), path.timeout()), (896, None));
        assert_eq!(probe(&mut path, now, 1200), None, "nobody wants more");
        path.wants_more(now);
        assert_eq!(probe(&mut path, now, 1200), Some(1140));
        assert_eq!(path.timeout(), Some(now.plus(1000)));
        path.acknowledged(&[0, 1, 0, 8, 0, 0, 0, 0]);
        assert_eq!(path.length(), 896, "another HEARTBEAT's");
        path.acknowledged(&[0, 1, 0, 8, 1, 0, 0x04, 0x74]);
        assert_eq!((path.length(), path.timeout()), (1140, None));
        path.wants_more(now);
        assert_eq!(path.timeout(), None);
    }

    #[test]
    fn a_path_that_takes_no_more_is_left_alone() {
        let mut now = Instant::from_millis(5);
        let mut path = Path::new(896, 1140);
        path.wants_more(now);
        for _ in 0..PROBES_MAX {
            assert_eq!(probe(&mut path, now, 1200), Some(1140));
            now = now.plus(1000);
        }
        assert_eq!(probe(&mut path, now, 1200), None);
        path.wants_more(now);
        assert_eq!(path.timeout(), Some(now.plus(RAISE)));
        now = now.plus(RAISE);
        assert_eq!(probe(&mut path, now, 1200), Some(1140));
    }

    #[test]
    fn no_probe_fits_a_short_datagram() {
        let now = Instant::from_millis(5);
        let mut path = Path::new(896, 1140);
        path.wants_more(now);
        assert_eq!(probe(&mut path, now, 1000), None);
        assert_eq!(path.timeout(), Some(now.plus(RAISE)));
    }
}
