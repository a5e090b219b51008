//! A small TURN server in virtual time, which does what it is told.

use std::collections::HashMap;
use std::net::SocketAddr;

use peer_core::rtc::stun::{
    Attribute, ChannelData, Class, Message, Method, TransactionId, Writer, long_term_key,
};
use peer_core::time::{Duration, Instant};

use crate::net::{addr, crypto};

pub(crate) const USER: &str = "1761400000:peer";
pub(crate) const PASSWORD: &str = "c2VjcmV0";
const REALM: &[u8] = b"turn.test";

struct Client {
    relayed: SocketAddr,
    until: Instant,
    permissions: HashMap<std::net::IpAddr, Instant>,
    channels: HashMap<u16, SocketAddr>,
}

pub(crate) struct TurnServer {
    pub(crate) address: SocketAddr,
    clients: HashMap<SocketAddr, Client>,
    next: u16,
    /// Of each client: the number of its nonce, and of requests with it.
    nonces: HashMap<SocketAddr, (u32, u32)>,
    /// Each nonce is good for so many requests.
    pub(crate) nonce_lives: u32,
    /// What requests of a method are refused with.
    pub(crate) refuses: Option<(Method, u16)>,
    /// Answers have a wrong MESSAGE-INTEGRITY, or none.
    pub(crate) forges: Option<bool>,
    pub(crate) lifetime: u32,
    pub(crate) counts: HashMap<u16, usize>,
    pub(crate) indications: usize,
    pub(crate) channel_data: usize,
    /// Bytes of Send indications that went to peers.
    pub(crate) relayed_bytes: u64,
    /// What was said last with a LIFETIME of 0.
    pub(crate) released: usize,
}

type Packets = Vec<(SocketAddr, SocketAddr, Vec<u8>)>;

impl TurnServer {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: addr(address),
            clients: HashMap::new(),
            next: 40_000,
            nonces: HashMap::new(),
            nonce_lives: u32::MAX,
            refuses: None,
            forges: None,
            lifetime: 600,
            counts: HashMap::new(),
            indications: 0,
            channel_data: 0,
            relayed_bytes: 0,
            released: 0,
        }
    }

    fn nonce(&self, from: SocketAddr) -> Vec<u8> {
        let (number, _) = self.nonces.get(&from).copied().unwrap_or_default();
        format!("nonce-{number}").into_bytes()
    }

    /// What it sends when this comes to it, or to one of its relayed addresses.
    pub(crate) fn arrive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        packet: &[u8],
    ) -> Packets {
        self.clients.retain(|_, client| client.until > now);
        if to != self.address {
            return self.relay(now, from, to, packet).into_iter().collect();
        }
        if let Some(data) = ChannelData::parse(packet) {
            let known = self.clients.get(&from).and_then(|client| {
                let peer = client.channels.get(&data.channel)?;
                Some((client.relayed, *peer, data.data.to_vec()))
            });
            self.channel_data += 1;
            return known.into_iter().collect();
        }
        let message = Message::parse(packet).expect("STUN");
        if message.method() == Method::SEND {
            return self.send(now, from, &message).into_iter().collect();
        }
        assert_eq!(message.class(), Class::Request);
        let answer = self.answer(now, from, &message);
        vec![(self.address, from, answer)]
    }

    fn relay(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        packet: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut clients = self.clients.iter();
        let (to, client) = clients.find(|(_, client)| client.relayed == to)?;
        client
            .permissions
            .get(&from.ip())
            .filter(|until| **until > now)?;
        let mut channels = client.channels.iter();
        let mut buffer = vec![0; packet.len() + 100];
        if let Some((number, _)) = channels.find(|(_, peer)| **peer == from) {
            ChannelData::write_header(*number, packet.len(), &mut buffer)?;
            buffer.truncate(4);
            buffer.extend(packet);
            return Some((self.address, *to, buffer));
        }
        let written = Writer::new(&mut buffer, Class::Indication, Method::DATA, [3; 12])
            .put(Attribute::XorPeerAddress(from))
            .put(Attribute::Data(packet))
            .finish();
        Some((self.address, *to, written.ok()?.to_vec()))
    }

    fn send(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let client = self.clients.get(&from)?;
        let (peer, data) = peer_and_data(message);
        client
            .permissions
            .get(&peer?.ip())
            .filter(|until| **until > now)?;
        self.indications += 1;
        self.relayed_bytes += data?.len() as u64;
        Some((client.relayed, peer?, data?.to_vec()))
    }

    fn answer(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) -> Vec<u8> {
        let method = message.method();
        *self.counts.entry(method.number()).or_default() += 1;
        let id = *message.transaction();
        let mut buffer = [0; 512];
        if method == Method::BINDING {
            return Writer::new(&mut buffer, Class::Success, method, id)
                .put(Attribute::XorMappedAddress(from))
                .finish()
                .unwrap()
                .to_vec();
        }
        let (mut user, mut nonce) = (None, None);
        for attribute in message.attributes() {
            match attribute {
                Attribute::Username(value) => user = Some(value),
                Attribute::Nonce(value) => nonce = Some(value),
                _ => {}
            }
        }
        let mut crypto = crypto(1);
        let key = long_term_key(&mut crypto, USER.as_bytes(), REALM, PASSWORD.as_bytes());
        let right = user == Some(USER.as_bytes())
            && message
                .verify_integrity(&mut crypto, key.as_bytes())
                .is_ok();
        if !right {
            return self.challenge(from, method, id, 401);
        }
        let right = nonce == Some(self.nonce(from).as_slice());
        let (number, used) = self.nonces.entry(from).or_default();
        *used += 1;
        if !right || *used > self.nonce_lives {
            (*number, *used) = (*number + 1, 0);
            return self.challenge(from, method, id, 438);
        }
        let refused = match self.refuses {
            Some((refused, code)) if refused == method => Some(code),
            _ => None,
        };
        let refused = refused.or_else(|| self.done(now, from, message).err());
        let class = if refused.is_some() {
            Class::Error
        } else {
            Class::Success
        };
        let mut writer = Writer::new(&mut buffer, class, method, id);
        if let Some(code) = refused {
            writer = writer.put(Attribute::ErrorCode { code, reason: b"" });
        } else if method == Method::ALLOCATE {
            writer = writer
                .put(Attribute::XorRelayedAddress(self.clients[&from].relayed))
                .put(Attribute::XorMappedAddress(from));
        }
        writer = writer.put(Attribute::Lifetime(self.lifetime));
        let wrong = [0; 16];
        writer = match self.forges {
            Some(true) => writer.integrity(&mut crypto, &wrong),
            Some(false) => writer,
            None => writer.integrity(&mut crypto, key.as_bytes()),
        };
        writer.finish().unwrap().to_vec()
    }

    fn challenge(&self, from: SocketAddr, method: Method, id: TransactionId, code: u16) -> Vec<u8> {
        let mut buffer = [0; 512];
        Writer::new(&mut buffer, Class::Error, method, id)
            .put(Attribute::ErrorCode { code, reason: b"" })
            .put(Attribute::Realm(REALM))
            .put(Attribute::Nonce(&self.nonce(from)))
            .finish()
            .unwrap()
            .to_vec()
    }

    fn done(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>) -> Result<(), u16> {
        let lifetime = Duration::from_secs(self.lifetime.into());
        if message.method() == Method::ALLOCATE {
            let udp = |it| it == Attribute::RequestedTransport(17);
            if !message.attributes().any(udp) {
                return Err(442);
            }
            self.next += 1;
            let relayed = SocketAddr::new(self.address.ip(), self.next);
            self.clients.entry(from).or_insert(Client {
                relayed,
                until: now + lifetime,
                permissions: HashMap::new(),
                channels: HashMap::new(),
            });
            return Ok(());
        }
        let client = self.clients.get_mut(&from).ok_or(437_u16)?;
        let (mut number, mut zero) = (None, false);
        for attribute in message.attributes() {
            match attribute {
                Attribute::XorPeerAddress(peer) => {
                    client
                        .permissions
                        .insert(peer.ip(), now + Duration::from_secs(300));
                    if let Some(number) = number {
                        let other = client.channels.insert(number, peer);
                        assert!(other.is_none_or(|other| other == peer));
                    }
                }
                Attribute::ChannelNumber(value) => number = Some(value),
                Attribute::Lifetime(0) => zero = true,
                _ => {}
            }
        }
        client.until = now + lifetime;
        if zero {
            self.clients.remove(&from);
            self.released += 1;
        }
        Ok(())
    }

    pub(crate) fn count(&self, method: Method) -> usize {
        self.counts.get(&method.number()).copied().unwrap_or(0)
    }

    /// As after a restart.
    pub(crate) fn forget(&mut self) {
        self.clients.clear();
        self.nonces.clear();
    }

    pub(crate) fn allocations(&self) -> usize {
        self.clients.len()
    }
}

fn peer_and_data<'a>(message: &Message<'a>) -> (Option<SocketAddr>, Option<&'a [u8]>) {
    let (mut peer, mut data) = (None, None);
    for attribute in message.attributes() {
        match attribute {
            Attribute::XorPeerAddress(address) => peer = Some(address),
            Attribute::Data(bytes) => data = Some(bytes),
            _ => {}
        }
    }
    (peer, data)
}
