//! A leaf of version 1, written from the specification alone: the gateway goes on taking those.

use core::future::IntoFuture as _;
use std::collections::VecDeque;

use peer_net::Serialization;
use peer_net::gateway::Gateway;
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::surroundings::{Outcome, bob, broker, options, soon, until_status};

/// What it says of itself: the longest frame, and its window.
const FRAME: u16 = 1024;
const WINDOW: u32 = 16_384;

pub(crate) struct OldLeaf {
    stream: TcpStream,
    /// Bytes that are not a whole frame.
    stuffed: Vec<u8>,
    /// The next number each way.
    sent: u8,
    came: u8,
    /// What all messages cost that were taken.
    taken: u32,
    half: Vec<u8>,
    messages: VecDeque<Vec<u8>>,
}

impl OldLeaf {
    /// One that its gateway has welcomed. Its name is its id.
    pub(crate) async fn up(gateway: &Gateway, name: &str, key: u8) -> Self {
        let stream = TcpStream::connect(gateway.local_addrs()[0]).await;
        let mut leaf = Self {
            stream: stream.expect("it listens"),
            stuffed: Vec::new(),
            sent: 0,
            came: 0,
            taken: 0,
            half: Vec::new(),
            messages: VecDeque::new(),
        };
        let mut hello = vec![0x01, 1];
        hello.extend([9; 16]);
        hello.extend(FRAME.to_le_bytes());
        hello.extend(WINDOW.to_le_bytes());
        hello.extend(name.as_bytes());
        leaf.write(&hello).await;
        let challenge = leaf.frame().await;
        assert_eq!(challenge[..2], [0x02, 1]);
        // Type, version, nonce, frame, window: 24 bytes.
        let (head, proof) = challenge.split_at(24);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]);
        let prove = |who: &[u8]| {
            let text = [who, &[hello.len() as u8], &hello, head].concat();
            hmac::sign(&key, &text).as_ref().to_vec()
        };
        assert_eq!(proof, prove(b"peer link gateway"));
        let ours = [&[0x03], &prove(b"peer link leaf")[..]].concat();
        leaf.write(&ours).await;
        assert_eq!(leaf.frame().await, [0x04]);
        leaf
    }

    async fn write(&mut self, body: &[u8]) {
        let plain = [body, &crc(body).to_le_bytes()].concat();
        let sealed = [&[0], &stuff(&plain)[..], &[0]].concat();
        soon(self.stream.write_all(&sealed))
            .await
            .expect("it lives");
    }

    /// The next frame's body.
    async fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.stuffed.iter().position(|byte| *byte == 0) {
                let stuffed: Vec<u8> = self.stuffed.drain(..=end).collect();
                if end == 0 {
                    continue;
                }
                let mut plain = unstuff(&stuffed[..end]);
                let crc_of_it = plain.split_off(plain.len() - 2);
                assert_eq!(crc_of_it, crc(&plain).to_le_bytes());
                return plain;
            }
            let mut piece = [0; 512];
            let len = soon(self.stream.read(&mut piece)).await.expect("it lives");
            assert!(len > 0, "the gateway has cut it");
            self.stuffed.extend(&piece[..len]);
        }
    }

    /// Says a message, in one frame for each kilobyte.
    pub(crate) async fn say(&mut self, message: &[u8]) {
        let pieces: Vec<_> = message.chunks(usize::from(FRAME) - 4).collect();
        for (n, piece) in pieces.iter().enumerate() {
            let first = u8::from(n == 0);
            let last = u8::from(n + 1 == pieces.len());
            let body = [&[0x10 | first | last << 1, self.sent], *piece].concat();
            self.sent = self.sent.wrapping_add(1);
            self.write(&body).await;
        }
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Vec<u8> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            let frame = self.frame().await;
            let (&kind, rest) = frame.split_first().expect("it has a type");
            match kind {
                // Nothing is lost on TCP, so there is nothing to be sent again.
                0x07 => {}
                0x10..=0x13 => {
                    assert_eq!(rest[0], self.came, "in order");
                    self.came = self.came.wrapping_add(1);
                    self.half.extend(&rest[1..]);
                    if kind & 2 != 0 {
                        let message = core::mem::take(&mut self.half);
                        self.taken += 4 + message.len() as u32;
                        self.messages.push_back(message);
                    }
                    let mut status = vec![0x07, 0, self.came];
                    status.extend((self.taken + WINDOW).to_le_bytes());
                    self.write(&status).await;
                }
                other => panic!("not of version 1: {other:02x}"),
            }
        }
    }

    /// The next message with this number, without it and its session. Others are kept for later, as
    /// a leaf has to keep candidates that come early.
    pub(crate) async fn until(&mut self, number: u8, session: Option<u8>) -> Vec<u8> {
        let mut others = VecDeque::new();
        loop {
            let message = self.hear().await;
            if message[0] == number && session.is_none_or(|session| message[1] == session) {
                others.append(&mut self.messages);
                self.messages = others;
                return message[1 + usize::from(session.is_some())..].to_vec();
            }
            others.push_back(message);
        }
    }

    /// The next signal of this type.
    async fn signal(&mut self, kind: &str) -> Value {
        loop {
            let message = self.until(2, None).await;
            let signal: Value = serde_json::from_slice(text(&message)).expect("JSON");
            if signal["type"] == kind {
                return signal;
            }
        }
    }

    async fn send(&mut self, signal: &Value) {
        self.say(&with_text(&[2], &signal.to_string())).await;
    }

    /// Opens its broker, and answers Bob's offer as session 5.
    async fn answer(&mut self, id: &str) {
        let open = with_text(&with_text(&[1], "old-token"), id);
        self.say(&open).await;
        self.signal("OPEN").await;
        let offer = self.signal("OFFER").await;
        let sdp = offer["payload"]["sdp"]["sdp"].as_str().expect("a text");
        self.say(&with_text(&[5, 5], sdp)).await;
        let sdp = self.until(5, Some(5)).await;
        let sdp = core::str::from_utf8(text(&sdp)).expect("a text");
        let connection = &offer["payload"]["connectionId"];
        let answer = json!({"type": "ANSWER", "dst": offer["src"], "payload": {
            "sdp": {"type": "answer", "sdp": sdp}, "type": "data", "connectionId": connection,
        }});
        self.send(&answer).await;
        // Candidates go both ways until the channel is open.
        loop {
            let message = self.hear().await;
            match message[..message.len().min(2)] {
                [6, 5] => {
                    let candidate = core::str::from_utf8(text(&message[2..])).expect("a text");
                    let signal = json!({"type": "CANDIDATE", "dst": offer["src"], "payload": {
                        "candidate": {"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0},
                        "type": "data", "connectionId": connection,
                    }});
                    self.send(&signal).await;
                }
                [2, _] => {
                    let signal: Value = serde_json::from_slice(text(&message[1..])).expect("JSON");
                    if signal["type"] == "CANDIDATE" {
                        let candidate = &signal["payload"]["candidate"]["candidate"];
                        let candidate = candidate.as_str().expect("a text");
                        self.say(&with_text(&[7, 5], candidate)).await;
                    }
                }
                [7, 5] => return,
                _ => {}
            }
        }
    }
}

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

fn stuff(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut runs = plain.split(|byte| *byte == 0).peekable();
    while let Some(mut run) = runs.next() {
        while run.len() >= 254 {
            out.push(255);
            out.extend(&run[..254]);
            run = &run[254..];
            if run.is_empty() && runs.peek().is_none() {
                return out;
            }
        }
        out.push(run.len() as u8 + 1);
        out.extend(run);
    }
    out
}

fn unstuff(mut stuffed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((&code, rest)) = stuffed.split_first() {
        let (run, rest) = rest.split_at(usize::from(code) - 1);
        plain.extend(run);
        if code < 255 && !rest.is_empty() {
            plain.push(0);
        }
        stuffed = rest;
    }
    plain
}

/// A text behind these bytes.
fn with_text(head: &[u8], text: &str) -> Vec<u8> {
    let mut message = head.to_vec();
    let mut len = text.len();
    while len >= 128 {
        message.push(len as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend(text.as_bytes());
    message
}

/// The text that a message ends with.
fn text(mut bytes: &[u8]) -> &[u8] {
    while bytes[0] & 0x80 != 0 {
        bytes = &bytes[1..];
    }
    &bytes[1..]
}

#[tokio::test]
async fn a_leaf_of_version_1_is_served() -> Outcome {
    let broker = broker().await;
    let gateway = Gateway::bind(options(&broker)).await?;
    let bob = bob(&broker).await;
    let mut leaf = OldLeaf::up(&gateway, "one", 1).await;
    let connect = async {
        // The leaf has to be there.
        until_status(&gateway, |status| status.leaves[0].id.is_some()).await;
        let connect = bob.connect("one").serialization(Serialization::Raw);
        soon(connect.reliable(true).into_future()).await
    };
    let (theirs, ()) = tokio::join!(connect, leaf.answer("one"));
    let theirs = theirs?;
    leaf.say(&with_text(&[8, 5], "from an old leaf")).await;
    let value = soon(theirs.recv_as::<String>()).await?;
    assert_eq!(value.as_deref(), Some("from an old leaf"));
    let long = "x".repeat(12_000);
    theirs.send_text(&long).await?;
    assert_eq!(text(&leaf.until(8, Some(5)).await), long.as_bytes());
    // Longer than its window: dropped and told.
    theirs.send_text(&"x".repeat(17_000)).await?;
    assert!(leaf.until(15, Some(5)).await.is_empty());
    theirs.send_text("after it").await?;
    assert_eq!(text(&leaf.until(8, Some(5)).await), b"after it");
    // Its session is there until the leaf has closed it.
    theirs.close();
    leaf.until(11, Some(5)).await;
    assert_eq!(gateway.status().leaves[0].connections.len(), 1);
    leaf.say(&[10, 5]).await;
    until_status(&gateway, |status| status.leaves[0].connections.is_empty()).await;
    Ok(())
}
