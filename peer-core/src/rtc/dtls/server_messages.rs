//! The messages of a handshake that only a server reads or writes.

use super::error::DtlsError;
use super::hello::{SRTP, ensure, extension, for_each_extension};
use super::message::{ECDSA_SHA256, read_signature};
use super::protection::Suite;
use super::reader::{Reader, contains, u24};
use super::record::VERSION;
use super::step::Message;
use crate::bytes;
use crate::rtc::crypto::{PUBLIC_KEY_LEN, SIGNATURE_LEN};

/// What a client is asked for: ecdsa_sign, this algorithm, of any authority.
pub(super) const CERTIFICATE_REQUEST: &[u8] = &[1, 64, 0, 2, 4, 3, 0, 0];

const P256: [u8; 2] = [0, 23];
/// `SRTP_AES128_CM_HMAC_SHA1_80`.
const SRTP_PROFILE: [u8; 2] = [0, 1];
/// `TLS_EMPTY_RENEGOTIATION_INFO_SCSV` (RFC 5746 §3.3).
const RENEGOTIATION_SCSV: [u8; 2] = [0, 0xff];

/// What a server has to know of a ClientHello that it can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) random: [u8; 32],
    pub(super) suite: Suite,
    /// Whether the client named its point formats, and so the server does.
    pub(super) point_formats: bool,
    /// Whether the client offered the profile of SRTP that we know.
    pub(super) srtp: bool,
    /// Whether the client knows of safe renegotiation.
    pub(super) renegotiation_info: bool,
}

/// Reads a ClientHello, and refuses by name what is missing. Of the suites the first of `wanted`
/// that is offered is taken. A session to be resumed is not.
pub(super) fn read_client_hello(body: &[u8], wanted: &[Suite]) -> Result<ClientHello, DtlsError> {
    const MALFORMED: DtlsError = DtlsError::Malformed(Message::ClientHello);
    let mut reader = Reader::new(body);
    let mut fixed = || {
        let (version, random) = (reader.array::<2>()?, reader.array()?);
        let _session = reader.vec8().filter(|id| id.len() <= 32)?;
        let _cookie = reader.vec8()?;
        let (suites, compression) = (reader.vec16()?, reader.vec8()?);
        Some((version, random, suites, compression))
    };
    let (version, random, suites, compression) = fixed().ok_or(MALFORMED)?;
    // DTLS counts its versions down.
    if version[0] != 0xfe || version[1] > VERSION[1] {
        return Err(DtlsError::Version);
    }
    if suites.len() % 2 != 0 {
        return Err(MALFORMED);
    }
    if !compression.contains(&0) {
        return Err(DtlsError::Compression);
    }
    let mut hello = ClientHello {
        random,
        suite: wanted
            .iter()
            .copied()
            .find(|suite| contains(suites, suite.id()))
            .ok_or(DtlsError::CipherSuite)?,
        point_formats: false,
        srtp: false,
        renegotiation_info: contains(suites, RENEGOTIATION_SCSV),
    };
    let (mut master_secret, mut signature) = (false, false);
    for_each_extension(reader, Message::ClientHello, |kind, value| {
        let mut value = Reader::new(value);
        match kind {
            extension::SUPPORTED_GROUPS => {
                let groups = value.vec16().ok_or(MALFORMED)?;
                ensure(contains(groups, P256), DtlsError::Curve)?;
            }
            extension::POINT_FORMATS => {
                hello.point_formats = true;
                let formats = value.vec8().ok_or(MALFORMED)?;
                ensure(formats.contains(&0), DtlsError::PointFormat)?;
            }
            extension::SIGNATURE_ALGORITHMS => {
                signature = contains(value.vec16().ok_or(MALFORMED)?, ECDSA_SHA256);
            }
            extension::USE_SRTP => {
                hello.srtp = contains(value.vec16().ok_or(MALFORMED)?, SRTP_PROFILE);
            }
            extension::EXTENDED_MASTER_SECRET => master_secret = true,
            extension::RENEGOTIATION_INFO => {
                hello.renegotiation_info = true;
                let connection = value.vec8().ok_or(MALFORMED)?;
                ensure(connection.is_empty(), DtlsError::Renegotiation)?;
            }
            // What is not known is not answered (RFC 5246 §7.4.1.4).
            _ => {}
        }
        Ok(())
    })?;
    if !signature {
        return Err(DtlsError::SignatureAlgorithm);
    }
    if !master_secret {
        return Err(DtlsError::NoExtendedMasterSecret);
    }
    Ok(hello)
}

/// Writes the body of a ServerHello to the start of `out`; its bytes. No session can be resumed.
pub(super) fn write_server_hello(
    out: &mut [u8],
    random: &[u8; 32],
    hello: &ClientHello,
    use_srtp: bool,
) -> Option<usize> {
    let master_secret: &[u8] = &[0, 23, 0, 0];
    let renegotiation: &[u8] = if hello.renegotiation_info {
        &[0xff, 1, 0, 1, 0]
    } else {
        &[]
    };
    let formats: &[u8] = if hello.point_formats {
        &[0, 11, 0, 2, 1, 0]
    } else {
        &[]
    };
    let srtp: &[u8] = if use_srtp && hello.srtp { SRTP } else { &[] };
    let all = [master_secret, renegotiation, formats, srtp];
    let len = u24(all.iter().map(|extension| extension.len()).sum())?;
    let [a, b] = hello.suite.id();
    bytes::concat(
        out,
        &[
            &VERSION,
            random,
            &[0, a, b, 0],
            len.get(1..)?,
            master_secret,
            renegotiation,
            formats,
            srtp,
        ],
    )
}

/// Reads a CertificateVerify: the signature.
pub(super) fn read_certificate_verify(body: &[u8]) -> Result<[u8; SIGNATURE_LEN], DtlsError> {
    read_signature(body, Message::CertificateVerify)
}

/// Reads a ClientKeyExchange: the point.
pub(super) fn read_client_key_exchange(body: &[u8]) -> Result<[u8; PUBLIC_KEY_LEN], DtlsError> {
    let mut reader = Reader::new(body);
    let point = reader.vec8().filter(|_| reader.is_empty());
    let point = point.ok_or(DtlsError::Malformed(Message::ClientKeyExchange))?;
    point.try_into().map_err(|_| DtlsError::PointFormat)
}
