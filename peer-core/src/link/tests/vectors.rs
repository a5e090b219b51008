//! The vectors that the documentation promises to those who write the other end.

use std::{
    borrow::ToOwned,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use serde_json::Value;

use crate::{
    link::{
        Key, LinkError, Version,
        auth::{Nonces, Prover, Transcript},
        cobs::{Decoded, Decoder, Encoder},
        frame::{Acknowledgement, Frame, Greeting, Status, seal},
        inbox::Inbox,
        leaf::fragment_of,
        message::{FromGateway, FromLeaf, Said, read_gateway, read_leaf},
        outgoing::Outgoing,
        session_slot::Credit,
        stream::{Place, Stream},
    },
    random::Secret,
    serialization::MessageKind,
    time::Duration,
};

fn vectors() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/link_vectors.json"
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
        let mut encoder = Encoder::new(&mut out).unwrap();
        encoder.push(&mut out, &plain).unwrap();
        let len = encoder.finish(&mut out).unwrap();
        assert_eq!(&out[1..len - 1], &stuffed[..], "{vector}");
        assert_eq!(unstuff(&out[..len]).unwrap(), plain);
    }
}

#[test]
fn checksums() {
    for vector in list(&vectors(), "crc") {
        let mut out = [0; 64];
        let body = bytes(&vector["bytes"]);
        let len = seal(&body, &mut out).unwrap();
        let frame = unstuff(&out[..len]).unwrap();
        let crc = u16::from_str_radix(vector["crc"].as_str().unwrap(), 16).unwrap();
        assert_eq!(frame[body.len()..], crc.to_le_bytes(), "{vector}");
    }
}

/// The version that a vector is of; `None`: of both.
fn version(vector: &Value) -> Option<Version> {
    let version = vector.get("version")?.as_u64().unwrap() as u8;
    Some(Version::from_wire(version).unwrap())
}

#[test]
fn handshakes() {
    let all = vectors();
    for vector in list(&all, "handshakes") {
        let greeting = |who: &str| Greeting {
            version: version(vector).unwrap().to_wire(),
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
    }

    let vector = &all["nonces"];
    let mut nonces = Nonces::new(Secret::new(bytes(&vector["random"]).try_into().unwrap()));
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
        let len = seal(&body, &mut out).unwrap();
        assert_eq!(out[..len], stuffed, "{name}");
        let v = vector["version"].as_u64().unwrap_or_default() as u8;
        let status = |control, limit, data| {
            let of = |(again, next)| Acknowledgement { again, next };
            Frame::Status(Status {
                control: of(control),
                limit,
                data: Option::map(data, of),
            })
        };
        let expected = match name.as_str() {
            "hello" | "challenge" | "proof" => parsed,
            "welcome" => Frame::Welcome,
            "refuse: the sender speaks version 1" => Frame::Refuse(LinkError::Version(1), 1),
            "refuse: the sender speaks version 2" => Frame::Refuse(LinkError::Version(2), 2),
            "refuse: no such leaf" => Frame::Refuse(LinkError::UnknownLeaf, v),
            "refuse: wrong proof" => Frame::Refuse(LinkError::Key, v),
            "refuse: limits" => Frame::Refuse(LinkError::Limits, v),
            "reset: silent" => Frame::Reset(LinkError::Silent),
            "reset: restarted" => Frame::Reset(LinkError::Restarted),
            "reset: violation" => Frame::Reset(LinkError::Violation),
            "reset: no progress" => Frame::Reset(LinkError::NoProgress),
            "reset: closed" => Frame::Reset(LinkError::Closed),
            "status: next 0, limit 4096" => status((false, 0), 4096, None),
            "status: send again from 255, limit 4294967040" => {
                status((true, 255), 4_294_967_040, None)
            }
            "status: control next 0, limit 4096, data next 0" => {
                status((false, 0), 4096, Some((false, 0)))
            }
            "status: control again from 255, limit 4294967040, data next 7" => {
                status((true, 255), 4_294_967_040, Some((false, 7)))
            }
            "status: control next 3, limit 70000, data again from 128" => {
                status((false, 3), 70_000, Some((true, 128)))
            }
            other => panic!("an unknown vector: {other}"),
        };
        assert_eq!(parsed, expected, "{name}");
        name
    });
    assert_eq!(names.count(), 25);
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

/// What somebody sends in a session of this version who breaks the rules, each with the reason.
pub(super) fn violations(version: Version) -> Vec<(Vec<u8>, String)> {
    let all = vectors();
    let of_version = list(&all, "violations")
        .iter()
        .filter(|vector| self::version(vector) == Some(version));
    of_version
        .map(|vector| (bytes(&vector["bytes"]), vector["why"].to_string()))
        .collect()
}

#[test]
fn each_violation_is_of_a_version() {
    let all = vectors();
    let read = [Version::One, Version::Two].map(|version| violations(version).len());
    assert!(read.iter().all(|count| *count > 0));
    assert_eq!(read.iter().sum::<usize>(), list(&all, "violations").len());
}

#[test]
fn messages() {
    let all = vectors();
    for vector in list(&all, "leaf_messages") {
        let message = bytes(&vector["message"]);
        let value: FromLeaf<'_> = postcard::from_bytes(&message).unwrap();
        assert_eq!(pack(&value), message, "{vector}");
        for one in [Version::One, Version::Two] {
            let is_of = version(vector).is_none_or(|version| version == one);
            assert_eq!(read_leaf(&message, one).is_some(), is_of, "{vector}");
            for len in 0..message.len() {
                assert!(read_leaf(&message[..len], one).is_none(), "{vector} cut");
            }
        }
    }
    for vector in list(&all, "gateway_messages") {
        let message = bytes(&vector["message"]);
        let value: FromGateway<'_> = postcard::from_bytes(&message).unwrap();
        assert_eq!(pack(&value), message, "{vector}");
        let is_of = version(vector) != Some(Version::One);
        assert_eq!(
            read_gateway(&mut message.clone()).is_some(),
            is_of,
            "{vector}"
        );
        for len in 0..message.len() {
            let cut = &mut message[..len].to_vec();
            assert!(read_gateway(cut).is_none(), "{vector} cut");
        }
    }
}

fn pack(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_slice(value, &mut [0; 512]).unwrap().to_vec()
}

/// What the fields of a vector say is what the message says.
#[test]
fn fields() {
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
    leaf("Credit", FromLeaf::Credit(65_538, 70_000));
    gateway("IdRetrieved", FromGateway::IdRetrieved("9d4f"));
    gateway("Message", FromGateway::Message(br#"{"type":"OPEN"}"#));
    gateway(
        "ChannelBuffered",
        FromGateway::ChannelBuffered(7, 300, 70_000),
    );
    gateway("IceState", FromGateway::IceState(7, 0));
    gateway("SessionFailed", FromGateway::SessionFailed(7, 0));
    gateway("MessageTooBig", FromGateway::MessageTooBig(7));
    gateway("Credit", FromGateway::Credit(7, u32::MAX));
    let credit = find("leaf_messages", "Credit");
    let said = read_leaf(&credit, Version::Two);
    assert!(matches!(said, Some(Said::Credit(65_538, 70_000))));
}

/// Frames as they leave an end.
fn written(outgoing: &mut Outgoing, memory: &mut [u8]) -> Vec<Vec<u8>> {
    let mut out = [0; 4096];
    core::iter::from_fn(|| match outgoing.write(memory, &mut out).0 {
        0 => None,
        len => Some(out[..len].to_vec()),
    })
    .collect()
}

#[test]
fn control() {
    for vector in list(&vectors(), "control") {
        let message = bytes(&vector["message"]);
        let first = vector["first_number"].as_u64().unwrap() as u8;
        let longest = vector["longest_frame"].as_u64().unwrap() as u16;
        let cost = vector["cost"].as_u64().unwrap() as usize;
        let expected: Vec<Vec<u8>> = list(vector, "frames").iter().map(bytes).collect();

        let mut memory = vec![0; 4096];
        let mut outgoing = Outgoing::control(longest, 1 << 20);
        for number in 0..first {
            outgoing.push(&mut memory, &FromLeaf::Close).unwrap();
            assert_eq!(written(&mut outgoing, &mut memory).len(), 1);
            outgoing.acknowledge(&mut memory, number.wrapping_add(1), false);
        }
        outgoing.push(&mut memory, &super::Raw(&message)).unwrap();
        assert_eq!(written(&mut outgoing, &mut memory), expected, "{first}");

        let mut memory = vec![0; cost];
        let mut inbox = Inbox::new(&memory);
        let mut stream = Stream::new(Outgoing::default(), Duration::from_secs(1));
        (0..first).for_each(|_| stream.arrived());
        for frame in &expected {
            let frame = unstuff(frame).unwrap();
            let Some(Frame::Control {
                flags,
                number,
                payload,
            }) = Frame::parse(&frame)
            else {
                panic!("{first}")
            };
            assert_eq!(stream.place(number), Place::Next);
            inbox.accept(&mut memory, flags, payload).unwrap();
            stream.arrived();
            assert_eq!(stream.place(number), Place::Repeated);
        }
        assert_eq!(inbox.front(&mut memory).unwrap(), message);
        assert!(inbox.accept(&mut memory, 3, b"").is_err(), "no more room");
    }
}

#[test]
fn data() {
    for vector in list(&vectors(), "data") {
        let message = bytes(&vector["message"]);
        let first = vector["first_number"].as_u64().unwrap() as u8;
        let longest = vector["longest_frame"].as_u64().unwrap() as u16;
        let session = vector["session"].as_u64().unwrap() as u32;
        let cost = vector["cost"].as_u64().unwrap() as u32;
        let kind = match vector["text"].as_bool().unwrap() {
            true => MessageKind::Text,
            false => MessageKind::Binary,
        };
        let expected: Vec<Vec<u8>> = list(vector, "frames").iter().map(bytes).collect();

        let mut memory = vec![0; 4096];
        let mut outgoing = Outgoing::data(longest, memory.len());
        for number in 0..first {
            outgoing.push_data(&mut memory, 0, 1, 3, b"").unwrap();
            assert_eq!(written(&mut outgoing, &mut memory).len(), 1);
            outgoing.acknowledge(&mut memory, number.wrapping_add(1), false);
        }
        let (mut whole, mut credit) = (Vec::new(), Credit::default());
        credit.grant(cost);
        for (n, expected_frame) in expected.iter().enumerate() {
            let frame = unstuff(expected_frame).unwrap();
            let Some(Frame::Data(frame)) = Frame::parse(&frame) else {
                panic!("{first}")
            };
            assert_eq!(frame.session, session);
            assert_eq!(frame.number, first.wrapping_add(n as u8));
            let fragment = fragment_of(&frame);
            assert_eq!(fragment.kind, kind);
            assert_eq!(fragment.first, n == 0);
            assert_eq!(fragment.last, n + 1 == expected.len());
            credit.spend(frame.flags, frame.payload.len()).unwrap();
            whole.extend_from_slice(frame.payload);
            outgoing
                .push_data(&mut memory, 0, session, frame.flags, frame.payload)
                .unwrap();
        }
        assert_eq!(written(&mut outgoing, &mut memory), expected, "{first}");
        assert_eq!(whole, message);
        assert_eq!(credit.left(), 0, "the cost is exact");
    }
}
