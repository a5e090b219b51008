//! ICE of our own on real sockets of 127.0.0.1: with webrtc-ice in both roles, and through coturn
//! over UDP and TCP.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant as Clock;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::ice::turn::{HEADROOM, Login, TAILROOM, message_len};
use peer_core::rtc::ice::{
    Agent, CandidateKind, Config, Event, Received, Resources, Role, Server, SocketId, Transmit, Via,
};
use peer_core::time::Instant;
use tokio::sync::mpsc;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::network_type::NetworkType;
use webrtc_util::Conn;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(60);
const UDP: SocketId = SocketId(0);
const TCP: SocketId = SocketId(1);
const LOGIN: Login<'_> = Login {
    username: "peer",
    password: "secret",
};

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    let file = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(out));
    file.map_err(|_| CryptoError::Random)
}

/// One of our agents on a socket, and perhaps a stream to a TURN server.
struct End {
    agent: Agent<'static>,
    crypto: Crypto,
    socket: UdpSocket,
    stream: Option<(TcpStream, SocketAddr, Vec<u8>)>,
    begun: Clock,
    candidates: Vec<(CandidateKind, String)>,
    events: Vec<Event>,
    data: Vec<Vec<u8>>,
}

impl End {
    fn new(role: Role, servers: &'static [Server<'static>]) -> Self {
        let memory: &'static mut Resources<4, 16, 32, 4, 2> = Box::leak(Box::default());
        let mut crypto: Crypto = RustCrypto::new(random);
        let mut config = Config::new(role);
        config.include_loopback = true;
        let now = Instant::ZERO;
        let mut agent = Agent::new(now, &mut crypto, config, memory.lend(), servers).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        agent.set_addresses(now, &[(UDP, address)]).unwrap();
        Self {
            agent,
            crypto,
            socket,
            stream: None,
            begun: Clock::now(),
            candidates: Vec::new(),
            events: Vec::new(),
            data: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.begun.elapsed().as_micros() as u64)
    }

    fn connect_stream(&mut self, server: SocketAddr) {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        self.stream = Some((stream, server, Vec::new()));
        self.agent.stream_opened(self.now(), TCP);
    }

    fn describe(&mut self, ufrag: &str, password: &str) {
        self.agent.credit(1_000);
        let now = self.now();
        self.agent.set_remote(now, ufrag, password, false).unwrap();
    }

    fn add(&mut self, line: &str) {
        self.agent.credit(line.len() as u32);
        let now = self.now();
        // Those of another transport or family are of no use.
        let _ = self.agent.add_candidate(now, line);
    }

    fn put(&mut self, it: Transmit, bytes: &[u8]) {
        match (&mut self.stream, it.socket) {
            (Some((stream, _, _)), TCP) => stream.write_all(bytes).unwrap(),
            _ => {
                self.socket.send_to(bytes, it.destination).unwrap();
            }
        }
    }

    fn take(&mut self, socket: SocketId, from: SocketAddr, bytes: &mut [u8]) {
        let now = self.now();
        let received = self
            .agent
            .receive(now, &mut self.crypto, socket, from, bytes);
        if let Received::Data(data) = received {
            self.data.push(data.to_vec());
        }
    }

    /// Does what is due, and waits a little for what comes.
    fn turn(&mut self) {
        let mut buffer = [0; 2_000];
        let now = self.now();
        while let Some(it) = self
            .agent
            .transmit(now, &mut self.crypto, &mut buffer[..1200])
        {
            let bytes = buffer[..it.len].to_vec();
            self.put(it, &bytes);
        }
        while let Some(event) = self.agent.poll_event() {
            if let Event::LocalCandidate(candidate) = event {
                let line = candidate.line(self.agent.ufrag()).to_string();
                self.candidates.push((candidate.kind, line));
            }
            self.events.push(event);
        }
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            self.take(UDP, from, &mut buffer[..len]);
        }
        let mut messages = Vec::new();
        if let Some((stream, server, unread)) = &mut self.stream {
            if let Ok(len) = stream.read(&mut buffer) {
                unread.extend(&buffer[..len]);
            }
            while let Some(len) = message_len(unread).unwrap()
                && len <= unread.len()
            {
                messages.push((*server, unread.drain(..len).collect::<Vec<_>>()));
            }
        }
        for (server, mut message) in messages {
            self.take(TCP, server, &mut message);
        }
    }

    fn send(&mut self, text: &[u8]) {
        let mut buffer = vec![0; HEADROOM];
        buffer.push(23);
        buffer.extend(text);
        let data = HEADROOM..buffer.len();
        buffer.extend([0; TAILROOM]);
        let (it, range) = self.agent.frame(&mut buffer, data).expect("a path");
        let bytes = buffer[range].to_vec();
        self.put(it, &bytes);
    }

    fn is_connected(&self) -> bool {
        self.events.contains(&Event::Connected)
    }
}

/// The other implementation, and what it found.
struct Other {
    agent: Arc<webrtc_ice::agent::Agent>,
    candidates: mpsc::UnboundedReceiver<String>,
}

async fn other(controlling: bool) -> Other {
    let agent = webrtc_ice::agent::Agent::new(AgentConfig {
        network_types: vec![NetworkType::Udp4],
        is_controlling: controlling,
        include_loopback: true,
        ip_filter: Arc::new(Some(Box::new(|ip| ip.is_loopback()))),
        ..Default::default()
    })
    .await
    .unwrap();
    let (sender, candidates) = mpsc::unbounded_channel();
    agent.on_candidate(Box::new(move |candidate| {
        if let Some(candidate) = candidate {
            let _ = sender.send(format!("candidate:{}", candidate.marshal()));
        }
        Box::pin(async {})
    }));
    agent.gather_candidates().unwrap();
    Other {
        agent: Arc::new(agent),
        candidates,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webrtc_ice_in_both_roles() {
    for role in [Role::Controlling, Role::Controlled] {
        let mut ours = End::new(role, &[]);
        let mut other = other(role == Role::Controlled).await;
        let (ufrag, password) = other.agent.get_local_user_credentials().await;
        ours.describe(&ufrag, &password);
        let (ufrag, password) = (
            ours.agent.ufrag().to_owned(),
            ours.agent.password().to_owned(),
        );
        let agent = Arc::clone(&other.agent);
        // Held until the end: it is what stops the connect.
        let (_cancel, cancelled) = mpsc::channel(1);
        let connect = tokio::spawn(async move {
            match role {
                Role::Controlling => {
                    let conn = agent.accept(cancelled, ufrag, password).await.unwrap();
                    conn as Arc<dyn Conn + Send + Sync>
                }
                Role::Controlled => agent.dial(cancelled, ufrag, password).await.unwrap(),
            }
        });
        let begun = Clock::now();
        let mut told = 0;
        while !ours.is_connected() || !connect.is_finished() {
            assert!(begun.elapsed() < HANG, "{role:?}: {:?}", ours.events);
            tokio::task::block_in_place(|| ours.turn());
            while let Ok(line) = other.candidates.try_recv() {
                ours.add(&line);
            }
            for (_, line) in &ours.candidates[told..] {
                let line = line.strip_prefix("candidate:").unwrap();
                let candidate: Arc<dyn webrtc_ice::candidate::Candidate + Send + Sync> =
                    Arc::new(unmarshal_candidate(line).unwrap());
                other.agent.add_remote_candidate(&candidate).unwrap();
            }
            told = ours.candidates.len();
        }
        let conn = connect.await.unwrap();
        ours.send(b"from ours");
        let mut buffer = [0; 100];
        let len = tokio::time::timeout(HANG, conn.recv(&mut buffer)).await;
        let len = len.expect("it comes").unwrap();
        assert_eq!(&buffer[1..len], b"from ours");
        conn.send(b"\x17from theirs").await.unwrap();
        while ours.data.is_empty() {
            assert!(begun.elapsed() < HANG);
            tokio::task::block_in_place(|| ours.turn());
        }
        assert_eq!(ours.data, [b"\x17from theirs"]);
        assert_eq!(ours.agent.role(), role);
        other.agent.close().await.unwrap();
    }
}

/// A running `turnserver`, ended when dropped.
struct Turn {
    child: Child,
    address: SocketAddr,
}

impl Turn {
    fn start() -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port();
        let scratch = std::env::temp_dir().join(format!("peer-ice-{}-{port}", std::process::id()));
        let child = Command::new("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={port}"))
            .args(["--lt-cred-mech", "--realm=peer.test", "--user=peer:secret"])
            .args([
                "--no-tls",
                "--no-dtls",
                "--no-cli",
                "--allow-loopback-peers",
            ])
            .arg(format!("--userdb={}.db", scratch.display()))
            .arg(format!("--pidfile={}.pid", scratch.display()))
            .args(["--log-file=stdout"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`turnserver` is missing; install it: apt-get install coturn");
        let turn = Self { child, address };
        let begun = Clock::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < HANG, "turnserver does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends tell only what the server lends them.
#[test]
fn coturn_relays_over_udp_and_tcp() {
    let turn = Turn::start();
    for via in [Via::Udp, Via::Stream(TCP)] {
        let servers: &'static [_] = Vec::leak(vec![Server::turn(turn.address, LOGIN, via)]);
        let mut ends = [Role::Controlling, Role::Controlled].map(|role| End::new(role, servers));
        for n in 0..2 {
            let other = &ends[1 - n].agent;
            let (ufrag, password) = (other.ufrag().to_owned(), other.password().to_owned());
            ends[n].describe(&ufrag, &password);
            if via != Via::Udp {
                ends[n].connect_stream(turn.address);
            }
        }
        let begun = Clock::now();
        let mut told = [0; 2];
        while !ends.iter().all(End::is_connected) {
            assert!(
                begun.elapsed() < HANG,
                "{via:?}: {:?} {:?}",
                ends[0].events,
                ends[1].events
            );
            for n in 0..2 {
                ends[n].turn();
                let lines: Vec<_> = ends[n].candidates[told[n]..].to_vec();
                told[n] = ends[n].candidates.len();
                for (kind, line) in lines {
                    if kind == CandidateKind::Relay {
                        ends[1 - n].add(&line);
                    }
                }
            }
        }
        assert!(ends.iter().any(|end| end.agent.path().unwrap().relayed));
        // In Send indications first, then through a channel.
        let mut sent = 0;
        while ends.iter().any(|end| end.data.len() < 100) {
            assert!(begun.elapsed() < HANG, "{via:?}");
            for end in &mut ends {
                let len = sent % 7 + 1;
                end.send(&[7; 8][..len]);
                end.turn();
            }
            sent += 1;
        }
        for end in &ends {
            assert!(end.data.iter().all(|it| it[0] == 23 && it.len() <= 8));
        }
        for end in &mut ends {
            end.agent.close();
            end.turn();
        }
    }
}
