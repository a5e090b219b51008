//! The client's half of a handshake.

use super::certificate::{Identity, digest};
use super::error::DtlsError;
use super::flight::Flight;
use super::handshake::{Handshake, Work, own_fault};
use super::hello::{read_cookie, read_server_hello};
use super::message::{ECDSA_SHA256, certificate_list, read_certificate_request, read_key_exchange};
use super::step::Message;
use crate::bytes;
use crate::rtc::crypto::{Crypto, KeyPair, PUBLIC_KEY_LEN, signature};

impl<C: Crypto> Handshake<C> {
    pub(super) fn take_from_server(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        message: Message,
        body: &[u8],
    ) -> Result<(), DtlsError> {
        match message {
            Message::HelloVerifyRequest => {
                let cookie = read_cookie(body)?;
                self.restart_transcript(crypto);
                self.hello(cookie, flight)?;
            }
            Message::ServerHello => {
                (self.server_random, self.suite) =
                    read_server_hello(body, self.suites, self.use_srtp)?;
            }
            Message::Certificate => self.certificate(crypto, body)?,
            Message::ServerKeyExchange => {
                let exchange = read_key_exchange(body)?;
                let signed: [&[u8]; 3] =
                    [&self.client_random, &self.server_random, exchange.signed];
                self.digest = digest(crypto, &signed);
                self.remote_share = exchange.point;
                self.signature = exchange.signature;
            }
            Message::CertificateRequest => read_certificate_request(body)?,
            Message::ServerHelloDone => {
                if !body.is_empty() {
                    return Err(DtlsError::Malformed(message));
                }
                // All of the server's flight is here, so it has our hello.
                flight.clear();
                self.work = Work::VerifyKeyExchange;
            }
            _ => return Err(DtlsError::Unexpected(message)),
        }
        Ok(())
    }

    /// Certificate and ClientKeyExchange: the first half of our flight.
    pub(super) fn client_key_exchange(
        &mut self,
        flight: &mut Flight<'_>,
        identity: &Identity,
        share: &KeyPair,
    ) -> Result<(), DtlsError> {
        let certificate = identity.certificate();
        let lengths = certificate_list(certificate.len()).ok_or(DtlsError::Internal)?;
        self.push(flight, Message::Certificate, &[&lengths, certificate])?;
        const { assert!(PUBLIC_KEY_LEN == 65, "its length has one byte") };
        self.push(flight, Message::ClientKeyExchange, &[&[65], &share.public])?;
        self.session_hash = self.transcript();
        Ok(())
    }

    /// CertificateVerify, ChangeCipherSpec and Finished: the second half.
    pub(super) fn client_finish(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        identity: &Identity,
    ) -> Result<(), DtlsError> {
        let signed = crypto
            .sign(identity.secret(), &self.transcript())
            .map_err(own_fault)?;
        let mut der = [0; signature::DER_MAX];
        let len = signature::to_der(&signed, &mut der).ok_or(DtlsError::Internal)?;
        let [_, low] = u16::try_from(len)
            .map_err(|_| DtlsError::Internal)?
            .to_be_bytes();
        let der = bytes::front(&der, len);
        self.push(
            flight,
            Message::CertificateVerify,
            &[&ECDSA_SHA256, &[0, low], der],
        )?;
        self.push_finished(crypto, flight)
    }
}
