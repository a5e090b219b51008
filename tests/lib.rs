//! What the tests of the whole project share.

pub mod udp;

use core::time::Duration;
use std::cell::Cell;
use std::future::IntoFuture as _;

use peer_net::broker::{Broker, BrokerOptions};
use peer_net::{DataConnection, Peer, PeerBuilder, RtcConfig, Serialization, Stack};
use tokio::time::timeout;

/// What a test ends with.
pub type Outcome = Result<(), Box<dyn core::error::Error + Send + Sync>>;

/// No test decides by this time; it only ends one that hangs.
pub const HANG: Duration = Duration::from_secs(300);

/// Waits no longer than [`HANG`].
///
/// # Panics
/// It is not ready by then.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

/// A broker on this machine, which lists its peers.
///
/// # Panics
/// No port of 127.0.0.1 is free.
pub async fn broker() -> Broker {
    let options = BrokerOptions {
        allow_discovery: true,
        ..BrokerOptions::default()
    };
    Broker::bind("127.0.0.1:0", options)
        .await
        .expect("a free port on 127.0.0.1")
}

/// Sessions that stay on 127.0.0.1.
pub fn rtc(stack: Stack) -> RtcConfig {
    RtcConfig {
        stack,
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    }
}

/// A peer at that broker, with such sessions.
pub fn builder(broker: &Broker, stack: Stack) -> PeerBuilder {
    Peer::builder().broker(broker.url()).rtc(rtc(stack))
}

/// Both ends of a connection.
///
/// # Panics
/// It does not open.
pub async fn connected(
    from: &Peer,
    to: &Peer,
    serialization: Serialization,
    reliable: bool,
) -> (DataConnection, DataConnection) {
    let remote = to.id().expect("it is open").to_string();
    let connect = from
        .connect(remote)
        .serialization(serialization)
        .reliable(reliable);
    let (ours, theirs) = tokio::join!(soon(connect.into_future()), soon(to.accept()));
    (ours.expect("it opens"), theirs.expect("it lives"))
}

/// Returns the stacks of the two ends of a connection, by the variable `PEER_STACK`: `native` or
/// `webrtc-rs` for both, `cross` for one of each. Without it the default.
///
/// # Panics
/// On any other value.
pub fn stacks() -> [Stack; 2] {
    match std::env::var("PEER_STACK") {
        Ok(name) if name == "cross" => [Stack::Native, Stack::WebrtcRs],
        Ok(name) => [name.parse().expect("PEER_STACK names a stack"); 2],
        Err(_) => [Stack::default(); 2],
    }
}

/// Returns the stack of the next peer of a test: of those of [`stacks`] in turns.
///
/// # Panics
/// As [`stacks`] does.
pub fn stack() -> Stack {
    thread_local! {
        static SECOND: Cell<bool> = const { Cell::new(false) };
    }
    stacks()[usize::from(SECOND.replace(!SECOND.get()))]
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
