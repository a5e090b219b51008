//! What callers rely on: `Send`, and any duration.

use super::*;

/// What may be moved into a task, and awaited there.
#[test]
fn handles_and_futures_are_send() {
    fn task<T: Send + 'static>() {}
    fn future<T: Send>(_: T) {}
    task::<Peer>();
    task::<DataConnection>();
    task::<Events>();
    task::<peer_net::SendHalf>();
    task::<peer_net::ReceiveHalf>();
    task::<peer_net::ByteStream>();
    task::<peer_net::Connect>();
    task::<<peer_net::Connect as IntoFuture>::IntoFuture>();
    #[allow(dead_code, reason = "it only has to compile")]
    fn futures(peer: &Peer, connection: &DataConnection, builder: PeerBuilder) {
        future(builder.open());
        future(peer.opened());
        future(peer.connect("bob").into_future());
        future(peer.connect("bob").start());
        future(peer.accept());
        future(peer.disconnect());
        future(peer.reconnect());
        future(peer.shutdown());
        future(peer.closed());
        future(peer.list_all_peers());
        future(connection.opened());
        future(connection.send("text"));
        future(connection.send_text("text"));
        future(connection.send_bytes(Vec::new()));
        future(connection.recv());
        future(connection.recv_as::<String>());
        future(connection.close_flush());
        future(connection.closed());
    }
}

#[tokio::test]
async fn no_duration_is_too_long() -> Outcome {
    let mut options = BrokerOptions {
        expire_timeout: Duration::MAX,
        alive_timeout: Duration::MAX,
        cleanup_out_msgs: Duration::MAX,
        ..BrokerOptions::default()
    };
    options.limits.handshake_timeout = Duration::MAX;
    options.limits.idle_timeout = Duration::MAX;
    options.limits.relay_timeout = Duration::MAX;
    options.limits.write_timeout = Duration::MAX;
    let broker = Broker::bind("127.0.0.1:0", options).await?;
    let builder = || {
        let stack = peer_tests::stack();
        let rtc = RtcConfig {
            connect_timeout: Duration::MAX,
            disconnected_timeout: Duration::MAX,
            survive: Duration::MAX,
            ..peer_tests::rtc(stack)
        };
        let builder = peer_tests::builder(&broker, stack).rtc(rtc);
        builder.ping_interval(Duration::MAX)
    };
    let alice = soon(builder().id("alice").open()).await?;
    let bob = soon(builder().id("bob").open()).await?;
    let (ours, theirs) = connected(&alice, &bob, Serialization::Binary, true).await;
    ours.send("through").await?;
    assert_eq!(soon(theirs.recv()).await?, Some("through".into()));
    soon(alice.shutdown()).await;
    soon(bob.shutdown()).await;
    Ok(())
}
