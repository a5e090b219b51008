//! What is around a leaf: a broker, a gateway's options, Bob.

use core::future::{Future, IntoFuture as _};
use core::time::Duration;

use peer_core::peer::ConnectionHandle;
use peer_net::broker::{Broker, BrokerOptions};
use peer_net::gateway::{Gateway, GatewayOptions, GatewayStatus, LeafOptions};
use peer_net::{DataConnection, Peer, RtcConfig, Serialization, Stack};
use tokio::time::timeout;

use crate::device::Device;

pub(crate) type Outcome = Result<(), Box<dyn core::error::Error>>;

/// No test decides by this time; it only ends one that hangs.
pub(crate) const HANG: Duration = Duration::from_secs(120);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

/// Looks until there is something.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(looking).await
}

/// The stack under test: `PEER_STACK`.
fn stack() -> Stack {
    std::env::var("PEER_STACK").map_or(Stack::default(), |name| {
        name.parse().expect("PEER_STACK names a stack")
    })
}

pub(crate) fn rtc() -> RtcConfig {
    RtcConfig {
        stack: stack(),
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    }
}

pub(crate) async fn broker() -> Broker {
    broker_at(0).await
}

pub(crate) async fn broker_at(port: u16) -> Broker {
    Broker::bind(("127.0.0.1", port), BrokerOptions::default())
        .await
        .expect("a free port on 127.0.0.1")
}

pub(crate) fn options(broker: &Broker) -> GatewayOptions {
    GatewayOptions {
        broker: broker.url().parse().expect("its URL is one"),
        rtc: rtc(),
        listen: vec![([127, 0, 0, 1], 0).into()],
        leaves: vec![entry("one", 1), entry("two", 2)],
        ..GatewayOptions::default()
    }
}

/// A leaf that may use its name as its id.
pub(crate) fn entry(name: &str, key: u8) -> LeafOptions {
    LeafOptions {
        name: name.to_owned(),
        key: [key; 32],
        ids: vec![name.to_owned()],
        random_id: false,
    }
}

pub(crate) async fn bob(broker: &Broker) -> Peer {
    let builder = Peer::builder().broker(broker.url()).rtc(rtc()).id("bob");
    soon(builder.open()).await.expect("bob opens")
}

pub(crate) async fn until_status(
    gateway: &Gateway,
    wanted: impl Fn(&GatewayStatus) -> bool,
) -> GatewayStatus {
    until(async || Some(gateway.status()).filter(|status| wanted(status))).await
}

/// A connection from Bob to the leaf, both ends open.
pub(crate) async fn from_bob(
    bob: &Peer,
    leaf: &Device,
    id: &str,
    serialization: Serialization,
) -> (DataConnection, ConnectionHandle) {
    let connect = bob
        .connect(id)
        .serialization(serialization)
        .reliable(true)
        .metadata(&serde_json::json!({"from": "bob"}));
    let (theirs, ours) = tokio::join!(soon(connect.into_future()), leaf.connection_open());
    (theirs.expect("it opens"), ours)
}

pub(crate) async fn talk(
    leaf: &Device,
    ours: ConnectionHandle,
    theirs: &DataConnection,
) -> Outcome {
    leaf.send(ours, "21.5 °C").await;
    let value = soon(theirs.recv_as::<String>()).await?;
    assert_eq!(value.as_deref(), Some("21.5 °C"));
    match theirs.serialization() {
        Serialization::Raw => theirs.send_text("on").await?,
        _ => theirs.send("on").await?,
    }
    assert_eq!(leaf.recv(ours).await, "on");
    Ok(())
}
