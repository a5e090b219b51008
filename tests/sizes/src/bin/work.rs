//! How much work one call of the engine is, at most, with `PeerResources<4>`: a broker, four
//! connections and an application that are all hostile, in instructions of an emulated Cortex-M4.
//!
//! Run by QEMU with `-icount shift=0`, where each instruction takes a nanosecond, so that the
//! board's timer counts them, to 40. What it prints are rows of a table; nothing here fails but the
//! script.
#![no_std]
#![no_main]

#[path = "../timer.rs"]
mod timer;

use core::fmt::{self, Write};

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use peer_core::{
    PeerId,
    peer::{
        BrokerInput, Config, ConnectOptions, ConnectionHandle, Event, Input, Output, Peer,
        PeerResources, Room, RtcCommand, RtcInput,
    },
    serialization::{Fragment, MessageKind},
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 4;
/// Rounds of the script. A fifth of them find 9 in 10 of what these find.
const ROUNDS: u32 = 200;
/// Inputs of each connection in a round.
const FRAMES: u32 = 200;
/// Bytes of the longest signal and of the longest frame that are fed.
const SIGNAL_MAX: usize = 1_280;
const FRAME_MAX: usize = 1_900;

/// The calls that are told apart.
#[derive(Clone, Copy)]
enum Call {
    Offer,
    Candidate,
    Leave,
    Garbage,
    Frame,
    Chunk,
    Timeout,
    Poll,
    Connect,
    Send,
    Destroy,
}

const CALLS: [&str; 11] = [
    "`handle_input`: an OFFER, with candidates that waited for it",
    "`handle_input`: a CANDIDATE, while as many wait as may",
    "`handle_input`: a LEAVE that ends all four connections",
    "`handle_input`: 1,280 bytes that are no signal",
    "`handle_input`: a message of up to 1,900 bytes for a full inbox",
    "`handle_input`: a chunk of up to 1,900 bytes, while others are being joined",
    "`handle_input`: the time, with all deadlines passed",
    "`poll_output`",
    "`connect`",
    "`send`, 1,800 bytes for a full outbox",
    "`destroy`",
];

/// The most instructions of each call.
static mut MOST: [u32; CALLS.len()] = [0; CALLS.len()];
static mut MEMORY: PeerResources<CONNECTIONS> = PeerResources::new();

/// Runs a call and keeps what it took.
macro_rules! timed {
    ($call:expr, $run:expr) => {{
        let start = timer::value();
        let result = $run;
        keep($call, start.wrapping_sub(timer::value()));
        result
    }};
}

fn keep(call: Call, ticks: u32) {
    // SAFETY: there is one thread, and nothing holds on to the place.
    let most = unsafe { &mut *&raw mut MOST };
    if let Some(most) = most.get_mut(call as usize) {
        *most = (*most).max(ticks.saturating_mul(timer::INSTRUCTIONS));
    }
}

#[entry]
fn main() -> ! {
    timer::start();
    if attack().is_none() {
        hprintln!("the script failed");
        debug::exit(debug::EXIT_FAILURE);
    }
    // SAFETY: as above.
    for (name, most) in CALLS.iter().zip(unsafe { *&raw const MOST }) {
        hprintln!("| {} | {} |", name, most);
        if most == 0 {
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

/// The state of the script.
struct Attack {
    peer: Peer<'static>,
    now: Instant,
    dice: u32,
    /// Those that opened and are not over.
    open: [Option<ConnectionHandle>; CONNECTIONS],
    text: Text,
    frame: [u8; FRAME_MAX],
}

fn attack() -> Option<()> {
    let mut config = Config::new([7; 32]);
    config.id = PeerId::new("sensor-7").ok();
    config.remote_share = CONNECTIONS;
    // SAFETY: the only use.
    let memory = unsafe { &mut *&raw mut MEMORY };
    let mut attack = Attack {
        peer: Peer::new(config, memory),
        now: Instant::from_millis(1),
        dice: 1,
        open: [None; CONNECTIONS],
        text: Text::new(),
        frame: [0x2a; FRAME_MAX],
    };
    attack.poll(Room::UNLIMITED);
    attack.input(Call::Garbage, Input::Broker(BrokerInput::Opened));
    attack.signal(Call::Garbage, format_args!(r#"{{"type":"OPEN"}}"#))?;
    for round in 0..ROUNDS {
        attack.round(round)?;
    }
    let now = attack.now;
    timed!(Call::Destroy, attack.peer.destroy(now));
    attack.poll(Room::UNLIMITED);
    Some(())
}

impl Attack {
    /// Four connections of one remote are made, misused, and ended by one signal.
    fn round(&mut self, round: u32) -> Option<()> {
        // Candidates of strangers, and of those who will call, all as long as they pass.
        for number in 0..24 {
            let (src, id) = (number % 3, number % 4);
            let len = 20 + self.roll(300) as usize;
            let candidate = Repeated("candidate:1 1 udp 1 ", len / 20);
            self.signal(
                Call::Candidate,
                format_args!(
                    r#"{{"type":"CANDIDATE","src":"remote{src}","dst":"sensor-7","payload":{{"candidate":{{"candidate":"{candidate}"}},"type":"data","connectionId":"dc_{round}_{id}"}}}}"#
                ),
            )?;
        }
        for id in 0..CONNECTIONS {
            let sdp = Repeated(r"a=x-line:1234567\r\n", 30);
            let serialization = if id == 3 { "raw" } else { "binary" };
            self.signal(
                Call::Offer,
                format_args!(
                    r#"{{"type":"OFFER","src":"remote0","dst":"sensor-7","payload":{{"sdp":{{"type":"offer","sdp":"v=0\r\n{sdp}"}},"type":"data","connectionId":"dc_{round}_{id}","label":"label","reliable":true,"serialization":"{serialization}","metadata":{{"a":[1,2,3]}}}}}}"#
                ),
            )?;
            self.poll(Room::UNLIMITED);
        }
        self.open.iter().all(Option::is_some).then_some(())?;
        for number in 0..FRAMES {
            for at in 0..CONNECTIONS {
                self.misuse(self.open.get(at).copied()??, number);
            }
            if number % 4 == 0 {
                let data = self.roll(64) as usize;
                self.poll(Room {
                    data,
                    ..Room::UNLIMITED
                });
            }
        }
        let deep = Repeated("[", SIGNAL_MAX - 40);
        self.signal(
            Call::Garbage,
            format_args!(r#"{{"type":"x","payload":{deep}"#),
        )?;
        let spaces = Repeated(r"\u0041", (SIGNAL_MAX - 40) / 6);
        self.signal(Call::Garbage, format_args!(r#"{{"type":"{spaces}"}}"#))?;
        // Either all connections end by one signal, or all deadlines pass at once.
        if round % 2 == 0 {
            self.signal(
                Call::Leave,
                format_args!(r#"{{"type":"LEAVE","src":"remote0","dst":"sensor-7"}}"#),
            )?;
        } else {
            for handle in self.open.into_iter().flatten() {
                let now = self.now;
                self.peer.connection(handle)?.close_flush(now);
            }
            self.now = self.now + Duration::from_secs(60);
            self.input(Call::Timeout, Input::Timeout);
        }
        self.poll(Room::UNLIMITED);
        // The other way round: our own connects, which nobody answers.
        let remote = PeerId::new("remote1").ok()?;
        let now = self.now;
        while timed!(
            Call::Connect,
            self.peer.connect(now, &remote, ConnectOptions::default())
        )
        .is_ok()
        {}
        self.poll(Room::UNLIMITED);
        self.now = self.now + Duration::from_secs(60);
        self.input(Call::Timeout, Input::Timeout);
        self.poll(Room::UNLIMITED);
        self.open = [None; CONNECTIONS];
        Some(())
    }

    /// A frame that is a message, a chunk or the end of one, while the application reads now and
    /// then.
    fn misuse(&mut self, handle: ConnectionHandle, number: u32) {
        let len = match self.roll(4) {
            0 => self.roll(FRAME_MAX as u32 - 60),
            1 => self.roll(300),
            _ => self.roll(40),
        };
        if self.roll(3) == 0 {
            let frame = self.frame.get(..len as usize).unwrap_or_default();
            let fragment = Fragment {
                first: true,
                last: true,
                kind: MessageKind::Binary,
                bytes: frame,
            };
            let input = Input::Rtc(handle, RtcInput::Fragment(fragment));
            let now = self.now;
            let _ = timed!(Call::Frame, self.peer.handle_input(now, input));
        } else {
            // Up to twelve messages at a time, of up to four chunks, the last one often first.
            let (id, total) = (1 + self.roll(12), 2 + self.roll(3));
            let chunk = Chunk {
                id: number / 32 * 12 + id,
                number: total - 1 - self.roll(total),
                total,
                len: len as usize,
            };
            let Some(len) = chunk.write(&mut self.frame) else {
                return;
            };
            let message = Fragment::binary(self.frame.get(..len).unwrap_or_default());
            let input = Input::Rtc(handle, RtcInput::Fragment(message));
            let now = self.now;
            let _ = timed!(Call::Chunk, self.peer.handle_input(now, input));
            self.frame.fill(0x2a);
        }
        let (reads, sends) = (self.roll(3) == 0, self.roll(4) == 0);
        let Some(mut connection) = self.peer.connection(handle) else {
            return;
        };
        if reads {
            let _ = connection.recv_raw();
        }
        if sends {
            let message = self.text.bytes.get(..1_800).unwrap_or_default();
            let message = core::str::from_utf8(message).unwrap_or_default();
            let _ = timed!(Call::Send, connection.send(message));
        }
    }

    /// Does what the engine wants, and answers at once.
    fn poll(&mut self, room: Room) {
        loop {
            match timed!(Call::Poll, self.peer.poll_output(room)) {
                Output::Timeout(_) => return,
                Output::Rtc(handle, RtcCommand::AcceptOffer { .. }) => {
                    let description = RtcInput::LocalDescription("v=0\r\n");
                    self.input(Call::Frame, Input::Rtc(handle, description));
                    self.input(Call::Frame, Input::Rtc(handle, RtcInput::ChannelOpened));
                    if let Some(open) = self.open.get_mut(handle.index()) {
                        *open = Some(handle);
                    }
                }
                Output::Rtc(handle, RtcCommand::CreateOffer { .. }) => {
                    let description = RtcInput::LocalDescription("v=0\r\n");
                    self.input(Call::Frame, Input::Rtc(handle, description));
                }
                Output::Rtc(handle, RtcCommand::Send(_)) => {
                    let held = RtcInput::ChannelBuffered(0);
                    self.input(Call::Frame, Input::Rtc(handle, held));
                }
                Output::Event(
                    Event::ConnectionClosed(handle) | Event::ConnectionFailed(handle, _),
                ) => {
                    if let Some(mut connection) = self.peer.connection(handle) {
                        connection.release();
                    }
                }
                Output::Rtc(..) | Output::Broker(_) | Output::Event(_) => {}
            }
        }
    }

    /// Feeds a signal, again where the engine wants to be polled first.
    fn signal(&mut self, call: Call, signal: fmt::Arguments<'_>) -> Option<()> {
        for _ in 0..2 {
            self.text.len = 0;
            self.text.write_fmt(signal).ok()?;
            let text = self.text.bytes.get_mut(..self.text.len)?;
            let input = Input::Broker(BrokerInput::Message(text));
            if timed!(call, self.peer.handle_input(self.now, input)).is_ok() {
                break;
            }
            self.poll(Room::UNLIMITED);
        }
        Some(())
    }

    fn input(&mut self, call: Call, input: Input<'_>) {
        let now = self.now;
        let _ = timed!(call, self.peer.handle_input(now, input));
    }

    /// A number below `below`, the same in every run: xorshift (Marsaglia).
    fn roll(&mut self, below: u32) -> u32 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 17;
        self.dice ^= self.dice << 5;
        self.dice % below.max(1)
    }
}

/// A chunk as PeerJS packs it.
struct Chunk {
    id: u32,
    number: u32,
    total: u32,
    len: usize,
}

impl Chunk {
    /// Writes it, and returns its length.
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let [_, _, id @ ..] = self.id.to_be_bytes();
        let len = u16::try_from(self.len).ok()?.to_be_bytes();
        let (number, total) = (self.number as u8, self.total as u8);
        let mut at = 0;
        for part in [
            &b"\x84\xba__peerData\xcd"[..],
            &id,
            b"\xb1n",
            &[number],
            b"\xb4data\xda",
            &len,
        ] {
            out.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        at += self.len;
        let tail = [0xb5, b't', b'o', b't', b'a', b'l', total];
        out.get_mut(at..at + tail.len())?.copy_from_slice(&tail);
        Some(at + tail.len())
    }
}

/// A text so many times.
struct Repeated(&'static str, usize);

impl fmt::Display for Repeated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.1).try_for_each(|_| out.write_str(self.0))
    }
}

/// Text in fixed memory.
struct Text {
    bytes: [u8; 2_048],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self {
            bytes: [b' '; 2_048],
            len: 0,
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len());
        room.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
