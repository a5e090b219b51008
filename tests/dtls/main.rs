//! Our DTLS against others over UDP on loopback, in both roles.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use peer_core::rtc::crypto::{Crypto, CryptoError, RustCrypto, Sha256 as _};
use peer_core::rtc::dtls::{
    Config, DATAGRAM_MAX, Dtls, Event, HEADROOM, Identity, Resources, SealError, TAILROOM,
};
use peer_core::time;

mod dimpl;
mod openssl;
#[path = "../../peer-core/src/rtc/dtls/tests/packets.rs"]
mod packets;
mod pair;
mod refused;
mod webrtc_rs;
mod wiped;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(60);

/// The first byte of a record of application data.
const APPLICATION_DATA: u8 = 23;

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

/// Memory that outlives the test's sessions. A test run is short.
fn memory() -> &'static mut Resources {
    Box::leak(Box::default())
}

/// A session of ours on a socket of its own.
struct Ours {
    dtls: Dtls<'static, RustCrypto<Source>>,
    crypto: RustCrypto<Source>,
    identity: Identity,
    socket: UdpSocket,
    remote: Option<SocketAddr>,
    started: Instant,
    events: Vec<Event>,
    /// All application data that came.
    data: Vec<u8>,
    /// Which datagrams of the handshake are lost, of those sent and of those received.
    lost: fn(sent: bool, n: usize) -> bool,
    counts: [usize; 2],
}

impl Ours {
    fn new(identity: Identity, config: &Config, remote: Option<SocketAddr>) -> Self {
        let mut crypto = crypto();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on 127.0.0.1");
        Self {
            dtls: Dtls::new(time::Instant::ZERO, &mut crypto, config, memory()),
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

    /// Application data is never lost here: nobody sends it again.
    fn is_lost(&mut self, sent: bool, datagram: &[u8]) -> bool {
        if datagram.first() == Some(&APPLICATION_DATA) {
            return false;
        }
        let count = &mut self.counts[usize::from(sent)];
        *count += 1;
        (self.lost)(sent, *count - 1)
    }

    fn put(&mut self, datagram: &[u8]) {
        // Who is not there yet is told again.
        if let (Some(remote), false) = (self.remote, self.is_lost(true, datagram)) {
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
        if self.is_lost(false, &buffer[..len]) {
            return;
        }
        self.remote = Some(from);
        let mut datagram = &mut buffer[..len];
        let now = self.now();
        while let Some(data) = self.dtls.receive(now, &mut self.crypto, &mut datagram) {
            self.data.extend_from_slice(data);
        }
        self.events
            .extend(core::iter::from_fn(|| self.dtls.poll_event()));
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            assert!(
                self.started.elapsed() < HANG,
                "{what}: only {:?} and {:?}",
                self.events,
                String::from_utf8_lossy(&self.data)
            );
            self.turn();
        }
    }

    fn connect(&mut self) {
        self.until("connected", |ours| !ours.events.is_empty());
        assert_eq!(self.events, [Event::Connected]);
    }

    fn send(&mut self, data: &[u8]) {
        let sealed = packets::seal(&mut self.dtls, &mut self.crypto, data);
        self.put(&sealed.expect("it is open"));
    }

    /// Waits until this is the end of what came, in however many records.
    fn receive(&mut self, wanted: &[u8]) {
        self.until("data", |ours| ours.data.ends_with(wanted));
    }

    fn close(&mut self) {
        self.dtls.close();
        self.turn();
    }
}

fn identity() -> Identity {
    Identity::generate(&mut crypto()).expect("there is randomness")
}

const NONE: fn(bool, usize) -> bool = |_, _| false;
