//! Two whole sessions of `rtc` with each other on the target, each once as DTLS's client and once
//! as its server, how deep their stack gets, and how long the steps of their handshakes are: run it
//! by QEMU with `-icount shift=0`. Ends QEMU with success or failure.
//!
//! As on a device, what lives long lies in statics: the sessions, what is lent to them, and the
//! buffer of a datagram.
#![no_std]
#![no_main]

#[path = "../stack.rs"]
mod stack;
#[path = "../timer.rs"]
mod timer;

use core::net::{Ipv4Addr, SocketAddr};

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::{Role, SocketId};
use peer_core::rtc::session::{
    Config, DATAGRAM_MAX, Event, Kind, Outgoing, Received, Remote, Resources, Session, Setup,
};
use peer_core::time::{Duration, Instant};

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;
type Memory = Resources<'static, 2, 4, 8, 1, 0, 1536, 2048, 8, 2048, 4>;

const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000),
    SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 6000),
];
const CANDIDATES: [&str; 2] = [
    "candidate:1 1 udp 2113937151 192.0.2.1 5000 typ host",
    "candidate:1 1 udp 2113937151 192.0.2.2 6000 typ host",
];
const SOCKET: SocketId = SocketId(0);

/// Two runs of two ends: memory is lent for good.
static mut MEMORY: [Memory; 4] = [const { Memory::new() }; 4];
static mut ENDS: [Slot; 2] = [const { Slot::Free }; 2];
static mut DATAGRAM: [u8; DATAGRAM_MAX] = [0; DATAGRAM_MAX];

/// The first variant is all zeros: with the niche of an `Option` a static of it would cost flash.
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "it stays where it is")]
enum Slot {
    Free,
    Taken(End),
}

struct End {
    session: Session<'static, 'static, Crypto>,
    crypto: Crypto,
    identity: Identity,
    said: bool,
    heard: bool,
    /// Ticks of the longest step of the handshake, and of all.
    steps: (u32, u32),
}

#[entry]
fn main() -> ! {
    timer::start();
    for (run, setup) in [Setup::Passive, Setup::Actpass].into_iter().enumerate() {
        let painted = stack::paint();
        let made = make(run, setup).is_some();
        hprintln!("making stack {} {}", stack::used(painted), word(made));
        let painted = stack::paint();
        let done = made && connect().is_some();
        hprintln!("connecting stack {} {}", stack::used(painted), word(done));
        if !done {
            debug::exit(debug::EXIT_FAILURE);
        }
        // SAFETY: the only use, in the only thread.
        for slot in unsafe { &*&raw const ENDS } {
            if let Slot::Taken(end) = slot {
                let [longest, all] = [end.steps.0, end.steps.1].map(|it| it * timer::INSTRUCTIONS);
                hprintln!("step instructions {}", longest);
                hprintln!("handshake instructions {}", all);
            }
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

const fn word(done: bool) -> &'static str {
    if done { "ok" } else { "FAILED" }
}

/// Not random: the same bytes each time.
fn bytes(out: &mut [u8]) -> Result<(), CryptoError> {
    static mut STATE: u32 = 1;
    for byte in out {
        // SAFETY: the only use, in the only thread.
        unsafe {
            STATE = STATE.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = STATE.to_be_bytes()[0];
        }
    }
    Ok(())
}

/// Makes both, and tells each what the other would signal. The one that answers has this `a=setup`.
#[inline(never)]
fn make(run: usize, setup: Setup) -> Option<()> {
    // SAFETY: the only use of this part in this run, in the only thread.
    let memory = unsafe { (*&raw mut MEMORY).get_mut(2 * run..2 * run + 2)? };
    // SAFETY: as above; `connect` is not running.
    let ends = unsafe { &mut *&raw mut ENDS };
    for (n, (end, memory)) in ends.iter_mut().zip(memory).enumerate() {
        *end = Slot::Free;
        *end = Slot::Taken(End::new(n, setup, memory)?);
    }
    let [Slot::Taken(a), Slot::Taken(b)] = ends else {
        return None;
    };
    // The offer, then the answer, which says who is DTLS's client.
    b.describe(a, 0)?;
    a.describe(b, 1)?;
    a.session.open("chat", true).ok()
}

impl End {
    #[inline(never)]
    fn new(n: usize, setup: Setup, memory: &'static mut Memory) -> Option<Self> {
        let mut crypto: Crypto = RustCrypto::new(bytes);
        let identity = Identity::generate(&mut crypto).ok()?;
        let mut config = match n {
            0 => Config::new(Role::Controlling),
            _ => Config::new(Role::Controlled),
        };
        if n == 1 {
            config.setup = setup;
        }
        let now = Instant::ZERO;
        let mut session = Session::new(now, &mut crypto, config, memory.lend(), &[]).ok()?;
        session
            .set_addresses(now, &[(SOCKET, *ADDRESSES.get(n)?)])
            .ok()?;
        Some(Self {
            session,
            crypto,
            identity,
            said: false,
            heard: false,
            steps: (0, 0),
        })
    }

    /// Hears what the other end signals.
    fn describe(&mut self, other: &Self, n: usize) -> Option<()> {
        let ice = other.session.ice();
        let remote = Remote {
            fingerprint: *other.identity.fingerprint(),
            ..Remote::new(ice.ufrag(), ice.password(), other.session.setup())
        };
        let now = Instant::ZERO;
        self.session.set_remote(now, &remote).ok()?;
        self.session.credit(1_000);
        self.session.add_candidate(now, CANDIDATES.get(n)?).ok()
    }

    /// One turn of a driver's loop.
    fn turn(&mut self, now: Instant, other: &mut Self, from: SocketAddr) {
        // SAFETY: the only use, in the only thread.
        let datagram = unsafe { &mut *&raw mut DATAGRAM };
        loop {
            let before = timer::value();
            let more = self.session.work(now, &mut self.crypto, &self.identity);
            // It counts down.
            let ticks = before.wrapping_sub(timer::value());
            self.steps.0 = self.steps.0.max(ticks);
            self.steps.1 += ticks;
            if !more {
                break;
            }
        }
        while let Some(it) = self.session.transmit(now, &mut self.crypto, datagram) {
            if let Some(came) = datagram.get_mut(..it.len) {
                other
                    .session
                    .receive(now, &mut other.crypto, SOCKET, from, came);
            }
        }
        while let Some(event) = self.session.poll_event() {
            if matches!(event, Event::Open { .. }) {
                let message = Outgoing::message(Kind::Text);
                self.said = self.session.send(message, b"hello") == Ok(5);
            }
        }
        while let Some(Received::Piece(piece)) = self.session.read() {
            self.heard |= piece.bytes == b"hello";
            let len = piece.bytes.len();
            self.session.consume(len);
        }
    }
}

/// Lets both talk until each has heard the other.
#[inline(never)]
fn connect() -> Option<()> {
    // SAFETY: the only use, in the only thread; `make` is over.
    let ends = unsafe { &mut *&raw mut ENDS };
    let [Slot::Taken(a), Slot::Taken(b)] = ends else {
        return None;
    };
    let mut now = Instant::ZERO;
    for _ in 0..100 {
        now = now + Duration::from_millis(20);
        a.turn(now, b, ADDRESSES[0]);
        b.turn(now, a, ADDRESSES[1]);
        if a.heard && b.heard {
            a.session.close();
            a.turn(now, b, ADDRESSES[0]);
            b.turn(now, a, ADDRESSES[1]);
            return (a.said && b.said && a.session.is_over() && b.session.is_over()).then_some(());
        }
    }
    None
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
