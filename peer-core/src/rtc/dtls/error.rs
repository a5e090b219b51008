//! Why a session failed or ended.

use core::fmt;

use super::certificate::CertificateError;
use super::step::Message;

/// Why a session failed.
///
/// Whoever can write to the network can make a handshake fail; nobody can make it succeed, or end a
/// session whose handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DtlsError {
    /// Our source of randomness failed.
    Random,
    /// Our cryptography refused our own key.
    OwnKey,
    /// The handshake was not done in its time.
    TimedOut {
        /// The last alert that came in plaintext, and so perhaps not from the remote.
        alert: Option<u8>,
    },
    /// A message came that may not come now.
    Unexpected(Message),
    /// A message cannot be read.
    Malformed(Message),
    /// A message is longer than the memory for it.
    MessageTooLong(Message),
    /// The messages together are longer than [`HANDSHAKE_MAX`](super::HANDSHAKE_MAX).
    HandshakeTooLong,
    /// The remote has not DTLS 1.2.
    Version,
    /// No cipher suite in common.
    CipherSuite,
    /// Not P-256.
    Curve,
    /// Not ECDSA with SHA-256.
    SignatureAlgorithm,
    /// Compressed records only.
    Compression,
    /// Compressed points only.
    PointFormat,
    /// No extended master secret (RFC 7627).
    NoExtendedMasterSecret,
    /// The remote wants to renegotiate.
    Renegotiation,
    /// The server answered an extension that was not asked for.
    UnsolicitedExtension(u16),
    /// The remote has no certificate.
    NoCertificate,
    /// The remote's certificate cannot be used.
    Certificate(CertificateError),
    /// The certificate is not the one of the description.
    Fingerprint,
    /// The server did not prove that it has the key of its certificate.
    KeyExchangeSignature,
    /// The client did not prove that it has the key of its certificate.
    CertificateVerify,
    /// The remote's point is not on the curve.
    Point,
    /// The remote saw another handshake than we did.
    Finished,
    /// The remote says that it failed, encrypted.
    Alert(u8),
    /// More records with a wrong tag than the keys may see.
    TooManyForgeries,
    /// No sequence number is left.
    SequenceExhausted,
    /// A broken invariant, of ours.
    Internal,
}

impl DtlsError {
    /// The alert that tells the remote (RFC 5246 §7.2.2, RFC 7627 §5.2).
    pub(super) const fn alert(self) -> u8 {
        match self {
            Self::Unexpected(_) => 10,
            Self::CipherSuite
            | Self::Curve
            | Self::SignatureAlgorithm
            | Self::NoExtendedMasterSecret
            | Self::Compression
            | Self::PointFormat
            | Self::Renegotiation
            | Self::NoCertificate => 40,
            Self::Certificate(CertificateError::Malformed) | Self::Fingerprint => 42,
            Self::Certificate(_) => 43,
            Self::Point | Self::MessageTooLong(_) | Self::HandshakeTooLong => 47,
            Self::Malformed(_) => 50,
            Self::KeyExchangeSignature | Self::CertificateVerify | Self::Finished => 51,
            Self::Version => 70,
            Self::UnsolicitedExtension(_) => 110,
            // Of these two the remote is not told.
            Self::TimedOut { .. }
            | Self::Alert(_)
            | Self::Random
            | Self::OwnKey
            | Self::TooManyForgeries
            | Self::SequenceExhausted
            | Self::Internal => 80,
        }
    }
}

impl fmt::Display for DtlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("our source of randomness failed"),
            Self::OwnKey => f.write_str("our own certificate's key is no key of P-256"),
            Self::TimedOut { alert: None } => {
                f.write_str("the DTLS handshake was not done in time; the remote may be gone")
            }
            Self::TimedOut { alert: Some(alert) } => write!(
                f,
                "the DTLS handshake was not done in time; the remote seems to have refused it with \
                 alert {alert}"
            ),
            Self::Unexpected(message) => {
                write!(
                    f,
                    "the remote sent {message:?} where DTLS does not allow it"
                )
            }
            Self::Malformed(message) => write!(f, "the remote's {message:?} is malformed"),
            Self::MessageTooLong(message) => {
                write!(
                    f,
                    "the remote's {message:?} is longer than the memory for it"
                )
            }
            Self::HandshakeTooLong => f.write_str("the remote's handshake is too long"),
            Self::Version => f.write_str("the remote has not DTLS 1.2"),
            Self::CipherSuite => f.write_str(
                "the remote has neither ECDHE-ECDSA with AES-128-GCM nor with ChaCha20-Poly1305",
            ),
            Self::Curve => f.write_str("the remote does not use the curve P-256"),
            Self::SignatureAlgorithm => f.write_str("the remote does not use ECDSA with SHA-256"),
            Self::Compression => f.write_str("the remote insists on compression"),
            Self::PointFormat => f.write_str("the remote insists on compressed points"),
            Self::NoExtendedMasterSecret => {
                f.write_str("the remote has no extended master secret (RFC 7627)")
            }
            Self::Renegotiation => f.write_str("the remote wants to renegotiate"),
            Self::UnsolicitedExtension(kind) => {
                write!(
                    f,
                    "the remote answered extension {kind}, which was not asked for"
                )
            }
            Self::NoCertificate => f.write_str("the remote has no certificate"),
            Self::Certificate(error) => write!(f, "the remote's certificate: {error}"),
            Self::Fingerprint => f.write_str(
                "the remote's certificate is not the one whose fingerprint was signalled; somebody \
                 may sit between",
            ),
            Self::KeyExchangeSignature | Self::CertificateVerify => {
                f.write_str("the remote does not have the key of its certificate")
            }
            Self::Point => f.write_str("the remote's key is not on the curve"),
            Self::Finished => {
                f.write_str("the remote saw another handshake; somebody may have changed it")
            }
            Self::Alert(alert) => write!(f, "the remote ended DTLS with alert {alert}"),
            Self::TooManyForgeries => f.write_str("too many forged records came"),
            Self::SequenceExhausted => f.write_str("the session has sent all records that it may"),
            Self::Internal => f.write_str("a defect of the DTLS implementation"),
        }
    }
}

impl core::error::Error for DtlsError {}

/// Why application data cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SealError {
    /// The handshake is not done, or the session ended.
    NotOpen,
    /// There is not enough room before or after the text, or the text is too long for a record.
    NoRoom,
    /// No sequence number is left: the session ended.
    Exhausted,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOpen => "the DTLS session is not open",
            Self::NoRoom => "there is no room for the record around its text",
            Self::Exhausted => "the DTLS session has sent all records that it may",
        })
    }
}

impl core::error::Error for SealError {}
