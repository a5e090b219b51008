//! TLS with brokers and TURN servers, from PEM and the system's roots.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::signalling::Cause;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate cannot be read.
    #[error("the TLS certificate is not PEM with at least one CERTIFICATE")]
    Certificate(#[source] Option<rustls::pki_types::pem::Error>),
    /// The key cannot be read.
    #[error("the TLS key is not PEM with a PRIVATE KEY")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// Both can be read, but not used, for example because they do not belong together.
    #[error("the TLS certificate and key cannot be used")]
    Unusable(#[source] Cause),
    /// A broker that was started without TLS was given another key and certificate.
    #[error("this broker was started without TLS, and stays so")]
    Off,
    /// There is nothing to check a server's certificate against.
    #[error(
        "this system has no root certificates to check the server's against; install them \
         (ca-certificates), or trust the server's own"
    )]
    NoRoots,
}

/// The client's side: the system's root certificates and these, either as roots or as the server's
/// own. `protocol`: the one that is spoken, for ALPN.
pub(crate) fn client_config(
    trusted: &[CertificateDer<'static>],
    protocol: Option<&[u8]>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Single unreadable files among the system's are no reason to fail.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for root in trusted {
        roots
            .add(root.clone())
            .map_err(|error| TlsError::Unusable(error.into()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let by_roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TlsError::Unusable(error.into()))?;
    let verifier = Verifier {
        trusted: trusted.to_vec(),
        by_roots,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(error.into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    Ok(Arc::new(config))
}

/// Takes what the roots vouch for, and a certificate that is trusted itself: as most private
/// servers have, it is its own authority and often names no host, so WebPKI would refuse it.
/// Whether the server has its key is checked in either case.
#[derive(Debug)]
struct Verifier {
    trusted: Vec<CertificateDer<'static>>,
    by_roots: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.by_roots
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_roots
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_roots
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_roots.supported_verify_schemes()
    }
}

/// Every certificate of a PEM text, at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Certificate(Some(error)))?;
    if certificates.is_empty() {
        return Err(TlsError::Certificate(None));
    }
    Ok(certificates)
}
