use core::error::Error;
use core::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use futures_util::{SinkExt, StreamExt};
use peer_core::peer::PeerError;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::broker::{Broker, BrokerOptions};

/// A server that sends `answer` to whoever connects, whatever they ask, and then waits for their
/// end.
async fn answering(answer: impl Into<Vec<u8>>) -> BrokerClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    client(addr)
}

fn client(addr: SocketAddr) -> BrokerClient {
    BrokerClient::new(format!("http://{addr}/").parse().unwrap()).unwrap()
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn discovery_is_a_matter_of_the_broker() {
    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .unwrap();
    let error = client(broker.local_addr())
        .list_all_peers()
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::DiscoveryOff), "{error:?}");
    assert!(error.to_string().contains("discovery is off"));
    assert_eq!(error.kind(), PeerError::ServerError);
}

#[tokio::test]
async fn a_closed_port_is_a_network_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    drop(listener);
    let error = client.retrieve_id().await.unwrap_err();
    assert!(matches!(error, BrokerError::Connect { .. }), "{error:?}");
    assert!(error.source().is_some());
    assert_eq!(error.kind(), PeerError::Network);
}

#[tokio::test]
async fn answers_other_than_expected_are_quoted() {
    let client = answering(http(
        "503 Service Unavailable",
        "",
        "down\x1b[31m for\r\nrepair",
    ))
    .await;
    for error in [
        client.retrieve_id().await.unwrap_err(),
        client.list_all_peers().await.unwrap_err(),
        client.connect("a", "t").await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("503") && text.contains("down [31m for"),
            "{text}"
        );
        assert_eq!(error.kind(), PeerError::ServerError);
    }
    for (status, body) in [
        ("500 Broken", "x".repeat(ID_MAX + 1)),
        ("404 Not Found", String::new()),
    ] {
        let error = answering(http(status, "", &body))
            .await
            .retrieve_id()
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::Status { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn redirects_are_named_and_not_followed() {
    let client = answering(http("302 Found", "Location: http://127.0.0.2/\r\n", "")).await;
    for error in [
        client.retrieve_id().await.unwrap_err(),
        client.connect("a", "t").await.unwrap_err(),
    ] {
        match &error {
            BrokerError::Redirect { location, .. } => assert_eq!(location, "http://127.0.0.2/"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_id_is_refused() {
    for body in ["", "<html>", "a\nb"] {
        let error = answering(http("200 OK", "", body))
            .await
            .retrieve_id()
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::Answer { .. }), "{error:?}");
    }
    for body in ["", "{}", "[1]"] {
        let error = answering(http("200 OK", "", body))
            .await
            .list_all_peers()
            .await
            .unwrap_err();
        assert!(matches!(error, BrokerError::Answer { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn endless_answers_end() {
    let long = http("200 OK", "", &"x".repeat(ID_MAX + 1));
    let error = answering(long).await.retrieve_id().await.unwrap_err();
    assert!(matches!(error, BrokerError::Answer { .. }), "{error:?}");
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(4 * HEAD_MAX));
    let error = answering(head.clone())
        .await
        .retrieve_id()
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Http(_)), "{error:?}");
    let error = answering(head).await.connect("a", "t").await.unwrap_err();
    assert!(matches!(error, BrokerError::WebSocket(_)), "{error:?}");
    let garbage = answering("SSH-2.0-x\r\n\r\n").await;
    assert!(matches!(
        garbage.retrieve_id().await.unwrap_err(),
        BrokerError::Http(_)
    ));
    assert!(matches!(
        garbage.connect("a", "t").await.unwrap_err(),
        BrokerError::WebSocket(_)
    ));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let client = answering("")
        .await
        .connect_timeout(Duration::from_millis(50));
    for error in [
        client.retrieve_id().await.unwrap_err(),
        client.connect("a", "t").await.unwrap_err(),
    ] {
        assert!(matches!(error, BrokerError::TimedOut { .. }), "{error:?}");
    }
    let mut address = client.address().clone();
    address.secure = true;
    let client = BrokerClient::new(address)
        .unwrap()
        .connect_timeout(Duration::from_millis(50));
    let error = client.retrieve_id().await.unwrap_err();
    assert!(
        matches!(error, BrokerError::TimedOut { .. } | BrokerError::Tls(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` is often ::1 first, where nobody listens.
    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .unwrap();
    let url = format!("http://localhost:{}/", broker.local_addr().port());
    let client = BrokerClient::new(url.parse().unwrap()).unwrap();
    assert_eq!(client.retrieve_id().await.unwrap().len(), 36);
}

#[tokio::test]
async fn the_socket_answers_pings_and_bounds_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        socket.send(Message::Ping("hi".into())).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::Pong("hi".into())
        );
        socket.send(Message::binary(&b"\xff"[..])).await.unwrap();
        socket
            .send(Message::text("x".repeat(MESSAGE_MAX)))
            .await
            .unwrap();
        socket
            .send(Message::text("x".repeat(MESSAGE_MAX + 1)))
            .await
            .ok();
    });
    let (_sender, mut receiver) = client.connect("a", "t").await.unwrap().split();
    assert_eq!(receiver.next().await.unwrap(), b"\xff");
    assert_eq!(receiver.next().await.unwrap().len(), MESSAGE_MAX);
    assert_eq!(receiver.next().await, None);
    assert!(matches!(receiver.error(), Some(BrokerError::WebSocket(_))));
    assert_eq!(receiver.next().await, None);
    server.await.unwrap();
}

/// A certificate of its own making, as `openssl req -x509 -subj /CN=broker` makes it, and its key.
fn own_certificate() -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "broker");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap(), key)
}

async fn tls_broker(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Broker {
    let options = BrokerOptions {
        ssl: Some(crate::broker::Ssl {
            cert: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }),
        ..BrokerOptions::default()
    };
    Broker::bind("127.0.0.1:0", options).await.unwrap()
}

fn tls_client(addr: SocketAddr) -> BrokerClient {
    BrokerClient::new(format!("https://{addr}/").parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_certificate_that_is_trusted_itself_is_taken() {
    let (certificate, key) = own_certificate();
    let broker = tls_broker(&certificate, &key).await;
    let strict = tls_client(broker.local_addr());
    let error = strict.retrieve_id().await.unwrap_err();
    // Without any roots on this machine there is nothing to check against.
    assert!(
        matches!(error, BrokerError::Untrusted { .. } | BrokerError::Tls(_)),
        "{error:?}"
    );
    let trusting = strict
        .root_certificates(certificate.pem().as_bytes())
        .unwrap();
    assert_eq!(trusting.retrieve_id().await.unwrap().len(), 36);
    let (other, _) = own_certificate();
    let error = tls_client(broker.local_addr())
        .root_certificates(other.pem().as_bytes())
        .unwrap()
        .retrieve_id()
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Untrusted { .. }), "{error:?}");
    assert!(error.to_string().contains("trusted one"), "{error}");
}

#[tokio::test]
async fn the_right_certificate_with_a_wrong_key_is_refused() {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;

    #[derive(Debug)]
    struct Impostor(Arc<CertifiedKey>);

    impl ResolvesServerCert for Impostor {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    let (certificate, _) = own_certificate();
    let stolen = rcgen::KeyPair::generate().unwrap();
    let key = PrivateKeyDer::Pkcs8(stolen.serialize_der().into());
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let pair = CertifiedKey::new(vec![certificate.der().clone()], key);
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(Arc::new(pair.clone()))));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tls_client(listener.local_addr().unwrap())
            .root_certificates(certificate.pem().as_bytes())
            .unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            acceptor.accept(stream).await.map(drop)
        });
        let error = client.retrieve_id().await.unwrap_err();
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(source.contains("BadSignature"), "{error:?}");
        assert!(server.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn tls_spoken_to_the_wrong_port_is_named() {
    let plain = Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .unwrap();
    let (certificate, key) = own_certificate();
    let secure = tls_client(plain.local_addr())
        .root_certificates(certificate.pem().as_bytes())
        .unwrap();
    for error in [
        secure.retrieve_id().await.unwrap_err(),
        secure.connect("a", "t").await.unwrap_err(),
    ] {
        assert!(matches!(error, BrokerError::NotTls { .. }), "{error:?}");
        assert!(error.to_string().contains("ws://"), "{error}");
    }
    let tls = tls_broker(&certificate, &key).await;
    let client = client(tls.local_addr());
    for error in [
        client.retrieve_id().await.unwrap_err(),
        client.connect("a", "t").await.unwrap_err(),
    ] {
        assert!(matches!(error, BrokerError::OnlyTls { .. }), "{error:?}");
        assert!(error.to_string().contains("wss://"), "{error}");
    }
}

#[tokio::test]
async fn clones_share_one_tls_configuration() {
    let (certificate, _) = own_certificate();
    let client = tls_client(([127, 0, 0, 1], 1).into())
        .root_certificates(certificate.pem().as_bytes())
        .unwrap();
    // As a driver does for each connection.
    let (first, second) = (client.clone(), client.clone());
    let first = first.tls_config().await.unwrap();
    assert!(Arc::ptr_eq(&first, &second.tls_config().await.unwrap()));
    assert!(Arc::ptr_eq(&first, &client.tls_config().await.unwrap()));
}

#[tokio::test]
async fn no_timeout_is_too_long() {
    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .unwrap();
    let client = client(broker.local_addr()).connect_timeout(Duration::MAX);
    assert_eq!(client.retrieve_id().await.unwrap().len(), 36);
    client.connect("a", "t").await.unwrap();
}
