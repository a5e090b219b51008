//! ICE of our own on real sockets of this machine: with webrtc-ice in both roles, and through
//! coturn over UDP, TCP and TLS, on 127.0.0.1 and on ::1.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant as Clock;

use peer_core::rtc::crypto::{CryptoError, RustCrypto};
use peer_core::rtc::ice::turn::{HEADROOM, Login, TAILROOM, message_len};
use peer_core::rtc::ice::{
    Agent, CandidateKind, Config, Event, Received, Resources, Role, Server, SocketId, Transmit, Via,
};
use peer_core::rtc::stun::Family;
use peer_core::time::Instant;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    let file = File::open("/dev/urandom").and_then(|mut file| file.read_exact(out));
    file.map_err(|_| CryptoError::Random)
}

trait Pipe: Read + Write {}

impl<T: Read + Write> Pipe for T {}

/// One of our agents on a socket, and perhaps a stream to a TURN server.
struct End {
    agent: Agent<'static>,
    crypto: Crypto,
    socket: UdpSocket,
    stream: Option<(Box<dyn Pipe>, SocketAddr, Vec<u8>)>,
    begun: Clock,
    candidates: Vec<(CandidateKind, String)>,
    events: Vec<Event>,
    data: Vec<Vec<u8>>,
}

impl End {
    fn new(role: Role, ip: IpAddr, servers: &'static [Server<'static>]) -> Self {
        let memory: &'static mut Resources<4, 16, 32, 4, 2> = Box::leak(Box::default());
        let mut crypto: Crypto = RustCrypto::new(random);
        let mut config = Config::new(role);
        config.include_loopback = true;
        let now = Instant::ZERO;
        let mut agent = Agent::new(now, &mut crypto, config, memory.lend(), servers).unwrap();
        let socket = UdpSocket::bind((ip, 0)).unwrap();
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

    /// Over TLS, if there is the server's certificate.
    fn connect_stream(&mut self, server: SocketAddr, tls: Option<&CertificateDer<'static>>) {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let stream: Box<dyn Pipe> = match tls {
            None => Box::new(stream),
            Some(certificate) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone()).unwrap();
                let config = ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::IpAddress(server.ip().into());
                let client = ClientConnection::new(Arc::new(config), name).unwrap();
                Box::new(StreamOwned::new(client, stream))
            }
        };
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
            (Some((stream, _, _)), TCP) => {
                // Of TLS the handshake may still wait for the server.
                let mut rest = bytes;
                while !rest.is_empty() {
                    match stream.write(rest) {
                        Ok(len) => rest = &rest[len..],
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
                while let Err(error) = stream.flush() {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                }
            }
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
        let mut ours = End::new(role, LOCALHOST, &[]);
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
    tls: SocketAddr,
    certificate: CertificateDer<'static>,
    log: PathBuf,
}

impl Turn {
    fn start(ip: IpAddr, more: &[&str]) -> Self {
        let free = [(); 2].map(|()| TcpListener::bind((ip, 0)).unwrap());
        let [address, tls] = free.map(|socket| socket.local_addr().unwrap());
        // Two may have the same port, one of IPv4 and one of IPv6.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peer-ice-{}-{number}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        let file = |end| scratch.with_extension(end);
        let key = rcgen::generate_simple_self_signed([ip.to_string()]).unwrap();
        fs::write(file("crt"), key.cert.pem()).unwrap();
        fs::write(file("key"), key.key_pair.serialize_pem()).unwrap();
        let log = file("log");
        let child = Command::new("turnserver")
            .args([
                "-n",
                "--lt-cred-mech",
                "--realm=peer.test",
                "--user=peer:secret",
            ])
            .args([
                "--no-dtls",
                "--no-cli",
                "--allow-loopback-peers",
                "--verbose",
            ])
            .arg(format!("--listening-ip={ip}"))
            .arg(format!("--relay-ip={ip}"))
            .arg(format!("--listening-port={}", address.port()))
            .arg(format!("--tls-listening-port={}", tls.port()))
            .arg(format!("--cert={}", file("crt").display()))
            .arg(format!("--pkey={}", file("key").display()))
            .arg(format!("--userdb={}", file("db").display()))
            .arg(format!("--pidfile={}", file("pid").display()))
            .args(["--log-file=stdout"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("`turnserver` is missing; install it: apt-get install coturn");
        let certificate = key.cert.der().clone();
        let turn = Self {
            child,
            address,
            tls,
            certificate,
            log,
        };
        let begun = Clock::now();
        while TcpStream::connect(address).is_err() || TcpStream::connect(tls).is_err() {
            assert!(begun.elapsed() < HANG, "turnserver does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        turn
    }

    /// Lines of its log that have `what` in them.
    fn count(&self, what: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for end in ["crt", "key", "db", "pid", "log"] {
            let _ = fs::remove_file(self.log.with_extension(end));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
    Tls,
}

/// Connects two ends that tell only what the server lends them, and has them talk.
/// `pause` lies between the allocations and what the ends tell each other.
fn relay(turn: &Turn, over: Over, pause: Duration) -> [End; 2] {
    let server = match over {
        Over::Udp => Server::turn(turn.address, LOGIN, Via::Udp),
        Over::Tcp => Server::turn(turn.address, LOGIN, Via::Stream(TCP)),
        Over::Tls => Server::turn(turn.tls, LOGIN, Via::Stream(TCP)),
    };
    let (ip, mut server) = (turn.address.ip(), server);
    if ip.is_ipv6() {
        server.family = Family::Ipv6;
    }
    let servers: &'static [_] = Vec::leak(vec![server]);
    let mut ends = [Role::Controlling, Role::Controlled].map(|role| End::new(role, ip, servers));
    for n in 0..2 {
        let other = &ends[1 - n].agent;
        let (ufrag, password) = (other.ufrag().to_owned(), other.password().to_owned());
        ends[n].describe(&ufrag, &password);
        match over {
            Over::Udp => {}
            Over::Tcp => ends[n].connect_stream(turn.address, None),
            Over::Tls => ends[n].connect_stream(turn.tls, Some(&turn.certificate)),
        }
    }
    let begun = Clock::now();
    let drive = |ends: &mut [End; 2]| {
        assert!(
            begun.elapsed() < HANG,
            "{over:?} {ip}: {:?} {:?}\n{}",
            ends[0].events,
            ends[1].events,
            fs::read_to_string(&turn.log).unwrap()
        );
        ends.iter_mut().for_each(End::turn);
    };
    let relayed = |end: &End| {
        let mut all = end.candidates.iter();
        let found = all.find(|(kind, _)| *kind == CandidateKind::Relay);
        found.map(|(_, line)| line.clone())
    };
    while ends.iter().any(|end| relayed(end).is_none()) {
        drive(&mut ends);
    }
    let told = Clock::now();
    while told.elapsed() < pause {
        drive(&mut ends);
    }
    for n in 0..2 {
        let line = relayed(&ends[n]).unwrap();
        ends[1 - n].add(&line);
    }
    while !ends.iter().all(End::is_connected) {
        drive(&mut ends);
    }
    assert!(ends.iter().any(|end| end.agent.path().unwrap().relayed));
    // In Send indications first, then through a channel.
    let mut sent = 0;
    while ends.iter().any(|end| end.data.len() < 100) {
        for end in &mut ends {
            let len = sent % 7 + 1;
            end.send(&[7; 8][..len]);
        }
        drive(&mut ends);
        sent += 1;
    }
    for end in &ends {
        assert!(end.data.iter().all(|it| it[0] == 23 && it.len() <= 8));
    }
    // A channel needs its answer.
    let bound = |turn: &Turn| turn.count("CHANNEL_BIND processed, success");
    while bound(turn) == 0 {
        drive(&mut ends);
    }
    assert!(turn.count("error 401") >= 2);
    assert!(turn.count("ALLOCATE processed, success") >= 2);
    assert!(turn.count("CREATE_PERMISSION processed, success") >= 1);
    ends
}

/// Ends both, which gives their allocations back.
fn give_back(turn: &Turn, mut ends: [End; 2]) {
    let begun = Clock::now();
    let given_back = turn.count("REFRESH processed, success");
    for end in &mut ends {
        end.agent.close();
    }
    while turn.count("REFRESH processed, success") < given_back + 2 {
        assert!(begun.elapsed() < HANG, "they are not given back");
        ends.iter_mut().for_each(End::turn);
    }
}

fn over_each(ip: IpAddr) {
    for over in [Over::Udp, Over::Tcp, Over::Tls] {
        let turn = Turn::start(ip, &[]);
        give_back(&turn, relay(&turn, over, Duration::ZERO));
    }
}

#[test]
fn coturn_relays_over_udp_tcp_and_tls() {
    over_each(LOCALHOST);
}

#[test]
fn coturn_relays_ipv6_over_udp_tcp_and_tls() {
    over_each(Ipv6Addr::LOCALHOST.into());
}

/// The server's nonces live for a second: what is asked after it is refused with 438 at first.
#[test]
fn a_nonce_of_coturn_that_is_stale_is_replaced() {
    let turn = Turn::start(LOCALHOST, &["--stale-nonce=1"]);
    relay(&turn, Over::Udp, Duration::from_millis(2_500));
    assert!(turn.count("error 438") >= 1);
}
