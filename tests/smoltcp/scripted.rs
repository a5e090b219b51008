//! Against a broker that says what a test wants, in virtual time.

use core::{cell::RefCell, time::Duration};
use std::rc::Rc;

use peer_core::{
    PeerId,
    net::SocketError,
    peer::{
        BrokerInput, ConnectOptions, ConnectionHandle, Event, Input, PeerError, PeerState, RtcInput,
    },
    serialization::Fragment,
    time::Instant,
    wire::{http::ResponseError, websocket::FrameError},
};
use peer_sim::lan::{
    Treatment, Wire,
    websocket::{self, client_frames, frame},
};
use proptest::prelude::*;
use smoltcp::{
    phy::Medium,
    socket::tcp::{self, State},
    wire::IpAddress,
};

use crate::{
    lan::{Lan, Setup},
    router::Behind,
};

const OPEN: &[u8] = b"\x81\x0f{\"type\":\"OPEN\"}";

/// The answer to the upgrade of a device whose nonce is all sevens.
fn upgrade() -> Vec<u8> {
    websocket::upgrade(&[7; 16])
}

/// What a scripted broker has seen of all its WebSockets.
#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    frames: Vec<(u8, Vec<u8>)>,
}

/// A broker: answers a request with `answer`, then reads frames, and answers a close frame as it
/// must.
fn broker(
    seen: &Rc<RefCell<Seen>>,
    answer: impl FnMut(&str) -> Vec<u8> + 'static,
) -> Box<dyn FnMut() -> Behind> {
    let (seen, answer) = (seen.clone(), Rc::new(RefCell::new(answer)));
    Box::new(move || {
        let (seen, answer) = (seen.clone(), answer.clone());
        let mut asked = false;
        Box::new(move |_, wire: &mut Wire| {
            if !asked {
                let request = websocket::take_request(&mut wire.received);
                let Some(request) = request else { return };
                wire.send.extend((answer.borrow_mut())(&request));
                wire.close = request.contains("/id?");
                seen.borrow_mut().requests.push(request);
                asked = true;
            }
            let (frames, left) = client_frames(&wire.received);
            wire.received.drain(..wire.received.len() - left);
            if frames.iter().any(|(first, _)| *first == 0x88) {
                wire.send.extend(frame(0x88, &[]));
                wire.close = true;
            }
            if wire.finished {
                wire.close = true;
            }
            seen.borrow_mut().frames.extend(frames);
        })
    })
}

/// An OFFER as the broker relays it.
fn offer(number: usize, sdp: &str) -> String {
    format!(
        r#"{{"type":"OFFER","src":"far{number}","dst":"device","payload":{{"sdp":{{"type":"offer","sdp":"v=0\r\n{sdp}"}},"type":"data","connectionId":"dc_{number}","label":"x","reliable":true,"serialization":"json"}}}}"#
    )
}

fn opened(extra: &[u8]) -> impl FnMut(&str) -> Vec<u8> + use<> {
    let bytes = [&upgrade()[..], OPEN, extra].concat();
    move |_| bytes.clone()
}

#[test]
fn opens_beats_and_leaves_in_order() {
    for medium in [Medium::Ethernet, Medium::Ip] {
        for ipv6 in [false, true] {
            let seen = Rc::default();
            let setup = Setup {
                medium,
                ipv6,
                ..Setup::default()
            };
            let mut lan = Lan::new(setup, broker(&seen, opened(b"")));
            lan.run_until("open", |lan| lan.saw(Event::Open));
            assert!(lan.now < Instant::from_millis(100), "no round trip waits");
            lan.run_for(Duration::from_secs(22));
            lan.peer.disconnect(lan.now);
            lan.run_until("leave", |lan| {
                matches!(lan.tcp_state(), State::Closed | State::TimeWait)
            });
            let seen = seen.borrow();
            assert!(seen.requests[0].starts_with("GET /peerjs?key=peerjs&id=device&"));
            let (_, token) = seen.requests[0].split_once("&token=").unwrap();
            let (token, _) = token.split_once('&').unwrap();
            assert!(token.len() >= 10 && token != "secret", "{token}");
            let beats = seen
                .frames
                .iter()
                .filter(|(first, text)| *first == 0x81 && text == br#"{"type":"HEARTBEAT"}"#);
            assert_eq!(beats.count(), 4);
            assert_eq!(seen.frames.last(), Some(&(0x88, b"\x03\xe8".to_vec())));
            assert_eq!((lan.router.server.accepted, lan.broker.failures()), (1, 0));
            // Left on purpose: it does not come back, and nothing is scheduled.
            let turns = lan.turns;
            lan.run_for(Duration::from_secs(300));
            assert_eq!(lan.router.server.accepted, 1);
            assert!(turns < 500 && lan.turns < turns + 100, "it waits, {turns}");
        }
    }
}

#[test]
fn an_id_is_asked_for_first() {
    let seen: Rc<RefCell<Seen>> = Rc::default();
    let setup = Setup {
        id: None,
        ..Setup::default()
    };
    let mut answer = opened(b"");
    let answer = move |request: &str| {
        if request.contains("/id?") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nalice".to_vec()
        } else {
            answer(request)
        }
    };
    let mut lan = Lan::new(setup, broker(&seen, answer));
    lan.run_until("open", |lan| lan.saw(Event::Open));
    assert_eq!(lan.peer.id().map(PeerId::as_str), Some("alice"));
    assert!(seen.borrow().requests[0].starts_with("GET /peerjs/id?ts="));
    assert!(seen.borrow().requests[1].contains("id=alice"));
}

/// Bytes come one by one, the segments hold next to nothing, and pings come within messages.
#[test]
fn cuts_do_not_matter() {
    let long = offer(3, &"y".repeat(1000));
    let extra = [
        frame(0x01, &long.as_bytes()[..700]),
        frame(0x89, b"are you there"),
        frame(0x80, &long.as_bytes()[700..]),
        frame(0x89, &[0; 125]),
        frame(0x8a, b"unasked"),
    ]
    .concat();
    for (bite, mtu, window) in [(1, 1500, 1), (1, 68, 16), (3, 100, 7), (usize::MAX, 68, 16)] {
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let setup = Setup {
            mtu,
            medium: Medium::Ip,
            treatment: Treatment {
                bite,
                window,
                paused: false,
            },
            ..Setup::default()
        };
        let mut lan = Lan::new(setup, broker(&seen, opened(&extra)));
        lan.run_until("two pongs", |_| {
            let is_pong = |(first, _): &&(u8, Vec<u8>)| *first == 0x8a;
            seen.borrow().frames.iter().filter(is_pong).count() == 2
        });
        lan.run_for(Duration::from_secs(6));
        let pongs: Vec<_> = seen.borrow().frames.clone();
        assert_eq!(pongs[0], (0x8a, b"are you there".to_vec()));
        assert_eq!(pongs[1], (0x8a, vec![0; 125]));
        assert!(pongs.iter().any(|(first, _)| *first == 0x81), "a heartbeat");
        assert!(lan.rtc[0].contains("AcceptOffer") && lan.rtc[0].contains(&"y".repeat(1000)));
        assert_eq!(lan.peer.stats(), Default::default());
        assert_eq!(lan.broker.failures(), 0);
    }
}

#[test]
fn bad_answers_are_told_apart() {
    let wrong = String::from_utf8(upgrade())
        .unwrap()
        .replace("Accept: ", "Accept: x");
    let long = format!("HTTP/1.1 101 x\r\n{}", "a: b\r\n".repeat(300));
    let open = |extra: &[u8]| [&upgrade()[..], OPEN, extra].concat();
    let cases: Vec<(Vec<u8>, SocketError)> = vec![
        (b"HTTP/1.1 503 x\r\n\r\n".to_vec(), SocketError::Status(503)),
        (
            b"SSH-2.0-x\r\n".to_vec(),
            SocketError::Response(ResponseError::NotHttp),
        ),
        (wrong.into_bytes(), SocketError::Upgrade),
        (long.into_bytes(), SocketError::ResponseTooLarge),
        (b"HTTP/1.1 101".to_vec(), SocketError::ResponseTimeout),
        (open(b"\x81\x80"), SocketError::Frame(FrameError::Masked)),
        (open(b"\xf1\x00"), SocketError::Frame(FrameError::Reserved)),
        (
            open(b"\x82\x7e\x08\x01"),
            SocketError::Frame(FrameError::TooLarge),
        ),
        (open(b"\x88\x02\x03\xe9"), SocketError::Closed(Some(1001))),
        (open(b"\x88\x00"), SocketError::Closed(None)),
    ];
    for (answer, error) in cases {
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let mut first = Some(answer.clone());
        let mut then = opened(b"");
        let answer = move |request: &str| first.take().unwrap_or_else(|| then(request));
        let mut lan = Lan::new(Setup::default(), broker(&seen, answer));
        lan.run_until("a failure", |lan| lan.broker.last_error().is_some());
        assert_eq!(lan.broker.last_error(), Some(error));
        assert!(!error.to_string().is_empty());
        if let SocketError::Frame(error) = error {
            lan.run_until("the close frame", |_| !seen.borrow().frames.is_empty());
            let code = error.close_code().to_be_bytes().to_vec();
            assert_eq!(seen.borrow().frames[0], (0x88, code));
        }
        // Each time it comes back by itself.
        lan.run_until("reopened", |lan| {
            lan.router.server.accepted == 2 && lan.peer.state() == PeerState::Open
        });
        assert!(lan.saw(Event::Disconnected) && lan.saw(Event::Error(PeerError::Network)));
        assert_eq!(lan.broker.last_error(), None);
    }
}

/// A proxy between may add what it likes, in Latin-1 (RFC 9110, section 5.5).
#[test]
fn odd_headers_do_not_refuse_an_answer() {
    let odd = b"Server: caf\xe9 \xdcber\r\nVia:\r\nSet-Cookie: a=\"\x80\xff\"\r\n";
    let with_odd = |answer: &[u8]| {
        let line = answer.windows(2).position(|end| end == b"\r\n").unwrap() + 2;
        [&answer[..line], odd, &answer[line..]].concat()
    };
    let socket = [with_odd(&upgrade()), OPEN.to_vec()].concat();
    let id = with_odd(b"HTTP/1.1 200 d'accord, \xe9\r\nContent-Length: 5\r\n\r\nalice");
    let setup = Setup {
        id: None,
        ..Setup::default()
    };
    let answer = move |request: &str| match request.contains("/id?") {
        true => id.clone(),
        false => socket.clone(),
    };
    let mut lan = Lan::new(setup, broker(&Rc::default(), answer));
    lan.run_until("open", |lan| lan.saw(Event::Open));
    assert_eq!(lan.peer.id().map(PeerId::as_str), Some("alice"));
    assert_eq!(lan.broker.failures(), 0);
}

#[test]
fn what_the_broker_spells_out_is_not_tried_again() {
    let seen: Rc<RefCell<Seen>> = Rc::default();
    let taken = br#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;
    let bytes = [upgrade(), frame(0x81, taken), frame(0x88, &[])].concat();
    let mut lan = Lan::new(Setup::default(), broker(&seen, move |_| bytes.clone()));
    lan.run_until("refused", |lan| {
        lan.saw(Event::Error(PeerError::UnavailableId))
    });
    lan.run_for(Duration::from_secs(300));
    assert_eq!(lan.router.server.accepted, 1);
}

#[test]
fn a_connect_that_goes_nowhere_has_a_deadline_and_pauses_double() {
    let setup = Setup {
        socket: |config| {
            config.address = IpAddress::v4(192, 0, 2, 99);
            config.timing.connect_timeout = Duration::from_secs(3);
            config.timing.backoff_max = Duration::from_secs(8);
        },
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(&Rc::default(), opened(b"")));
    lan.run_until("ten attempts", |lan| lan.opens.len() == 10);
    assert_eq!(lan.broker.last_error(), Some(SocketError::ConnectTimeout));
    for (attempt, pair) in lan.opens.windows(2).enumerate() {
        let pause = pair[1].saturating_duration_since(pair[0]) - Duration::from_secs(3);
        let most =
            (Duration::from_millis(500) * 2_u32.pow(attempt as u32)).min(Duration::from_secs(8));
        assert!(
            pause >= most / 2 && pause <= most + Duration::from_millis(10),
            "{pause:?} of {most:?}"
        );
    }
    // The address becomes right; the pauses start over.
    lan.broker.set_address(IpAddress::v4(192, 0, 2, 1));
    lan.run_until("open", |lan| lan.saw(Event::Open));
}

#[test]
fn nobody_listening_and_no_address_are_failures_like_others() {
    let mut lan = Lan::new(Setup::default(), broker(&Rc::default(), opened(b"")));
    lan.router.server.listening = false;
    lan.run_until("refused", |lan| {
        lan.broker.last_error() == Some(SocketError::Refused)
    });
    lan.iface.update_ip_addrs(|addresses| addresses.clear());
    lan.run_until("no address", |lan| {
        lan.broker.last_error() == Some(SocketError::Unaddressable)
    });
    lan.router.server.listening = true;
    lan.iface.update_ip_addrs(|addresses| {
        let address = smoltcp::wire::IpCidr::new(IpAddress::v4(192, 0, 2, 8), 24);
        addresses.push(address).unwrap();
    });
    lan.run_until("open", |lan| lan.saw(Event::Open));
}

#[test]
fn an_id_is_asked_for_again_while_the_network_is_down() {
    let seen: Rc<RefCell<Seen>> = Rc::default();
    let setup = Setup {
        id: None,
        ..Setup::default()
    };
    let mut answer = opened(b"");
    let answer = move |request: &str| match request.contains("/id?") {
        true => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nal\r\n3\r\nice\r\n0\r\n\r\n"
                .to_vec()
        }
        false => answer(request),
    };
    let mut lan = Lan::new(setup, broker(&seen, answer));
    lan.router.server.listening = false;
    lan.run_until("three attempts", |lan| lan.broker.failures() == 3);
    assert_eq!(lan.peer.state(), PeerState::Connecting);
    lan.router.server.listening = true;
    lan.run_until("open", |lan| lan.saw(Event::Open));
    assert_eq!(lan.peer.id().map(PeerId::as_str), Some("alice"));

    // And given up with the engine.
    let setup = Setup {
        id: None,
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(&seen, |_| Vec::new()));
    lan.router.server.listening = false;
    lan.run_until("the end", |lan| lan.saw(Event::Closed));
    let attempts = lan.broker.failures();
    lan.run_for(Duration::from_secs(300));
    assert_eq!(lan.broker.failures(), attempts);
}

/// A device whose broker reads nothing any more.
fn unheard(seen: &Rc<RefCell<Seen>>, send: usize) -> Lan {
    let setup = Setup {
        treatment: Treatment {
            window: 64,
            ..Treatment::default()
        },
        send,
        ping_interval: Duration::ZERO,
        socket: |config| config.timing.stall_timeout = Duration::from_secs(300),
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(seen, opened(b"")));
    lan.run_until("open", |lan| lan.saw(Event::Open));
    lan.router.server.treatment.paused = true;
    lan
}

fn call(lan: &mut Lan) -> ConnectionHandle {
    let remote = PeerId::new("far").unwrap();
    let options = ConnectOptions::default();
    lan.peer.connect(lan.now, &remote, options).unwrap()
}

/// Feeds candidates of a connection until the engine takes no more; how many it took.
fn fill(lan: &mut Lan, handle: ConnectionHandle) -> usize {
    lan.run_for(Duration::from_secs(1));
    for turn in 0..200 {
        let text = format!("candidate:{turn}");
        let input = Input::Rtc(handle, RtcInput::LocalCandidate(&text));
        if lan.peer.handle_input(lan.now, input).is_err() {
            return turn;
        }
        lan.run_for(Duration::from_millis(1));
    }
    panic!("there is room without end");
}

#[test]
fn nothing_is_lost_while_the_broker_reads_nothing() {
    let seen: Rc<RefCell<Seen>> = Rc::default();
    let mut lan = unheard(&seen, 1024);
    let handle = call(&mut lan);
    let fed = fill(&mut lan, handle);
    assert!(fed > 5, "{fed}");
    lan.run_for(Duration::from_secs(5));
    let written = seen.borrow().frames.len();
    assert_eq!(written, 0);
    lan.router.server.treatment.paused = false;
    // The offer, its own candidate, and these.
    lan.run_until("all signals", |_| seen.borrow().frames.len() == fed + 2);
    let seen = seen.borrow();
    let texts: Vec<_> = seen
        .frames
        .iter()
        .map(|(_, text)| String::from_utf8_lossy(text))
        .collect();
    assert!(texts[0].contains(r#""type":"OFFER""#) && texts[1].contains("candidate:ours"));
    for (turn, text) in texts[2..].iter().enumerate() {
        assert!(text.contains(&format!(r#""candidate:{turn}""#)), "{text}");
    }
    assert_eq!(lan.broker.failures(), 0);
}

#[test]
fn a_full_socket_delays_no_deadline() {
    let mut lan = unheard(&Rc::default(), 1024);
    let began = lan.now;
    let first = call(&mut lan);
    fill(&mut lan, first);
    // Filling took its time.
    let second_began = lan.now;
    let second = call(&mut lan);
    lan.run_for(Duration::from_secs(3));
    let third_began = lan.now;
    let third = call(&mut lan);
    let turns = lan.turns;
    for (handle, began) in [(first, began), (second, second_began), (third, third_began)] {
        for (millis, over) in [(29_500, false), (30_500, true)] {
            let at = began + Duration::from_millis(millis);
            lan.run_for(at.saturating_duration_since(lan.now));
            let failed =
                |event: &Event| matches!(event, Event::ConnectionFailed(it, _) if *it == handle);
            assert_eq!(lan.events.iter().any(failed), over, "{handle:?} at {at:?}");
        }
    }
    assert!(lan.turns < turns + 200, "it waits: {}", lan.turns - turns);
    assert_eq!(lan.broker.failures(), 0);
    // What those connects left behind does no harm.
    lan.router.server.treatment.paused = false;
    lan.run_for(Duration::from_secs(1));
    assert_eq!(lan.peer.state(), PeerState::Open);
}

#[test]
fn a_full_socket_holds_up_neither_data_nor_sessions_nor_events() {
    let mut lan = unheard(&Rc::default(), 1024);
    let open = call(&mut lan);
    lan.run_for(Duration::from_millis(10));
    let input = Input::Rtc(open, RtcInput::ChannelOpened);
    lan.peer.handle_input(lan.now, input).unwrap();
    lan.run_for(Duration::from_millis(10));
    assert!(lan.saw(Event::ConnectionOpen(open)));
    let other = call(&mut lan);
    fill(&mut lan, other);
    let failures = lan.broker.failures();

    lan.rtc.clear();
    let mut connection = lan.peer.connection(open).unwrap();
    connection.send("to the open one").unwrap();
    let mut message = offer(1, "let me in").into_bytes();
    for input in [
        Input::Rtc(open, RtcInput::Fragment(Fragment::binary(b"\x07"))),
        Input::Broker(BrokerInput::Message(&mut message)),
    ] {
        lan.peer.handle_input(lan.now, input).unwrap();
    }
    lan.run_for(Duration::from_millis(10));
    let said = lan.rtc.join("\n");
    assert!(
        said.contains("Send") && said.contains("AcceptOffer"),
        "{said}"
    );
    assert!(lan.saw(Event::Data(open)));
    assert!(
        lan.events
            .iter()
            .any(|event| matches!(event, Event::Connection(_)))
    );
    let mut connection = lan.peer.connection(open).unwrap();
    assert_eq!(connection.recv::<u8>(), Ok(7));
    connection.close();
    lan.run_for(Duration::from_millis(10));
    assert_eq!(lan.rtc.last().map(String::as_str), Some("Close"));
    let closed = |event: &Event| matches!(event, Event::ConnectionClosed(it, ..) if *it == open);
    assert!(lan.events.iter().any(closed), "{:?}", lan.events);

    // The socket itself was never lost, and leaves in order.
    assert_eq!(lan.broker.failures(), failures);
    lan.peer.disconnect(lan.now);
    lan.run_for(Duration::from_millis(10));
    assert!(lan.saw(Event::Disconnected) && !lan.broker.is_open());
}

#[test]
fn the_whole_send_buffer_is_used() {
    for send in [1024, 2048, 4096] {
        let mut lan = unheard(&Rc::default(), send);
        let handle = call(&mut lan);
        fill(&mut lan, handle);
        let socket = lan.sockets.get::<tcp::Socket<'_>>(lan.tcp);
        let free = send - socket.send_queue();
        assert!(free < 250, "the next signal would fit: {free}");
    }
}

/// The length of the signal decides, not a part of the buffer.
#[test]
fn a_send_buffer_of_the_longest_signal_is_enough() {
    let label = "l".repeat(120);
    let metadata = format!(r#""{}""#, "m".repeat(120));
    let signals = |send: usize| {
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let setup = Setup {
            send,
            ..Setup::default()
        };
        let mut lan = Lan::new(setup, broker(&seen, opened(b"")));
        lan.run_until("open", |lan| lan.saw(Event::Open));
        let options = ConnectOptions {
            label: Some(&label),
            metadata: Some(&metadata),
            ..ConnectOptions::default()
        };
        let remote = PeerId::new("far").unwrap();
        lan.peer.connect(lan.now, &remote, options).unwrap();
        lan.run_for(Duration::from_secs(12));
        let lens = seen
            .borrow()
            .frames
            .iter()
            .map(|(_, text)| text.len())
            .collect::<Vec<_>>();
        (lens, lan.broker.failures())
    };
    let (lens, failures) = signals(4096);
    // The offer, its candidate, heartbeats.
    assert!(lens.len() >= 4 && failures == 0, "{lens:?}, {failures}");
    let frame = lens[0] + 8;
    assert!(frame > 400, "longer than the request: {frame}");
    assert_eq!(signals(frame), (lens, 0));
    assert_eq!(signals(frame - 1).1, 1, "one that never fits is an error");
}

#[test]
fn a_broker_that_never_reads_again_counts_as_lost() {
    let setup = Setup {
        treatment: Treatment {
            window: 64,
            ..Treatment::default()
        },
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(&Rc::default(), opened(b"")));
    lan.run_until("open", |lan| lan.saw(Event::Open));
    lan.router.server.treatment.paused = true;
    lan.run_until("stalled", |lan| {
        lan.broker.last_error() == Some(SocketError::Stalled)
    });
    assert!(lan.saw(Event::Disconnected));
    lan.router.server.treatment.paused = false;
    lan.run_until("reopened", |lan| lan.peer.state() == PeerState::Open);
}

/// Eight offers at once are more than the engine's rings hold.
#[test]
fn an_engine_that_is_full_is_fed_again() {
    let extra: Vec<u8> = (0..8)
        .flat_map(|number| frame(0x81, offer(number, &"a".repeat(900)).as_bytes()))
        .collect();
    let setup = Setup {
        receive: 16_384,
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(&Rc::default(), opened(&extra)));
    lan.run_until("all offers", |lan| lan.rtc.len() == 8);
    assert!(
        lan.rtc
            .iter()
            .all(|command| command.contains("AcceptOffer"))
    );
    assert_eq!(lan.peer.stats(), Default::default());
}

/// The engine is full, the broker gone: what came before is handed over first.
#[test]
fn a_reset_strands_nothing_that_has_come() {
    let offers: Vec<u8> = (0..3)
        .flat_map(|number| frame(0x81, offer(number, &"a".repeat(900)).as_bytes()))
        .collect();
    let behind = broker(&Rc::default(), opened(&offers));
    let behind = Rc::new(RefCell::new(behind));
    let setup = Setup {
        receive: 16_384,
        socket: |config| config.reconnect = false,
        ..Setup::default()
    };
    let all = Box::new(move || {
        let mut behind = (behind.borrow_mut())();
        let mut sent = false;
        Box::new(move |now, wire: &mut Wire| {
            wire.reset = sent && wire.send.is_empty();
            behind(now, wire);
            sent |= !wire.send.is_empty();
        }) as Behind
    });
    let mut lan = Lan::new(setup, all);
    lan.run_until("the loss", |lan| lan.saw(Event::Disconnected));
    assert_eq!(lan.broker.last_error(), Some(SocketError::Lost));
    assert_eq!(lan.rtc.len(), 3);
    let turns = lan.turns;
    lan.run_for(Duration::from_secs(20));
    assert!(lan.turns < turns + 100, "it waits");
}

#[test]
fn a_signal_too_large_for_the_buffer_is_an_error_not_a_hang() {
    let setup = Setup {
        send: 384,
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, broker(&Rc::default(), opened(b"")));
    lan.run_until("open", |lan| lan.saw(Event::Open));
    let remote = PeerId::new("far").unwrap();
    let metadata = format!(r#""{}""#, "m".repeat(100));
    let label = "l".repeat(120);
    let options = ConnectOptions {
        metadata: Some(&metadata),
        label: Some(&label),
        ..ConnectOptions::default()
    };
    lan.peer.connect(lan.now, &remote, options).unwrap();
    lan.run_until("the error", |lan| {
        lan.broker.last_error() == Some(SocketError::Overflow)
    });
    lan.run_until("reopened", |lan| lan.peer.state() == PeerState::Open);
}

#[test]
fn an_open_before_the_old_socket_is_gone_waits_for_it() {
    let seen: Rc<RefCell<Seen>> = Rc::default();
    let mut lan = Lan::new(Setup::default(), broker(&seen, opened(b"")));
    for turn in 1..20 {
        lan.run_until("open", |lan| lan.peer.state() == PeerState::Open);
        assert_eq!(lan.router.server.accepted, turn);
        lan.peer.disconnect(lan.now);
        lan.peer.reconnect(lan.now).unwrap();
    }
    // A socket of long ago says nothing more.
    lan.peer
        .handle_input(lan.now, Input::Broker(BrokerInput::Failed))
        .unwrap();
    assert_eq!(lan.broker.failures(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the broker says, the device neither panics nor stays away for good.
    #[test]
    fn any_bytes_are_survived(
        head in prop::collection::vec(any::<u8>(), 0..200),
        garbage in prop::collection::vec(any::<u8>(), 0..3000),
        shape in 0..3,
        bite in 1..50usize,
    ) {
        let mut first = Some(match shape {
            0 => head,
            1 => [&b"HTTP/1.1 101 x\r\n"[..], &garbage].concat(),
            _ => [&upgrade()[..], &garbage].concat(),
        });
        let mut then = opened(b"");
        let answer = move |request: &str| first.take().unwrap_or_else(|| then(request));
        let setup = Setup {
            treatment: Treatment { bite, ..Treatment::default() },
            ..Setup::default()
        };
        let mut lan = Lan::new(setup, broker(&Rc::default(), answer));
        lan.run_until("open", |lan| lan.peer.state() == PeerState::Open);
    }
}
