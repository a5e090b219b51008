//! `wire`: every parser and every emitter.

use peer_core::wire::{candidate, chunk, dcep, http, json, sdp, signal, websocket};

pub(crate) fn run() -> Option<()> {
    let mut buffer = [0; 2048];
    json_and_signals(&mut buffer)?;
    descriptions(&mut buffer)?;
    channel(&mut buffer)?;
    broker(&mut buffer)
}

fn json_and_signals(buffer: &mut [u8]) -> Option<()> {
    let mut text = *br#"{"name":"caf\u00e9","n":[1,2.5]}"#;
    let mut reader = json::Reader::new(&mut text).ok()?;
    reader.begin_object().ok()?;
    (reader.next_key().ok()?? == "name" && reader.string().ok()? == "café").then_some(())?;
    let mut text = *b"[1,-2,3e0]";
    let numbers: (u8, i8, f64) = json::from_slice(&mut text).ok()?;
    (json::to_slice(&numbers, buffer).ok()? == b"[1,-2,3]").then_some(())?;
    json::check("{}").ok()?;

    let offer = signal::Offer {
        sdp: "v=0\r\n",
        connection_id: Some("dc_1"),
        ..Default::default()
    };
    signal::write_offer("bob", &offer, buffer).ok()?;
    let answer = signal::Answer {
        sdp: "v=0\r\n",
        connection_id: "dc_1",
    };
    signal::write_answer("bob", &answer, buffer).ok()?;
    signal::write_candidate(
        "bob",
        "dc_1",
        &signal::IceCandidateInit::new("candidate:1"),
        buffer,
    )
    .ok()?;
    let mut leave = *br#"{"type":"LEAVE","src":"bob"}"#;
    let left = signal::Signal::parse(&mut leave).ok()?;
    (left == signal::Signal::Leave { src: "bob" }).then_some(())
}

fn descriptions(buffer: &mut [u8]) -> Option<()> {
    let emit = sdp::Emit {
        session_id: 7,
        ufrag: "abcd",
        pwd: "0123456789012345678901",
        fingerprint: &[0xab; 32],
        setup: sdp::Setup::Actpass,
        mid: "0",
        sctp_port: sdp::SCTP_PORT,
        max_message_size: 262_144,
        candidates: &[],
    };
    let text = emit.write(buffer).ok()?;
    sdp::parse(text)
        .ok()?
        .has_fingerprint(&[0xab; 32])
        .then_some(())?;
    let line = "candidate:1 1 udp 2113937151 192.0.2.2 43600 typ host";
    let parsed = candidate::parse(line).ok()?;
    (parsed.port == 43_600).then_some(())
}

fn channel(buffer: &mut [u8]) -> Option<()> {
    let open = dcep::Open {
        label: "readings",
        ..dcep::Open::default()
    };
    let len = open.write(buffer).ok()?;
    (dcep::parse(buffer.get(..len)?).ok()? == dcep::DcepMessage::Open(open)).then_some(())?;
    matches!(chunk::parse(chunk::CLOSE), Ok(chunk::BinaryMessage::Close)).then_some(())?;
    let chunks = chunk::Chunks::new(core::num::NonZeroU32::MIN, b"packed");
    (chunks.count() == 1).then_some(())
}

fn broker(buffer: &mut [u8]) -> Option<()> {
    let broker = http::BrokerAddress {
        host: "localhost",
        port: 9000,
        path: "/",
        key: "peerjs",
    };
    broker.write_id_request(1, buffer).ok()?;
    broker
        .write_upgrade_request("alice", "token", b"the sample nonce", buffer)
        .ok()?;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nid";
    (http::ResponseHead::parse(answer).ok()??.status == 200).then_some(())?;

    websocket::write_frame(websocket::Opcode::Text, b"{}", [1, 2, 3, 4], buffer).ok()?;
    let mut decoder = websocket::Decoder::new(buffer);
    let mut bytes = &b"\x81\x02{}"[..];
    matches!(
        decoder.decode(&mut bytes),
        Ok(Some(websocket::ServerMessage::Text(_)))
    )
    .then_some(())
}
