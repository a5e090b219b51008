//! A microcontroller without a network that is a PeerJS peer: a browser talks to it as to any
//! other.
//!
//! It runs the engine of `peer-core` itself. Over a UART a gateway lends it what it lacks: the
//! broker's socket and the WebRTC stack. See `app` for what it does, and `board` for what a port to
//! another board has to change.
#![no_std]
#![no_main]

mod board;

use board::Board;
use cortex_m_rt::entry;
use firmware::app::{App, CONNECTIONS, Hardware};
use peer_core::{
    PeerId, Token,
    link::{Leaf, LeafConfig, LeafOutput, LinkResources},
    peer::{Config, Event, Peer, PeerResources},
    time::{Duration, Instant},
};

/// Who it is to browsers.
const PEER_ID: &str = "greenhouse";
/// Who it is to its gateway, and the key that both know. A real device has its own from when it was
/// made.
const LEAF: &str = "greenhouse";
const KEY: [u8; 32] = *b"the key of a demo is not secret.";
/// Owns the peer id at the broker. The same after a restart, so that the device can take over from
/// its former self.
const TOKEN: &str = "greenhouse-of-the-demo";
/// How often the log says how things are.
const REPORT: Duration = Duration::from_secs(10);

/// All memory there is, in `.bss`.
type PeerMemory = PeerResources<CONNECTIONS>;
type LinkMemory = LinkResources<CONNECTIONS>;

#[entry]
fn main() -> ! {
    static mut PEER: PeerMemory = PeerMemory::new();
    static mut LINK: LinkMemory = LinkMemory::new();
    static mut APP: App = App::new();
    // It is the first and only call.
    let Some(mut board) = Board::take() else {
        loop {}
    };
    board.log(format_args!("firmware: started"));
    let (Some(ids), Some(nonces)) = (board.random(), board.random()) else {
        board.log(format_args!("firmware: no random numbers, so it stops"));
        board::stop()
    };
    run(&mut board, Random { ids, nonces }, PEER, LINK, APP);
    board.log(format_args!("firmware: starting anew"));
    board.restart()
}

/// Random bytes of this start.
struct Random {
    /// For the engine.
    ids: [u8; 32],
    /// For the link. Others than the engine's, so that neither tells of the other.
    nonces: [u8; 32],
}

/// Until the engine is destroyed.
fn run(
    board: &mut Board,
    random: Random,
    peer: &mut PeerMemory,
    link: &mut LinkMemory,
    app: &mut App,
) {
    let mut config = Config::new(random.ids);
    config.token = Token::from_wire(TOKEN).ok();
    config.id = PeerId::new(PEER_ID).ok();
    let mut peer = Peer::new(config, peer);
    let config = LeafConfig::new(LEAF, KEY, random.nonces);
    let mut leaf = match Leaf::new(config, link.slices()) {
        Ok(leaf) => leaf,
        Err(error) => return board.log(format_args!("firmware: {error}")),
    };

    let mut outgoing = Outgoing::default();
    let mut report = board.now() + REPORT;
    loop {
        let now = board.now();
        hear(board, &mut leaf, &mut peer, now);
        let due = app.run(now, &mut peer, board);
        let wake = loop {
            match leaf.poll(now, &mut peer) {
                LeafOutput::Timeout(at) => break at.map_or(due, |at| at.min(due)),
                LeafOutput::Event(Event::Closed) => return,
                output => tell(output, now, &mut peer, app, board),
            }
        };
        let silent = outgoing.send(board, &mut leaf, now);
        if report <= now {
            report = now + REPORT;
            tell_state(board, &leaf, &peer, app);
        }
        if silent && wake > now {
            board.rest();
        }
    }
}

/// What came from the gateway.
fn hear(board: &mut Board, leaf: &mut Leaf<'_>, peer: &mut Peer<'_>, now: Instant) {
    let mut piece = [0; 64];
    while let len @ 1.. = board.receive(&mut piece) {
        leaf.receive(now, &piece[..len], peer);
    }
}

fn tell(output: LeafOutput, now: Instant, peer: &mut Peer<'_>, app: &mut App, board: &mut Board) {
    match output {
        LeafOutput::Up => board.log(format_args!("link: up")),
        LeafOutput::Down(reason) => board.log(format_args!("link: down: {reason}")),
        LeafOutput::Refused(refusal) => board.log(format_args!("link: refused: {refusal}")),
        LeafOutput::Event(event) => app.event(event, now, peer, board),
        LeafOutput::Timeout(_) => {}
    }
}

fn tell_state(board: &mut Board, leaf: &Leaf<'_>, peer: &Peer<'_>, app: &App) {
    let (link, engine, (used, stack)) = (leaf.stats(), peer.stats(), board.stack());
    board.log(format_args!(
        "state: stack {used} of {stack} B; link {} out, {} in, {} garbage, {} resends, {} too long; \
         engine {} bad signals, {} dropped, {} bad messages; {} answers dropped",
        link.messages_sent,
        link.messages_received,
        link.garbage,
        link.resends,
        link.too_long,
        engine.malformed_signals,
        engine.dropped_signals,
        engine.malformed_messages,
        app.answers_dropped(),
    ));
}

/// Bytes on their way to the UART.
#[derive(Default)]
struct Outgoing {
    piece: [u8; 32],
    range: core::ops::Range<usize>,
}

impl Outgoing {
    /// Writes what the link has, until the UART is busy. Whether there is nothing left.
    fn send(&mut self, board: &mut Board, leaf: &mut Leaf<'_>, now: Instant) -> bool {
        loop {
            if self.range.is_empty() {
                self.range = 0..leaf.transmit(now, &mut self.piece);
            }
            let rest = self.piece.get(self.range.clone()).unwrap_or_default();
            if rest.is_empty() {
                return true;
            }
            match board.send(rest) {
                0 => return false,
                taken => self.range.start += taken,
            }
        }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    board::last_words(info)
}
