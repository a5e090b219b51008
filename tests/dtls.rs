//! Our DTLS against another over UDP on loopback: the command `openssl` as client and server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use peer_core::rtc::crypto::{Crypto as _, CryptoError, RustCrypto, Sha256 as _};
use peer_core::rtc::dtls::{
    Config, DATAGRAM_MAX, Dtls, DtlsError, Event, HEADROOM, Identity, Role, Suite, TAILROOM,
};
use peer_core::time;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(60);

type Source = fn(&mut [u8]) -> Result<(), CryptoError>;

fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    let mut source = fs::File::open("/dev/urandom").map_err(|_| CryptoError::Random)?;
    source.read_exact(out).map_err(|_| CryptoError::Random)
}

fn crypto() -> RustCrypto<Source> {
    RustCrypto::new(random)
}

fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut hash = crypto().sha256();
    hash.update(certificate);
    hash.finish()
}

/// A session of ours on a socket of its own.
struct Ours {
    dtls: Dtls<RustCrypto<Source>>,
    crypto: RustCrypto<Source>,
    identity: Identity,
    socket: UdpSocket,
    remote: Option<SocketAddr>,
    started: Instant,
    events: Vec<Event>,
    data: Vec<Vec<u8>>,
    /// Which datagrams are lost, of those sent and of those received.
    lost: fn(sent: bool, n: usize) -> bool,
    counts: [usize; 2],
}

impl Ours {
    fn new(identity: Identity, config: &Config, remote: Option<SocketAddr>) -> Self {
        let mut crypto = crypto();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on 127.0.0.1");
        Self {
            dtls: Dtls::new(time::Instant::ZERO, &mut crypto, config),
            crypto,
            identity,
            socket,
            remote,
            started: Instant::now(),
            events: Vec::new(),
            data: Vec::new(),
            lost: |_, _| false,
            counts: [0, 0],
        }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("it is bound").port()
    }

    fn now(&self) -> time::Instant {
        let micros = self.started.elapsed().as_micros();
        time::Instant::from_micros(u64::try_from(micros).expect("a short test"))
    }

    fn is_lost(&mut self, sent: bool) -> bool {
        let count = &mut self.counts[usize::from(sent)];
        *count += 1;
        (self.lost)(sent, *count - 1)
    }

    fn put(&mut self, datagram: &[u8]) {
        // Who is not there yet is told again.
        if let (Some(remote), false) = (self.remote, self.is_lost(true)) {
            let _ = self.socket.send_to(datagram, remote);
        }
    }

    /// One turn of the loop that the documentation of `rtc::dtls` tells.
    fn turn(&mut self) {
        let mut buffer = [0; 2_048];
        while self.dtls.work(self.now(), &mut self.crypto, &self.identity) {}
        if self.remote.is_some() {
            while let Some(len) = self
                .dtls
                .transmit(self.now(), &mut self.crypto, &mut buffer)
            {
                assert!(len <= DATAGRAM_MAX);
                self.put(&buffer[..len]);
            }
        }
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
        let wait = self.dtls.timeout().map_or(Duration::from_millis(50), |at| {
            at.saturating_duration_since(self.now())
                .min(Duration::from_millis(50))
        });
        let wait = wait.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(wait))
            .expect("it is not zero");
        let Ok((len, from)) = self.socket.recv_from(&mut buffer) else {
            return;
        };
        if self.is_lost(false) {
            return;
        }
        self.remote = Some(from);
        let mut datagram = &mut buffer[..len];
        let now = self.now();
        while let Some(data) = self.dtls.receive(now, &mut self.crypto, &mut datagram) {
            self.data.push(data.to_vec());
        }
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            assert!(
                self.started.elapsed() < HANG,
                "{what}: only {:?}",
                self.events
            );
            self.turn();
        }
    }

    fn connect(&mut self) {
        self.until("connected", |ours| !ours.events.is_empty());
        assert_eq!(self.events, [Event::Connected]);
    }

    fn send(&mut self, data: &[u8]) {
        let mut buffer = vec![0; HEADROOM + data.len() + TAILROOM];
        let text = HEADROOM..HEADROOM + data.len();
        buffer[text.clone()].copy_from_slice(data);
        let sealed = self
            .dtls
            .seal(&mut self.crypto, &mut buffer, text)
            .expect("it is open");
        self.put(&buffer[sealed]);
    }

    fn received(&self, wanted: &str) -> bool {
        self.data.iter().any(|data| data == wanted.as_bytes())
    }

    fn close(&mut self) {
        self.dtls.close();
        self.turn();
    }
}

fn identity() -> Identity {
    Identity::generate(&mut crypto()).expect("there is randomness")
}

/// A certificate and its key in files, made by `openssl`.
struct Files {
    folder: PathBuf,
    fingerprint: [u8; 32],
}

impl Files {
    fn new(name: &str, kind: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("peer-dtls-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        openssl(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test", "-newkey",
                ])
                .args(kind)
                .args(["-keyout".as_ref(), key.as_os_str()])
                .args(["-out".as_ref(), certificate.as_os_str()]),
        );
        let der = openssl(
            Command::new("openssl")
                .args(["x509", "-outform", "DER", "-in"])
                .arg(&certificate),
        );
        Self {
            folder,
            fingerprint: fingerprint(&der),
        }
    }

    fn p256(name: &str) -> Self {
        Self::new(name, &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    fn arguments(&self) -> [PathBuf; 4] {
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|it| self.folder.join(it));
        ["-cert".into(), certificate, "-key".into(), key]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A left folder harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs `openssl` to its end; what it printed.
fn openssl(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .expect("`openssl` is missing or cannot be started; install it: apt-get install openssl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// `openssl s_client` or `s_server`, ended when dropped.
struct OpenSsl {
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl OpenSsl {
    fn start(kind: &str, files: &Files, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args([kind, "-dtls1_2"])
            .args(files.arguments())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`openssl` is missing or cannot be started: apt-get install openssl");
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            lines,
        }
    }

    /// Waits for a line that it prints.
    fn prints(&self, wanted: &str) {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(HANG) {
            if line == wanted {
                return;
            }
            seen.push(line);
        }
        panic!("openssl does not print {wanted}, but {seen:#?}");
    }

    fn types(&mut self, line: &str) {
        writeln!(self.input, "{line}")
            .and_then(|()| self.input.flush())
            .expect("it runs");
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody asked for this port a moment ago and got it.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on 127.0.0.1");
    socket.local_addr().expect("it is bound").port()
}

/// We are client of `openssl s_server`, and both talk.
fn client_of_openssl(name: &str, arguments: &[&str], lost: fn(bool, usize) -> bool) {
    let files = Files::p256(name);
    let port = free_port();
    let accept = port.to_string();
    let mut all = vec!["-accept", &accept, "-Verify", "1", "-quiet"];
    all.extend(arguments);
    let mut server = OpenSsl::start("s_server", &files, &all);
    let config = Config::new(Role::Client, files.fingerprint);
    let remote = SocketAddr::from(([127, 0, 0, 1], port));
    let mut ours = Ours::new(identity(), &config, Some(remote));
    ours.lost = lost;
    ours.connect();
    ours.send(b"from us\n");
    server.prints("from us");
    server.types("from openssl");
    ours.until("data", |ours| ours.received("from openssl\n"));
    ours.close();
}

/// We are server of `openssl s_client`, and both talk.
fn server_of_openssl(name: &str, arguments: &[&str], prefer: Suite, lost: fn(bool, usize) -> bool) {
    let files = Files::p256(name);
    let mut config = Config::new(Role::Server, files.fingerprint);
    config.prefer = prefer;
    let mut ours = Ours::new(identity(), &config, None);
    ours.lost = lost;
    let connect = format!("127.0.0.1:{}", ours.port());
    let mut all = vec!["-connect", &connect, "-quiet"];
    all.extend(arguments);
    let mut client = OpenSsl::start("s_client", &files, &all);
    ours.connect();
    client.types("from openssl");
    ours.until("data", |ours| ours.received("from openssl\n"));
    ours.send(b"from us\n");
    client.prints("from us");
    ours.close();
}

const NONE: fn(bool, usize) -> bool = |_, _| false;

#[test]
fn client_of_openssl_s_server() {
    client_of_openssl("server", &[], NONE);
}

#[test]
fn client_of_openssl_that_wants_a_cookie() {
    client_of_openssl("listen", &["-listen"], NONE);
}

#[test]
fn client_of_openssl_with_chacha20() {
    client_of_openssl(
        "chacha",
        &["-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        NONE,
    );
}

#[test]
fn client_of_openssl_with_small_datagrams() {
    client_of_openssl("small", &["-mtu", "300"], NONE);
}

#[test]
fn client_of_openssl_with_loss() {
    client_of_openssl("loss-0", &[], |sent, n| sent && n == 0);
    client_of_openssl("loss-1", &[], |sent, n| sent && n == 1);
    client_of_openssl("loss-2", &[], |sent, n| !sent && n < 3);
    client_of_openssl("loss-3", &["-mtu", "300"], |sent, n| {
        sent != (n % 3 == 1) && n < 9
    });
}

#[test]
fn server_of_openssl_s_client() {
    server_of_openssl("client", &[], Suite::Aes128Gcm, NONE);
}

#[test]
fn server_of_openssl_with_chacha20() {
    server_of_openssl("client-chacha", &[], Suite::ChaCha20Poly1305, NONE);
    let only = ["-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"];
    server_of_openssl("client-only", &only, Suite::Aes128Gcm, NONE);
}

#[test]
fn server_of_openssl_with_small_datagrams() {
    server_of_openssl("client-small", &["-mtu", "300"], Suite::Aes128Gcm, NONE);
}

#[test]
fn server_of_openssl_with_loss() {
    let suite = Suite::Aes128Gcm;
    server_of_openssl("client-loss-0", &[], suite, |sent, n| sent && n == 0);
    server_of_openssl("client-loss-1", &[], suite, |sent, n| sent && n == 1);
    server_of_openssl("client-loss-2", &[], suite, |sent, n| {
        !sent && (n == 0 || n == 2)
    });
}

#[test]
fn openssl_without_the_right_certificate_is_refused() {
    let files = Files::p256("wrong");
    let config = Config::new(Role::Server, [7; 32]);
    let mut ours = Ours::new(identity(), &config, None);
    let connect = format!("127.0.0.1:{}", ours.port());
    let _client = OpenSsl::start("s_client", &files, &["-connect", &connect]);
    ours.until("refused", |ours| !ours.events.is_empty());
    assert_eq!(ours.events, [Event::Failed(DtlsError::Fingerprint)]);
}

#[test]
fn openssl_with_another_kind_of_key_is_refused_by_name() {
    use peer_core::rtc::dtls::CertificateError;
    let kinds: [(&str, &[&str], CertificateError); 2] = [
        ("rsa", &["rsa:2048"], CertificateError::Rsa),
        (
            "p384",
            &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
            CertificateError::P384,
        ),
    ];
    for (name, kind, error) in kinds {
        let files = Files::new(name, kind);
        let config = Config::new(Role::Server, files.fingerprint);
        let mut ours = Ours::new(identity(), &config, None);
        let connect = format!("127.0.0.1:{}", ours.port());
        let _client = OpenSsl::start("s_client", &files, &["-connect", &connect]);
        ours.until("refused", |ours| !ours.events.is_empty());
        match ours.events[..] {
            [Event::Failed(DtlsError::Certificate(found))] => assert_eq!(found, error),
            // A client whose key does not fit what was asked for may send no certificate.
            [Event::Failed(DtlsError::NoCertificate)] => {}
            _ => panic!("{name}: {:?}", ours.events),
        }
    }
}

/// What we make is a certificate, and signed by its own key.
#[test]
fn openssl_verifies_our_certificate() {
    let folder = std::env::temp_dir().join(format!("peer-dtls-{}-ours", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let (der, pem) = (folder.join("ours.der"), folder.join("ours.pem"));
    for _ in 0..20 {
        let identity = identity();
        fs::write(&der, identity.certificate()).expect("a file");
        let pem_text = openssl(
            Command::new("openssl")
                .args(["x509", "-inform", "DER", "-in"])
                .arg(&der),
        );
        fs::write(&pem, pem_text).expect("a file");
        openssl(
            Command::new("openssl")
                .args(["verify", "-check_ss_sig", "-CAfile"])
                .args([&pem, &pem]),
        );
        assert_eq!(identity.fingerprint(), &fingerprint(identity.certificate()));
    }
    let _ = fs::remove_dir_all(folder);
}
