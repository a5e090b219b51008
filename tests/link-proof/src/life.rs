//! `peer`, `storage`, `time`, `config` and the ids: a whole life, from static memory.

use core::fmt::{self, Write};

use peer_core::{
    ConnectionId, PeerId, config,
    peer::{
        BrokerCommand, BrokerInput, Config, ConnectOptions, ConnectionHandle, Event, Input, Output,
        Peer, PeerResources, PeerState, Room, RtcCommand, RtcInput,
    },
    serialization::Fragment,
    storage::{Entry, Ring, Table},
    time::{Duration, Instant},
};

/// In `.bss`, which the script checks by this name.
#[unsafe(no_mangle)]
static mut LINK_PROOF_MEMORY: PeerResources<2> = PeerResources::new();

pub(crate) fn run() -> Option<()> {
    storage()?;
    // SAFETY: this is the only use, and there is one thread.
    let memory = unsafe { &mut *&raw mut LINK_PROOF_MEMORY };
    let mut config = Config::new([7; 32]);
    config.id = Some(PeerId::new("alice").ok()?);
    let mut now = Instant::from_millis(10);
    let mut peer = Peer::new(config, memory);

    while !matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Broker(BrokerCommand::Open { id: "alice", .. })
    ) {}
    peer.handle_input(now, Input::Broker(BrokerInput::Opened))
        .ok()?;
    let mut open = *br#"{"type":"OPEN"}"#;
    peer.handle_input(now, Input::Broker(BrokerInput::Message(&mut open)))
        .ok()?;
    wait_for(&mut peer, |event| event == Event::Open)?;

    let bob = PeerId::new("bob").ok()?;
    let options = ConnectOptions {
        metadata: Some(r#"{"a":1}"#),
        ..ConnectOptions::default()
    };
    let handle = peer.connect(now, &bob, options).ok()?;
    while !matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Rtc(_, RtcCommand::CreateOffer { .. })
    ) {}
    let id = ConnectionId::from_wire(peer.connection(handle)?.connection_id()).ok()?;
    peer.handle_input(
        now,
        Input::Rtc(handle, RtcInput::LocalDescription("v=0\r\n")),
    )
    .ok()?;
    peer.handle_input(
        now,
        Input::Rtc(handle, RtcInput::LocalCandidate("candidate:1")),
    )
    .ok()?;
    answer(&mut peer, now, &id)?;
    for input in [RtcInput::IceConnected, RtcInput::ChannelOpened] {
        peer.handle_input(now, Input::Rtc(handle, input)).ok()?;
    }
    wait_for(&mut peer, |event| event == Event::ConnectionOpen(handle))?;
    talk(&mut peer, now, handle)?;

    now = now + Duration::from_secs(60);
    peer.handle_input(now, Input::Timeout).ok()?;
    peer.disconnect(now);
    peer.reconnect(now).ok()?;
    peer.destroy(now);
    wait_for(&mut peer, |event| event == Event::Closed)?;
    (peer.state() == PeerState::Destroyed && peer.stats().malformed_signals == 0).then_some(())
}

fn storage() -> Option<()> {
    let mut slots = [const { Entry::new(0_u8) }; 2];
    let mut table = Table::new(&mut slots);
    let handle = table.insert(1)?;
    table.remove(handle);
    let (mut ring, mut memory) = (Ring::new(), [0; 16]);
    ring.push(&mut memory, &[b"ab", b"c"]).ok()?;
    (table.get(handle).is_none() && ring.front(&memory)? == b"abc").then_some(())
}

fn answer(peer: &mut Peer<'_>, now: Instant, id: &ConnectionId) -> Option<()> {
    let mut text = Text::default();
    write!(
        text,
        r#"{{"type":"ANSWER","src":"bob","dst":"alice","payload":{{"sdp":{{"type":"answer","sdp":"v=0\r\n"}},"type":"data","connectionId":"{id}"}}}}"#
    )
    .ok()?;
    let text = text.bytes.get_mut(..text.len)?;
    peer.handle_input(now, Input::Broker(BrokerInput::Message(text)))
        .ok()?;
    while !matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Rtc(_, RtcCommand::ApplyAnswer { sdp: "v=0\r\n" })
    ) {}
    Some(())
}

fn talk(peer: &mut Peer<'_>, now: Instant, handle: ConnectionHandle) -> Option<()> {
    peer.connection(handle)?.send(&("on", 5)).ok()?;
    let sent = RtcCommand::Send(Fragment::binary(b"\x92\xb2on\x05"));
    loop {
        match peer.poll_output(Room::UNLIMITED) {
            Output::Rtc(_, command) if command == sent => break,
            Output::Timeout(_) => return None,
            _ => {}
        }
    }
    let message = RtcInput::Fragment(Fragment::binary(b"\xb2ok"));
    peer.handle_input(now, Input::Rtc(handle, message)).ok()?;
    wait_for(peer, |event| event == Event::Data(handle))?;
    let mut connection = peer.connection(handle)?;
    (connection.recv::<&str>().ok()? == "ok").then_some(())
}

fn wait_for(peer: &mut Peer<'_>, wanted: impl Fn(Event) -> bool) -> Option<()> {
    loop {
        match peer.poll_output(Room::UNLIMITED) {
            Output::Event(event) if wanted(event) => return Some(()),
            Output::Timeout(_) => return None,
            _ => {}
        }
    }
}

/// Text in fixed memory.
struct Text {
    bytes: [u8; 4 * config::CONNECTION_ID_MAX],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; 4 * config::CONNECTION_ID_MAX],
            len: 0,
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
