//! One end, and a remote that says what the test wants.

use peer_core::rtc::sctp::{Config, End as Ended, Event, Outgoing, Violation};
use peer_core::time::{Duration, Instant};

use crate::net::{End, Size, config, message};
use crate::raw::*;

const FIRST: u8 = 2;
const LAST: u8 = 1;
const WHOLE: u8 = FIRST | LAST;
const ORDERED: Outgoing = Outgoing::message(1, 53);
/// First TSN of the remote, which is number 1.
const TSN: u32 = tag(1);

/// An end that is open, numbered 2.
struct Scripted {
    end: End,
    now: Instant,
}

impl Scripted {
    fn open(size: Size) -> Self {
        Self::with(config(2), size)
    }

    fn with(config: Config, size: Size) -> Self {
        let mut scripted = Self {
            end: End::new(config, size),
            now: Instant::from_millis(5),
        };
        let cookie = scripted.init(tag(1));
        let sent = scripted.says(tag(2), &[chunk(COOKIE_ECHO, 0, &[&cookie])]);
        assert_eq!(sent[0].0, COOKIE_ACK);
        assert!(scripted.end.is_open());
        scripted
    }

    /// Sends an INIT with this tag, and returns the cookie of the answer.
    fn init(&mut self, remote: u32) -> Vec<u8> {
        let value = [
            &remote.to_be_bytes()[..],
            &100_000_u32.to_be_bytes(),
            &[0, 9, 0, 9],
            &TSN.to_be_bytes(),
        ];
        let sent = self.says(0, &[chunk(INIT, 0, &value)]);
        let (INIT_ACK, _, answer) = &sent[0] else {
            panic!("{sent:?}");
        };
        answer[answer.len() - 8..].to_vec()
    }

    /// Has the remote say this, and returns the chunks of what the end sends.
    fn says(&mut self, tag: u32, chunks: &[Vec<u8>]) -> Vec<(u8, u8, Vec<u8>)> {
        self.end.association.receive(self.now, &packet(tag, chunks));
        self.sends()
    }

    fn hears(&mut self, chunks: &[Vec<u8>]) -> Vec<(u8, u8, Vec<u8>)> {
        self.says(tag(2), chunks)
    }

    fn sends(&mut self) -> Vec<(u8, u8, Vec<u8>)> {
        self.end.work(self.now);
        let mut sent = Vec::new();
        let mut buffer = [0; 1500];
        while let Some(len) = self.end.association.transmit(self.now, &mut buffer) {
            sent.extend(chunks(&buffer[..len]));
        }
        self.end.work(self.now);
        sent
    }

    fn waits(&mut self, millis: u64) -> Vec<(u8, u8, Vec<u8>)> {
        self.now = self.now + Duration::from_millis(millis);
        self.sends()
    }

    fn refused(&self) -> u64 {
        self.end.association.stats().refused
    }
}

fn kinds(chunks: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    chunks.iter().map(|chunk| chunk.0).collect()
}

#[test]
fn acknowledgements_of_what_was_not_sent_are_refused() {
    let mut one = Scripted::open(Size::both(8192));
    one.end.association.send(ORDERED, b"x").unwrap();
    assert_eq!(kinds(&one.sends()), [DATA]);
    let ours = tag(2);
    for wrong in [
        sack(ours.wrapping_add(1), 9000, &[]),
        sack(ours.wrapping_add(1 << 30), 9000, &[]),
        sack(ours.wrapping_sub(1), 9000, &[(2, 2)]),
        sack(ours.wrapping_sub(1), 9000, &[(1, 9)]),
        sack(ours.wrapping_sub(1), 9000, &[(1, 0)]),
        sack(ours.wrapping_sub(1), 9000, &[(0, 1)]),
    ] {
        let before = one.refused();
        assert_eq!(one.hears(&[wrong]), []);
        assert_eq!(
            (one.refused() - before, one.end.association.buffered()),
            (1, 1)
        );
    }
    // An old one is no crime.
    one.hears(&[sack(ours.wrapping_sub(9), 0, &[])]);
    one.hears(&[sack(ours, 9000, &[])]);
    assert_eq!(one.end.association.buffered(), 0);
}

/// RFC 9260, section 6.2: the remote may drop what it acknowledged in a gap block.
#[test]
fn what_a_remote_reneges_on_is_sent_again() {
    let mut one = Scripted::open(Size::both(8192));
    for n in 0..4 {
        one.end
            .association
            .send(ORDERED, &message(n, 1100))
            .unwrap();
    }
    let ours = tag(2);
    assert_eq!(kinds(&one.sends()), [DATA; 4]);
    one.now = one.now + Duration::from_millis(20);
    // The second to the fourth came; the first is sent again.
    let sent = one.hears(&[sack(ours.wrapping_sub(1), 9000, &[(2, 4)])]);
    assert_eq!(kinds(&sent), [DATA]);
    assert_eq!(number(&sent[0].2, 0), ours);
    // The first came, and only it is acknowledged: the others were dropped.
    one.now = one.now + Duration::from_millis(20);
    let sent = one.hears(&[sack(ours, 9000, &[])]);
    assert_eq!(kinds(&sent), [DATA; 3]);
    one.hears(&[sack(ours.wrapping_add(3), 9000, &[])]);
    assert_eq!(one.end.association.buffered(), 0);
    assert!(one.end.association.is_idle());
}

/// A retransmission that is lost too is found by what was sent later, not by a timer.
#[test]
fn a_lost_retransmission_is_found() {
    let mut one = Scripted::open(Size::both(16_384));
    for n in 0..8 {
        one.end
            .association
            .send(ORDERED, &message(n, 1100))
            .unwrap();
    }
    let ours = tag(2);
    let before = ours.wrapping_sub(1);
    assert_eq!(kinds(&one.sends()), [DATA; 8]);
    one.now = one.now + Duration::from_millis(10);
    let sent = one.hears(&[sack(before, 99_000, &[(2, 5)])]);
    assert_eq!(number(&sent[0].2, 0), ours);
    // Something new goes, and is acknowledged; the first is still missing.
    one.end
        .association
        .send(ORDERED, &message(9, 1100))
        .unwrap();
    one.hears(&[sack(before, 99_000, &[(2, 8)])]);
    let sent = one.waits(1);
    assert!(sent.len() <= 1, "{sent:?}");
    one.now = one.now + Duration::from_millis(10);
    let sent = one.hears(&[sack(before, 99_000, &[(2, 9)])]);
    assert_eq!(kinds(&sent), [DATA], "found at once");
    assert_eq!(number(&sent[0].2, 0), ours);
}

#[test]
fn a_forward_tsn_gives_up_what_is_missing() {
    let mut one = Scripted::open(Size::both(8192));
    // The first half of a message, then the rest is given up; the next message is whole.
    one.hears(&[data(TSN, FIRST, b"half")]);
    one.hears(&[data(TSN + 3, WHOLE, b"next")]);
    assert_eq!((one.end.bytes, one.end.count), (4, 0));
    let sent = one.hears(&[chunk(FORWARD_TSN, 0, &[&(TSN + 2).to_be_bytes()])]);
    assert_eq!(number(&sent[0].2, 0), TSN + 3, "acknowledged at once");
    assert_eq!(one.end.abandoned, 1);
    assert_eq!(one.end.messages, [(1, 53, b"next".to_vec())]);
    // Again, and older: nothing changes.
    for tsn in [TSN + 2, TSN, TSN.wrapping_sub(1 << 20)] {
        one.hears(&[chunk(FORWARD_TSN, 0, &[&tsn.to_be_bytes()])]);
    }
    // From the future.
    one.hears(&[chunk(FORWARD_TSN, 0, &[&(TSN + 100_000).to_be_bytes()])]);
    assert_eq!(one.refused(), 1);
    // The end of a message whose start is given up is no use; what lies between is.
    one.hears(&[data(TSN + 5, LAST, b"end"), data(TSN + 6, WHOLE, b"one")]);
    one.hears(&[data(TSN + 8, WHOLE, b"two")]);
    one.hears(&[chunk(FORWARD_TSN, 0, &[&(TSN + 7).to_be_bytes()])]);
    one.hears(&[data(TSN + 9, WHOLE, b"three")]);
    let read: Vec<_> = one.end.messages.iter().map(|m| &m.2[..]).collect();
    assert_eq!(read, [&b"next"[..], b"one", b"two", b"three"]);
    assert_eq!((one.end.abandoned, one.end.closed()), (1, None));
    assert!(one.end.association.is_idle());
}

#[test]
fn requests_to_reset_are_done_once() {
    let mut one = Scripted::open(Size::both(8192));
    let result = |sent: &[(u8, u8, Vec<u8>)]| {
        let response = sent.iter().find(|chunk| chunk.0 == RECONFIG);
        let value = &response.expect("a response").2;
        (number(value, 4), number(value, 8))
    };
    // Not everything came: in progress. It is asked again and has come by then.
    assert_eq!(result(&one.hears(&[reset(TSN, TSN, &[1])])), (TSN, 6));
    one.hears(&[data(TSN, WHOLE, b"x")]);
    assert_eq!(result(&one.hears(&[reset(TSN, TSN, &[1])])), (TSN, 1));
    assert_eq!(
        result(&one.hears(&[reset(TSN, TSN, &[1])])),
        (TSN, 1),
        "a replay"
    );
    assert_eq!(one.end.resets, [Some(1)]);
    // From the future, and from the past.
    for number in [TSN + 9, TSN - 1] {
        assert_eq!(result(&one.hears(&[reset(number, TSN, &[1])])), (number, 5));
    }
    assert_eq!(one.end.resets, [Some(1)]);
    // All streams; too many; another kind of request.
    assert_eq!(
        result(&one.hears(&[reset(TSN + 1, TSN, &[])])),
        (TSN + 1, 1)
    );
    assert_eq!(one.end.resets, [Some(1), None]);
    assert_eq!(
        result(&one.hears(&[reset(TSN + 2, TSN, &[7; 65])])),
        (TSN + 2, 2)
    );
    let add = [&[0, 17, 0, 12][..], &(TSN + 3).to_be_bytes(), &[0, 5, 0, 0]];
    assert_eq!(
        result(&one.hears(&[chunk(RECONFIG, 0, &add)])),
        (TSN + 3, 2)
    );
    assert_eq!(one.end.closed(), None);
}

/// A remote that says again and again that it is not ready for a reset has answered each time.
#[test]
fn a_remote_that_is_not_ready_for_a_reset_lives() {
    let mut one = Scripted::open(Size::both(8192));
    one.end.association.reset_stream(1).unwrap();
    let mut sent = one.sends();
    for _ in 0..20 {
        assert_eq!(kinds(&sent), [RECONFIG]);
        let number = &sent[0].2[4..8];
        let in_progress = [&[0, 16, 0, 12][..], number, &[0, 0, 0, 6]];
        assert_eq!(one.hears(&[chunk(RECONFIG, 0, &in_progress)]), []);
        assert_eq!(one.end.association.unanswered(), 0);
        sent = one.waits(1000);
    }
    // And what is then not answered goes again as for the first time.
    assert_eq!(kinds(&one.waits(1000)), [RECONFIG]);
    assert_eq!(one.end.closed(), None);
}

#[test]
fn fragments_that_are_no_message_end_it() {
    for wrong in [
        vec![data(TSN, LAST, b"x")],
        vec![data(TSN, 0, b"x")],
        vec![data(TSN, FIRST, b"x"), data(TSN + 1, FIRST, b"x")],
        vec![data(TSN, FIRST, b"x"), data_on(2, TSN + 1, LAST, b"x")],
    ] {
        let mut one = Scripted::open(Size::both(8192));
        let sent = one.hears(&wrong);
        assert_eq!(kinds(&sent), [ABORT]);
        let end = Ended::Violation(Violation::Fragments);
        assert_eq!(one.end.closed(), Some(end));
    }
}

/// A message without an end.
#[test]
fn a_message_longer_than_allowed_ends_it() {
    let mut config = config(2);
    config.receive_max = 10_000;
    let mut one = Scripted::with(config, Size::both(4096));
    let payload = [7; 1000];
    for n in 0..10 {
        one.hears(&[data(TSN + n, if n == 0 { FIRST } else { 0 }, &payload)]);
        assert_eq!(one.end.closed(), None);
    }
    let sent = one.hears(&[data(TSN + 10, 0, b"x")]);
    assert_eq!(kinds(&sent), [ABORT]);
    let end = Ended::Violation(Violation::MessageTooLong);
    assert_eq!(one.end.closed(), Some(end));
}

/// Nobody reads: what there is no memory for is dropped and not acknowledged, and nothing ends.
#[test]
fn data_beyond_the_window_is_dropped() {
    let mut one = Scripted::open(Size::both(4096));
    one.end.reads = false;
    let payload = [7; 1000];
    let mut acknowledged = 0;
    for n in 0..100 {
        let sent = one.hears(&[data(TSN + n, WHOLE, &payload)]);
        for sack in sent.iter().filter(|chunk| chunk.0 == SACK) {
            acknowledged = number(&sack.2, 0).wrapping_sub(TSN) + 1;
            let window = number(&sack.2, 4);
            assert!(window + acknowledged * 1000 <= 4096);
        }
    }
    assert!((3..=4).contains(&acknowledged));
    assert!(one.end.association.stats().dropped > 90);
    one.end.reads = true;
    one.sends();
    assert_eq!(one.end.count, acknowledged as usize);
    // What was dropped comes again.
    for n in acknowledged..100 {
        one.hears(&[data(TSN + n, WHOLE, &payload)]);
    }
    assert_eq!((one.end.count, one.end.closed()), (100, None));
}

/// Memory full of what came early leaves room for what is missing.
#[test]
fn a_gap_can_always_be_filled() {
    for size in [2048, 4096, 16_384] {
        let mut one = Scripted::open(Size::both(size));
        let payload = [7; 600];
        for n in (1..60).rev() {
            one.hears(&[data(TSN + n, WHOLE, &payload)]);
        }
        for n in 0..60 {
            one.hears(&[data(TSN + n, WHOLE, &payload)]);
            assert!(one.end.count > n as usize);
        }
        assert_eq!(one.end.count, 60);
        assert!(one.end.association.is_idle());
    }
}

/// RFC 9260, section 5.2.4.1.
#[test]
fn a_remote_may_begin_anew() {
    let mut one = Scripted::open(Size::both(8192));
    one.hears(&[data(TSN, WHOLE, b"before"), data(TSN + 2, WHOLE, b"early")]);
    one.end.association.send(ORDERED, b"lost").unwrap();
    one.sends();
    let cookie = one.init(0xabcd);
    let new = u32::from_be_bytes(cookie[..4].try_into().unwrap());
    assert_ne!(new, tag(2));
    // Until the cookie comes back nothing has changed.
    one.hears(&[data(TSN + 1, WHOLE, b"still")]);
    // A cookie that is not ours, or with another tag.
    one.says(new, &[chunk(COOKIE_ECHO, 0, &[&[9; 8]])]);
    one.says(tag(2), &[chunk(COOKIE_ECHO, 0, &[&cookie])]);
    assert_eq!(one.refused(), 2);
    let sent = one.says(new, &[chunk(COOKIE_ECHO, 0, &[&cookie])]);
    assert_eq!(kinds(&sent), [COOKIE_ACK]);
    assert_eq!(one.end.events, [Event::Open, Event::Restarted]);
    assert_eq!(one.end.association.buffered(), 0);
    // The cookie again: answered, nothing else.
    let sent = one.says(new, &[chunk(COOKIE_ECHO, 0, &[&cookie])]);
    assert_eq!(kinds(&sent), [COOKIE_ACK]);
    // The old tag is nobody's; the new one counts from the new TSN.
    one.hears(&[data(TSN, WHOLE, b"stale")]);
    one.says(new, &[data(TSN, WHOLE, b"after")]);
    let read: Vec<_> = one.end.messages.iter().map(|m| &m.2[..]).collect();
    assert_eq!(read, [&b"before"[..], b"still", b"early", b"after"]);
}

/// A reset of before is forgotten, and not asked for with no stream, which would mean all.
#[test]
fn a_remote_that_begins_anew_is_asked_for_no_old_reset() {
    let mut one = Scripted::open(Size::both(8192));
    one.end.association.reset_stream(1).unwrap();
    assert_eq!(kinds(&one.sends()), [RECONFIG]);
    let cookie = one.init(0xabcd);
    let new = u32::from_be_bytes(cookie[..4].try_into().unwrap());
    let sent = one.says(new, &[chunk(COOKIE_ECHO, 0, &[&cookie])]);
    assert_eq!(kinds(&sent), [COOKIE_ACK]);
    assert_eq!(kinds(&one.waits(10_000)), []);
    // Requests have the numbers of a new association.
    one.end.association.reset_stream(1).unwrap();
    let sent = one.sends();
    assert_eq!(kinds(&sent), [RECONFIG]);
    assert_eq!(number(&sent[0].2, 4), tag(2));
}

#[test]
fn a_shutdown_is_answered_after_all_data() {
    let mut config = config(2);
    config.round_trip = Some(Duration::from_millis(25));
    let mut one = Scripted::with(config, Size::both(8192));
    one.end.association.send(ORDERED, b"last").unwrap();
    one.sends();
    let ours = tag(2);
    let shutdown = chunk(SHUTDOWN, 0, &[&ours.wrapping_sub(1).to_be_bytes()]);
    assert_eq!(kinds(&one.hears(&[shutdown])), []);
    assert!(one.end.association.send(ORDERED, b"x").is_err());
    let shutdown = chunk(SHUTDOWN, 0, &[&ours.to_be_bytes()]);
    // With data whose acknowledgement waits, and will not be sent.
    let sent = one.hears(&[data(TSN, WHOLE, b"x"), shutdown]);
    assert_eq!(kinds(&sent), [SHUTDOWN_ACK]);
    let again = one.now + Duration::from_millis(400);
    assert!(
        one.end.association.timeout() >= Some(again),
        "the ACK's timer alone"
    );
    assert_eq!(kinds(&one.waits(399)), [], "the first wait is INIT's alone");
    assert_eq!(kinds(&one.waits(601)), [SHUTDOWN_ACK], "said again");
    one.hears(&[chunk(SHUTDOWN_COMPLETE, 0, &[])]);
    assert_eq!(one.end.closed(), Some(Ended::Shutdown));
}

/// Fuzzing found two ends that waited for ever: what came early lay in the middle of what had been
/// read, and left no room for what it waited for.
#[test]
fn what_fills_a_gap_finds_room_whatever_came_before() {
    let mut one = Scripted::open(Size::both(4096));
    let chunk = |at: u32, len| data(TSN.wrapping_add(at), WHOLE, &message(1, len));
    one.hears(&[chunk(5, 700)]);
    one.hears(&[chunk(0, 900), chunk(1, 900)]);
    one.hears(&[chunk(6, 700)]);
    one.hears(&[chunk(2, 800), chunk(3, 700)]);
    assert_eq!(one.end.count, 4);
    one.hears(&[chunk(4, 1000)]);
    assert_eq!(one.end.count, 7);
    let stats = one.end.association.stats();
    assert_eq!(stats.dropped, 0);
}

#[test]
fn when_packets_are_acknowledged() {
    let mut one = Scripted::open(Size::both(65_536));
    // A lone one after a while, a second one at once.
    assert_eq!(one.hears(&[data(TSN, WHOLE, b"x")]), []);
    assert_eq!(kinds(&one.waits(20)), [SACK]);
    assert_eq!(one.hears(&[data(TSN + 1, WHOLE, b"x")]), []);
    assert_eq!(kinds(&one.hears(&[data(TSN + 2, WHOLE, b"x")])), [SACK]);
    // The I bit, a duplicate, a gap and its filling: at once.
    assert_eq!(kinds(&one.hears(&[data(TSN + 3, WHOLE | 8, b"x")])), [SACK]);
    let sent = one.hears(&[data(TSN + 3, WHOLE, b"x")]);
    assert_eq!(
        (kinds(&sent), number(&sent[0].2, 12)),
        (vec![SACK], TSN + 3)
    );
    let sent = one.hears(&[data(TSN + 5, WHOLE, b"x")]);
    assert_eq!(
        (kinds(&sent), number(&sent[0].2, 12)),
        (vec![SACK], 0x0002_0002)
    );
    assert_eq!(kinds(&one.hears(&[data(TSN + 4, WHOLE, b"x")])), [SACK]);
    assert_eq!(one.end.count, 6);
}

/// Where an application reads packets in trains and sends after each, remotes that count SACKs got
/// too few of them to find a loss without their timer.
#[test]
fn packets_of_a_train_are_reported_one_by_one_where_some_are_lost() {
    let mut one = Scripted::open(Size::both(65_536));
    let train = |one: &mut Scripted, numbers: &[u32]| {
        for n in numbers {
            let packet = packet(tag(2), &[data(TSN.wrapping_add(*n), WHOLE, b"x")]);
            one.end.association.receive(one.now, &packet);
        }
        let sent = one.sends();
        assert!(sent.iter().all(|(kind, ..)| *kind == SACK));
        let told = sent.iter().map(|(_, _, value)| {
            let gaps: Vec<_> = value[12..].chunks(4).map(|gap| (gap[1], gap[3])).collect();
            (number(value, 0).wrapping_sub(TSN), gaps)
        });
        told.collect::<Vec<_>>()
    };
    // Nothing was lost yet.
    assert_eq!(train(&mut one, &[0, 1, 2, 3, 4]), [(4, vec![])]);
    let reports = train(&mut one, &[6, 7, 9, 10]);
    let expected = [
        (4, vec![(2, 2)]),
        (4, vec![(2, 3)]),
        (4, vec![(2, 3), (5, 5)]),
        (4, vec![(2, 3), (5, 6)]),
    ];
    assert_eq!(reports, expected);
    // What fills a gap is told with the first report: it tells no more than what had come.
    let reports = train(&mut one, &[11, 5, 12, 8]);
    assert_eq!(reports, [(11, vec![]), (12, vec![])]);
    // The last ones of a long train are told together.
    let numbers: Vec<_> = (14..60).collect();
    let reports = train(&mut one, &numbers);
    assert_eq!(reports.len(), 8);
    assert_eq!(reports[7], (12, vec![(2, 47)]));
    assert_eq!(reports[6], (12, vec![(2, 8)]));
    // After many packets without a gap there is one for a train again.
    train(&mut one, &[13]);
    let numbers: Vec<_> = (60..200).collect();
    assert_eq!(train(&mut one, &numbers).len(), 8);
    assert_eq!(train(&mut one, &[200, 201, 202, 203]), [(203, vec![])]);
}

#[test]
fn a_heartbeat_is_answered_with_its_information() {
    let mut one = Scripted::open(Size::both(8192));
    let info = [5; 60];
    let sent = one.hears(&[chunk(HEARTBEAT, 0, &[&[0, 1, 0, 64], &info])]);
    assert_eq!(kinds(&sent), [HEARTBEAT_ACK]);
    assert_eq!(sent[0].2[4..], info);
    assert_eq!(one.hears(&[chunk(HEARTBEAT, 0, &[&[0; 65]])]), []);
}

/// Every chunk, cut at every length, and with every length that it may claim.
#[test]
fn wrong_lengths_harm_nothing() {
    let good = [
        data(TSN, WHOLE, b"hello"),
        sack(tag(2).wrapping_sub(1), 9000, &[]),
        reset(TSN, TSN, &[1, 2]),
        chunk(HEARTBEAT, 0, &[&[0, 1, 0, 8, 1, 2, 3, 4]]),
        chunk(FORWARD_TSN, 0, &[&TSN.to_be_bytes(), &[0; 4]]),
        chunk(SHUTDOWN, 0, &[&tag(2).wrapping_sub(1).to_be_bytes()]),
        chunk(COOKIE_ECHO, 0, &[&[1; 8]]),
        chunk(INIT, 0, &[&[1; 16], &[0xc0, 0, 0, 4]]),
        chunk(INIT_ACK, 0, &[&[1; 16], &[0, 7, 0, 8, 1, 2, 3, 4]]),
        chunk(ABORT, 0, &[&[0, 12, 0, 4]]),
    ];
    let mut one = Scripted::open(Size::both(4096));
    for chunk in good {
        for claimed in 0..chunk.len() as u16 + 9 {
            for tag in [0, tag(2)] {
                let mut wrong = chunk.clone();
                wrong[2..4].copy_from_slice(&claimed.to_be_bytes());
                for len in 0..=wrong.len() {
                    one.says(tag, &[wrong[..len].to_vec()]);
                }
            }
            if one.end.closed().is_some() || one.end.count > 0 {
                one = Scripted::open(Size::both(4096));
            }
        }
    }
}

/// A window that opens says nothing about what is under way, however often it closes and opens.
#[test]
fn a_window_that_opens_takes_nothing_under_way_for_lost() {
    let mut one = Scripted::open(Size::both(65_536));
    let ours = tag(2);
    one.end.association.send(ORDERED, b"x").unwrap();
    assert_eq!(kinds(&one.sends()), [DATA]);
    // A round trip of 100 ms.
    one.now = one.now + Duration::from_millis(100);
    one.hears(&[sack(ours, 60_000, &[])]);
    for n in 0..5 {
        let content = message(n, 1000);
        assert_eq!(one.end.association.send(ORDERED, &content), Ok(1000));
    }
    assert_eq!(one.sends().len(), 5);
    let toggle = |one: &mut Scripted| {
        one.hears(&[sack(ours, 0, &[])]);
        one.hears(&[sack(ours, 60_000, &[])]).len()
    };
    one.now = one.now + Duration::from_millis(50);
    for _ in 0..3 {
        assert_eq!(toggle(&mut one), 0, "it is under way");
    }
    one.now = one.now + Duration::from_millis(50);
    assert_eq!(toggle(&mut one), 5, "it was dropped");
    for _ in 0..3 {
        assert_eq!(toggle(&mut one), 0, "it is under way again");
    }
    // Should it be dropped again, no timer is waited for that has backed off.
    assert_eq!(one.waits(300).len(), 1, "the probe");
}
