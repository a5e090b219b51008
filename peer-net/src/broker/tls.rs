//! TLS of the broker, from PEM.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::options::Ssl;
use crate::tls::{TlsError, certificates};

/// The server's side of TLS.
pub(super) fn server_config(ssl: &Ssl) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&ssl.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&ssl.key).map_err(TlsError::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(error.into()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Unusable(error.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
