//! The command `openssl` at the other end.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use peer_core::rtc::dtls::{CertificateError, Config, DtlsError, Event, Role, Suite};

use super::{HANG, NONE, Ours, fingerprint, identity};

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

    /// Waits for a line that begins like this, and returns the rest of it.
    fn prints(&self, wanted: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(HANG) {
            if let Some(rest) = line.strip_prefix(wanted) {
                return rest.to_owned();
            }
            seen.push(line);
        }
        panic!("openssl does not print {wanted}, but {seen:#?}");
    }

    fn types(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it runs");
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// We are client of `openssl s_server`, and both talk.
fn client_of_openssl(name: &str, arguments: &[&str], lost: fn(bool, usize) -> bool) {
    let files = Files::p256(name);
    let mut all = vec!["-accept", "127.0.0.1:0", "-Verify", "1"];
    all.extend(arguments);
    let mut server = OpenSsl::start("s_server", &files, &all);
    let remote: SocketAddr = server.prints("ACCEPT ").parse().expect("its address");
    let config = Config::new(Role::Client, files.fingerprint);
    let mut ours = Ours::new(identity(), &config, Some(remote));
    ours.lost = lost;
    ours.connect();
    ours.send(b"from us\n");
    server.prints("from us");
    server.types("from openssl");
    ours.receive(b"from openssl\n");
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
    ours.receive(b"from openssl\n");
    ours.send(b"from us\n");
    client.prints("from us");
    ours.close();
}

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
