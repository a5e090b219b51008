//! TLS for either side of the broker, from PEM and the system's roots.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::options::Ssl;

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
    Unusable(#[source] rustls::Error),
    /// A broker that was started without TLS was given another key and certificate.
    #[error("this broker was started without TLS, and stays so")]
    Off,
    /// There is nothing to check a server's certificate against.
    #[error(
        "this system has no root certificates to check the broker's against; install them \
         (ca-certificates) or name one"
    )]
    NoRoots,
}

/// The server's side.
pub(super) fn server_config(ssl: &Ssl) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&ssl.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&ssl.key).map_err(TlsError::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The client's side: the system's root certificates and these.
pub(super) fn client_config(
    extra_roots: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Single unreadable files among the system's are no reason to fail.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for root in extra_roots {
        roots.add(root.clone()).map_err(TlsError::Unusable)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Every certificate of a PEM text, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Certificate(Some(error)))?;
    if certificates.is_empty() {
        return Err(TlsError::Certificate(None));
    }
    Ok(certificates)
}
