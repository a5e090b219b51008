//! The data plane of an engine that owns outboxes and inboxes.

use std::{format, vec};

use super::lab::{Lab, open_alone};
use crate::{
    binarypack::Value,
    connection::{ReceiveError, SendError},
    peer::*,
    serialization::{Fragment, Serialization},
    time::{Duration, Instant},
};

/// What `close_flush` sends in BinaryPack.
const CLOSE: &str = "send 81ba5f5f706565724461746181b474797065b5636c6f7365";

fn with(serialization: Serialization) -> ConnectOptions<'static> {
    ConnectOptions {
        serialization,
        ..ConnectOptions::default()
    }
}

#[test]
fn values_travel_in_every_serialization() {
    for serialization in [
        Serialization::Binary,
        Serialization::BinaryUtf8,
        Serialization::Json,
        Serialization::Postcard,
    ] {
        let (mut lab, here, there) = Lab::connected(with(serialization));
        for (n, handle) in [(0, here), (1, there)] {
            lab.nodes[n]
                .peer
                .connection(handle)
                .unwrap()
                .send(&("temperature", 21.5, true))
                .unwrap();
        }
        lab.drive();
        for (n, handle) in [(0, here), (1, there)] {
            assert_eq!(lab.take_events(n), [Event::Data(handle)]);
            let mut connection = lab.nodes[n].peer.connection(handle).unwrap();
            assert_eq!(connection.readable(), 1);
            assert_eq!(
                connection.recv::<(&str, f64, bool)>(),
                Ok(("temperature", 21.5, true))
            );
            assert_eq!(connection.recv::<u8>(), Err(ReceiveError::Empty));
        }
    }
}

#[test]
fn data_that_was_read_before_the_poll_is_not_told() {
    let (mut lab, _, there) = Lab::connected(ConnectOptions::default());
    for value in [b"\x05", b"\x06"] {
        lab.rtc(1, there, RtcInput::Fragment(Fragment::binary(value)))
            .unwrap();
    }
    let mut connection = lab.nodes[1].peer.connection(there).unwrap();
    assert_eq!(connection.recv(), Ok(5));
    assert_eq!(connection.recv(), Ok(6));
    lab.drive();
    assert_eq!(lab.take_events(1), []);

    // One that is still unread is.
    for value in [b"\x07", b"\x08"] {
        lab.rtc(1, there, RtcInput::Fragment(Fragment::binary(value)))
            .unwrap();
    }
    let mut connection = lab.nodes[1].peer.connection(there).unwrap();
    assert_eq!(connection.recv(), Ok(7));
    lab.drive();
    assert_eq!(lab.take_events(1), [Event::Data(there)]);
}

#[test]
fn raw_keeps_strings_and_bytes_apart() {
    let (mut lab, here, there) = Lab::connected(with(Serialization::Raw));
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    connection.send("text").unwrap();
    connection.send(&[1_u8, 2][..]).unwrap();
    connection.send("").unwrap();
    assert!(matches!(connection.send(&1.5), Err(SendError::Encode(_))));
    lab.drive();
    assert_eq!(lab.take_trace(0), ["send text", "send 0102", "send "]);
    assert_eq!(lab.take_events(1), [Event::Data(there); 3]);
    let mut connection = lab.nodes[1].peer.connection(there).unwrap();
    assert_eq!(connection.recv::<&str>(), Ok("text"));
    assert_eq!(
        connection.recv_raw().map(|message| message.bytes.to_vec()),
        Some(vec![1, 2])
    );
    assert_eq!(connection.recv::<&str>(), Ok(""));
    assert!(connection.recv_raw().is_none());
}

#[test]
fn any_value_can_be_looked_at() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    lab.rtc(
        0,
        here,
        RtcInput::Fragment(Fragment::binary(b"\x92\x01\xb1a")),
    )
    .unwrap();
    lab.rtc(1, there, RtcInput::Fragment(Fragment::binary(b"\x05")))
        .unwrap();
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    assert!(matches!(
        connection.recv::<Value<'_>>(),
        Ok(Value::Array(_))
    ));
    let mut connection = lab.nodes[1].peer.connection(there).unwrap();
    assert!(matches!(
        connection.recv::<&str>(),
        Err(ReceiveError::Decode(_))
    ));
    assert_eq!(connection.readable(), 0, "a message is read once");
}

#[test]
fn sending_has_its_time() {
    let mut lab = Lab::open(&[Some("alice")]);
    let here = lab.connect(0, "bob", ConnectOptions::default());
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    assert_eq!(connection.send(&1), Err(SendError::NotOpenYet));
    connection.close();
    assert_eq!(connection.send(&1), Err(SendError::Closed));
}

#[test]
fn a_full_outbox_says_when_to_go_on() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    let text = "x".repeat(300);
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    assert_eq!(
        connection.send(&*"x".repeat(3_000)),
        Err(SendError::TooLarge)
    );
    let mut sent = 0;
    while connection.send(&*text).is_ok() {
        sent += 1;
    }
    assert_eq!(connection.send(&*text), Err(SendError::Full));
    assert!(sent >= 5);
    // The other side reads as it comes, or its inbox would hold the rest back.
    let mut read = 0;
    while read < sent {
        lab.drive();
        let mut connection = lab.nodes[1].peer.connection(there).unwrap();
        while connection.recv::<&str>().is_ok() {
            read += 1;
        }
    }
    assert!(lab.take_events(0).contains(&Event::Writable(here)));
    lab.nodes[0]
        .peer
        .connection(here)
        .unwrap()
        .send(&*text)
        .unwrap();
}

#[test]
fn a_full_inbox_holds_back_and_loses_nothing() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    let mut sent = 0_u32;
    for _ in 0..4 {
        let mut connection = lab.nodes[0].peer.connection(here).unwrap();
        while connection.send(&(sent, &*"x".repeat(200))).is_ok() {
            sent += 1;
        }
        lab.drive();
    }
    let mut read = 0;
    loop {
        let mut connection = lab.nodes[1].peer.connection(there).unwrap();
        match connection.recv::<(u32, &str)>() {
            Ok((number, _)) => {
                assert_eq!(number, read);
                read += 1;
            }
            Err(_) if read == sent => break,
            Err(_) => {}
        }
        lab.drive();
    }
    assert!(sent > 20);
    assert_eq!(lab.nodes[1].peer.stats().malformed_messages, 0);
}

#[test]
fn what_came_before_the_end_can_be_read_after_it() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    connection.send("last words").unwrap();
    connection.send("and more").unwrap();
    lab.drive();
    lab.nodes[0].peer.connection(here).unwrap().close();
    lab.drive();
    assert_eq!(
        lab.take_events(1),
        [
            Event::Data(there),
            Event::Data(there),
            Event::ConnectionClosed(there)
        ]
    );
    lab.wait(Duration::from_secs(60));
    let mut connection = lab.nodes[1].peer.connection(there).unwrap();
    assert!(!connection.is_open());
    assert_eq!(connection.recv::<&str>(), Ok("last words"));
    lab.drive();
    lab.nodes[1].peer.connection(there).unwrap().release();
    lab.drive();
    assert!(lab.nodes[1].peer.connection(there).is_none());
}

#[test]
fn flush_close_lets_everything_through() {
    let (mut lab, here, there) = Lab::connected(ConnectOptions::default());
    lab.delivers = false;
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    connection.send("data").unwrap();
    connection.close_flush(lab.now);
    assert_eq!(connection.send("too late"), Err(SendError::Closing));
    lab.drive();
    assert_eq!(
        lab.take_trace(0),
        ["send b464617461"],
        "the channel still holds it"
    );
    lab.rtc(0, here, RtcInput::ChannelBuffered(0)).unwrap();
    lab.drive();
    // The remote closes at the close message, and so do we.
    assert_eq!(lab.take_trace(0), [CLOSE, "close"]);
    assert_eq!(lab.take_trace(1), ["close"]);
    assert_eq!(lab.take_events(0), [Event::ConnectionClosed(here)]);
    assert_eq!(
        lab.take_events(1),
        [Event::Data(there), Event::ConnectionClosed(there)]
    );
    assert_eq!(
        lab.nodes[1].peer.connection(there).unwrap().recv::<&str>(),
        Ok("data")
    );
}

#[test]
fn flush_close_of_a_raw_connection_closes_once_all_is_through() {
    let (mut lab, here, there) = Lab::connected(with(Serialization::Raw));
    lab.nodes[0]
        .peer
        .connection(here)
        .unwrap()
        .send("data")
        .unwrap();
    lab.nodes[0]
        .peer
        .connection(here)
        .unwrap()
        .close_flush(lab.now);
    lab.drive();
    assert_eq!(lab.take_trace(0), ["send data", "close"]);
    assert_eq!(
        lab.take_events(1),
        [Event::Data(there), Event::ConnectionClosed(there)]
    );
}

/// A time before the last one told counts as that one, here too: the flush has all its time.
#[test]
fn flush_close_of_a_clock_that_was_set_back_is_no_close() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    lab.delivers = false;
    lab.now = lab.now + Duration::from_secs(60);
    lab.input(0, Input::Timeout).unwrap();
    while lab.poll_once(0) {}
    lab.take_trace(0);
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    connection.send("data").unwrap();
    connection.close_flush(Instant::ZERO);
    lab.input(0, Input::Timeout).unwrap();
    while lab.poll_once(0) {}
    assert_eq!(lab.take_trace(0), ["send b464617461"]);
    assert_eq!(lab.take_events(0), []);
    assert!(lab.nodes[0].peer.connection(here).unwrap().is_open());
}

#[test]
fn flush_close_gives_up_when_nothing_moves() {
    for told in [false, true] {
        let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
        // Only this side runs: the other neither acknowledges nor closes.
        let peer = |lab: &mut Lab| while lab.poll_once(0) {};
        lab.delivers = false;
        lab.nodes[0]
            .peer
            .connection(here)
            .unwrap()
            .send("data")
            .unwrap();
        lab.nodes[0]
            .peer
            .connection(here)
            .unwrap()
            .close_flush(lab.now);
        peer(&mut lab);
        if told {
            lab.now = lab.now + Duration::from_secs(9);
            lab.rtc(0, here, RtcInput::ChannelBuffered(0)).unwrap();
            peer(&mut lab);
            assert!(lab.nodes[0].trace.iter().any(|word| word == CLOSE));
        }
        lab.now = lab.now + Duration::from_millis(9_999);
        lab.input(0, Input::Timeout).unwrap();
        peer(&mut lab);
        assert_eq!(lab.take_events(0), []);
        lab.now = lab.now + Duration::from_millis(1);
        lab.input(0, Input::Timeout).unwrap();
        peer(&mut lab);
        assert_eq!(lab.take_events(0), [Event::ConnectionClosed(here)]);
    }
}

#[test]
fn a_congested_channel_blocks_nobody_else() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    let other = lab.connect(0, "bob", ConnectOptions::default());
    lab.drive();
    lab.take_trace(0);
    lab.rtc(0, here, RtcInput::ChannelBuffered(u32::MAX))
        .unwrap();
    lab.nodes[0]
        .peer
        .connection(here)
        .unwrap()
        .send("held")
        .unwrap();
    lab.nodes[0]
        .peer
        .connection(other)
        .unwrap()
        .send(&1)
        .unwrap();
    lab.connect(0, "carol", ConnectOptions::default());
    lab.drive();
    let trace = lab.take_trace(0);
    assert!(trace.iter().any(|word| word == "OFFER"));
    assert_eq!(
        trace.iter().filter(|word| word.starts_with("send")).count(),
        1
    );
    assert_eq!(
        lab.nodes[0]
            .peer
            .connection(here)
            .unwrap()
            .buffered_amount(),
        u32::MAX
    );
    lab.rtc(0, here, RtcInput::ChannelBuffered(0)).unwrap();
    lab.drive();
    assert_eq!(lab.take_trace(0), ["send b468656c64"]);
}

#[test]
fn broken_messages_are_dropped_and_counted() {
    let (mut lab, here, _) = Lab::connected(with(Serialization::Json));
    assert_eq!(
        lab.rtc(0, here, RtcInput::Fragment(Fragment::binary(&[0xff]))),
        Err(InputError::Malformed)
    );
    let long = format!("\"{}\"", "x".repeat(3_000));
    assert_eq!(
        lab.rtc(0, here, RtcInput::Fragment(Fragment::text(&long))),
        Ok(()),
        "it is told by an event"
    );
    lab.rtc(0, here, RtcInput::Fragment(Fragment::text("7")))
        .unwrap();
    lab.drive();
    assert_eq!(
        lab.take_events(0),
        [
            Event::Data(here),
            Event::ConnectionError(here, ConnectionError::MessageTooBig)
        ]
    );
    assert_eq!(
        lab.nodes[0].peer.connection(here).unwrap().recv::<u8>(),
        Ok(7)
    );
    assert_eq!(lab.nodes[0].peer.stats().malformed_messages, 2);
}

#[test]
fn without_memory_for_data_the_driver_carries_it() {
    let mut memory: PeerResources<1, 4096, 0, 0> = PeerResources::new();
    let mut peer = Peer::new(Config::new([7; 32]), &mut memory);
    let now = Instant::ZERO;
    let handle = open_alone(&mut peer);
    let input = RtcInput::Fragment(Fragment::text("x"));
    peer.handle_input(now, Input::Rtc(handle, input)).unwrap();
    let mut connection = peer.connection(handle).unwrap();
    assert_eq!(connection.send(&1), Err(SendError::TooLarge));
    assert_eq!(connection.recv::<u8>(), Err(ReceiveError::Empty));
}

#[test]
fn unread_messages_that_nobody_polled_for_are_one_event() {
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    for _ in 0..3 {
        lab.rtc(0, here, RtcInput::Fragment(Fragment::binary(b"\x05")))
            .unwrap();
    }
    lab.drive();
    assert_eq!(lab.take_events(0), [Event::Data(here)]);
    assert_eq!(lab.nodes[0].peer.connection(here).unwrap().readable(), 3);
}

#[test]
fn a_long_message_travels_in_chunks() {
    // What it sends comes back: one engine is enough.
    let mut memory: std::boxed::Box<PeerResources<1, 4096, 50_000, 50_000>> =
        std::boxed::Box::default();
    let mut peer = Peer::new(Config::new([7; 32]), &mut memory);
    let now = Instant::ZERO;
    let handle = open_alone(&mut peer);
    let text = "0123456789".repeat(4_000);
    peer.connection(handle).unwrap().send(&*text).unwrap();
    let mut frames = 0;
    let mut data = false;
    loop {
        let frame = match peer.poll_output(Room::UNLIMITED) {
            Output::Rtc(_, RtcCommand::Send(fragment)) => fragment.bytes.to_vec(),
            Output::Event(event) => {
                data |= event == Event::Data(handle);
                continue;
            }
            Output::Timeout(_) => break,
            _ => continue,
        };
        frames += 1;
        let message = RtcInput::Fragment(Fragment::binary(&frame));
        peer.handle_input(now, Input::Rtc(handle, message)).unwrap();
    }
    assert_eq!((frames, data), (3, true));
    let mut connection = peer.connection(handle).unwrap();
    assert_eq!(connection.buffered_amount() as usize, 40_003 + 3 * 31);
    assert_eq!(connection.recv::<&str>(), Ok(&*text));
}

/// 100 KB out of an outbox of 2 KB, as one message for whoever has room for it.
#[test]
fn a_message_longer_than_the_outbox_is_streamed() {
    const LEN: usize = 102_400;
    let (mut lab, here, _) = Lab::connected(ConnectOptions::default());
    let connection = |lab: &mut Lab, bytes: &[u8]| {
        let mut connection = lab.nodes[0].peer.connection(here).unwrap();
        connection.stream_write(bytes)
    };
    {
        let mut connection = lab.nodes[0].peer.connection(here).unwrap();
        assert_eq!(connection.stream_left(), 0);
        connection.stream(5 + LEN, 400).unwrap();
        assert_eq!(connection.send(&1), Err(SendError::Streaming));
    }
    assert_eq!(connection(&mut lab, b"\xdb\0\x01\x90\0"), Ok(5));
    // A chunk that is half written is not sent, and does not keep the engine from resting.
    lab.drive();
    assert_eq!(lab.take_trace(0).len(), 0);

    let samples: vec::Vec<u8> = (0..LEN).map(|n| n as u8).collect();
    let (mut written, mut waits) = (0, 0);
    while written < LEN {
        match connection(&mut lab, &samples[written..]) {
            Ok(len) => written += len,
            Err(error) => {
                assert_eq!(error, SendError::Full);
                waits += 1;
                while lab.poll_once(0) {}
                assert!(lab.take_events(0).contains(&Event::Writable(here)));
            }
        }
    }
    assert!(waits > 10);
    lab.poll(0);
    lab.speak_alone();
    let sent = lab.take_trace(0);
    assert_eq!(sent.len(), (5 + LEN).div_ceil(400));
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    assert_eq!(connection.stream_left(), 0);
    assert_eq!(connection.stream_write(b"!"), Err(SendError::StreamLength));

    connection.stream(5_000, 400).unwrap();
    connection.stream_write(&[0xdb; 100]).unwrap();
    connection.abort_stream();
    connection.send(&7).unwrap();
    lab.poll(0);
    assert_eq!(lab.take_trace(0), ["send 07"]);

    let (mut lab, here, _) = Lab::connected(with(Serialization::Json));
    let mut connection = lab.nodes[0].peer.connection(here).unwrap();
    assert_eq!(connection.stream(5_000, 400), Err(SendError::Unsupported));
}
