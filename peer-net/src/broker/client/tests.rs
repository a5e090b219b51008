use core::error::Error;
use core::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use futures_util::{SinkExt, StreamExt};
use peer_core::peer::PeerError;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::broker::{Broker, BrokerOptions};

/// A server that sends `answer` to whoever connects, whatever they ask, and then waits for their end.
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
