//! SCTP: a remote that says anything, and two ends over a network that does anything.

use peer_core::rtc::sctp::{Association, Config, Event, Outgoing, Received, Resources, SendError};
use peer_core::time::{Duration, Instant};

use super::bytes::{Bytes, pattern};

type Memory = Resources<4096, 32, 4096, 8>;

const ORDERED: Outgoing = Outgoing::message(1, 53);
/// Packets that an end may send after one that came: its whole queue, and what is owed.
const ANSWERS_MAX: usize = 40;

/// Every checksum is right: no packet is changed here, and a real one takes a third of all time.
fn config(n: u8) -> Config {
    let mut config = Config::new([n; 8]);
    config.checksum = |_| 0;
    config
}

/// Chunks of any bytes, in packets with a right header.
pub fn sctp_packets(input: &[u8]) {
    let (mut here, mut there) = (Memory::new(), Memory::new());
    let mut one = Association::new(config(1), here.lend());
    let mut now = Instant::from_millis(1);
    open(
        &mut one,
        &mut Association::new(config(2), there.lend()),
        now,
    );
    let mut input = Bytes::new(input);
    while !input.is_empty() {
        let decision = input.byte();
        now = now + Duration::from_millis(u64::from(decision & 0x1f) * 8);
        if decision & 0x20 != 0 {
            let len = usize::from(input.byte());
            let sent = one.send(ORDERED, pattern(7, len));
            assert!(sent.is_ok_and(|taken| taken <= len) || sent.is_err());
        }
        let tag = if decision & 0x40 == 0 { [1; 4] } else { [0; 4] };
        let mut packet = [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
        packet[4..8].copy_from_slice(&tag);
        packet.extend(input.piece());
        one.receive(now, &packet);
        if decision & 0x80 == 0 {
            read_all(&mut one);
        }
        let mut out = [0; 1200];
        let mut answers = 0;
        while let Some(len) = one.transmit(now, &mut out) {
            assert!((12..=1200).contains(&len));
            answers += 1;
            assert!(answers <= ANSWERS_MAX, "one packet is answered by many");
        }
        while one.poll_event().is_some() {}
        assert!(one.buffered() <= 4096 && one.send_room() <= 4096);
        assert!(
            one.timeout().is_none_or(|at| at > now),
            "a timer that is due was not looked at"
        );
    }
}

fn read_all(one: &mut Association<'_>) {
    while let Some(received) = one.read() {
        let count = match received {
            Received::Piece(piece) => {
                assert!(!piece.bytes.is_empty());
                piece.bytes.len()
            }
            _ => 0,
        };
        one.consume(count);
    }
}

fn open(a: &mut Association<'_>, b: &mut Association<'_>, now: Instant) {
    a.connect();
    let mut out = [0; 1200];
    for _ in 0..4 {
        while let Some(len) = a.transmit(now, &mut out) {
            b.receive(now, &out[..len]);
        }
        while let Some(len) = b.transmit(now, &mut out) {
            a.receive(now, &out[..len]);
        }
    }
    assert_eq!(
        (a.poll_event(), b.poll_event()),
        (Some(Event::Open), Some(Event::Open))
    );
}

/// One direction: what was sent and what was read of it.
#[derive(Default)]
struct Direction {
    /// Where each message ends, in bytes since the beginning.
    ends: Vec<u64>,
    sent: u64,
    open: bool,
    read: u64,
    messages: usize,
    packets: Vec<Vec<u8>>,
}

/// Messages in order come in order, each byte once, whatever is lost, doubled and delayed; and all
/// of them, once nothing is lost any more.
pub fn sctp_pair(input: &[u8]) {
    let (mut here, mut there) = (Memory::new(), Memory::new());
    let config = |n| {
        let mut config = config(n);
        config.retransmissions = u8::MAX;
        config.receive_max = u64::MAX;
        config.send_max = u64::MAX;
        config
    };
    let mut now = Instant::from_millis(1);
    // The TSNs of one end wrap soon.
    let mut ends = [
        Association::new(config(0xff), here.lend()),
        Association::new(config(2), there.lend()),
    ];
    let [a, b] = &mut ends;
    open(a, b, now);
    let mut directions = [Direction::default(), Direction::default()];
    let mut input = Bytes::new(input);
    while !input.is_empty() {
        let decision = input.byte();
        let from = usize::from(decision & 1);
        let (end, direction) = (&mut ends[from], &mut directions[from]);
        match decision >> 1 & 7 {
            0 => send(
                end,
                direction,
                usize::from(input.word() % 3000) + 1,
                decision & 0x80 == 0,
            ),
            1 | 2 => transmit(end, direction, now),
            3 | 4 if !direction.packets.is_empty() => {
                let at = input.below(direction.packets.len());
                let packet = match decision >> 5 & 3 {
                    0 => direction.packets[at].clone(),
                    _ => direction.packets.remove(at),
                };
                ends[1 - from].receive(now, &packet);
            }
            5 if !direction.packets.is_empty() => {
                let at = input.below(direction.packets.len());
                direction.packets.remove(at);
            }
            6 => read(&mut ends[1 - from], direction, usize::from(input.word())),
            _ => now = now + Duration::from_millis(u64::from(input.byte())),
        }
    }
    for _ in 0..20_000 {
        for from in 0..2 {
            transmit(&mut ends[from], &mut directions[from], now);
            for packet in core::mem::take(&mut directions[from].packets) {
                ends[1 - from].receive(now, &packet);
            }
            read(&mut ends[1 - from], &mut directions[from], usize::MAX);
            assert_eq!(ends[from].poll_event(), None);
        }
        let done = |from: usize| {
            let direction: &Direction = &directions[from];
            ends[from].buffered() == 0 && direction.read == direction.sent
        };
        if done(0) && done(1) {
            assert!(directions.iter().all(|one| one.messages == one.ends.len()));
            return;
        }
        let next = ends.iter().filter_map(Association::timeout).min();
        now = now.max(next.unwrap_or(now));
    }
    panic!("nothing is lost any more, and it does not end");
}

fn send(end: &mut Association<'_>, direction: &mut Direction, len: usize, last: bool) {
    let message = Outgoing {
        first: !direction.open,
        last,
        ..ORDERED
    };
    let taken = match end.send(message, pattern(direction.sent, len)) {
        Ok(taken) => taken,
        Err(error) => panic!("{error:?}"),
    };
    assert!(taken <= len && end.send(message, b"") == Err(SendError::Empty));
    if taken == 0 {
        return;
    }
    direction.sent += taken as u64;
    direction.open = !(last && taken == len);
    if !direction.open {
        direction.ends.push(direction.sent);
    }
}

fn transmit(end: &mut Association<'_>, direction: &mut Direction, now: Instant) {
    let mut out = [0; 1200];
    let mut count = 0;
    while let Some(len) = end.transmit(now, &mut out) {
        direction.packets.push(out[..len].to_vec());
        count += 1;
        assert!(count <= ANSWERS_MAX);
    }
}

fn read(end: &mut Association<'_>, direction: &mut Direction, most: usize) {
    let mut left = most;
    while left > 0
        && let Some(received) = end.read()
    {
        let Received::Piece(piece) = received else {
            panic!("{received:?}");
        };
        let start = direction
            .messages
            .checked_sub(1)
            .map_or(0, |at| direction.ends[at]);
        assert_eq!(piece.first, direction.read == start);
        let count = piece.bytes.len().min(left);
        let expected = pattern(direction.read, count);
        assert!(
            piece.bytes[..count] == *expected,
            "after {} bytes",
            direction.read
        );
        direction.read += count as u64;
        left -= count;
        if piece.last && count == piece.bytes.len() {
            assert_eq!(
                direction.ends.get(direction.messages),
                Some(&direction.read)
            );
            direction.messages += 1;
        }
        end.consume(count);
    }
}
