//! The broker's bytes at a client: HTTP, then WebSocket. Where they are cut makes no difference.

use peer_core::wire::http::{BrokerAddress, ResponseHead};
use peer_core::wire::websocket::{
    CONTROL_MAX, Decoder, FrameError, FrameHeader, Opcode, ServerMessage, apply_mask, write_frame,
};

use super::bytes::Bytes;

/// A response in growing pieces, and requests to hosts of any name.
pub fn http(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut cut = usize::from(bytes.word());
    let response = bytes.rest();
    let whole = ResponseHead::parse(response);
    for _ in 0..4 {
        cut %= response.len() + 1;
        match ResponseHead::parse(&response[..cut]) {
            Ok(Some(head)) => {
                assert!(head.len <= cut);
                assert_eq!(Ok(Some(head)), whole, "what is whole stays as it is");
            }
            Ok(None) => {}
            Err(_) => assert!(whole.is_err(), "what is wrong stays wrong"),
        }
        cut = cut * 7 + 3;
    }
    if let Ok(Some(head)) = whole {
        let _ = head.is_upgrade(&[7; 16]);
        for closed in [false, true] {
            let mut body = response[head.len..].to_vec();
            let len = body.len();
            if let Ok(Some(body)) = head.body.read(&mut body, closed) {
                assert!(body.len() <= len);
            }
        }
    }

    let text = String::from_utf8_lossy(response);
    let (host, path) = text.split_once(' ').unwrap_or((&text, ""));
    let broker = BrokerAddress {
        host,
        port: 9000,
        path,
        key: host,
    };
    let mut buffer = [0; 1024];
    for request in [
        broker.write_id_request(1, &mut buffer).map(str::to_owned),
        broker
            .write_upgrade_request(path, host, &[7; 16], &mut buffer)
            .map(str::to_owned),
    ]
    .into_iter()
    .flatten()
    {
        // Nobody can write a line of their own into it.
        let lines = request.split("\r\n").collect::<Vec<_>>();
        assert!(lines[0].starts_with("GET /") && lines[0].ends_with(" HTTP/1.1"));
        assert_eq!(lines[0].split(' ').count(), 3);
        assert!(lines.len() <= 8 && !request.replace("\r\n", "").contains(['\r', '\n']));
    }
}

/// Frames of a server, whole and in pieces; and ours, as the server would read them.
pub fn websocket(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (step, room) = (1 + bytes.below(40), usize::from(bytes.byte()));
    let frames = bytes.rest();
    assert_eq!(
        decode(frames, room, frames.len().max(1)),
        decode(frames, room, step),
        "where it is cut makes no difference"
    );

    let mask = [1, 2, 4, 250];
    for opcode in [Opcode::Text, Opcode::Ping] {
        let mut buffer = vec![0; frames.len() + FrameHeader::MAX];
        let len = write_frame(opcode, frames, mask, &mut buffer)
            .unwrap()
            .len();
        let sent = match opcode {
            Opcode::Ping => &frames[..frames.len().min(CONTROL_MAX)],
            _ => frames,
        };
        let header = FrameHeader::new(opcode, sent.len(), mask);
        assert_eq!(len, header.as_bytes().len() + sent.len());
        let mut payload = buffer[header.as_bytes().len()..len].to_vec();
        // Unmasked in two pieces.
        let cut = step.min(payload.len());
        apply_mask(&mut payload[cut..], mask, cut);
        apply_mask(&mut payload[..cut], mask, 0);
        assert_eq!(payload, sent);
        assert!(write_frame(opcode, frames, mask, &mut buffer[..len - 1]).is_err());
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(FrameError),
}

/// Everything that a decoder of `room` bytes says about frames that come in pieces of `step`.
fn decode(frames: &[u8], room: usize, step: usize) -> Vec<Seen> {
    let mut memory = vec![0; room];
    let mut decoder = Decoder::new(&mut memory);
    let mut seen = Vec::new();
    for mut piece in frames.chunks(step) {
        loop {
            let before = piece.len();
            match decoder.decode(&mut piece) {
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
                Ok(Some(received)) => {
                    assert!(piece.len() < before, "it moves on");
                    seen.push(match received {
                        ServerMessage::Text(bytes) => Seen::Text(bytes.to_vec()),
                        ServerMessage::Binary(bytes) => Seen::Binary(bytes.to_vec()),
                        ServerMessage::Ping(bytes) => Seen::Ping(bytes.to_vec()),
                        ServerMessage::Pong(bytes) => Seen::Pong(bytes.to_vec()),
                        ServerMessage::Close { code, reason } => {
                            Seen::Close(code, reason.to_owned())
                        }
                    });
                }
                Err(error) => {
                    seen.push(Seen::Error(error));
                    assert_eq!(decoder.decode(&mut piece).err(), Some(error), "ever after");
                    return seen;
                }
            }
        }
    }
    seen
}
