//! Rust to Rust, over real ICE, DTLS and SCTP on 127.0.0.1, through our own broker.

mod api;
mod door;
mod ends;
mod logs;
mod messages;
mod signalling;

use core::time::Duration;

use peer_net::broker::{Broker, BrokerClient, BrokerOptions, SocketReceiver, SocketSender};
use peer_net::{
    CloseReason, ConnectError, ConnectionError, DataConnection, Event, Events, Peer, PeerBuilder,
    PeerError, PeerState, RtcConfig, SendError, Serialization, Stack, Stage, Value,
};
use peer_tests::{Outcome, broker, soon};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

fn builder(broker: &Broker) -> PeerBuilder {
    peer_tests::builder(broker, peer_tests::stack())
}

async fn peers(broker: &Broker) -> (Peer, Peer) {
    let alice = soon(builder(broker).id("alice").open())
        .await
        .expect("alice opens");
    let bob = soon(builder(broker).id("bob").open())
        .await
        .expect("bob opens");
    (alice, bob)
}

/// What `PEER_STACK` asks for is what runs.
fn assert_stacks(ours: &DataConnection, theirs: &DataConnection) {
    let stacks = [ours.info().stack(), theirs.info().stack()];
    match std::env::var("PEER_STACK").as_deref() {
        Ok("cross") => assert_ne!(stacks[0], stacks[1]),
        Ok(name) => assert_eq!(stacks.map(Stack::name), [name; 2]),
        Err(_) => assert_eq!(stacks, [Stack::default(); 2]),
    }
}

/// Both ends of a connection of the first two peers of a test.
async fn connected(
    from: &Peer,
    to: &Peer,
    serialization: Serialization,
    reliable: bool,
) -> (DataConnection, DataConnection) {
    let (ours, theirs) = peer_tests::connected(from, to, serialization, reliable).await;
    assert_stacks(&ours, &theirs);
    (ours, theirs)
}

async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = soon(events.next()).await.expect("the stream goes on");
        if wanted(&event) {
            return event;
        }
    }
}

fn sample() -> Value {
    Value::from([
        ("text", Value::from("grüße 🌍")),
        (
            "numbers",
            Value::Array(vec![1.into(), (-2.5).into(), 4_294_967_296_i64.into()]),
        ),
        (
            "nested",
            Value::from([("nothing", Value::Null), ("yes", true.into())]),
        ),
        ("empty", Value::Array(Vec::new())),
    ])
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f64,
    place: String,
}
