//! The crate `dtls` of webrtc-rs at the other end.

use std::sync::Arc;

use peer_core::rtc::dtls::{Config, Role};
use tokio::net::UdpSocket;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;
use webrtc_util::Conn as _;

use super::{NONE, Ours, fingerprint, identity};

/// A session of the crate's that echoes, until it ends.
async fn echo(
    socket: UdpSocket,
    role: Role,
    certificate: Certificate,
) -> Result<(), Box<dyn core::error::Error>> {
    let config = webrtc_dtls::config::Config {
        certificates: vec![certificate],
        cipher_suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        insecure_skip_verify: true,
        ..Default::default()
    };
    let theirs = DTLSConn::new(Arc::new(socket), config, role == Role::Client, None).await?;
    let mut buffer = [0; 2_000];
    loop {
        let len = theirs.recv(&mut buffer).await?;
        theirs.send(&buffer[..len]).await?;
    }
}

/// We have this role, and say ten things.
fn talk(role: Role, lost: fn(bool, usize) -> bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let certificate =
        Certificate::generate_self_signed(["test".to_owned()]).expect("a certificate");
    let config = Config::new(role, fingerprint(&certificate.certificate[0]));
    let mut ours = Ours::new(identity(), &config, None);
    ours.lost = lost;
    let port = ours.port();
    let theirs = runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(("127.0.0.1", port)).await?;
        Ok::<_, std::io::Error>(socket)
    });
    let theirs = theirs.expect("a socket on 127.0.0.1");
    ours.remote = Some(theirs.local_addr().expect("it is bound"));
    let other = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let ended = runtime.spawn(async move {
        let ended = echo(theirs, other, certificate).await;
        ended.expect_err("it echoes without end").to_string()
    });
    ours.connect();
    for n in 0..10_u8 {
        let text = format!("number {n}");
        // A client that has not got our last flight drops what comes before it.
        ours.until("the echo", |ours| {
            let came = ours.data.ends_with(text.as_bytes());
            if !came {
                ours.send(text.as_bytes());
            }
            came
        });
    }
    ours.close();
    let ended = runtime.block_on(async { tokio::time::timeout(super::HANG, ended).await });
    let why = ended.expect("it sees our end").expect("no panic");
    assert_eq!(why, "Alert is Fatal or Close Notify");
}

#[test]
fn client_of_webrtc_rs() {
    talk(Role::Client, NONE);
}

#[test]
fn server_of_webrtc_rs() {
    talk(Role::Server, NONE);
}

#[test]
fn client_of_webrtc_rs_with_loss() {
    // The first hello is answered with a cookie. A server's last flight may not be lost: this one
    // never sends it again.
    for lost in [
        (|sent, n| sent && n == 0) as fn(bool, usize) -> bool,
        |sent, n| sent && n == 1,
        |sent, n| sent && n == 2,
        |sent, n| !sent && n == 0,
        |sent, n| !sent && n == 1,
    ] {
        talk(Role::Client, lost);
    }
}

#[test]
fn server_of_webrtc_rs_with_loss() {
    for lost in [
        (|sent, n| sent && n == 0) as fn(bool, usize) -> bool,
        |sent, n| sent && n == 1,
        |sent, n| !sent && n == 0,
        |sent, n| !sent && n == 1,
    ] {
        talk(Role::Server, lost);
    }
}
