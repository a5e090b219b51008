//! What the networks that carry datagrams between addresses share.

use std::net::SocketAddr;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::time::Duration;

use crate::flights::Random;

pub(crate) type Crypto = RustCrypto<Box<dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>>;

pub(crate) fn crypto(seed: u64) -> Crypto {
    let mut random = Random::new(seed);
    RustCrypto::new(Box::new(move |out| {
        out.iter_mut()
            .for_each(|byte| *byte = (random.next() >> 24) as u8);
        Ok(())
    }))
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What a path does to packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) delay: Duration,
    /// Up to this much more, at random, so packets overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) double: f64,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            double: 0.0,
        }
    }
}

/// A datagram on its way.
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) packet: Vec<u8>,
}
