//! The messages of an ordered channel that webrtc-sctp has and nobody has read.
//!
//! It files a message by its 16-bit stream sequence number, and takes one that is 32,768 or more
//! ahead of the reader for one that was read long ago (`reassembly_queue.rs`, `push`): it
//! acknowledges the message and throws it away, and the channel waits for it for ever. The receive
//! window does not prevent that, since it counts bytes: a million messages of one byte fit. So the
//! remote is told a window in which no more messages fit, as long as they are of late, and what
//! comes all the same is refused, so that the remote sends it again.

/// Messages that may wait to be read, or be under way, by the window that the remote is told.
const TOLD: u16 = 16_000;
/// Messages that may wait to be read: a packet whose message is beyond is refused. More than
/// [`TOLD`], as messages may have become shorter.
const LIMIT: u16 = 32_000;
/// The mean length is of about so many chunks.
const MEAN_OF: u32 = 64;

/// How many messages of one ordered stream wait to be read.
#[derive(Debug)]
pub(super) struct Unread {
    /// Those read so far: the sequence number of the next.
    read: u16,
    /// The first sequence number that was never seen.
    next: u16,
    /// Bytes of a chunk, times [`MEAN_OF`].
    mean: u32,
    /// The remote was told of a window that is all but closed.
    closed: bool,
}

impl Unread {
    /// Of a stream of which so many messages were read.
    pub(super) const fn after(read: u16) -> Self {
        Self {
            read,
            next: read,
            mean: MEAN_OF,
            closed: false,
        }
    }

    const fn count(&self) -> u16 {
        self.next.wrapping_sub(self.read)
    }

    /// How many more messages may come.
    const fn room(&self) -> u16 {
        TOLD.saturating_sub(self.count())
    }

    /// Whether a message with that sequence number may come, of which a chunk has so many bytes.
    /// Notes it then.
    pub(super) fn take(&mut self, sequence: u16, length: usize) -> bool {
        let ahead = sequence.wrapping_sub(self.read);
        // What was read before comes again.
        if ahead > u16::MAX - LIMIT {
            return true;
        }
        if ahead >= LIMIT {
            return false;
        }
        if ahead >= self.count() {
            self.next = sequence.wrapping_add(1);
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX / 2).max(1);
        self.mean = (self.mean - self.mean / MEAN_OF).saturating_add(length);
        true
    }

    /// A message was read. Whether the remote has to be told now that the window is open again.
    pub(super) fn read(&mut self) -> bool {
        if self.count() == 0 {
            self.next = self.next.wrapping_add(1);
        }
        self.read = self.read.wrapping_add(1);
        let opens = self.closed && self.room() >= TOLD / 2;
        self.closed &= !opens;
        opens
    }

    /// The window in bytes that the remote may be told.
    pub(super) fn window(&mut self) -> u32 {
        let room = self.room();
        self.closed = room < TOLD / 4;
        u32::from(room).saturating_mul(self.mean / MEAN_OF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_closes_and_opens_over_the_wrap() {
        let mut unread = Unread::after(60_000);
        for ahead in 0..TOLD {
            let room = u32::from(TOLD - ahead);
            assert!((room..=4 * room).contains(&unread.window()), "{ahead}");
            assert!(unread.take(60_000_u16.wrapping_add(ahead), 4));
        }
        assert_eq!(unread.window(), 0);
        let opened = (0..TOLD).find(|_| unread.read());
        assert_eq!(opened, Some(TOLD / 2 - 1));
        assert_eq!(unread.window(), 4 * u32::from(TOLD / 2));
    }

    #[test]
    fn long_messages_are_not_held_up() {
        let mut unread = Unread::after(0);
        for number in 0..500 {
            assert!(unread.take(number, 1100));
        }
        assert!(unread.window() > 1 << 20);
    }

    #[test]
    fn what_would_be_thrown_away_is_refused() {
        let mut unread = Unread::after(1);
        assert!(unread.take(LIMIT, 1));
        assert!(!unread.take(LIMIT + 1, 1));
        assert!(!unread.take(LIMIT + 700, 1));
        assert!(unread.take(0, 1), "a repetition");
        assert!(unread.take(5, 1), "one that was missing");
        unread.read();
        assert!(unread.take(LIMIT + 1, 1));
        assert_eq!(unread.count(), LIMIT);
    }

    #[test]
    fn one_that_is_read_before_it_was_counted_keeps_the_count() {
        let mut unread = Unread::after(0);
        unread.read();
        assert!(unread.take(0, 1));
        assert_eq!(unread.count(), 0);
    }
}
