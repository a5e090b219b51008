//! Which message may come when: the whole table.

/// A handshake message (RFC 5246 §7.4, RFC 6347 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Message {
    /// 1.
    ClientHello,
    /// 2.
    ServerHello,
    /// 3.
    HelloVerifyRequest,
    /// 11.
    Certificate,
    /// 12.
    ServerKeyExchange,
    /// 13.
    CertificateRequest,
    /// 14.
    ServerHelloDone,
    /// 15.
    CertificateVerify,
    /// 16.
    ClientKeyExchange,
    /// 20.
    Finished,
    /// Any other, by its type.
    Other(u8),
}

impl Message {
    pub(super) const fn read(kind: u8) -> Self {
        match kind {
            1 => Self::ClientHello,
            2 => Self::ServerHello,
            3 => Self::HelloVerifyRequest,
            11 => Self::Certificate,
            12 => Self::ServerKeyExchange,
            13 => Self::CertificateRequest,
            14 => Self::ServerHelloDone,
            15 => Self::CertificateVerify,
            16 => Self::ClientKeyExchange,
            20 => Self::Finished,
            other => Self::Other(other),
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::ClientHello => 1,
            Self::ServerHello => 2,
            Self::HelloVerifyRequest => 3,
            Self::Certificate => 11,
            Self::ServerKeyExchange => 12,
            Self::CertificateRequest => 13,
            Self::ServerHelloDone => 14,
            Self::CertificateVerify => 15,
            Self::ClientKeyExchange => 16,
            Self::Finished => 20,
            Self::Other(number) => number,
        }
    }
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Client: the answer to the first hello.
    ServerHelloOrCookie,
    /// Client: the answer to the hello with the cookie.
    ServerHello,
    /// Client.
    ServerCertificate,
    /// Client.
    ServerKeyExchange,
    /// Client.
    CertificateRequest,
    /// Client.
    ServerHelloDone,
    /// Server.
    #[cfg(feature = "dtls-server")]
    ClientHello,
    /// Server.
    #[cfg(feature = "dtls-server")]
    ClientCertificate,
    /// Server.
    #[cfg(feature = "dtls-server")]
    ClientKeyExchange,
    /// Server.
    #[cfg(feature = "dtls-server")]
    CertificateVerify,
    /// Both: the remote's ChangeCipherSpec.
    Change,
    /// Both: the remote's Finished, encrypted.
    Finished,
}

impl Step {
    /// What is waited for after this message; `None` where it may not come.
    ///
    /// ChangeCipherSpec is no handshake message: it leads from [`Change`](Self::Change) to
    /// [`Finished`](Self::Finished). A Finished comes encrypted and ends the handshake.
    pub(super) const fn after(self, message: Message) -> Option<Self> {
        match (self, message) {
            (Self::ServerHelloOrCookie, Message::HelloVerifyRequest) => Some(Self::ServerHello),
            (Self::ServerHelloOrCookie | Self::ServerHello, Message::ServerHello) => {
                Some(Self::ServerCertificate)
            }
            (Self::ServerCertificate, Message::Certificate) => Some(Self::ServerKeyExchange),
            (Self::ServerKeyExchange, Message::ServerKeyExchange) => Some(Self::CertificateRequest),
            (Self::CertificateRequest, Message::CertificateRequest) => Some(Self::ServerHelloDone),
            (Self::ServerHelloDone, Message::ServerHelloDone) => Some(Self::Change),
            #[cfg(feature = "dtls-server")]
            (Self::ClientHello, Message::ClientHello) => Some(Self::ClientCertificate),
            #[cfg(feature = "dtls-server")]
            (Self::ClientCertificate, Message::Certificate) => Some(Self::ClientKeyExchange),
            #[cfg(feature = "dtls-server")]
            (Self::ClientKeyExchange, Message::ClientKeyExchange) => Some(Self::CertificateVerify),
            #[cfg(feature = "dtls-server")]
            (Self::CertificateVerify, Message::CertificateVerify) => Some(Self::Change),
            _ => None,
        }
    }
}
