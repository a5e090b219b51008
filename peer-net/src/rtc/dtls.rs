//! The DTLS association over the path ICE found.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use webrtc_dtls::Error;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::signature_hash_algorithm::SignatureScheme;
use webrtc_util::Conn;

use super::certificate::{Certificate, Fingerprint, fingerprint};

/// Between two retransmissions of a flight. The crate neither backs off nor gives up; the session's deadline does.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(300);

/// Shakes hands. Succeeds only with a remote that owns a certificate with one of `accepted` fingerprints.
pub(super) async fn handshake(
    path: Arc<dyn Conn + Send + Sync>,
    certificate: &Certificate,
    accepted: Vec<Fingerprint>,
    client: bool,
) -> Result<Arc<DTLSConn>, Error> {
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
        // WebRTC trusts the fingerprint of the description, not a chain.
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(move |presented, _| verify(presented, &known))),
        ..Default::default()
    };
    let conn = DTLSConn::new(Arc::new(Parked(path)), config, client, None).await?;
    let conn = Arc::new(conn);
    // Once more on the state the handshake left, whatever path it took to get there.
    let state = conn.connection_state().await;
    if let Err(error) = verify(&state.peer_certificates, &accepted) {
        let _ = conn.close().await;
        return Err(error);
    }
    Ok(conn)
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

/// A path that never fails: the reader of the crate would spin on errors. It waits instead, until its task ends.
struct Parked(Arc<dyn Conn + Send + Sync>);

#[async_trait]
impl Conn for Parked {
    async fn connect(&self, addr: SocketAddr) -> Result<(), webrtc_util::Error> {
        self.0.connect(addr).await
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, webrtc_util::Error> {
        match self.0.recv(buffer).await {
            Ok(length) => Ok(length),
            Err(error) => {
                tracing::debug!(%error, "the path below DTLS ended");
                core::future::pending().await
            }
        }
    }

    async fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr), webrtc_util::Error> {
        self.0.recv_from(buffer).await
    }

    async fn send(&self, packet: &[u8]) -> Result<usize, webrtc_util::Error> {
        self.0.send(packet).await
    }

    async fn send_to(
        &self,
        packet: &[u8],
        target: SocketAddr,
    ) -> Result<usize, webrtc_util::Error> {
        self.0.send_to(packet, target).await
    }

    fn local_addr(&self) -> Result<SocketAddr, webrtc_util::Error> {
        self.0.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.remote_addr()
    }

    async fn close(&self) -> Result<(), webrtc_util::Error> {
        self.0.close().await
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}
