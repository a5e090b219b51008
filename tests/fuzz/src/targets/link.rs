//! Both ends of a link with an engine at one and a stack at the other, and somebody on the wire
//! between them.

use std::collections::HashMap;

use peer_core::PeerId;
use peer_core::link::{
    Gateway, GatewayOutput, Key, Leaf, LeafConfig, LeafKeys, LeafOutput, LinkInputError,
    LinkResources, Timing,
};
use peer_core::peer::{
    BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, Input, Peer,
    PeerResources, PeerState, RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{Fragment, MessageKind};
use peer_core::time::{Duration, Instant};

use super::bytes::Bytes;

const SESSIONS: usize = 2;

struct Keys(Key);

impl LeafKeys for Keys {
    fn key(&self, leaf: &str) -> Option<&Key> {
        (leaf == "greenhouse").then_some(&self.0)
    }

    fn allows_id(&self, _: &str, id: &str) -> bool {
        id == "sensor-7"
    }
}

/// A script of what the application, the stack and the one on the wire do.
///
/// Whatever comes: no panic, no busy loop, sessions within their number, and once the wire is left
/// alone both ends find together again.
pub fn link(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut config = Config::new([7; 32]);
    config.id = (bytes.below(4) > 0).then(|| PeerId::new("sensor-7").unwrap());
    let mut engine: PeerResources<SESSIONS, 2048, 512, 512> = PeerResources::new();
    let mut here: LinkResources<SESSIONS, 128, 2048, 2048> = LinkResources::new();
    let mut there: LinkResources<SESSIONS, 256, 2048, 2560> = LinkResources::new();
    let leaf = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
    let mut world = World {
        now: Instant::from_millis(1_000),
        leaf: Leaf::new(leaf, here.slices()).unwrap(),
        gateway: Gateway::new(Timing::default(), [2; 32], there.slices()).unwrap(),
        peer: Peer::new(config, &mut engine),
        keys: Keys(Key::new([7; 32])),
        handles: Vec::new(),
        reads: false,
        sessions: Vec::new(),
        messages: HashMap::new(),
    };
    if bytes.below(8) > 0 {
        world.drive(&mut Wire::Clear);
        assert!(world.leaf.is_up() && world.gateway.is_up());
    }
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    // An application that does not read holds up all that comes.
    world.reads = true;
    world.wait(Duration::from_secs(40));
    assert!(
        world.leaf.is_up() && world.gateway.is_up(),
        "together again"
    );
    // A frame forged in the leaf's place swallows the leaf's own of that number: once, or until the
    // session ends of it.
    for _ in 0..8 {
        if world.peer.state() == PeerState::Disconnected {
            world.peer.reconnect(world.now).unwrap();
            world.wait(Duration::from_secs(40));
        }
    }
    assert!(matches!(
        world.peer.state(),
        PeerState::Open | PeerState::Destroyed
    ));
}

struct World<'m> {
    now: Instant,
    leaf: Leaf<'m>,
    gateway: Gateway<'m>,
    peer: Peer<'m>,
    keys: Keys,
    /// The engine's connections.
    handles: Vec<ConnectionHandle>,
    /// Whether the application drops what comes, as soon as it comes.
    reads: bool,
    /// The stack's sessions.
    sessions: Vec<ConnectionHandle>,
    /// How far the stack is with a message to the leaf.
    messages: HashMap<ConnectionHandle, Half>,
}

/// A message that the stack has not said to its end.
#[derive(Default)]
struct Half {
    within: Option<MessageKind>,
    /// What of a fragment was not taken, and whether the message ends with it.
    held: Option<(Vec<u8>, bool)>,
}

/// Who sits on the wire.
enum Wire<'b, 'd> {
    Clear,
    /// Frames are changed as these bytes say.
    Changed(&'b mut Bytes<'d>),
}

impl World<'_> {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(14) {
            0 => {
                self.drive(&mut Wire::Clear);
            }
            1 | 2 => {
                self.drive(&mut Wire::Changed(bytes));
            }
            3 => self.leaf.receive(self.now, bytes.piece(), &mut self.peer),
            4 => self.gateway.receive(self.now, bytes.piece(), &self.keys),
            5 => {
                let frame = seal(bytes.piece());
                self.leaf.receive(self.now, &frame, &mut self.peer);
            }
            6 => {
                let frame = seal(bytes.piece());
                self.gateway.receive(self.now, &frame, &self.keys);
            }
            7 => {
                self.now = self.now + Duration::from_millis(u64::from(bytes.word()) / 4);
                self.drive(&mut Wire::Clear);
            }
            8 => match bytes.below(16) {
                0 => self.leaf.disconnected(),
                1 => self.gateway.close(),
                2 => self.peer.disconnect(self.now),
                _ => drop(self.peer.reconnect(self.now)),
            },
            9 => {
                let bob = PeerId::new("bob").unwrap();
                if let Ok(handle) = self.peer.connect(self.now, &bob, ConnectOptions::default()) {
                    self.handles.push(handle);
                }
            }
            10 => {
                let (n, text) = (bytes.byte(), bytes.text());
                let count = self.handles.len().max(1);
                if let Some(&handle) = self.handles.get(usize::from(n / 4) % count)
                    && let Some(mut connection) = self.peer.connection(handle)
                {
                    match n % 4 {
                        0 => connection.close(),
                        1 => connection.close_flush(self.now),
                        2 => drop(connection.recv_raw()),
                        _ => drop(connection.send(&text)),
                    }
                }
            }
            11 => self.stack(bytes),
            12 => self.fragment(bytes),
            _ => {
                let (n, what) = (bytes.byte(), bytes.byte());
                let count = self.handles.len().max(1);
                if let Some(&handle) = self.handles.get(usize::from(n) % count)
                    && let Some(mut connection) = self.peer.connection(handle)
                {
                    match what % 8 {
                        0 => connection.set_streaming(false),
                        1 => connection.set_streaming(true),
                        2 => connection.set_high_water(what.into()),
                        3 => drop(connection.stream(usize::from(what) * 16, 100)),
                        4 => drop(connection.stream_write(&[what; 300])),
                        _ => drop(connection.recv_piece()),
                    }
                }
            }
        }
        assert!(self.gateway.sessions() <= SESSIONS);
    }

    /// A piece of a message that the stack has for the leaf.
    fn fragment(&mut self, bytes: &mut Bytes<'_>) {
        let (n, flags) = (bytes.byte(), bytes.byte());
        let piece = bytes.piece().repeat(1 + usize::from(flags / 32));
        let count = self.sessions.len().max(1);
        let Some(&session) = self.sessions.get(usize::from(n) % count) else {
            return;
        };
        let half = self.messages.entry(session).or_default();
        let (piece, last) = half.held.take().unwrap_or((piece, flags % 2 == 0));
        let kind = match flags & 2 {
            0 => MessageKind::Binary,
            _ => MessageKind::Text,
        };
        let fragment = Fragment {
            first: half.within.is_none(),
            last,
            kind: half.within.unwrap_or(kind),
            bytes: &piece,
        };
        let input = Input::Rtc(session, RtcInput::Fragment(fragment));
        match self.gateway.handle_input(&input) {
            Err(LinkInputError::NoRoom { taken }) => {
                assert!(taken <= piece.len());
                if taken > 0 {
                    half.within = Some(fragment.kind);
                }
                half.held = Some((piece[taken..].to_vec(), last));
            }
            Err(LinkInputError::Full) => half.held = Some((piece, last)),
            _ if last => half.within = None,
            _ => half.within = Some(fragment.kind),
        }
    }

    /// Something that the gateway's stack or broker says.
    fn stack(&mut self, bytes: &mut Bytes<'_>) {
        let (kind, n, text) = (bytes.byte(), bytes.byte(), bytes.text());
        let mut signal = text.clone().into_bytes();
        let count = self.sessions.len().max(1);
        let session = self.sessions.get(usize::from(n) % count).copied();
        let input = match (kind % 15, session) {
            (0, _) => Input::Broker(BrokerInput::Closed),
            (1, _) => Input::Broker(BrokerInput::Message(&mut signal)),
            (2, _) => Input::Broker(BrokerInput::IdRetrieved(&text)),
            (_, None) => return,
            (kind, Some(session)) => Input::Rtc(
                session,
                match kind {
                    3 => RtcInput::LocalDescription(&text),
                    4 => RtcInput::LocalCandidate(&text),
                    5 | 6 => RtcInput::ChannelOpened,
                    // Not within another one.
                    7 | 8 if self.messages.contains_key(&session) => return,
                    7 => RtcInput::Fragment(Fragment::text(&text)),
                    8 => RtcInput::Fragment(Fragment::binary(text.as_bytes())),
                    9 => RtcInput::ChannelBuffered(n.into()),
                    10 => RtcInput::ChannelClosed,
                    11 => RtcInput::IceConnected,
                    12 => RtcInput::ChannelCredit(n.into()),
                    13 => RtcInput::MessageTooBig,
                    _ => RtcInput::Failed(RtcFailure::Ice),
                },
            ),
        };
        let _ = self.gateway.handle_input(&input);
    }

    /// Until nothing is left to do at this time; when the next thing is.
    fn drive(&mut self, wire: &mut Wire<'_, '_>) -> Option<Instant> {
        for _ in 0..2_000 {
            let mut busy = false;
            if self.reads {
                busy |= self.read();
            }
            let leaf = loop {
                match self.leaf.poll(self.now, &mut self.peer) {
                    LeafOutput::Timeout(at) => break at,
                    _ => busy = true,
                }
            };
            let mut piece = [0; 512];
            let len = self.leaf.transmit(self.now, &mut piece);
            busy |= len > 0;
            for frame in wire.pass(&piece[..len]) {
                self.gateway.receive(self.now, &frame, &self.keys);
            }
            let gateway = loop {
                let answers = match self.gateway.poll_output(self.now, &self.keys) {
                    GatewayOutput::Timeout(at) => break at,
                    GatewayOutput::Broker(command) => broker(&command),
                    GatewayOutput::Rtc(handle, command) => {
                        let sessions = &mut self.sessions;
                        match command {
                            RtcCommand::CreateOffer { .. } | RtcCommand::AcceptOffer { .. } => {
                                sessions.push(handle);
                            }
                            RtcCommand::Close => {
                                sessions.retain(|other| *other != handle);
                                self.messages.remove(&handle);
                            }
                            _ => {}
                        }
                        assert!(sessions.len() <= SESSIONS, "as many as the memory has");
                        Vec::new()
                    }
                    _ => Vec::new(),
                };
                busy = true;
                for answer in answers {
                    let mut signal = br#"{"type":"OPEN"}"#.to_vec();
                    let input = match answer {
                        Answer::Id => BrokerInput::IdRetrieved("sensor-7"),
                        Answer::Opened => BrokerInput::Opened,
                        Answer::Open => BrokerInput::Message(&mut signal),
                    };
                    let _ = self.gateway.handle_input(&Input::Broker(input));
                }
            };
            let len = self.gateway.transmit(self.now, &mut piece);
            busy |= len > 0;
            for frame in wire.pass(&piece[..len]) {
                self.leaf.receive(self.now, &frame, &mut self.peer);
            }
            if !busy {
                return [leaf, gateway].into_iter().flatten().min();
            }
        }
        panic!("they never come to rest");
    }

    /// Drops what can be read; whether there was something.
    fn read(&mut self) -> bool {
        let mut busy = false;
        let handles: Vec<_> = self.peer.connections().collect();
        for handle in handles {
            if let Some(mut connection) = self.peer.connection(handle) {
                busy |= connection.readable() > 0;
                connection.release();
            }
        }
        busy
    }

    /// Time passes, in the steps that somebody asks for, and the wire is left alone.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..2_000 {
            match self.drive(&mut Wire::Clear).filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    self.drive(&mut Wire::Clear);
                    return;
                }
            }
        }
        panic!("somebody is busy with nothing");
    }
}

enum Answer {
    Id,
    Opened,
    Open,
}

fn broker(command: &BrokerCommand<'_>) -> Vec<Answer> {
    match command {
        BrokerCommand::RetrieveId => vec![Answer::Id],
        BrokerCommand::Open { .. } => vec![Answer::Opened, Answer::Open],
        BrokerCommand::Send(_) | BrokerCommand::Close => Vec::new(),
    }
}

impl Wire<'_, '_> {
    /// Bytes of one end as the other gets them, zeros between frames included.
    fn pass(&mut self, sent: &[u8]) -> Vec<Vec<u8>> {
        let Self::Changed(bytes) = self else {
            return vec![sent.to_vec()];
        };
        let mut frames = Vec::new();
        for stuffed in sent.split_inclusive(|byte| *byte == 0) {
            match bytes.below(8) {
                // The end of the input is 0, so that every script ends.
                0..4 => frames.push(stuffed.to_vec()),
                4 => {}
                5 => frames.extend([stuffed.to_vec(), stuffed.to_vec()]),
                6 => {
                    let mut broken = stuffed.to_vec();
                    let at = bytes.below(broken.len());
                    broken[at] ^= bytes.byte();
                    frames.push(broken);
                }
                // A frame with a right CRC that says something else.
                _ => {
                    let Some(mut body) = open(stuffed) else {
                        frames.push(stuffed.to_vec());
                        continue;
                    };
                    let (at, patch) = (bytes.below(body.len() + 1), bytes.piece());
                    body.truncate(at);
                    body.extend(patch);
                    frames.push(seal(&body));
                }
            }
        }
        frames
    }
}

/// A frame around any body: CRC, stuffing, zeros.
fn seal(body: &[u8]) -> Vec<u8> {
    let plain = [body, &crc(body).to_le_bytes()].concat();
    let mut out = vec![0];
    for run in plain.split(|byte| *byte == 0) {
        let mut run = run;
        while run.len() >= 254 {
            out.push(255);
            out.extend(&run[..254]);
            run = &run[254..];
        }
        out.push(run.len() as u8 + 1);
        out.extend(run);
    }
    out.push(0);
    out
}

/// The body of a frame that is whole.
fn open(stuffed: &[u8]) -> Option<Vec<u8>> {
    let mut rest = stuffed.strip_suffix(&[0])?;
    let mut plain = Vec::new();
    while let Some((&code, after)) = rest.split_first() {
        let run = after.get(..usize::from(code).checked_sub(1)?)?;
        plain.extend(run);
        rest = &after[run.len()..];
        if code < 255 && !rest.is_empty() {
            plain.push(0);
        }
    }
    let (body, _) = plain.split_last_chunk::<2>()?;
    Some(body.to_vec())
}

/// CRC-16/IBM-3740.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}
