//! What both ends of a handshake share.

use super::certificate::{Identity, digest, public_key};
use super::error::DtlsError;
use super::flight::Flight;
use super::fragments::{FinishedParts, Fragment, header};
use super::hello::{HELLO_MAX, write_client_hello};
use super::prf::{self, MASTER_LEN};
use super::protection::{KeyBlock, Suite};
#[cfg(feature = "dtls-server")]
use super::server_messages::ClientHello;
use super::step::{Message, Step};
use super::{Config, HANDSHAKE_MAX, Role};
use crate::bytes;
use crate::rtc::crypto::{
    Crypto, CryptoError, DIGEST_LEN, KeyPair, PUBLIC_KEY_LEN, SIGNATURE_LEN, Secret, Sha256 as _,
    equal,
};

/// The key of one handshake: made ahead, used once.
pub(super) enum Share {
    Wanted,
    Made(KeyPair),
    Used,
}

/// What is to be calculated next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Idle,
    /// Client: is the server's share signed by its certificate?
    VerifyKeyExchange,
    /// Client: the keys.
    ClientAgree,
    /// Client: the proof of our certificate's key.
    ClientSign,
    /// Server: the answer to a hello.
    #[cfg(feature = "dtls-server")]
    Answer(ClientHello),
    /// Server: the keys.
    #[cfg(feature = "dtls-server")]
    ServerAgree,
    /// Server: did the client prove its certificate's key?
    #[cfg(feature = "dtls-server")]
    VerifyCertificate,
}

/// A handshake under way. Its secrets are wiped when it is dropped.
pub(super) struct Handshake<C: Crypto> {
    pub(super) role: Role,
    pub(super) step: Step,
    pub(super) work: Work,
    pub(super) share: Share,
    pub(super) use_srtp: bool,
    /// Ours, most wanted first.
    pub(super) suites: &'static [Suite],
    /// The one that was chosen.
    pub(super) suite: Suite,
    pub(super) client_random: [u8; 32],
    pub(super) server_random: [u8; 32],
    /// What the certificate has to hash to.
    fingerprint: [u8; DIGEST_LEN],
    pub(super) remote_key: [u8; PUBLIC_KEY_LEN],
    pub(super) remote_share: [u8; PUBLIC_KEY_LEN],
    /// What the remote's signature is over.
    pub(super) digest: [u8; DIGEST_LEN],
    pub(super) signature: [u8; SIGNATURE_LEN],
    /// Of the messages up to the ClientKeyExchange (RFC 7627 §3).
    pub(super) session_hash: [u8; DIGEST_LEN],
    master: Secret<MASTER_LEN>,
    finished: FinishedParts,
    transcript: C::Sha256,
    sent: u16,
    received: usize,
}

impl<C: Crypto> Handshake<C> {
    /// Begins, with a flight if we are client.
    pub(super) fn begin(
        crypto: &mut C,
        config: &Config,
        flight: &mut Flight<'_>,
    ) -> Result<Self, DtlsError> {
        let mut random = [0; 32];
        crypto.random(&mut random).map_err(|_| DtlsError::Random)?;
        let mut handshake = Self {
            role: config.role,
            step: match config.role {
                Role::Client => Step::ServerHelloOrCookie,
                #[cfg(feature = "dtls-server")]
                Role::Server => Step::ClientHello,
            },
            work: Work::Idle,
            share: Share::Wanted,
            use_srtp: config.use_srtp,
            suites: config.prefer.first(C::AEADS),
            suite: config.prefer,
            client_random: random,
            server_random: random,
            fingerprint: config.fingerprint,
            remote_key: [0; PUBLIC_KEY_LEN],
            remote_share: [0; PUBLIC_KEY_LEN],
            digest: [0; DIGEST_LEN],
            signature: [0; SIGNATURE_LEN],
            session_hash: [0; DIGEST_LEN],
            master: Secret::ZERO,
            finished: FinishedParts::default(),
            transcript: crypto.sha256(),
            sent: 0,
            received: 0,
        };
        if !config.role.is_server() {
            handshake.hello(&[], flight)?;
        }
        Ok(handshake)
    }

    /// Makes the flight of a ClientHello.
    pub(super) fn hello(&mut self, cookie: &[u8], flight: &mut Flight) -> Result<(), DtlsError> {
        let mut body = [0; HELLO_MAX];
        let random = self.client_random;
        let len = write_client_hello(&mut body, &random, cookie, self.suites, self.use_srtp);
        let body = bytes::front(&body, len.ok_or(DtlsError::Internal)?);
        flight.clear();
        self.push(flight, Message::ClientHello, &[body])?;
        flight.begin();
        Ok(())
    }

    /// Begins the transcript anew: the first hello and its cookie do not count (RFC 6347 §4.2.6).
    pub(super) fn restart_transcript(&mut self, crypto: &mut C) {
        self.transcript = crypto.sha256();
    }

    /// Appends a message to our flight and to the transcript.
    pub(super) fn push(
        &mut self,
        flight: &mut Flight<'_>,
        message: Message,
        parts: &[&[u8]],
    ) -> Result<(), DtlsError> {
        let bytes = flight.push(message.number(), self.sent, parts);
        self.transcript.update(bytes.ok_or(DtlsError::Internal)?);
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// Appends a message of the remote's to the transcript.
    fn hash(&mut self, kind: u8, sequence: u16, body: &[u8]) -> Result<(), DtlsError> {
        let header = header(kind, sequence, body.len()).ok_or(DtlsError::Internal)?;
        self.transcript.update(&header);
        self.transcript.update(body);
        Ok(())
    }

    /// The hash of all messages so far.
    pub(super) fn transcript(&self) -> [u8; DIGEST_LEN] {
        self.transcript.clone().finish()
    }

    /// Whether nothing more can be taken before the next operation is done.
    pub(super) fn is_busy(&self) -> bool {
        self.work != Work::Idle
    }

    pub(super) fn wants_work(&self) -> bool {
        self.is_busy() || matches!(self.share, Share::Wanted)
    }

    /// Whether the remote's Finished may come now.
    pub(super) fn awaits_finished(&self) -> bool {
        self.step == Step::Finished && !self.is_busy()
    }

    /// Takes the next message of the remote's.
    pub(super) fn message(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        kind: u8,
        sequence: u16,
        body: &[u8],
    ) -> Result<(), DtlsError> {
        let message = Message::read(kind);
        let after = self
            .step
            .after(message)
            .ok_or(DtlsError::Unexpected(message))?;
        self.received = self
            .received
            .saturating_add(super::fragments::HEADER_LEN + body.len());
        if self.received > HANDSHAKE_MAX {
            return Err(DtlsError::HandshakeTooLong);
        }
        if message == Message::CertificateVerify {
            self.digest = self.transcript();
        }
        if message != Message::HelloVerifyRequest {
            self.hash(kind, sequence, body)?;
        }
        match self.role {
            Role::Client => self.take_from_server(crypto, flight, message, body)?,
            #[cfg(feature = "dtls-server")]
            Role::Server => self.take_from_client(crypto, flight, message, body)?,
        }
        self.step = after;
        Ok(())
    }

    /// Takes the remote's certificate: the one that was signalled, and no other.
    pub(super) fn certificate(&mut self, crypto: &mut C, body: &[u8]) -> Result<(), DtlsError> {
        let certificate = super::message::read_certificate(body)?;
        if !equal(&digest(crypto, &[certificate]), &self.fingerprint) {
            return Err(DtlsError::Fingerprint);
        }
        self.remote_key = public_key(certificate).map_err(DtlsError::Certificate)?;
        Ok(())
    }

    /// Does one long operation: at most one on the curve. The keys, once they are there.
    pub(super) fn work(
        &mut self,
        crypto: &mut C,
        identity: &Identity,
        flight: &mut Flight<'_>,
    ) -> Result<Option<KeyBlock>, DtlsError> {
        if matches!(self.share, Share::Wanted) {
            self.share = Share::Made(crypto.key_pair().map_err(own_fault)?);
            return Ok(None);
        }
        match self.work {
            Work::Idle => {}
            Work::VerifyKeyExchange => {
                self.verify(crypto, DtlsError::KeyExchangeSignature)?;
                self.work = Work::ClientAgree;
            }
            Work::ClientAgree => {
                let share = self.use_share()?;
                self.client_key_exchange(flight, identity, &share)?;
                let keys = self.agree(crypto, &share)?;
                self.work = Work::ClientSign;
                return Ok(Some(keys));
            }
            Work::ClientSign => {
                self.client_finish(crypto, flight, identity)?;
                self.work = Work::Idle;
            }
            #[cfg(feature = "dtls-server")]
            Work::Answer(hello) => {
                self.answer(crypto, flight, identity, &hello)?;
                self.work = Work::Idle;
            }
            #[cfg(feature = "dtls-server")]
            Work::ServerAgree => {
                let share = self.use_share()?;
                let keys = self.agree(crypto, &share)?;
                self.work = Work::VerifyCertificate;
                return Ok(Some(keys));
            }
            #[cfg(feature = "dtls-server")]
            Work::VerifyCertificate => {
                self.verify(crypto, DtlsError::CertificateVerify)?;
                self.work = Work::Idle;
            }
        }
        Ok(None)
    }

    /// The share, which is wiped here: moving it out would leave its bytes behind.
    fn use_share(&mut self) -> Result<KeyPair, DtlsError> {
        let share = match &self.share {
            Share::Made(share) => Ok(share.clone()),
            Share::Wanted | Share::Used => Err(DtlsError::Internal),
        };
        self.share = Share::Used;
        share
    }

    fn verify(&self, crypto: &mut C, error: DtlsError) -> Result<(), DtlsError> {
        crypto
            .verify(&self.remote_key, &self.digest, &self.signature)
            .map_err(|_| error)
    }

    /// Agrees on the master secret and the keys.
    fn agree(&mut self, crypto: &mut C, share: &KeyPair) -> Result<KeyBlock, DtlsError> {
        let premaster = crypto.agree(&share.secret, &self.remote_share);
        let premaster = premaster.map_err(|_| DtlsError::Point)?;
        self.master = prf::master(crypto, &premaster, &self.session_hash);
        let (client, server) = (&self.client_random, &self.server_random);
        let block = prf::key_block(crypto, &self.master, client, server);
        Ok(KeyBlock::new(self.role, self.suite, block))
    }

    /// Ends our flight with a Finished.
    pub(super) fn push_finished(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
    ) -> Result<(), DtlsError> {
        let transcript = self.transcript();
        let client = !self.role.is_server();
        let data = prf::verify_data(crypto, &self.master, client, &transcript);
        self.hash(Message::Finished.number(), self.sent, &data)?;
        flight.finish(self.sent, data);
        flight.begin();
        Ok(())
    }

    /// Takes a fragment of the remote's Finished, which came encrypted. Whether that was all of it;
    /// our last flight is made then, if we are server.
    pub(super) fn finished(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        fragment: &Fragment<'_>,
    ) -> Result<bool, DtlsError> {
        let Some(data) = self.finished.insert(fragment)? else {
            return Ok(false);
        };
        let transcript = self.transcript();
        let client = self.role.is_server();
        let expected = prf::verify_data(crypto, &self.master, client, &transcript);
        if !equal(&expected, &data) {
            return Err(DtlsError::Finished);
        }
        self.hash(Message::Finished.number(), fragment.sequence, &data)?;
        flight.clear();
        if self.role.is_server() {
            self.push_finished(crypto, flight)?;
        }
        Ok(true)
    }
}

/// What went wrong where only our own key and randomness are used.
pub(super) const fn own_fault(error: CryptoError) -> DtlsError {
    match error {
        CryptoError::Random => DtlsError::Random,
        _ => DtlsError::OwnKey,
    }
}
