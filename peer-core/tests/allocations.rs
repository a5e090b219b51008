//! Nothing of `rtc` allocates, whatever it links: 10,000 packets of SCTP, and of whole sessions.

#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{Role, SocketId};
use peer_core::rtc::sctp::{self, Association};
use peer_core::rtc::session::{
    Config, Event, Kind, Outgoing, Received, Remote, Resources, Session,
};
use peer_core::time::{Duration, Instant};

thread_local! {
    /// Allocations of this thread, where they are counted.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

impl Counting {
    fn count() {
        // A thread that ends counts nothing.
        let _ = COUNT.try_with(|count| count.set(count.get().map(|count| count + 1)));
    }
}

// SAFETY: all is left to the system's allocator; the count is a cell that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates while `run` does.
fn allocations(run: impl FnOnce()) -> Option<u64> {
    COUNT.set(Some(0));
    run();
    COUNT.take()
}

const PACKETS: u32 = 10_000;
/// Each so many packets one is lost.
const LOST: u32 = 50;
/// Some fragments.
const MESSAGE: [u8; 3_000] = [7; 3_000];

#[test]
fn what_allocates_is_counted() {
    let made = allocations(|| {
        let mut bytes = black_box(Vec::with_capacity(1));
        bytes.push(1_u8);
        bytes.reserve_exact(black_box(1_000));
    });
    assert_eq!(made, Some(2));
    assert_eq!(allocations(|| ()), Some(0));
}

#[test]
fn associations_allocate_nothing() {
    let (mut packets, mut heard) = (0, 0);
    assert_eq!(
        allocations(|| (packets, heard) = run_associations()),
        Some(0)
    );
    assert!(packets >= PACKETS && heard > 1_000_000, "{packets} {heard}");
}

/// Returns how many packets were sent, and how many bytes of messages came.
fn run_associations() -> (u32, usize) {
    let mut memory = [const { sctp::Resources::<16_384, 64, 16_384, 16>::new() }; 2];
    let [here, there] = &mut memory;
    let mut a = Association::new(sctp::Config::new([1; 8]), here.lend());
    let mut b = Association::new(sctp::Config::new([2; 8]), there.lend());
    let mut now = Instant::ZERO;
    let (mut packets, mut heard) = (0, 0);
    let mut packet = [0; 1_200];
    a.connect();
    while packets < PACKETS {
        now = now + Duration::from_millis(1);
        for unordered in [false, true] {
            let mut message = sctp::Outgoing::message(unordered.into(), 53);
            message.unordered = unordered;
            if a.send_room() >= MESSAGE.len() {
                assert_eq!(a.send(message, &MESSAGE), Ok(MESSAGE.len()));
            }
        }
        for _ in 0..2 {
            while let Some(len) = a.transmit(now, &mut packet) {
                packets += 1;
                if packets % LOST != 0 {
                    b.receive(now, &packet[..len]);
                }
            }
            while let Some(received) = b.read() {
                let sctp::Received::Piece(piece) = received else {
                    panic!("nothing else is sent");
                };
                let len = piece.bytes.len();
                heard += len;
                b.consume(len);
            }
            while let Some(len) = b.transmit(now, &mut packet) {
                packets += 1;
                if packets % LOST != 0 {
                    a.receive(now, &packet[..len]);
                }
            }
        }
        for end in [&mut a, &mut b] {
            while let Some(event) = end.poll_event() {
                assert_eq!(event, sctp::Event::Open);
            }
        }
    }
    (packets, heard)
}

#[test]
fn sessions_allocate_nothing() {
    let (mut packets, mut heard) = (0, 0);
    assert_eq!(allocations(|| (packets, heard) = run_sessions()), Some(0));
    assert!(packets >= PACKETS && heard > 1_000_000, "{packets} {heard}");
}

/// As [`run_associations`], from the first check of ICE on.
fn run_sessions() -> (u32, usize) {
    let mut state = 1_u32;
    let mut crypto = RustCrypto::new(|out: &mut [u8]| {
        for byte in out {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
        Ok::<(), CryptoError>(())
    });
    let mut memory =
        [const { Resources::<2, 4, 8, 1, 0, 1_536, 16_384, 64, 16_384, 16>::new() }; 2];
    let [here, there] = &mut memory;
    let identities = [(); 2].map(|()| Identity::generate(&mut crypto).unwrap());
    let mut now = Instant::ZERO;
    let config = Config::new(Role::Controlling);
    let mut a = Session::new(now, &mut crypto, config, here.lend(), &[]).unwrap();
    let config = Config::new(Role::Controlled);
    let mut b = Session::new(now, &mut crypto, config, there.lend(), &[]).unwrap();
    let ours = "192.0.2.1:5000".parse().unwrap();
    let theirs = "192.0.2.2:6000".parse().unwrap();
    a.set_addresses(now, &[(SocketId(0), ours)]).unwrap();
    b.set_addresses(now, &[(SocketId(0), theirs)]).unwrap();
    a.open("data", true).unwrap();
    let offer = Remote {
        fingerprint: *identities[0].fingerprint(),
        ..Remote::new(a.ice().ufrag(), a.ice().password(), a.setup())
    };
    b.set_remote(now, &offer).unwrap();
    let answer = Remote {
        fingerprint: *identities[1].fingerprint(),
        ..Remote::new(b.ice().ufrag(), b.ice().password(), b.setup())
    };
    a.set_remote(now, &answer).unwrap();
    a.credit(500);
    b.credit(500);
    let candidate = "candidate:1 1 udp 2113937151 192.0.2.2 6000 typ host";
    a.add_candidate(now, candidate).unwrap();

    let (mut packets, mut heard, mut is_open) = (0, 0, false);
    let mut datagram = [0; 1_200];
    while packets < PACKETS {
        now = now + Duration::from_millis(2);
        if is_open && a.send_room() >= MESSAGE.len() {
            let sent = a.send(Outgoing::message(Kind::Binary), &MESSAGE);
            assert_eq!(sent, Ok(MESSAGE.len()));
        }
        for _ in 0..2 {
            while a.work(now, &mut crypto, &identities[0]) {}
            while let Some(it) = a.transmit(now, &mut crypto, &mut datagram) {
                packets += 1;
                if packets % LOST != 0 {
                    let came = &mut datagram[..it.len];
                    b.receive(now, &mut crypto, SocketId(0), ours, came);
                }
            }
            while let Some(received) = b.read() {
                let Received::Piece(piece) = received else {
                    panic!("nothing is given up");
                };
                let len = piece.bytes.len();
                heard += len;
                b.consume(len);
            }
            while b.work(now, &mut crypto, &identities[1]) {}
            while let Some(it) = b.transmit(now, &mut crypto, &mut datagram) {
                packets += 1;
                if packets % LOST != 0 {
                    let came = &mut datagram[..it.len];
                    a.receive(now, &mut crypto, SocketId(0), theirs, came);
                }
            }
        }
        while let Some(event) = a.poll_event() {
            assert!(!matches!(event, Event::Closed(_) | Event::Failed(_)));
            is_open |= matches!(event, Event::Open { .. });
        }
        while let Some(event) = b.poll_event() {
            assert!(!matches!(event, Event::Closed(_) | Event::Failed(_)));
        }
        assert!(now < Instant::from_millis(3_600_000), "it comes to nothing");
    }
    (packets, heard)
}
