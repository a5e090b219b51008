//! What the engine promises its driver: room, back-pressure, who is let in, what is random.

use std::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::lab::Lab;
use crate::{
    PeerId, Token,
    connection::SendError,
    peer::*,
    serialization::{Fragment, MessageKind, Serialization},
    time::{Duration, Instant},
};

const NOW: Instant = Instant::from_millis(1_000);

fn memory() -> &'static mut PeerResources<4> {
    Box::leak(Box::new(PeerResources::new()))
}

fn config(id: &str) -> Config {
    let mut config = Config::new([9; 32]);
    config.id = Some(PeerId::new(id).unwrap());
    config
}

/// A peer whose socket is up, and OPEN has come. Its events were polled.
fn open(config: Config) -> Peer<'static> {
    let mut peer = Peer::new(config, memory());
    while !matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Broker(BrokerCommand::Open { .. })
    ) {}
    broker(&mut peer, BrokerInput::Opened).unwrap();
    signal(&mut peer, r#"{"type":"OPEN"}"#).unwrap();
    drain(&mut peer);
    peer
}

fn broker(peer: &mut Peer<'_>, input: BrokerInput<'_>) -> Result<(), InputError> {
    peer.handle_input(NOW, Input::Broker(input))
}

fn signal(peer: &mut Peer<'_>, text: &str) -> Result<(), InputError> {
    broker(
        peer,
        BrokerInput::Message(&mut text.to_owned().into_bytes()),
    )
}

fn offer(src: &str, id: &str) -> String {
    format!(
        r#"{{"type":"OFFER","src":"{src}","payload":{{"sdp":{{"type":"offer","sdp":"v=0"}},"type":"data","connectionId":"{id}","metadata":"m-{id}","serialization":"binary"}}}}"#
    )
}

/// Everything the engine says, in short.
fn drain(peer: &mut Peer<'_>) -> Vec<String> {
    drain_with(peer, Room::UNLIMITED)
}

fn drain_with(peer: &mut Peer<'_>, room: Room) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        said.push(match peer.poll_output(room) {
            Output::Timeout(Some(at)) if at <= NOW => {
                peer.handle_input(NOW, Input::Timeout).unwrap();
                continue;
            }
            Output::Timeout(_) => return said,
            Output::Event(Event::ConnectionFailed(handle, failure)) => {
                format!("failed {} {:?}", handle.index(), failure.reason)
            }
            Output::Event(event) => format!("{event:?}").split('(').next().unwrap().to_owned(),
            Output::Broker(BrokerCommand::Open { .. }) => "open".to_owned(),
            Output::Broker(BrokerCommand::Send(text)) => {
                text.split('"').nth(3).unwrap_or("?").to_owned()
            }
            Output::Broker(command) => format!("{command:?}"),
            Output::Rtc(handle, RtcCommand::Send(piece)) => format!(
                "send {} {}{}{}",
                handle.index(),
                if piece.first { "[" } else { "" },
                piece.bytes.len(),
                if piece.last { "]" } else { "" },
            ),
            Output::Rtc(handle, command) => {
                let word = format!("{command:?}");
                let word = word.split([' ', '{']).next().unwrap().to_owned();
                format!("{word} {}", handle.index())
            }
        });
    }
}

fn handles(peer: &Peer<'_>) -> Vec<ConnectionHandle> {
    peer.connections().collect()
}

/// A connection that the remote started, open.
fn connected(peer: &mut Peer<'_>, src: &str, id: &str) -> ConnectionHandle {
    signal(peer, &offer(src, id)).unwrap();
    drain(peer);
    let handle = *handles(peer)
        .iter()
        .find(|handle| peer.connection(**handle).unwrap().connection_id() == id)
        .unwrap();
    for input in [RtcInput::LocalDescription("v=0"), RtcInput::ChannelOpened] {
        peer.handle_input(NOW, Input::Rtc(handle, input)).unwrap();
    }
    drain(peer);
    handle
}

fn feed(
    peer: &mut Peer<'_>,
    handle: ConnectionHandle,
    input: RtcInput<'_>,
) -> Result<(), InputError> {
    peer.handle_input(NOW, Input::Rtc(handle, input))
}

// Randomness.

#[test]
fn ids_and_the_token_do_not_tell_the_seed() {
    let token_of = |config: Config| {
        let mut peer = Peer::new(config, memory());
        match peer.poll_output(Room::UNLIMITED) {
            Output::Broker(BrokerCommand::Open { token, .. }) => token.to_owned(),
            output => panic!("{output:?}"),
        }
    };
    let token = token_of(config("alice"));
    assert_eq!(
        token,
        token_of(config("alice")),
        "the same bytes, the same token"
    );
    let mut other = Config::new([8; 32]);
    other.id = PeerId::new("alice").ok();
    assert_ne!(token, token_of(other));

    let mut peer = open(config("alice"));
    let bob = PeerId::new("bob").unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let handle = peer.connect(NOW, &bob, ConnectOptions::default()).unwrap();
        ids.push(peer.connection(handle).unwrap().connection_id().to_string());
    }
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert!(ids.iter().all(|id| !id.contains(&token)));

    // SplitMix64, which the ids once came from, can be undone: two ids in a row gave its state
    // away.
    let number = |id: &str| u64::from_str_radix(&id[3..].chars().rev().collect::<String>(), 36);
    let states: Vec<u64> = ids
        .iter()
        .filter_map(|id| number(id).ok())
        .map(undo)
        .collect();
    assert_ne!(
        states[1].wrapping_sub(states[0]),
        0x9e37_79b9_7f4a_7c15,
        "consecutive states of SplitMix64"
    );
    let debug = format!("{:?} {:?}", config("alice"), peer);
    assert!(!debug.contains(&token), "the token is printed");
    assert!(
        !debug.contains("9, 9, 9, 9"),
        "the random bytes are printed"
    );
}

/// The state of SplitMix64 behind one of its outputs.
fn undo(output: u64) -> u64 {
    let unshift = |mut x: u64, by: u32| {
        let y = x;
        for _ in 0..64 / by {
            x = y ^ (x >> by);
        }
        x
    };
    let z = unshift(output, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
    let z = unshift(z, 27).wrapping_mul(0x96de_1b17_3f11_9089);
    unshift(z, 30)
}

// Room.

#[test]
fn nothing_comes_without_room_but_events() {
    let mut peer = open(config("alice"));
    let bob = PeerId::new("bob").unwrap();
    peer.connect(NOW, &bob, ConnectOptions::default()).unwrap();
    signal(&mut peer, &offer("carol", "c1")).unwrap();
    assert_eq!(drain_with(&mut peer, Room::NONE), ["Connection"]);
    let room = Room {
        rtc: 3,
        ..Room::NONE
    };
    assert_eq!(
        drain_with(&mut peer, room),
        ["AcceptOffer 1"],
        "three bytes of SDP"
    );
    let room = Room {
        rtc: 13,
        ..Room::NONE
    };
    assert!(
        drain_with(&mut peer, room).is_empty(),
        "a label of 14 bytes"
    );
    let room = Room {
        rtc: 14,
        ..Room::NONE
    };
    assert_eq!(drain_with(&mut peer, room), ["CreateOffer 0"]);
}

#[test]
fn what_does_not_fit_holds_back_nothing_else() {
    let mut peer = open(config("alice"));
    let (a, b) = (
        connected(&mut peer, "bob", "b1"),
        connected(&mut peer, "carol", "c1"),
    );
    peer.connection(a).unwrap().send(&*"x".repeat(100)).unwrap();
    peer.connection(b).unwrap().close();
    feed(&mut peer, a, RtcInput::LocalCandidate("candidate:1")).unwrap();
    // The pipe for data is full: commands and signals pass.
    let room = Room {
        data: 0,
        ..Room::UNLIMITED
    };
    assert_eq!(
        drain_with(&mut peer, room),
        ["CANDIDATE", "Close 1", "ConnectionClosed"]
    );
    // The broker's socket is full: data passes.
    feed(&mut peer, a, RtcInput::LocalCandidate("candidate:2")).unwrap();
    let room = Room {
        broker: 0,
        ..Room::UNLIMITED
    };
    assert_eq!(drain_with(&mut peer, room), ["send 0 [103]"]);
    assert_eq!(drain(&mut peer), ["CANDIDATE"]);
}

#[test]
fn deadlines_pass_whatever_the_room() {
    let mut peer = open(config("alice"));
    let bob = PeerId::new("bob").unwrap();
    peer.connect(NOW, &bob, ConnectOptions::default()).unwrap();
    drain_with(&mut peer, Room::NONE);
    let deadline = NOW + Duration::from_secs(30);
    while peer.next_timeout().is_some_and(|at| at < deadline) {
        let at = peer.next_timeout().unwrap();
        peer.handle_input(at, Input::Timeout).unwrap();
    }
    assert_eq!(peer.next_timeout(), Some(deadline));
    peer.handle_input(deadline, Input::Timeout).unwrap();
    assert_eq!(drain_with(&mut peer, Room::NONE), ["failed 0 TimedOut"]);
}

#[test]
fn messages_go_in_pieces_of_the_room_and_the_credit() {
    let mut peer = open(config("alice"));
    let (a, b) = (
        connected(&mut peer, "bob", "b1"),
        connected(&mut peer, "carol", "c1"),
    );
    for handle in [a, b] {
        peer.connection(handle)
            .unwrap()
            .send(&*"x".repeat(97))
            .unwrap();
    }
    feed(&mut peer, a, RtcInput::ChannelCredit(30)).unwrap();
    let room = Room {
        data: 40,
        ..Room::UNLIMITED
    };
    assert_eq!(
        drain_with(&mut peer, room),
        ["send 0 [30", "send 1 [40", "send 1 40", "send 1 20]"],
        "the one without credit holds back itself alone"
    );
    feed(&mut peer, a, RtcInput::ChannelCredit(1000)).unwrap();
    assert_eq!(drain(&mut peer), ["send 0 70]"]);
    assert_eq!(peer.connection(a).unwrap().buffered_amount(), 100);
}

#[test]
fn the_high_water_is_settable() {
    let mut peer = open(config("alice"));
    let a = connected(&mut peer, "bob", "b1");
    peer.connection(a).unwrap().set_high_water(10);
    for _ in 0..2 {
        peer.connection(a).unwrap().send(&*"x".repeat(97)).unwrap();
    }
    assert_eq!(drain(&mut peer), ["send 0 [100]"]);
    feed(&mut peer, a, RtcInput::ChannelBuffered(10)).unwrap();
    assert_eq!(drain(&mut peer), ["send 0 [100]"]);
}

#[test]
fn a_handle_is_a_number_outside() {
    let mut peer = open(config("alice"));
    let a = connected(&mut peer, "bob", "b1");
    assert_eq!(ConnectionHandle::from_bits(a.to_bits()), a);
    assert!(
        peer.connection(ConnectionHandle::from_bits(u32::MAX))
            .is_none()
    );
}

// The broker.

#[test]
fn no_deadline_runs_before_a_command_is_polled() {
    let mut config = Config::new([9; 32]);
    config.id = None;
    let mut peer = Peer::new(config, memory());
    // A device without a path to its broker: it waits as long as it takes.
    assert!(drain_with(&mut peer, Room::NONE).is_empty());
    let hour = NOW + Duration::from_secs(3_600);
    peer.handle_input(hour, Input::Timeout).unwrap();
    assert_eq!(peer.state(), PeerState::Connecting);
    assert!(matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Broker(BrokerCommand::RetrieveId)
    ));
    // The request is lost with the path, and is made again when there is one.
    peer.handle_input(hour, Input::Broker(BrokerInput::Closed))
        .unwrap();
    peer.handle_input(hour + Duration::from_secs(60), Input::Timeout)
        .unwrap();
    assert!(matches!(
        peer.poll_output(Room::UNLIMITED),
        Output::Broker(BrokerCommand::RetrieveId)
    ));
}

#[test]
fn a_new_token_is_refused_however_late() {
    let mut peer = Peer::new(config("alice"), memory());
    assert_eq!(drain(&mut peer), ["open"]);
    broker(&mut peer, BrokerInput::Opened).unwrap();
    drain(&mut peer);
    // Far beyond the grace.
    let late = NOW + Duration::from_secs(5);
    peer.handle_input(late, Input::Timeout).unwrap();
    assert_eq!(peer.state(), PeerState::Connecting);
    let mut text = *br#"{"type":"ID-TAKEN","payload":{"msg":"taken"}}"#;
    peer.handle_input(late, Input::Broker(BrokerInput::Message(&mut text)))
        .unwrap();
    assert_eq!(peer.state(), PeerState::Destroyed, "it never was open");
}

#[test]
fn a_new_token_waits_for_its_open_no_longer_than_the_open_timeout() {
    let mut peer = Peer::new(config("alice"), memory());
    drain(&mut peer);
    broker(&mut peer, BrokerInput::Opened).unwrap();
    let end = NOW + Duration::from_secs(10);
    peer.handle_input(end, Input::Timeout).unwrap();
    assert_eq!(peer.state(), PeerState::Disconnected);
    // From now on a broker may know the token, and silence means yes.
    peer.reconnect(end).unwrap();
    assert!(drain(&mut peer).contains(&"open".to_owned()));
    peer.handle_input(end, Input::Broker(BrokerInput::Opened))
        .unwrap();
    peer.handle_input(end + Duration::from_secs(1), Input::Timeout)
        .unwrap();
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn a_stored_token_takes_its_id_over_in_silence() {
    let mut config = config("alice");
    config.token = Token::from_wire("stored").ok();
    let mut peer = Peer::new(config, memory());
    drain(&mut peer);
    broker(&mut peer, BrokerInput::Opened).unwrap();
    peer.handle_input(NOW + Duration::from_secs(1), Input::Timeout)
        .unwrap();
    assert_eq!(peer.state(), PeerState::Open);
}

// Who is let in.

#[test]
fn one_stranger_does_not_hold_every_slot() {
    let mut peer = open(config("alice"));
    for n in 0..4 {
        signal(&mut peer, &offer("eve", &format!("e{n}"))).unwrap();
    }
    assert_eq!(
        handles(&peer).len(),
        3,
        "the share binds when three of four are in use"
    );
    assert_eq!(peer.stats().refused_offers, 1);
    signal(&mut peer, &offer("bob", "b1")).unwrap();
    assert_eq!(handles(&peer).len(), 4);
    drain(&mut peer);
    // The table is full: who holds most gives way, as long as it is not open.
    let carol = offer("carol", "c1");
    assert_eq!(signal(&mut peer, &carol), Err(InputError::Full));
    assert_eq!(drain(&mut peer), ["Close 0", "failed 0 GaveWay"]);
    signal(&mut peer, &carol).unwrap();
    assert_eq!(drain(&mut peer), ["AcceptOffer 0", "Connection"]);
    // Eve and Bob hold no more than Eve would: nobody gives way.
    signal(&mut peer, &offer("bob", "b2")).unwrap();
    assert_eq!(drain(&mut peer), [""; 0]);
    assert_eq!(peer.stats().refused_offers, 2);
}

#[test]
fn an_open_connection_gives_no_way() {
    let mut peer = open(config("alice"));
    for n in 0..3 {
        connected(&mut peer, "eve", &format!("e{n}"));
    }
    connected(&mut peer, "bob", "b1");
    signal(&mut peer, &offer("carol", "c1")).unwrap();
    assert_eq!(drain(&mut peer), [""; 0]);
    assert_eq!(peer.stats().dropped_signals, 1);
    assert_eq!(handles(&peer).len(), 4);
}

#[test]
fn the_application_refuses_before_anything_is_made() {
    let mut config = config("alice");
    config.admit = |offer| offer.peer == "bob" && offer.metadata == Some("\"m-b1\"");
    let mut peer = open(config);
    signal(&mut peer, &offer("eve", "b1")).unwrap();
    signal(&mut peer, &offer("bob", "b2")).unwrap();
    assert_eq!(drain(&mut peer), [""; 0]);
    assert_eq!((handles(&peer).len(), peer.stats().refused_offers), (0, 2));
    signal(&mut peer, &offer("bob", "b1")).unwrap();
    assert_eq!(drain(&mut peer), ["AcceptOffer 0", "Connection"]);
}

#[test]
fn whom_the_application_refuses_costs_nobody_a_place() {
    let mut config = config("alice");
    config.admit = |offer| offer.peer != "eve";
    let mut peer = open(config);
    for n in 0..4 {
        signal(&mut peer, &offer(&format!("bob{n}"), &format!("b{n}"))).unwrap();
    }
    drain(&mut peer);
    signal(&mut peer, &offer("eve", "e1")).unwrap();
    assert_eq!(drain(&mut peer), [""; 0]);
    assert_eq!(handles(&peer).len(), 4);
}

#[test]
fn an_offer_replaces_its_connection_also_in_a_full_table() {
    let mut peer = open(config("alice"));
    for n in 0..4 {
        connected(&mut peer, &format!("bob{n}"), &format!("b{n}"));
    }
    let again = offer("bob2", "b2");
    assert_eq!(signal(&mut peer, &again), Err(InputError::Full));
    assert_eq!(drain(&mut peer), ["Close 2", "ConnectionClosed"]);
    signal(&mut peer, &again).unwrap();
    assert_eq!(drain(&mut peer), ["AcceptOffer 2", "Connection"]);
    assert_eq!(peer.stats().dropped_signals, 0);
}

// Data.

#[test]
fn no_error_is_told_before_the_open() {
    let mut peer = open(config("alice"));
    signal(&mut peer, &offer("bob", "b1")).unwrap();
    drain(&mut peer);
    let handle = handles(&peer)[0];
    feed(&mut peer, handle, RtcInput::LocalDescription("v=0")).unwrap();
    drain(&mut peer);
    feed(&mut peer, handle, RtcInput::MessageTooBig).unwrap();
    assert_eq!(drain(&mut peer), ["ConnectionOpen", "ConnectionError"]);

    signal(&mut peer, &offer("carol", "c1")).unwrap();
    drain(&mut peer);
    let handle = handles(&peer)[1];
    feed(&mut peer, handle, RtcInput::LocalDescription("v=0")).unwrap();
    drain(&mut peer);
    let long = [7; 4_096];
    feed(
        &mut peer,
        handle,
        RtcInput::Fragment(Fragment::binary(&long)),
    )
    .unwrap();
    assert_eq!(drain(&mut peer), ["ConnectionOpen", "ConnectionError"]);
}

#[test]
fn a_flush_close_amid_a_streamed_message_does_not_wait() {
    for bytes in [0, 300, 999] {
        let mut peer = open(config("alice"));
        let handle = connected(&mut peer, "bob", "b1");
        let mut connection = peer.connection(handle).unwrap();
        connection.send(&"before").unwrap();
        connection.stream(1_000, 400).unwrap();
        assert_eq!(connection.stream_write(&[7; 1_000][..bytes]), Ok(bytes));
        connection.close_flush(NOW);
        let said = drain(&mut peer);
        let sent = said.iter().filter(|said| said.starts_with("send")).count();
        assert_eq!(sent, 1 + bytes / 400, "{said:?}");
        feed(&mut peer, handle, RtcInput::ChannelBuffered(0)).unwrap();
        let said = drain(&mut peer);
        assert!(
            said[0].starts_with("send 0 ["),
            "the close message: {said:?}"
        );
    }
}

#[test]
fn a_flush_close_after_an_aborted_stream_does_not_wait() {
    let mut peer = open(config("alice"));
    let handle = connected(&mut peer, "bob", "b1");
    let mut connection = peer.connection(handle).unwrap();
    connection.stream(1_000, 400).unwrap();
    connection.stream_write(&[7; 100]).unwrap();
    connection.abort_stream();
    connection.close_flush(NOW);
    let said = drain(&mut peer);
    assert_eq!(said.len(), 1, "the close message: {said:?}");
}

#[test]
fn fragments_are_put_together() {
    let mut peer = open(config("alice"));
    let handle = connected(&mut peer, "bob", "b1");
    let whole = b"\xb5hello";
    for (at, byte) in whole.iter().enumerate() {
        let fragment = Fragment {
            first: at == 0,
            last: at + 1 == whole.len(),
            kind: MessageKind::Binary,
            bytes: core::slice::from_ref(byte),
        };
        feed(&mut peer, handle, RtcInput::Fragment(fragment)).unwrap();
    }
    assert_eq!(drain(&mut peer), ["Data"]);
    let mut connection = peer.connection(handle).unwrap();
    assert_eq!(connection.recv::<&str>(), Ok("hello"));
}

#[test]
fn a_message_longer_than_the_inbox_is_read_in_pieces() {
    let mut peer = open(config("alice"));
    let handle = connected(&mut peer, "bob", "b1");
    peer.connection(handle).unwrap().set_streaming(true);
    let message: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    let (mut rest, mut first, mut read) = (&message[..], true, Vec::new());
    let mut ends = (false, false);
    while !rest.is_empty() {
        let (len, last) = (rest.len().min(700), rest.len() <= 700);
        let fragment = Fragment {
            first,
            last,
            kind: MessageKind::Binary,
            bytes: &rest[..len],
        };
        let taken = match feed(&mut peer, handle, RtcInput::Fragment(fragment)) {
            Err(InputError::InboxFull { taken }) => taken,
            outcome => outcome.map(|()| len).unwrap(),
        };
        (first, rest) = (first && taken == 0, &rest[taken..]);
        drain(&mut peer);
        let mut connection = peer.connection(handle).unwrap();
        while let Some(piece) = connection.recv_piece() {
            ends = (ends.0 || piece.first, ends.1 || piece.last);
            read.extend_from_slice(piece.bytes);
        }
    }
    assert!(read == message && ends == (true, true));
    // The next one is whole again.
    feed(
        &mut peer,
        handle,
        RtcInput::Fragment(Fragment::binary(b"\x05")),
    )
    .unwrap();
    assert_eq!(drain(&mut peer), ["Data"]);
    assert_eq!(peer.connection(handle).unwrap().recv::<u8>(), Ok(5));
}

#[test]
fn a_full_inbox_says_how_much_it_took_and_holds_back_itself_alone() {
    let mut peer = open(config("alice"));
    let handle = connected(&mut peer, "bob", "b1");
    let message = [7; 900];
    let whole = |bytes| {
        RtcInput::Fragment(Fragment {
            first: true,
            last: true,
            kind: MessageKind::Binary,
            bytes,
        })
    };
    let mut fed = 0;
    let refused = loop {
        match feed(&mut peer, handle, whole(&message)) {
            Ok(()) => fed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((fed, refused), (2, InputError::InboxFull { taken: 0 }));
    // Others go on, and the room is told.
    let other = connected(&mut peer, "carol", "c1");
    feed(&mut peer, other, whole(b"\x05")).unwrap();
    assert!(peer.receive_room(handle) < 900 && peer.receive_room(other) > 900);
    let mut connection = peer.connection(handle).unwrap();
    assert!(connection.recv_raw().is_some());
    connection.release();
    feed(&mut peer, handle, whole(&message)).unwrap();
}

#[test]
fn sending_is_refused_by_what_is_full_alone() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions {
        serialization: Serialization::Raw,
        ..ConnectOptions::default()
    });
    let text = "x".repeat(900);
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    while connection.send(text.as_str()).is_ok() {}
    assert_eq!(connection.send(text.as_str()), Err(SendError::Full));
    lab.drive();
    assert!(lab.take_events(0).contains(&Event::Writable(here)));
    assert!(lab.take_events(1).contains(&Event::Data(there)));
}
