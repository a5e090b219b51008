//! What a TURN server may say: to the ICE agents of `ice`, and to one allocation of `stun`.

use std::net::SocketAddr;

use peer_core::rtc::ice::turn::{Incoming, Login, Transport, Turn, message_len};
use peer_core::rtc::stun::{
    Attribute, ChannelData, Class, Family, Message, Method, TransactionId, Writer, long_term_key,
};
use peer_core::time::{Duration, Instant};

use super::super::bytes::Bytes;
use super::crypto::null::NullCrypto;
use super::ice::address;

pub(super) const LOGIN: Login<'_> = Login {
    username: "user",
    password: "password",
};
const REALM: &[u8] = b"realm";
const ERRORS: [u16; 12] = [300, 400, 401, 403, 437, 438, 440, 441, 442, 486, 500, 508];

/// An answer to a request: what is in it is the script's choice.
pub(super) fn answer(request: &[u8], mapped: SocketAddr, script: &mut Bytes<'_>) -> Vec<u8> {
    let Ok(request) = Message::parse(request) else {
        return Vec::new();
    };
    let (has, value) = (script.byte(), script.byte());
    let class = match has & 1 {
        0 => Class::Success,
        _ => Class::Error,
    };
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer, class, request.method(), *request.transaction());
    if class == Class::Error {
        let code = ERRORS[usize::from(value) % ERRORS.len()];
        writer = writer.put(Attribute::ErrorCode { code, reason: b"" });
    }
    if has & 2 != 0 {
        writer = writer.put(Attribute::XorRelayedAddress(address(value)));
    }
    if has & 4 != 0 {
        writer = writer.put(Attribute::XorMappedAddress(mapped));
    }
    if has & 8 != 0 {
        writer = writer.put(Attribute::Lifetime(u32::from(script.word())));
    }
    if has & 16 != 0 {
        writer = writer.put(Attribute::Realm(REALM));
        writer = writer.put(Attribute::Nonce(&[value; 9]));
    }
    if has & 32 != 0 {
        writer = writer.put(Attribute::AlternateServer(address(value)));
    }
    if has & 64 == 0 {
        let mut crypto = NullCrypto::new(1);
        let (user, password) = (LOGIN.username.as_bytes(), LOGIN.password.as_bytes());
        let key = long_term_key(&mut crypto, user, REALM, password);
        writer = writer.integrity(&mut crypto, key.as_bytes());
    }
    let written = writer.fingerprint().finish();
    written.expect("512 bytes").to_vec()
}

/// What a peer sent, as the server passes it on.
pub(super) fn passed_on(peer: SocketAddr, channel: u8, data: &[u8]) -> Vec<u8> {
    if channel > 0 {
        let mut message = vec![0; ChannelData::HEADER_LEN];
        let number = 0x4000 + u16::from(channel & 3);
        ChannelData::write_header(number, data.len(), &mut message).expect("there is room");
        message.extend(data);
        return message;
    }
    let mut buffer = vec![0; data.len() + 64];
    let written = Writer::new(&mut buffer, Class::Indication, Method::DATA, [9; 12])
        .put(Attribute::XorPeerAddress(peer))
        .put(Attribute::Data(data))
        .finish();
    written.expect("there is room").to_vec()
}

/// The first message of a stream, and an allocation that hears it: as it is, and as the answer to
/// what it asked.
pub(super) fn heard(data: &[u8]) {
    if let Ok(Some(len)) = message_len(data) {
        assert!(len >= ChannelData::HEADER_LEN && len.is_multiple_of(4));
        if let Some(message) = data.get(..len) {
            assert_eq!(message_len(message), Ok(Some(len)));
        }
    }
    if ChannelData::parse(data).is_none() && Message::parse(data).is_err() {
        return;
    }
    let transports = [Transport::Datagram, Transport::Stream];
    let transport = transports[data.len() / 4 % 2];
    let mut one = Allocation::new(transport);
    let peer = SocketAddr::from(([203, 0, 113, 5], 1_000));
    for step in 0..6 {
        match step {
            // What an allocation goes through, if it is not ended by what it hears.
            0 => {}
            1 => one.answered(&[0x41 | 16, 2]),
            2 => one.answered(&[2 | 4 | 8, 0x15, 0x58, 2]),
            3 => {
                one.turn.permit(one.now, peer);
                one.answered(&[0]);
            }
            4 => {
                one.turn.bind(one.now, peer);
                one.answered(&[0]);
            }
            _ => one.turn.release(),
        }
        one.hears(data);
    }
}

struct Allocation {
    turn: Turn,
    crypto: NullCrypto,
    now: Instant,
    asked: Vec<u8>,
}

impl Allocation {
    fn new(transport: Transport) -> Self {
        Self {
            turn: Turn::new(transport, Family::Ipv4),
            crypto: NullCrypto::new(3),
            now: Instant::from_millis(1),
            asked: Vec::new(),
        }
    }

    fn ask(&mut self) {
        let mut out = [0; 1_200];
        let mut count = 0;
        while let Some(len) = self
            .turn
            .transmit(self.now, &mut self.crypto, LOGIN, &mut out)
            .expect("it is random")
        {
            self.asked = out[..len].to_vec();
            count += 1;
            assert!(count < 4, "one request after the other");
        }
        assert!(self.turn.timeout().is_none_or(|at| at > self.now));
    }

    fn answered(&mut self, choices: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        self.ask();
        let mapped = SocketAddr::from(([192, 0, 2, 1], 5_000));
        let answer = answer(&self.asked, mapped, &mut Bytes::new(choices));
        self.receive(&answer);
        self.ask();
    }

    fn hears(&mut self, data: &[u8]) {
        self.ask();
        self.receive(data);
        let transaction = 8..8 + size_of::<TransactionId>();
        let mut patched = data.to_vec();
        if let (Some(to), Some(from)) = (
            patched.get_mut(transaction.clone()),
            self.asked.get(transaction),
        ) {
            to.copy_from_slice(from);
            self.receive(&patched);
        }
        self.ask();
    }

    fn receive(&mut self, datagram: &[u8]) {
        let heard = self
            .turn
            .receive(self.now, &mut self.crypto, LOGIN, datagram);
        if let Incoming::Data(_, at) = heard {
            assert!(datagram.get(at).is_some());
        }
        assert!(self.turn.relayed().is_none() || !self.turn.is_over());
    }
}
