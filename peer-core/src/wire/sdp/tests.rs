extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/signalling_vectors.json"
);

/// Every description Chromium sent in the recorded exchanges.
fn recorded() -> Vec<String> {
    let text = std::fs::read_to_string(VECTORS).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for exchange in vectors["exchanges"].as_array().unwrap() {
        for side in ["offerer_ws", "answerer_ws"] {
            for frame in exchange[side].as_array().unwrap() {
                let Some(data) = frame["data"].as_str() else {
                    continue;
                };
                let Ok(signal) = serde_json::from_str::<serde_json::Value>(data) else {
                    continue;
                };
                if let Some(sdp) = signal["payload"]["sdp"]["sdp"].as_str() {
                    found.push(sdp.to_string());
                }
            }
        }
    }
    found
}

fn chromium() -> String {
    recorded().swap_remove(0)
}

#[test]
fn reads_all_recorded_descriptions_and_writes_them_byte_for_byte() {
    let recorded = recorded();
    assert!(recorded.len() >= 20);
    for text in &recorded {
        let description = parse(text).unwrap();
        assert_eq!(description.sctp_port, 5000);
        assert_eq!(description.max_message_size, 262_144);
        assert_eq!(description.mid, Some("0"));
        assert!(!description.ice_lite);
        assert_eq!(description.candidates().count(), 0);
        let fingerprint = description.fingerprints().next().unwrap().sha256().unwrap();
        assert!(description.has_fingerprint(&fingerprint));
        assert!(!description.has_fingerprint(&[0; 32]));
        let origin = text.lines().nth(1).unwrap();
        let emit = Emit {
            session_id: origin.split(' ').nth(1).unwrap().parse().unwrap(),
            ufrag: description.ufrag,
            pwd: description.pwd,
            fingerprint: &fingerprint,
            setup: description.setup.unwrap(),
            mid: "0",
            sctp_port: 5000,
            max_message_size: 262_144,
            candidates: &[],
        };
        assert_eq!(&emit.to_string(), text);
        assert_eq!(emit.write(&mut [0; 1024]).unwrap(), text);
        assert_eq!(emit.write(&mut [0; 100]), Err(SdpError::BufferTooSmall));
    }
}

#[test]
fn takes_what_chromium_takes() {
    let text = chromium();
    let without = |name: &str| {
        let kept = text.lines().filter(|line| !line.starts_with(name));
        kept.flat_map(|line| [line, "\r\n"]).collect::<String>()
    };
    for name in [
        "a=group",
        "a=mid",
        "a=sctp-port",
        "a=ice-options",
        "c=",
        "a=extmap",
        "a=msid",
    ] {
        assert!(parse(&without(name)).is_ok(), "{name}");
    }
    assert_eq!(parse(&without("a=mid")).unwrap().mid, None);
    assert_eq!(parse(&without("a=sctp-port")).unwrap().sctp_port, 5000);
    let silent = without("a=setup");
    let silent = parse(&silent).unwrap();
    assert_eq!((silent.setup, silent.answer_setup()), (None, Setup::Active));
    assert_eq!(silent.answered_setup(), Ok(Setup::Active));
    assert_eq!(parse(&without("a=max-m")).unwrap().max_message_size, 65_536);
    assert!(parse(&text.replace("\r\n", "\n")).is_ok());
    assert!(parse(&text.replace("UDP/DTLS", "TCP/DTLS")).is_ok());
    let lite = text.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n");
    assert!(parse(&lite).unwrap().ice_lite);

    let (head, hex) = text.split_once("sha-256 ").unwrap();
    let lower = head.to_string() + "SHA-256 " + &hex.to_lowercase();
    let (upper, lower) = (parse(&text).unwrap(), parse(&lower).unwrap());
    let digest = |d: &Description<'_>| d.fingerprints().next().unwrap().sha256().unwrap();
    assert_eq!(digest(&upper), digest(&lower));
}

#[test]
fn attributes_of_the_session_stand_in_for_missing_ones() {
    let text = chromium();
    let (session, media) = split_at_media(&text);
    let (line, attributes) = media.split_at(media.find("a=").unwrap());
    let moved = session.to_string() + attributes + line;
    let (description, moved) = (parse(&text).unwrap(), parse(&moved).unwrap());
    assert_eq!(
        (description.ufrag, description.pwd),
        (moved.ufrag, moved.pwd)
    );
    assert_eq!(description.setup, moved.setup);
    assert!(moved.fingerprints().eq(description.fingerprints()));
}

#[test]
fn reads_the_old_form() {
    let old = chromium()
        .replace("9 UDP/DTLS/SCTP webrtc-datachannel", "9 DTLS/SCTP 5001")
        .replace("a=sctp-port:5000\r\n", "");
    assert_eq!(parse(&old).unwrap().sctp_port, 5001);
    let mapped = old + "a=sctpmap:5002 webrtc-datachannel 1024\r\n";
    assert_eq!(parse(&mapped).unwrap().sctp_port, 5002);
}

#[test]
fn takes_the_application_among_several_media() {
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:audio\r\na=mid:a\r\n";
    let text = chromium();
    let (session, media) = split_at_media(&text);
    for text in [
        session.to_string() + audio + media,
        session.to_string() + media + audio,
    ] {
        let description = parse(&text).unwrap();
        assert_eq!((description.ufrag, description.mid), ("X60m", Some("0")));
    }
    assert_eq!(
        parse(&(session.to_string() + audio)).err(),
        Some(SdpError::NoApplication)
    );
}

#[test]
fn lists_candidates_inside() {
    let text = chromium() + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
    let description = parse(&text).unwrap();
    assert!(description.is_complete());
    let lines: Vec<_> = description.candidates().collect();
    assert_eq!(lines, ["candidate:1 1 udp 1 192.0.2.1 9 typ host"]);
}

#[test]
fn says_what_is_wrong() {
    let text = chromium();
    let cases: &[(&str, &str, SdpError)] = &[
        ("v=0", "v=1", SdpError::NotSdp),
        ("s=-\r\n", "", SdpError::NotSdp),
        ("t=0 0\r\n", "", SdpError::NotSdp),
        ("m=application", "m=video", SdpError::NoApplication),
        ("m=application 9", "m=application 0", SdpError::Rejected),
        ("a=ice-ufrag:X60m", "a=x", SdpError::NoIceCredentials),
        ("a=ice-pwd:", "a=x:", SdpError::NoIceCredentials),
        ("X60m", "X60", SdpError::InvalidUfrag),
        ("X60m", "X60!", SdpError::InvalidUfrag),
        (
            "wiYqDCTQR/XL8WKd2Ie6xob5",
            "wiYqDCTQR/XL8WKd2Ie6x",
            SdpError::InvalidPwd,
        ),
        ("a=fingerprint:", "a=x:", SdpError::NoFingerprint),
        ("sha-256", "sha-1", SdpError::UnsupportedFingerprint),
        ("D0:C7", "D0:C", SdpError::InvalidFingerprint),
        ("D0:C7", "D0:+7", SdpError::InvalidFingerprint),
        ("D0:C7", "D0:CG", SdpError::InvalidFingerprint),
        (
            "a=setup:actpass",
            "a=setup:holdconn",
            SdpError::InvalidSetup,
        ),
        (
            "a=sctp-port:5000",
            "a=sctp-port:0",
            SdpError::InvalidSctpPort,
        ),
        (
            "a=sctp-port:5000",
            "a=sctp-port:65536",
            SdpError::InvalidSctpPort,
        ),
        ("size:262144", "size:-1", SdpError::InvalidMaxMessageSize),
    ];
    for (from, to, error) in cases {
        assert!(text.contains(from), "{from}");
        assert_eq!(
            parse(&text.replacen(from, to, 1)).err(),
            Some(*error),
            "{from} -> {to}"
        );
    }
    assert_eq!(parse(text.trim_end()).err(), Some(SdpError::Truncated));
    let long = text.clone() + &"a=x\r\n".repeat(SDP_MAX / 5);
    assert_eq!(parse(&long).err(), Some(SdpError::TooLong));
    assert_eq!(
        parse(&text).unwrap().answered_setup(),
        Err(SdpError::InvalidSetup)
    );
}

#[test]
fn max_message_size_as_chromium_counts_it() {
    for (written, read) in [
        ("0", 262_144),
        ("1000", 1000),
        ("1073741823", 1_073_741_823),
        ("99999999999999999999", u32::MAX),
    ] {
        let text = chromium().replace("size:262144", &("size:".to_string() + written));
        assert_eq!(parse(&text).unwrap().max_message_size, read);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_mutation_panics(
        at in 0usize..700, with in "(\\PC|\r\n|a=|m=application 0 |:){0,6}", cut in 0usize..40,
    ) {
        let mut text = chromium();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &with);
        if let Ok(description) = parse(&text) {
            prop_assert!(description.ufrag.len() >= 4);
            prop_assert!(description.fingerprints().any(|f| f.sha256().is_some()));
            let _ = description.candidates().count();
        }
    }

    #[test]
    fn reads_what_it_writes(
        session_id in 0..i64::MAX as u64, ufrag in "[A-Za-z0-9+/]{4,32}", pwd in "[A-Za-z0-9+/]{22,40}",
        fingerprint: [u8; 32], sctp_port in 1u16.., max_message_size in 1u32..,
        setup in prop::sample::select(&[Setup::Active, Setup::Passive, Setup::Actpass][..]),
    ) {
        let candidates = &["candidate:1 1 udp 1 192.0.2.1 9 typ host"];
        let emit = Emit {
            session_id, ufrag: &ufrag, pwd: &pwd, fingerprint: &fingerprint, setup, mid: "data",
            sctp_port, max_message_size, candidates,
        };
        let mut buffer = [0; 1024];
        let read = parse(emit.write(&mut buffer).unwrap()).unwrap();
        prop_assert_eq!(read.ufrag, &ufrag);
        prop_assert_eq!(read.pwd, &pwd);
        prop_assert!(read.has_fingerprint(&fingerprint));
        prop_assert_eq!(read.setup, Some(setup));
        prop_assert_eq!(read.mid, Some("data"));
        prop_assert_eq!(read.sctp_port, sctp_port);
        prop_assert_eq!(read.max_message_size, max_message_size);
        prop_assert!(read.candidates().eq(candidates.iter().copied()));
    }
}
