//! Relayed paths, through a real TURN server: Debian's package `coturn` on 127.0.0.1.

use core::future::{Future, IntoFuture as _};
use core::time::Duration;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use peer_net::broker::{Broker, BrokerOptions};
use peer_net::{
    ConnectError, ConnectionError, DataConnection, IceServer, IceTransportPolicy, Peer,
    PeerBuilder, RtcConfig, RtcFailure, Serialization, Value,
};
use tokio::time::timeout;

type Outcome = Result<(), Box<dyn core::error::Error>>;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(120);
/// How a server is asked over TCP.
const OVER_TCP: &str = "?transport=tcp";
const USER: &str = "peer";
const PASSWORD: &str = "secret";

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

/// A running `turnserver`, ended when dropped.
struct Turn {
    child: Child,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Turn {
    fn start() -> Self {
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port on 127.0.0.1")
            .port();
        let scratch = std::env::temp_dir().join(format!("peer-turn-{}-{port}", std::process::id()));
        let mut child = Command::new("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={port}"))
            .args(["--lt-cred-mech", "--realm=peer.test"])
            .arg(format!("--user={USER}:{PASSWORD}"))
            .args(["--no-tls", "--no-dtls", "--no-cli"])
            .args(["--allow-loopback-peers", "--verbose", "--log-file=stdout"])
            .arg(format!("--userdb={}.db", scratch.display()))
            .arg(format!("--pidfile={}.pid", scratch.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(
                "`turnserver` is missing or cannot be started; install it: apt-get install coturn",
            );
        let log = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().expect("it is piped");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lines.lock().expect("no panic holds it").push(line);
            }
        });
        let turn = Self { child, port, log };
        turn.await_answer();
        turn
    }

    /// Asks with a STUN binding request until it answers.
    fn await_answer(&self) {
        let mut request = [0; 20];
        request[1] = 1;
        request[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("not zero");
        let begun = Instant::now();
        while begun.elapsed() < HANG {
            let _ = socket.send_to(&request, ("127.0.0.1", self.port));
            if socket.recv_from(&mut [0; 512]).is_ok() {
                return;
            }
        }
        panic!("turnserver does not answer:\n{}", self.log());
    }

    fn log(&self) -> String {
        self.log.lock().expect("no panic holds it").join("\n")
    }

    /// Lines of the log that have `what` in them.
    fn count(&self, what: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(what))
            .count()
    }

    fn server(&self, password: &str, how: &str) -> IceServer {
        IceServer::turn(format!("turn:127.0.0.1:{}{how}", self.port), USER, password)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn broker() -> Broker {
    Broker::bind("127.0.0.1:0", BrokerOptions::default())
        .await
        .expect("a free port on 127.0.0.1")
}

fn builder(broker: &Broker, server: IceServer, policy: IceTransportPolicy) -> PeerBuilder {
    let rtc = RtcConfig {
        stack: peer_tests::stack(),
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    };
    Peer::builder()
        .broker(broker.url())
        .rtc(rtc)
        .ice_servers([server])
        .ice_transport_policy(policy)
}

async fn connected(
    from: &Peer,
    to: &Peer,
) -> Result<(DataConnection, DataConnection), Box<dyn core::error::Error>> {
    let remote = to.id().expect("it is open").to_string();
    let connect = from.connect(remote).serialization(Serialization::Raw);
    let (opens, comes) = (soon(connect.into_future()), soon(to.accept()));
    // Nothing comes of what does not open.
    tokio::try_join!(async { Ok(opens.await?) }, async {
        Ok(comes.await.expect("it lives"))
    },)
}

async fn exchange(ours: &DataConnection, theirs: &DataConnection) -> Outcome {
    for (from, to) in [(ours, theirs), (theirs, ours)] {
        for _ in 0..8 {
            from.send_bytes(vec![7; 16_000]).await?;
            let arrived = soon(to.recv()).await?;
            assert_eq!(arrived, Some(Value::Bytes(vec![7; 16_000].into())));
        }
    }
    Ok(())
}

#[tokio::test]
async fn two_peers_that_may_only_be_relayed() -> Outcome {
    let turn = Turn::start();
    relayed(&turn, turn.server(PASSWORD, "")).await
}

#[tokio::test]
async fn two_peers_that_may_only_be_relayed_over_tcp() -> Outcome {
    let turn = Turn::start();
    relayed(&turn, turn.server(PASSWORD, OVER_TCP)).await
}

#[tokio::test]
async fn a_server_that_is_not_there_over_tcp_ends_a_connect_that_may_only_be_relayed() -> Outcome {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("turn:{}{OVER_TCP}", listener.local_addr()?);
    drop(listener);
    not_relayed(IceServer::turn(url, USER, PASSWORD)).await
}

async fn relayed(turn: &Turn, server: IceServer) -> Outcome {
    let broker = broker().await;
    let relay = |id| builder(&broker, server.clone(), IceTransportPolicy::Relay).id(id);
    let alice = soon(relay("alice").open()).await?;
    let bob = soon(relay("bob").open()).await?;
    let (ours, theirs) = connected(&alice, &bob).await?;
    exchange(&ours, &theirs).await?;
    // Neither side gathers anything else, and the server let both send to the other's relayed
    // address.
    assert!(
        turn.count("ALLOCATE processed, success") >= 2,
        "{}",
        turn.log()
    );
    assert!(
        turn.count("CREATE_PERMISSION processed, success") >= 2,
        "{}",
        turn.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_leaves_direct_paths() -> Outcome {
    let turn = Turn::start();
    let broker = broker().await;
    let all = |id| builder(&broker, turn.server("wrong", ""), IceTransportPolicy::All).id(id);
    let alice = soon(all("alice").open()).await?;
    let bob = soon(all("bob").open()).await?;
    let (ours, theirs) = connected(&alice, &bob).await?;
    exchange(&ours, &theirs).await?;
    assert_eq!(turn.count("ALLOCATE processed, success"), 0);
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_ends_a_connect_that_may_only_be_relayed() -> Outcome {
    let turn = Turn::start();
    not_relayed(turn.server("wrong", "")).await?;
    not_relayed(turn.server("wrong", OVER_TCP)).await
}

async fn not_relayed(server: IceServer) -> Outcome {
    let broker = broker().await;
    let alice = builder(&broker, server.clone(), IceTransportPolicy::Relay).id("alice");
    let alice = soon(alice.connect_timeout(Duration::from_secs(10)).open()).await?;
    let bob = builder(&broker, server, IceTransportPolicy::All).id("bob");
    let _bob = soon(bob.open()).await?;
    match soon(alice.connect("bob").into_future()).await {
        Err(ConnectError::Failed(failure)) => {
            assert_eq!(
                failure.failure().reason,
                ConnectionError::Rtc(RtcFailure::Ice),
                "{failure}"
            );
            let detail = failure.detail().unwrap_or_default();
            assert!(detail.contains("no TURN server gave one"), "{failure}");
        }
        other => panic!("a failure was expected: {other:?}"),
    }
    Ok(())
}
