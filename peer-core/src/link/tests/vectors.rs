//! The vectors that the documentation promises to those who write the other end.

use std::{
    borrow::ToOwned,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    link::{
        DownReason, Key, Refusal,
        auth::{Nonces, Prover, Transcript},
        cobs::{Decoded, Decoder, Encoder},
        frame::{Frame, Greeting, Status, seal},
        message::{Told, read_input, read_output, write_broker, write_output, write_rtc},
        window::{Accepted, Incoming, Outgoing},
    },
    peer::RtcInput,
};

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/vectors/link_vectors.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn list<'v>(vectors: &'v Value, name: &str) -> &'v [Value] {
    vectors[name].as_array().unwrap()
}

fn unstuff(stuffed: &[u8]) -> Option<Vec<u8>> {
    let mut memory = [0; 4096];
    let mut decoder = Decoder::new(&mut memory);
    let mut found = None;
    for byte in stuffed {
        if let Decoded::Frame(len) = decoder.push(*byte) {
            assert!(found.is_none(), "one frame");
            found = Some(decoder.frame(len).to_vec());
        }
    }
    found
}

#[test]
fn stuffing() {
    for vector in list(&vectors(), "cobs") {
        let (plain, stuffed) = (bytes(&vector["plain"]), bytes(&vector["stuffed"]));
        let mut out = [0; 1024];
        let mut encoder = Encoder::new(&mut out);
        encoder.push(&plain);
        let len = encoder.finish().unwrap();
        assert_eq!(&out[1..len - 1], &stuffed[..], "{vector}");
        assert_eq!(unstuff(&out[..len]).unwrap(), plain);
    }
}

#[test]
fn checksums() {
    for vector in list(&vectors(), "crc") {
        let mut out = [0; 64];
        let body = bytes(&vector["bytes"]);
        let len = seal(core::iter::once(&body[..]), &mut out).unwrap();
        let frame = unstuff(&out[..len]).unwrap();
        let crc = u16::from_str_radix(vector["crc"].as_str().unwrap(), 16).unwrap();
        assert_eq!(frame[body.len()..], crc.to_le_bytes(), "{vector}");
    }
}

#[test]
fn handshake() {
    let all = vectors();
    let vector = &all["handshake"];
    let greeting = |who: &str| Greeting {
        version: 1,
        nonce: bytes(&vector[who.to_owned() + "_nonce"])
            .try_into()
            .unwrap(),
        frame: vector[who.to_owned() + "_frame"].as_u64().unwrap() as u16,
        window: vector[who.to_owned() + "_window"].as_u64().unwrap() as u32,
    };
    let hello = greeting("leaf").hello(vector["leaf"].as_str().unwrap());
    assert_eq!(&hello[..], bytes(&vector["hello"]));
    let challenge = greeting("gateway");
    assert_eq!(
        &challenge.challenge_head()[..],
        bytes(&vector["challenge_head"])
    );
    let key = Key::new(bytes(&vector["key"]).try_into().unwrap());
    let transcript = Transcript {
        hello: &hello,
        challenge: &challenge,
    };
    for (prover, name) in [
        (Prover::Gateway, "gateway_proof"),
        (Prover::Leaf, "leaf_proof"),
    ] {
        let proof = bytes(&vector[name]).try_into().unwrap();
        assert_eq!(transcript.prove(&key, prover), proof);
        assert!(transcript.verify(&key, prover, &proof));
    }

    let vector = &all["nonces"];
    let mut nonces = Nonces::new(bytes(&vector["random"]).try_into().unwrap());
    for drawn in list(vector, "drawn") {
        assert_eq!(nonces.draw()[..], bytes(drawn));
    }
}

#[test]
fn frames() {
    let all = vectors();
    let names = list(&all, "frames").iter().map(|vector| {
        let name = vector["name"].as_str().unwrap().to_string();
        let (body, stuffed) = (bytes(&vector["body"]), bytes(&vector["frame"]));
        let frame = unstuff(&stuffed).unwrap();
        assert_eq!(frame[..frame.len() - 2], body, "{name}");
        let parsed = Frame::parse(&frame).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(&parsed.write()[..], body, "{name}");
        let mut out = [0; 100];
        let len = seal(core::iter::once(&body[..]), &mut out).unwrap();
        assert_eq!(out[..len], stuffed, "{name}");
        let expected = match name.as_str() {
            "welcome" => Some(Frame::Welcome),
            "refuse: the sender speaks version 1" => Some(Frame::Refuse(Refusal::Version(1))),
            "refuse: no such leaf" => Some(Frame::Refuse(Refusal::Name)),
            "refuse: wrong proof" => Some(Frame::Refuse(Refusal::Key)),
            "refuse: limits" => Some(Frame::Refuse(Refusal::Limits)),
            "reset: silent" => Some(Frame::Reset(DownReason::Silent)),
            "reset: restarted" => Some(Frame::Reset(DownReason::Restarted)),
            "reset: violation" => Some(Frame::Reset(DownReason::Violation)),
            "reset: no progress" => Some(Frame::Reset(DownReason::NoProgress)),
            "reset: closed" => Some(Frame::Reset(DownReason::Closed)),
            "status: next 0, limit 4096" => Some(Frame::Status(Status {
                resend: false,
                next: 0,
                limit: 4096,
            })),
            "status: send again from 255, limit 4294967040" => Some(Frame::Status(Status {
                resend: true,
                next: 255,
                limit: 4_294_967_040,
            })),
            _ => None,
        };
        if let Some(expected) = expected {
            assert_eq!(parsed, expected, "{name}");
        }
        name
    });
    assert_eq!(names.count(), 15);
}

#[test]
fn garbage_is_no_frame() {
    for vector in list(&vectors(), "garbage") {
        let frame = unstuff(&bytes(&vector["bytes"]));
        assert_eq!(
            frame.as_deref().and_then(Frame::parse),
            None,
            "{}",
            vector["why"]
        );
    }
}

#[test]
fn messages() {
    let all = vectors();
    for vector in list(&all, "leaf_messages") {
        let message = bytes(&vector["message"]);
        let output = read_output(&message).unwrap_or_else(|| panic!("{vector}"));
        let written = write_output(&output).unwrap();
        assert_eq!(written.parts().concat(), message, "{vector}");
        for len in 0..message.len() {
            assert!(read_output(&message[..len]).is_none(), "{vector} cut");
        }
    }
    for vector in list(&all, "gateway_messages") {
        let message = bytes(&vector["message"]);
        let mut copy = message.clone();
        let written = match read_input(&mut copy).unwrap_or_else(|| panic!("{vector}")) {
            Told::Broker(input) => write_broker(&input).parts().concat(),
            Told::Rtc(handle, input) => write_rtc(handle, &input, 0).parts().concat(),
            Told::Buffered {
                handle,
                taken,
                buffered,
            } => write_rtc(handle, &RtcInput::ChannelBuffered(buffered), taken)
                .parts()
                .concat(),
        };
        assert_eq!(written, message, "{vector}");
        for len in 0..message.len() {
            assert!(
                read_input(&mut message[..len].to_vec()).is_none(),
                "{vector} cut"
            );
        }
    }
}

/// The tables in the documentation are enums: what serde and postcard make of those is what we write by hand.
#[test]
fn messages_are_postcard() {
    #[derive(Serialize)]
    #[allow(dead_code)]
    enum FromLeaf<'a> {
        RetrieveId,
        Open { token: &'a str, id: &'a str },
        Send(&'a str),
        Close,
        CreateOffer(u32, bool, &'a str),
        AcceptOffer(u32, &'a str),
        ApplyAnswer(u32, &'a str),
        AddCandidate(u32, &'a str),
        SendText(u32, &'a str),
        SendBinary(u32, &'a [u8]),
        CloseSession(u32),
    }
    #[derive(Serialize)]
    #[allow(dead_code)]
    enum FromGateway<'a> {
        IdRetrieved(&'a str),
        Opened,
        Message(&'a [u8]),
        Closed,
        Failed,
        LocalDescription(u32, &'a str),
        LocalCandidate(u32, &'a str),
        ChannelOpened(u32),
        Text(u32, &'a str),
        Binary(u32, &'a [u8]),
        ChannelBuffered(u32, u32, u32),
        ChannelClosed(u32),
        IceState(u32, u32),
        DtlsConnected(u32),
        SessionFailed(u32, u32),
        MessageTooBig(u32),
    }
    fn pack(value: &impl Serialize) -> Vec<u8> {
        postcard::to_slice(value, &mut [0; 512]).unwrap().to_vec()
    }
    let all = vectors();
    let find = |list_name: &str, name: &str| {
        let found = list(&all, list_name)
            .iter()
            .find(|vector| vector["name"] == name);
        bytes(&found.unwrap()["message"])
    };
    let leaf = |name: &str, value: FromLeaf<'_>| {
        assert_eq!(pack(&value), find("leaf_messages", name), "{name}");
    };
    let gateway = |name: &str, value: FromGateway<'_>| {
        assert_eq!(pack(&value), find("gateway_messages", name), "{name}");
    };
    let bytes: Vec<u8> = (0..200).collect();
    leaf("RetrieveId", FromLeaf::RetrieveId);
    leaf(
        "Open",
        FromLeaf::Open {
            token: "tok3n",
            id: "sensor-7",
        },
    );
    leaf("CreateOffer", FromLeaf::CreateOffer(65_538, false, "dc_1"));
    leaf("SendText", FromLeaf::SendText(7, "grüße"));
    leaf("SendBinary", FromLeaf::SendBinary(7, &bytes));
    leaf("CloseSession", FromLeaf::CloseSession(65_538));
    gateway("IdRetrieved", FromGateway::IdRetrieved("9d4f"));
    gateway("Message", FromGateway::Message(br#"{"type":"OPEN"}"#));
    gateway(
        "ChannelBuffered",
        FromGateway::ChannelBuffered(7, 300, 70_000),
    );
    gateway("IceState", FromGateway::IceState(7, 0));
    gateway("SessionFailed", FromGateway::SessionFailed(7, 0));
    gateway("MessageTooBig", FromGateway::MessageTooBig(7));
}

#[test]
fn data() {
    for vector in list(&vectors(), "data") {
        let message = bytes(&vector["message"]);
        let first = vector["first_number"].as_u64().unwrap() as u8;
        let longest = vector["longest_frame"].as_u64().unwrap() as u16;
        let cost = vector["cost"].as_u64().unwrap() as usize;
        let expected: Vec<Vec<u8>> = list(vector, "frames").iter().map(bytes).collect();

        let mut memory = vec![0; 4096];
        let mut outgoing = Outgoing::new(&mut memory);
        outgoing.start(longest, 1 << 20);
        let mut out = [0; 4096];
        for number in 0..first {
            outgoing.push(&[b"x"]).unwrap();
            assert!(outgoing.write(&mut out).1.is_some());
            outgoing.acknowledge(number.wrapping_add(1), 1 << 20, false);
        }
        outgoing.push(&[&message[..1], &message[1..]]).unwrap();
        let mut written = Vec::new();
        loop {
            let (len, _) = outgoing.write(&mut out);
            if len == 0 {
                break;
            }
            written.push(out[..len].to_vec());
        }
        assert_eq!(written, expected, "{}", name(vector));

        let mut memory = vec![0; cost];
        let mut incoming = Incoming::new(&mut memory);
        for number in 0..first {
            assert_eq!(incoming.accept(3, number, b""), Accepted::Next);
            incoming.pop();
        }
        for frame in &expected {
            let frame = unstuff(frame).unwrap();
            let Some(Frame::Data {
                flags,
                number,
                payload,
            }) = Frame::parse(&frame)
            else {
                panic!("{}", name(vector))
            };
            assert_eq!(incoming.accept(flags, number, payload), Accepted::Next);
            assert_ne!(incoming.accept(flags, number, payload), Accepted::Next);
        }
        assert_eq!(incoming.front().unwrap(), message);
    }
}

fn name(vector: &Value) -> String {
    vector["first_number"].to_string()
}
