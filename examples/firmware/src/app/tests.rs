//! The device with an engine, and a page that is played by hand.

use core::fmt;
use std::{borrow::ToOwned, boxed::Box, format, string::String, vec::Vec};

use peer_core::{
    PeerId,
    peer::{BrokerInput, Config, Input, Output, PeerResources, Room, RtcCommand, RtcInput},
    serialization::Fragment,
    wire::json,
};

use super::*;

#[derive(Default)]
struct Bench {
    leds: [bool; 2],
    log: Vec<String>,
}

impl Hardware for Bench {
    fn set_led(&mut self, led: usize, on: bool) {
        self.leds[led] = on;
    }

    fn temperature(&mut self) -> i32 {
        21_500
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        self.log.push(format!("{line}"));
    }
}

struct Lab {
    app: App,
    peer: Peer<'static>,
    bench: Bench,
    now: Instant,
    page: ConnectionHandle,
    sent: Vec<Vec<u8>>,
    /// Whether the channel takes frames; else it says that it is full.
    takes: bool,
}

impl Lab {
    /// A page is connected.
    fn new(serialization: &str) -> Self {
        let memory: &'static mut PeerResources<CONNECTIONS> = Box::leak(Box::default());
        let mut config = Config::new([7; 32]);
        config.id = PeerId::new("greenhouse").ok();
        let mut peer = Peer::new(config, memory);
        let now = Instant::from_millis(5);
        while !matches!(peer.poll_output(Room::UNLIMITED), Output::Broker(_)) {}
        let offer = format!(
            r#"{{"type":"OFFER","src":"page","dst":"greenhouse","payload":{{"sdp":{{"type":"offer","sdp":"v=0\r\n"}},"type":"data","connectionId":"dc_1","label":"dc_1","reliable":true,"serialization":"{serialization}"}}}}"#
        );
        peer.handle_input(now, Input::Broker(BrokerInput::Opened))
            .unwrap();
        for text in [r#"{"type":"OPEN"}"#, &offer] {
            let mut text = text.to_owned().into_bytes();
            let message = BrokerInput::Message(&mut text);
            peer.handle_input(now, Input::Broker(message)).unwrap();
        }
        let page = loop {
            if let Output::Rtc(handle, RtcCommand::AcceptOffer { .. }) =
                peer.poll_output(Room::UNLIMITED)
            {
                break handle;
            }
        };
        for input in [
            RtcInput::LocalDescription("v=0\r\n"),
            RtcInput::ChannelOpened,
        ] {
            peer.handle_input(now, Input::Rtc(page, input)).unwrap();
        }
        let (app, bench) = (App::new(), Bench::default());
        let mut lab = Self {
            app,
            peer,
            bench,
            now,
            page,
            sent: Vec::new(),
            takes: true,
        };
        lab.turn();
        lab
    }

    /// What the main loop does, until nothing is left.
    fn turn(&mut self) {
        loop {
            self.app.run(self.now, &mut self.peer, &mut self.bench);
            let mut busy = false;
            loop {
                match self.peer.poll_output(Room::UNLIMITED) {
                    Output::Event(event) => {
                        busy = true;
                        self.app
                            .event(event, self.now, &mut self.peer, &mut self.bench);
                    }
                    Output::Rtc(handle, RtcCommand::Send(frame)) => {
                        busy = true;
                        self.sent.push(frame.bytes.to_vec());
                        let held = if self.takes { 0 } else { u32::MAX };
                        let input = Input::Rtc(handle, RtcInput::ChannelBuffered(held));
                        self.peer.handle_input(self.now, input).unwrap();
                    }
                    Output::Timeout(Some(at)) if at <= self.now => {
                        self.peer.handle_input(self.now, Input::Timeout).unwrap();
                    }
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            if !busy {
                return;
            }
        }
    }

    /// The page sends a frame; what the firmware sent since the last time.
    fn hear(&mut self, message: Fragment<'_>) -> Vec<Vec<u8>> {
        let input = Input::Rtc(self.page, RtcInput::Fragment(message));
        let _ = self.peer.handle_input(self.now, input);
        self.turn();
        core::mem::take(&mut self.sent)
    }

    /// The same on a raw connection, in JSON.
    fn says(&mut self, command: &str) -> Vec<String> {
        let sent = self.hear(Fragment::text(command)).into_iter();
        sent.map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }
}

#[test]
fn readings_come_as_often_as_asked() {
    let mut lab = Lab::new("raw");
    let first = core::mem::take(&mut lab.sent);
    assert_eq!(
        core::str::from_utf8(&first[0]).unwrap(),
        r#"{"type":"reading","number":1,"uptime":5,"millidegrees":21500,"interval":500,"leds":[false,false]}"#
    );
    assert_eq!(
        lab.says(r#"{"interval":50}"#),
        [r#"{"type":"interval","ms":50}"#]
    );
    for _ in 0..20 {
        lab.now = lab.now + Duration::from_millis(25);
        lab.turn();
    }
    assert_eq!(lab.sent.len(), 10);
}

#[test]
fn commands_are_obeyed_or_refused() {
    let mut lab = Lab::new("raw");
    lab.sent.clear();
    assert_eq!(
        lab.says(r#"{"led":1,"on":true}"#),
        [r#"{"type":"led","led":1,"on":true}"#]
    );
    assert_eq!(lab.bench.leds, [false, true]);
    assert_eq!(
        lab.says(r#"{"text":"hi"}"#),
        [r#"{"type":"text","text":"hi"}"#]
    );
    for refused in [
        r#"{"led":2}"#,
        r#"{"interval":49}"#,
        "{}",
        "[",
        "7",
        r#"{"led":-1}"#,
    ] {
        let said = lab.says(refused);
        assert!(
            said[0].starts_with(r#"{"type":"error""#),
            "{refused}: {said:?}"
        );
    }
    assert_eq!(lab.bench.leds, [false, true]);
}

/// Parts in JSON and raw, one message in BinaryPack: the same 100 KB, with the right checksum.
#[test]
fn the_history_is_sent_whole() {
    let mut lab = Lab::new("raw");
    lab.sent.clear();
    let sent = lab.hear(Fragment::text(r#"{"blob":true}"#));
    let mut whole = Vec::new();
    for part in &sent[1..sent.len() - 1] {
        assert_eq!(part[..4], (whole.len() as u32).to_be_bytes());
        whole.extend_from_slice(&part[4..]);
    }
    let mut checksum = Checksum::new();
    checksum.add(&whole);
    assert_eq!(whole.len(), history::LEN);
    assert_eq!(
        core::str::from_utf8(sent.last().unwrap()).unwrap(),
        format!(
            r#"{{"type":"done","bytes":102400,"checksum":{}}}"#,
            checksum.0
        )
    );

    let mut lab = Lab::new("json");
    lab.sent.clear();
    let sent = lab.hear(Fragment::binary(br#"{"blob":true}"#));
    assert_eq!(sent.len(), 2 + history::LEN / PIECE);

    let mut lab = Lab::new("binary");
    lab.sent.clear();
    let sent = lab.hear(Fragment::binary(b"\x81\xb4blob\xc3"));
    assert_eq!(sent.len(), 2 + (5 + history::LEN).div_ceil(PIECE));
}

/// A page that takes nothing and asks without end costs its own answers, and nothing else.
#[test]
fn a_page_that_takes_nothing_is_not_waited_for() {
    let mut lab = Lab::new("raw");
    lab.takes = false;
    for _ in 0..500 {
        lab.hear(Fragment::text(r#"{"text":"again and again"}"#));
    }
    assert!(lab.app.answers_dropped() > 400);
    assert_eq!(lab.peer.connection(lab.page).unwrap().readable(), 0);
    lab.takes = true;
    let input = Input::Rtc(lab.page, RtcInput::ChannelBuffered(0));
    lab.peer.handle_input(lab.now, input).unwrap();
    lab.turn();
    lab.sent.clear();
    assert_eq!(
        lab.says(r#"{"text":"here"}"#),
        [r#"{"type":"text","text":"here"}"#]
    );
}

#[test]
fn commands_of_any_bytes_harm_nothing() {
    let mut random = 7_u64;
    for serialization in ["raw", "json", "binary"] {
        let mut lab = Lab::new(serialization);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random % 40)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (random >> 56) as u8
                })
                .collect();
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            lab.hear(Fragment::binary(&bytes));
        }
        assert!(lab.app.pages[lab.page.index()].handle.is_some());
    }
}

#[test]
fn what_is_said_is_json() {
    let mut lab = Lab::new("raw");
    lab.sent.clear();
    for text in lab.says(r#"{"text":"\"\\"}"#) {
        assert_eq!(json::check(&text), Ok(()));
    }
}
