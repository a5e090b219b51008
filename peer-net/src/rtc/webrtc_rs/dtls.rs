//! The DTLS association over the path ICE found.

use core::time::Duration;
use std::sync::Arc;

use webrtc_dtls::Error;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_dtls::signature_hash_algorithm::SignatureScheme;
use webrtc_util::Conn;

use super::certificate::{Certificate, Fingerprint, fingerprint};
use super::guard::Guard;

/// Between two retransmissions of a flight. The crate neither backs off nor gives up; the session's
/// deadline does.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(300);

/// After the remote refused with a plaintext alert, which anybody may have sent, the handshake has
/// this long to succeed nevertheless.
const REFUSED_GRACE: Duration = Duration::from_secs(3);
const REFUSED_POLL: Duration = Duration::from_millis(250);

const SRTP_PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
];

/// An encrypted connection to the remote of the description.
pub(super) struct Dtls {
    pub(super) conn: Arc<DTLSConn>,
    guard: Arc<Guard>,
}

impl Dtls {
    /// Says what the guard had to do, if anything.
    pub(super) fn report(&self) {
        let stats = self.guard.stats();
        if stats.refused_total() > 0 || stats.errors() > 0 {
            tracing::debug!(
                refused = stats.refused_total(),
                passed = stats.passed(),
                handshake_bytes = stats.passed_bytes(),
                repeated = stats.repeated(),
                errors = stats.errors(),
                "a session had records refused"
            );
        }
    }

    /// Waits until the transport below fails for good.
    pub(super) async fn dead(&self) {
        self.guard.dead().await;
    }
}

/// Shakes hands. Succeeds only with a remote that owns a certificate with one of `accepted`
/// fingerprints.
pub(super) async fn handshake(
    path: Arc<dyn Conn + Send + Sync>,
    certificate: &Certificate,
    accepted: Vec<Fingerprint>,
    client: bool,
) -> Result<Dtls, Error> {
    let known = accepted.clone();
    let config = Config {
        certificates: vec![certificate.inner.clone()],
        // AEAD suites only: forged records of the others end the association.
        cipher_suites: vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
        ],
        signature_schemes: vec![SignatureScheme::EcdsaWithP256AndSha256],
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        flight_interval: FLIGHT_INTERVAL,
        // A browser offers media too, and the crate refuses whom it cannot match. Nothing is ever
        // sent by it. As the client we do not ask, and so need no answer.
        srtp_protection_profiles: if client {
            Vec::new()
        } else {
            SRTP_PROFILES.to_vec()
        },
        // Otherwise the crate would name the remote by its address, which RFC 6066 forbids.
        server_name: "peer".to_owned(),
        // WebRTC trusts the fingerprint of the description, not a chain.
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |presented, _| verify(presented, &known))),
        ..Default::default()
    };
    let guard = Guard::new(path, client);
    let below = Arc::clone(&guard) as Arc<dyn Conn + Send + Sync>;
    let conn = tokio::select! {
        conn = DTLSConn::new(below, config, client, None) => Arc::new(conn?),
        alert = refused(&guard) => {
            return Err(Error::Other(format!("the remote refused with alert {alert}")));
        }
    };
    guard.handshake_done();
    // Once more on the state the handshake left, whatever path it took to get there.
    let state = conn.connection_state().await;
    if let Err(error) = verify(&state.peer_certificates, &accepted) {
        let _ = conn.close().await;
        return Err(error);
    }
    Ok(Dtls { conn, guard })
}

/// Waits for a refusal that stands.
async fn refused(guard: &Guard) -> u8 {
    loop {
        tokio::time::sleep(REFUSED_POLL).await;
        if let Some(alert) = guard.plaintext_alert() {
            tokio::time::sleep(REFUSED_GRACE).await;
            return alert;
        }
    }
}

fn verify(presented: &[Vec<u8>], accepted: &[Fingerprint]) -> Result<(), Error> {
    let leaf = presented.first().ok_or(Error::ErrInvalidCertificate)?;
    if accepted.contains(&fingerprint(leaf)) {
        Ok(())
    } else {
        Err(Error::Other(
            "the certificate is not the one in the description".to_owned(),
        ))
    }
}
