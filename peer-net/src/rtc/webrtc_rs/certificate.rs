//! The certificate of one session, and SHA-256 fingerprints as SDP writes them.

use webrtc_dtls::crypto;

/// SHA-256 of a certificate in DER: RFC 8122.
pub(super) type Fingerprint = [u8; 32];

/// A self-signed ECDSA P-256 certificate. Each session has its own, as in browsers, so that two
/// sessions of one peer cannot be linked by it.
pub(super) struct Certificate {
    pub(super) inner: crypto::Certificate,
    pub(super) fingerprint: Fingerprint,
}

impl Certificate {
    pub(super) fn generate() -> Result<Self, webrtc_dtls::Error> {
        // rcgen's default is ECDSA P-256 with SHA-256, which every browser accepts.
        let inner = crypto::Certificate::generate_self_signed(vec!["peer".to_owned()])?;
        let leaf = inner
            .certificate
            .first()
            .ok_or(webrtc_dtls::Error::ErrInvalidCertificate)?;
        let fingerprint = fingerprint(leaf);
        Ok(Self { inner, fingerprint })
    }
}

pub(super) fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
    out
}
