//! The server's half of a handshake. It asks for no cookie: only a source that ICE has checked is
//! heard.

use super::certificate::{Identity, digest};
use super::error::DtlsError;
use super::flight::Flight;
use super::handshake::{Handshake, Share, Work, own_fault};
use super::hello::HELLO_MAX;
use super::message::{CURVE, ECDSA_SHA256, certificate_list};
use super::server_messages::{
    CERTIFICATE_REQUEST, ClientHello, read_certificate_verify, read_client_hello,
    read_client_key_exchange, write_server_hello,
};
use super::step::Message;
use crate::bytes;
use crate::rtc::crypto::{Crypto, signature};

impl<C: Crypto> Handshake<C> {
    pub(super) fn take_from_client(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        message: Message,
        body: &[u8],
    ) -> Result<(), DtlsError> {
        match message {
            Message::ClientHello => {
                let hello = read_client_hello(body, self.suites)?;
                (self.client_random, self.suite) = (hello.random, hello.suite);
                self.work = Work::Answer(hello);
            }
            Message::Certificate => {
                // It answers our flight, and so has it all.
                flight.clear();
                self.certificate(crypto, body)?;
            }
            Message::ClientKeyExchange => {
                self.remote_share = read_client_key_exchange(body)?;
                self.session_hash = self.transcript();
            }
            Message::CertificateVerify => {
                self.signature = read_certificate_verify(body)?;
                self.work = Work::ServerAgree;
            }
            _ => return Err(DtlsError::Unexpected(message)),
        }
        Ok(())
    }

    /// ServerHello to ServerHelloDone.
    pub(super) fn answer(
        &mut self,
        crypto: &mut C,
        flight: &mut Flight<'_>,
        identity: &Identity,
        hello: &ClientHello,
    ) -> Result<(), DtlsError> {
        let Share::Made(share) = &self.share else {
            return Err(DtlsError::Internal);
        };
        let point = share.public;
        let signed: [&[u8]; 4] = [&self.client_random, &self.server_random, &CURVE, &point];
        let digest = digest(crypto, &signed);
        let signed = crypto.sign(identity.secret(), &digest).map_err(own_fault)?;
        let mut der = [0; signature::DER_MAX];
        let len = signature::to_der(&signed, &mut der).ok_or(DtlsError::Internal)?;
        let [_, low] = u16::try_from(len)
            .map_err(|_| DtlsError::Internal)?
            .to_be_bytes();
        let der = bytes::front(&der, len);

        let mut body = [0; HELLO_MAX];
        let len = write_server_hello(&mut body, &self.server_random, hello, self.use_srtp);
        let body = bytes::front(&body, len.ok_or(DtlsError::Internal)?);
        let certificate = identity.certificate();
        let lengths = certificate_list(certificate.len()).ok_or(DtlsError::Internal)?;
        let exchange: [&[u8]; 5] = [&CURVE, &point, &ECDSA_SHA256, &[0, low], der];

        flight.clear();
        self.push(flight, Message::ServerHello, &[body])?;
        self.push(flight, Message::Certificate, &[&lengths, certificate])?;
        self.push(flight, Message::ServerKeyExchange, &exchange)?;
        self.push(flight, Message::CertificateRequest, &[CERTIFICATE_REQUEST])?;
        self.push(flight, Message::ServerHelloDone, &[])?;
        flight.begin();
        Ok(())
    }
}
