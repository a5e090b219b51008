//! Clients of several addresses, for which 127.0.0.0/8 is there.

use tokio::net::TcpSocket;

use super::*;

/// A client that comes from that address of this machine.
async fn join_from(broker: &Broker, from: [u8; 4], id: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let stream = socket.connect(broker.local_addr()).await.unwrap();
    let url = format!(
        "ws://{}/peerjs?key=peerjs&id={id}&token=t",
        broker.local_addr()
    );
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket
}

#[tokio::test]
async fn who_has_most_gives_way_to_who_has_none() {
    const MANY: [u8; 4] = [127, 0, 0, 1];
    const LIMIT: usize = 8;
    let broker = bind(BrokerOptions {
        concurrent_limit: LIMIT,
        ..BrokerOptions::default()
    })
    .await;
    let mut clients = Vec::new();
    for number in 0..LIMIT {
        let mut client = join_from(&broker, MANY, &format!("many-{number}")).await;
        assert_eq!(said(&mut client).await.as_deref(), Some(OPEN));
        clients.push(client);
    }
    let mut last = join_from(&broker, MANY, "too-many").await;
    let refused = said(&mut last).await.expect("why");
    assert!(refused.contains("concurrent user limit"), "{refused}");

    let mut other = join_from(&broker, [127, 0, 0, 2], "other").await;
    assert_eq!(said(&mut other).await.as_deref(), Some(OPEN));
    // The newest is told why, and closed.
    let mut newest = clients.pop().unwrap();
    let why = said(&mut newest).await.expect("why");
    assert!(
        why.contains(r#""ERROR""#) && why.contains("your network"),
        "{why}"
    );
    assert_eq!(said(&mut newest).await, None);
    // The others go on, and reach who came.
    for (number, client) in clients.iter_mut().enumerate() {
        let offer = r#"{"type":"OFFER","dst":"other"}"#;
        client.send(Message::text(offer)).await.unwrap();
        let relayed = format!(r#"{{"type":"OFFER","src":"many-{number}","dst":"other"}}"#);
        assert_eq!(said(&mut other).await, Some(relayed));
    }
    let mut ids: Vec<_> = broker.ids().iter().map(ToString::to_string).collect();
    ids.sort_unstable();
    let mut expected: Vec<_> = (0..LIMIT - 1).map(|one| format!("many-{one}")).collect();
    expected.push("other".to_owned());
    assert_eq!(ids, expected);
    assert_eq!(broker.stats().gave_way, 1);
}

/// The next text; `None` once the broker has closed.
async fn said(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    let message = timeout(PATIENCE, socket.next())
        .await
        .expect("a message in time");
    match message {
        Some(Ok(Message::Text(text))) => Some(text.to_string()),
        Some(Ok(Message::Close(_))) | None => None,
        other => panic!("{other:?}"),
    }
}
