//! Against real brokers on this machine, through the router: ours and npm `peer`, over IPv4 and
//! IPv6.

use core::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use futures_util::{SinkExt, StreamExt};
use peer_core::{
    PeerId,
    net::SocketError,
    peer::{ConnectOptions, Event, Input, PeerState, RtcInput},
};
use peer_net::broker::{Broker, BrokerClient, BrokerOptions};
use peer_sim::lan::Treatment;
use serde_json::{Value, json};
use smoltcp::{phy::Medium, socket::tcp::State};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    lan::{Lan, Setup},
    router::forward,
};

// ---- the servers --------------------------------------------------------------------------------

/// A broker that can be stopped and started again at the same port.
trait Server {
    fn start(&mut self, port: u16) -> SocketAddr;
    fn stop(&mut self);
}

struct Ours {
    runtime: Runtime,
    broker: Option<Broker>,
}

impl Ours {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
            broker: None,
        }
    }
}

impl Server for Ours {
    fn start(&mut self, port: u16) -> SocketAddr {
        let address = (Ipv4Addr::LOCALHOST, port);
        let broker = Broker::bind(address, BrokerOptions::default());
        let broker = self.runtime.block_on(broker).unwrap();
        let address = broker.local_addr();
        self.broker = Some(broker);
        address
    }

    fn stop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.shutdown());
        }
    }
}

struct Npm {
    script: PathBuf,
    child: Option<Child>,
}

impl Npm {
    /// npm `peer`, found as `tests/broker/compat.mjs` finds it: beside the tests or under
    /// `PEER_MODULES`. Under CI it has to be there.
    fn find() -> Option<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = std::env::var_os("PEER_MODULES").map(PathBuf::from);
        let places = [tests.join("interop"), tests.to_path_buf(), tests.join("..")];
        let script = modules
            .into_iter()
            .chain(places)
            .map(|place| place.join("node_modules/peer/dist/bin/peerjs.js"))
            .find(|script| script.exists());
        if script.is_none() {
            let why = "npm `peer` is not installed: npm ci in tests/interop, or set PEER_MODULES";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("not run: {why}");
        }
        Some(Self {
            script: script?,
            child: None,
        })
    }
}

impl Server for Npm {
    fn start(&mut self, port: u16) -> SocketAddr {
        // It cannot choose a port by itself, and a free one may be gone when it starts.
        for _ in 0..5 {
            let port = match port {
                0 => {
                    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    free.local_addr().unwrap().port()
                }
                port => port,
            };
            let mut child = Command::new("node")
                .arg(&self.script)
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .env_remove("PORT")
                .env_remove("PEERSERVER_PATH")
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("node is installed");
            let out = BufReader::new(child.stdout.take().unwrap());
            let started = out.lines().any(|line| line.unwrap().contains("port: "));
            self.child = Some(child);
            if started {
                return (Ipv4Addr::LOCALHOST, port).into();
            }
            self.stop();
        }
        panic!("npm peer did not start");
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Npm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Another client of the broker, on tokio.
struct Far {
    send: mpsc::UnboundedSender<String>,
    received: Receiver<Value>,
}

impl Far {
    fn start(runtime: &Runtime, address: SocketAddr) -> Self {
        let client = BrokerClient::new(format!("http://{address}").parse().unwrap()).unwrap();
        let (send, mut texts) = mpsc::unbounded_channel::<String>();
        let (to_test, received) = channel();
        runtime.spawn(async move {
            let socket = client.connect("far", "secret").await.unwrap();
            let (mut sender, mut receiver) = socket.split();
            loop {
                tokio::select! {
                    text = texts.recv() => match text {
                        Some(text) => sender.send(text).await.unwrap(),
                        None => break,
                    },
                    message = receiver.next() => match message {
                        Some(message) => {
                            let message = serde_json::from_slice(&message).unwrap();
                            if to_test.send(message).is_err() {
                                break;
                            }
                        }
                        None => break,
                    },
                }
            }
        });
        Self { send, received }
    }

    /// Runs the LAN until a message of this type has come.
    fn wait_for(&self, lan: &mut Lan, kind: &str) -> Value {
        let mut found = None;
        lan.run_until(kind, |_| {
            found = self
                .received
                .try_iter()
                .find(|message| message["type"] == kind);
            found.is_some()
        });
        found.unwrap()
    }

    fn send(&self, kind: &str, to: &str, payload: Value) {
        let message = json!({ "type": kind, "dst": to, "payload": payload });
        self.send.send(message.to_string()).unwrap();
    }
}

// ---- a whole life -------------------------------------------------------------------------------

fn life(server: &mut dyn Server, setup: Setup) {
    let runtime = Runtime::new().unwrap();
    let address = server.start(0);
    let setup = Setup {
        id: None,
        real_time: true,
        ping_interval: Duration::from_millis(100),
        ..setup
    };
    let mut lan = Lan::new(setup, forward(address));
    lan.run_until("an id and open", |lan| lan.saw(Event::Open));
    let id = lan.peer.id().unwrap().as_str().to_owned();
    assert!(id.len() >= 16, "{id}");
    let far = Far::start(&runtime, address);
    far.wait_for(&mut lan, "OPEN");

    // The device calls.
    let remote = PeerId::new("far").unwrap();
    let options = ConnectOptions::default();
    let handle = lan.peer.connect(lan.now, &remote, options).unwrap();
    let offer = far.wait_for(&mut lan, "OFFER");
    assert_eq!(offer["src"], id.as_str());
    assert_eq!(offer["payload"]["sdp"]["sdp"], "v=0\r\nour offer");
    let call = offer["payload"]["connectionId"].clone();
    let input = RtcInput::LocalCandidate("candidate:late");
    lan.peer
        .handle_input(lan.now, Input::Rtc(handle, input))
        .unwrap();
    lan.run_until("the late candidate", |_| {
        far.received
            .try_iter()
            .any(|message| message["payload"]["candidate"]["candidate"] == "candidate:late")
    });
    let sdp = json!({ "type": "answer", "sdp": "v=0\r\ntheir answer" });
    far.send(
        "ANSWER",
        &id,
        json!({ "sdp": sdp, "type": "data", "connectionId": call }),
    );
    let candidate = json!({ "candidate": "candidate:theirs", "sdpMid": "0", "sdpMLineIndex": 0 });
    far.send(
        "CANDIDATE",
        &id,
        json!({ "candidate": candidate, "type": "data", "connectionId": call }),
    );
    lan.run_until("answer and candidate", |lan| {
        let has = |text: &str| lan.rtc.iter().any(|command| command.contains(text));
        has(r#"ApplyAnswer { sdp: "v=0\r\ntheir answer" }"#)
            && has(r#"AddCandidate { candidate: "candidate:theirs" }"#)
    });

    // The device is called.
    let sdp = json!({ "type": "offer", "sdp": "v=0\r\ntheir offer" });
    far.send(
        "OFFER",
        &id,
        json!({
            "sdp": sdp, "type": "data", "connectionId": "dc_theirs", "label": "dc_theirs",
            "reliable": true, "serialization": "json",
        }),
    );
    lan.run_until("the offer", |lan| {
        let wanted = r#"AcceptOffer { sdp: "v=0\r\ntheir offer" }"#;
        lan.rtc.iter().any(|command| command == wanted)
    });

    // The broker goes and comes back.
    let beats = lan.heartbeats;
    lan.run_until("heartbeats", |lan| lan.heartbeats >= beats + 3);
    assert_eq!(lan.broker.failures(), 0);
    assert_eq!(lan.broker.last_error(), None);
    server.stop();
    lan.run_until("a failed attempt to come back", |lan| lan.opens.len() >= 3);
    assert!(lan.saw(Event::Disconnected));
    assert_eq!(server.start(address.port()), address);
    lan.run_until("reopened", |lan| lan.peer.state() == PeerState::Open);
    assert_eq!(lan.peer.id().map(PeerId::as_str), Some(&*id));
    // The broker knows the device again: another one's signal arrives.
    let far = Far::start(&runtime, address);
    far.wait_for(&mut lan, "OPEN");
    let sdp = json!({ "type": "offer", "sdp": "v=0\r\nanother offer" });
    far.send(
        "OFFER",
        &id,
        json!({
            "sdp": sdp, "type": "data", "connectionId": "dc_another", "label": "x",
            "reliable": true, "serialization": "json",
        }),
    );
    lan.run_until("the offer after the restart", |lan| {
        let last = lan.rtc.last();
        last.is_some_and(|command| command.contains("another offer"))
    });

    // And leaves in order.
    lan.peer.disconnect(lan.now);
    lan.run_until("leave", |lan| {
        matches!(lan.tcp_state(), State::Closed | State::TimeWait)
    });
    assert_eq!(lan.broker.last_error(), None);
    server.stop();
}

fn quick() -> Setup {
    Setup {
        socket: |config| {
            config.timing.backoff_first = Duration::from_millis(50);
            config.timing.backoff_max = Duration::from_millis(400);
        },
        ..Setup::default()
    }
}

fn ipv6() -> Setup {
    Setup {
        ipv6: true,
        ..quick()
    }
}

/// Segments of 28 bytes towards the device, a window of 16 towards the broker.
fn narrow() -> Setup {
    Setup {
        medium: Medium::Ip,
        mtu: 68,
        treatment: Treatment {
            window: 16,
            bite: 9,
            paused: false,
        },
        ..quick()
    }
}

#[test]
fn a_life_at_our_broker_over_ipv4() {
    life(&mut Ours::new(), quick());
}

#[test]
fn a_life_at_our_broker_over_ipv6() {
    life(&mut Ours::new(), ipv6());
}

#[test]
fn a_life_at_our_broker_in_small_pieces() {
    life(&mut Ours::new(), narrow());
}

#[test]
fn a_life_at_npm_peer_over_ipv4() {
    if let Some(mut npm) = Npm::find() {
        life(&mut npm, quick());
    }
}

#[test]
fn a_life_at_npm_peer_over_ipv6() {
    if let Some(mut npm) = Npm::find() {
        life(&mut npm, ipv6());
    }
}

#[test]
fn a_life_at_npm_peer_in_small_pieces() {
    if let Some(mut npm) = Npm::find() {
        life(&mut npm, narrow());
    }
}

/// The same id with another token.
#[test]
fn an_id_that_is_taken_is_said_so() {
    let mut server = Ours::new();
    let address = server.start(0);
    let runtime = Runtime::new().unwrap();
    let setup = Setup {
        id: Some("far"),
        real_time: true,
        ..quick()
    };
    let mut lan = Lan::new(setup, forward(address));
    lan.router.server.listening = false;
    let far = Far::start(&runtime, address);
    far.wait_for(&mut lan, "OPEN");
    lan.router.server.listening = true;
    lan.run_until("taken", |lan| lan.saw(Event::Closed));
    let error = Event::Error(peer_core::peer::PeerError::UnavailableId);
    assert!(lan.saw(error), "{:?}", lan.events);
}

/// A WebSocket server that we have not written.
#[test]
fn tungstenite_finds_nothing_wrong() {
    let runtime = Runtime::new().unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let (told, tells) = channel();
    runtime.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let open = Message::text(r#"{"type":"OPEN"}"#);
        socket.send(open).await.unwrap();
        let payload: Vec<u8> = (0..125).collect();
        socket
            .send(Message::Ping(payload.clone().into()))
            .await
            .unwrap();
        let (mut pong, mut beats) = (false, 0);
        while !pong || beats < 3 {
            match socket.next().await.unwrap().unwrap() {
                Message::Pong(bytes) => pong = bytes == payload,
                Message::Text(text) => beats += usize::from(text.contains("HEARTBEAT")),
                other => panic!("{other:?}"),
            }
        }
        told.send("pong and heartbeats").unwrap();
        let close = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1001.into(),
            reason: "going away".into(),
        };
        socket.close(Some(close)).await.unwrap();
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1001),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
                None => break,
            }
        }
        told.send("closed in order").unwrap();
    });
    let setup = Setup {
        real_time: true,
        ping_interval: Duration::from_millis(20),
        socket: |config| config.reconnect = false,
        ..Setup::default()
    };
    let mut lan = Lan::new(setup, forward(address));
    for expected in ["pong and heartbeats", "closed in order"] {
        let mut told = None;
        lan.run_until(expected, |_| {
            told = tells.try_recv().ok();
            told.is_some()
        });
        assert_eq!(told, Some(expected));
    }
    lan.run_until("told", |lan| lan.saw(Event::Disconnected));
    let error = lan.broker.last_error();
    assert_eq!(error, Some(SocketError::Closed(Some(1001))));
}
