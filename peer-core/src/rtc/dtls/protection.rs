//! The protection of records: AES-128-GCM (RFC 5288) and ChaCha20-Poly1305 (RFC 7905).

use zeroize::Zeroize as _;

use super::Role;
use super::prf::KEY_BLOCK_LEN;
use super::record::{HEADER_LEN, Header, VERSION};
use crate::bytes;
use crate::rtc::crypto::{AeadKey, Aeads, Crypto, CryptoError, NONCE_LEN, Secret, TAG_LEN};

/// A cipher suite. Both are ECDHE-ECDSA with SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Suite {
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`.
    Aes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256`: faster where there is no AES instruction.
    ChaCha20Poly1305,
}

impl Suite {
    pub(super) const fn id(self) -> [u8; 2] {
        match self {
            Self::Aes128Gcm => [0xc0, 0x2b],
            Self::ChaCha20Poly1305 => [0xcc, 0xa9],
        }
    }

    /// Those that can be, this one first if it is one of them.
    pub(super) const fn first(self, aeads: Aeads) -> &'static [Self] {
        match (aeads, self) {
            (Aeads::Both, Self::Aes128Gcm) => &[Self::Aes128Gcm, Self::ChaCha20Poly1305],
            (Aeads::Both, Self::ChaCha20Poly1305) => &[Self::ChaCha20Poly1305, Self::Aes128Gcm],
            (Aeads::Aes128Gcm, _) => &[Self::Aes128Gcm],
            (Aeads::ChaCha20Poly1305, _) => &[Self::ChaCha20Poly1305],
        }
    }

    /// Bytes of the nonce that a record carries before its text.
    pub(super) const fn nonce_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 8,
            Self::ChaCha20Poly1305 => 0,
        }
    }
}

/// The keys of both directions as they were derived, a tenth as long as those that are prepared.
/// The few records of a handshake have theirs prepared one by one.
pub(super) struct KeyBlock {
    role: Role,
    suite: Suite,
    block: Secret<KEY_BLOCK_LEN>,
}

impl KeyBlock {
    /// Keeps what the suite needs of the block, and wipes the rest.
    pub(super) fn new(role: Role, suite: Suite, mut block: Secret<KEY_BLOCK_LEN>) -> Self {
        let needed = match suite {
            Suite::Aes128Gcm => 2 * (16 + 4),
            Suite::ChaCha20Poly1305 => 2 * (32 + 12),
        };
        if let Some(rest) = block.as_mut().get_mut(needed..) {
            rest.zeroize();
        }
        Self { role, suite, block }
    }

    /// Prepares the keys of what the remote sends.
    pub(super) fn read<C: Crypto>(&self, crypto: &mut C) -> Option<Keys<C>> {
        self.of(crypto, !self.role.is_server())
    }

    /// Prepares the keys of what we send.
    pub(super) fn write<C: Crypto>(&self, crypto: &mut C) -> Option<Keys<C>> {
        self.of(crypto, self.role.is_server())
    }

    /// The keys of what this end sends: first come the keys of client and server, then both IVs.
    fn of<C: Crypto>(&self, crypto: &mut C, by_server: bool) -> Option<Keys<C>> {
        let n = usize::from(by_server);
        let block = self.block.as_bytes();
        let (key, iv) = match self.suite {
            Suite::Aes128Gcm => (
                AeadKey::Aes128Gcm(block.get(16 * n..)?.first_chunk()?),
                block.get(32 + 4 * n..)?.get(..4)?,
            ),
            Suite::ChaCha20Poly1305 => (
                AeadKey::ChaCha20Poly1305(block.get(32 * n..)?.first_chunk()?),
                block.get(64 + 12 * n..)?.get(..12)?,
            ),
        };
        let mut kept = Secret::ZERO;
        bytes::copy(kept.as_mut(), iv)?;
        Some(Keys {
            suite: self.suite,
            aead: crypto.aead(key),
            iv: kept,
        })
    }
}

/// Keys of one direction, prepared.
pub(super) struct Keys<C: Crypto> {
    suite: Suite,
    aead: C::Aead,
    /// GCM uses the first 4 bytes.
    iv: Secret<NONCE_LEN>,
}

impl<C: Crypto> Keys<C> {
    /// GCM's nonce is the IV and what the record says; ChaCha20's is the IV, changed by epoch and
    /// sequence number.
    fn nonce(&self, explicit: [u8; 8]) -> [u8; NONCE_LEN] {
        let mut nonce = *self.iv.as_bytes();
        let (_, end) = nonce.split_at_mut(4);
        for (to, from) in end.iter_mut().zip(explicit) {
            *to = match self.suite {
                Suite::Aes128Gcm => from,
                Suite::ChaCha20Poly1305 => *to ^ from,
            };
        }
        nonce
    }

    /// Makes a record of the `len` bytes that lie [`text_at`](Self::text_at) bytes into `out`; the
    /// bytes of the whole record. The header's `len` is set here.
    pub(super) fn seal(
        &self,
        crypto: &mut C,
        mut header: Header,
        out: &mut [u8],
        len: usize,
    ) -> Option<usize> {
        let numbers = header.epoch_and_sequence();
        let aad = additional_data(&header, u16::try_from(len).ok()?);
        let nonce = self.nonce(numbers);
        let body_len = self
            .suite
            .nonce_len()
            .checked_add(len)?
            .checked_add(TAG_LEN)?;
        header.len = u16::try_from(body_len).ok()?;
        let record = out.get_mut(..HEADER_LEN + body_len)?;
        bytes::copy(record, &header.write())?;
        let (_, body) = record.split_at_mut_checked(HEADER_LEN)?;
        let (explicit, text) = body.split_at_mut_checked(self.suite.nonce_len())?;
        bytes::copy(explicit, numbers.get(..explicit.len())?)?;
        let (text, tag) = text.split_at_mut_checked(len)?;
        bytes::copy(tag, &crypto.seal(&self.aead, &nonce, &aad, text).ok()?)?;
        Some(HEADER_LEN + body_len)
    }

    /// Where the text lies in a record that is to be sealed.
    pub(super) const fn text_at(&self) -> usize {
        HEADER_LEN + self.suite.nonce_len()
    }

    /// Opens the body of a record in place and returns its text.
    pub(super) fn open<'b>(
        &self,
        crypto: &mut C,
        header: &Header,
        body: &'b mut [u8],
    ) -> Result<&'b mut [u8], CryptoError> {
        let cut = |body: &'b mut [u8]| {
            let (explicit, rest) = body.split_at_mut_checked(self.suite.nonce_len())?;
            let (text, tag) = rest.split_at_mut_checked(rest.len().checked_sub(TAG_LEN)?)?;
            // GCM's nonce is the sender's choice; ours is epoch and sequence number.
            let numbers = header.epoch_and_sequence();
            let explicit = explicit.first_chunk().copied().unwrap_or(numbers);
            Some((explicit, text, *tag.first_chunk::<TAG_LEN>()?))
        };
        let (explicit, text, tag) = cut(body).ok_or(CryptoError::NotVerified)?;
        let len = u16::try_from(text.len()).map_err(|_| CryptoError::NotVerified)?;
        let aad = additional_data(header, len);
        crypto.open(&self.aead, &self.nonce(explicit), &aad, text, &tag)?;
        Ok(text)
    }
}

/// Epoch, sequence number, type, version and the length of the text (RFC 5246 §6.2.3.3).
fn additional_data(header: &Header, len: u16) -> [u8; HEADER_LEN] {
    let mut aad = [0; HEADER_LEN];
    let [a, b] = VERSION;
    let bytes = header
        .epoch_and_sequence()
        .into_iter()
        .chain([header.content.number(), a, b])
        .chain(len.to_be_bytes());
    aad.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    aad
}
