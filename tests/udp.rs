//! Sessions of `peer_core::rtc` that share UDP sockets: the driver of tests.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::UdpSocket;
use std::time::Instant as Clock;

use peer_core::rtc::crypto::Crypto;
use peer_core::rtc::dtls::Identity;
use peer_core::rtc::ice::SocketId;
use peer_core::rtc::session::{Config, DATAGRAM_MAX, Remote, Resources, Session};
use peer_core::rtc::stack::{Resources as Table, Route, SessionId, Stack};
use peer_core::time::Instant;
use peer_core::wire::sdp::{self, Emit};

/// Sessions there may be.
const SESSIONS: usize = 16;
/// Datagrams that one turn takes from a socket: a session has room for them.
const TRAIN: usize = 32;
/// How long a turn waits for datagrams.
const WAIT: Duration = Duration::from_millis(1);
/// Bytes of a message that is taken.
const MESSAGE_MAX: u32 = 262_144;

/// A socket, and when the first datagram that is not STUN came to it.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    bound: Instant,
    data: Option<Instant>,
}

/// Sessions, and the sockets that they share.
#[derive(Debug)]
pub struct Sessions<C: Crypto> {
    crypto: C,
    identity: Identity,
    begun: Clock,
    stack: Stack<'static>,
    sessions: BTreeMap<usize, (SessionId, Session<'static, 'static, C>)>,
    sockets: BTreeMap<u8, Socket>,
    next: u8,
}

impl<C: Crypto> Sessions<C> {
    /// No session, with a new certificate and one socket for each address.
    ///
    /// # Errors
    /// A socket cannot be bound.
    ///
    /// # Panics
    /// There is no randomness.
    pub fn bind(mut crypto: C, addresses: &[SocketAddr]) -> io::Result<Self> {
        let table: &'static mut Table<SESSIONS, 256> = Box::leak(Box::default());
        let identity = Identity::generate(&mut crypto).expect("randomness");
        let mut sessions = Self {
            crypto,
            identity,
            begun: Clock::now(),
            stack: Stack::new(table.lend()),
            sessions: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next: 0,
        };
        sessions.rebind(addresses)?;
        Ok(sessions)
    }

    /// Puts new sockets in the place of all others, and tells each session.
    ///
    /// # Errors
    /// A socket cannot be bound.
    ///
    /// # Panics
    /// These are more addresses than a session has room for.
    pub fn rebind(&mut self, addresses: &[SocketAddr]) -> io::Result<()> {
        let now = self.now();
        self.sockets.clear();
        for address in addresses {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(WAIT))?;
            let socket = Socket {
                socket,
                bound: now,
                data: None,
            };
            self.sockets.insert(self.next, socket);
            self.next = self.next.wrapping_add(1);
        }
        let told = self.addresses()?;
        for (_, session) in self.sessions.values_mut() {
            session.set_addresses(now, &told).expect("there is room");
        }
        Ok(())
    }

    fn addresses(&self) -> io::Result<Vec<(SocketId, SocketAddr)>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|(id, it)| Ok((SocketId(*id), it.socket.local_addr()?)))
            .collect()
    }

    /// Adds a session that has our addresses.
    ///
    /// # Panics
    /// There are too many, or there is no randomness.
    pub fn add(&mut self, config: Config) -> SessionId {
        let memory: &'static mut Resources<'static, 2, 8, 16, 1, 0, 1536, 65536, 512, 65536, 32> =
            Box::leak(Box::default());
        let now = self.now();
        let session = Session::new(now, &mut self.crypto, config, memory.lend(), &[]);
        let mut session = session.expect("randomness");
        let addresses = self.addresses().expect("they are bound");
        session
            .set_addresses(now, &addresses)
            .expect("there is room");
        let id = self.stack.add(session.ice().ufrag()).expect("room");
        self.sessions.insert(id.place(), (id, session));
        id
    }

    /// Returns a session.
    ///
    /// # Panics
    /// It was removed.
    pub fn session(&mut self, id: SessionId) -> &mut Session<'static, 'static, C> {
        let found = self.sessions.get_mut(&id.place());
        let (of, session) = found.expect("it was added");
        assert_eq!(*of, id, "it was removed");
        session
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) {
        self.stack.remove(id);
        self.sessions.remove(&id.place());
    }

    /// Returns the time that sessions are told.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.begun.elapsed().as_micros().try_into().expect("short"))
    }

    /// Returns how long after the sockets were bound the first data came.
    pub fn until_data(&self) -> Option<Duration> {
        let all = self.sockets.values();
        let waits = all.filter_map(|it| Some(it.data?.saturating_duration_since(it.bound)));
        waits.min()
    }

    /// Returns our description.
    pub fn describe(&mut self, id: SessionId, mid: &str) -> String {
        let fingerprint = *self.identity.fingerprint();
        let session = self.session(id);
        let emit = Emit {
            session_id: 1,
            ufrag: session.ice().ufrag(),
            pwd: session.ice().password(),
            fingerprint: &fingerprint,
            setup: session.setup(),
            mid,
            sctp_port: sdp::SCTP_PORT,
            max_message_size: MESSAGE_MAX,
            candidates: &[],
        };
        emit.to_string()
    }

    /// Takes the remote's description with the candidates in it, and returns its `a=mid`.
    ///
    /// # Panics
    /// It is not one.
    pub fn set_description(&mut self, id: SessionId, text: &str) -> Option<String> {
        let now = self.now();
        let session = self.session(id);
        let description = sdp::parse(text).expect("a description");
        let fingerprint = description.fingerprints().find_map(|it| it.sha256());
        let setup = description.setup.expect("a=setup");
        let remote = Remote {
            lite: description.ice_lite,
            fingerprint: fingerprint.expect("a SHA-256 fingerprint"),
            sctp_port: description.sctp_port,
            max_message_size: description.max_message_size,
            ..Remote::new(description.ufrag, description.pwd, setup)
        };
        session.credit(text.len().try_into().expect("short"));
        session.set_remote(now, &remote).expect("its description");
        for line in description.candidates() {
            // A name that only browsers understand, TCP: such are left out.
            session.add_candidate(now, line).ok();
        }
        description.mid.map(str::to_owned)
    }

    /// Takes a candidate of the remote. Whether it is of use.
    ///
    /// # Panics
    /// It is longer than 4 GiB.
    pub fn add_candidate(&mut self, id: SessionId, line: &str) -> bool {
        let now = self.now();
        let session = self.session(id);
        session.credit(line.len().try_into().expect("short"));
        session.add_candidate(now, line).is_ok()
    }

    /// Does what is due, and waits a little for what comes.
    ///
    /// # Panics
    /// A datagram is too long, or a socket fails.
    pub fn turn(&mut self) {
        let mut buffer = [0; 2_000];
        for (id, session) in self.sessions.values_mut() {
            let micros = self.begun.elapsed().as_micros();
            let now = Instant::from_micros(micros.try_into().expect("short"));
            while session.work(now, &mut self.crypto, &self.identity) {}
            while let Some(it) = session.transmit(now, &mut self.crypto, &mut buffer) {
                assert!(it.len <= DATAGRAM_MAX, "{} bytes", it.len);
                let datagram = &buffer[..it.len];
                self.stack.sent(*id, datagram);
                // What goes to an address that is not reached is lost, as it would be beyond.
                if let Some(from) = self.sockets.get(&it.socket.0) {
                    drop(from.socket.send_to(datagram, it.destination));
                }
            }
        }
        let ids: Vec<u8> = self.sockets.keys().copied().collect();
        for id in ids {
            self.drain(id, &mut buffer).expect("a socket");
        }
    }

    /// Waits for a datagram at a socket, and takes those that are there.
    fn drain(&mut self, id: u8, buffer: &mut [u8]) -> io::Result<()> {
        for taken in 0..TRAIN {
            let now = self.now();
            let Some(at) = self.sockets.get_mut(&id) else {
                return Ok(());
            };
            let came = at.socket.recv_from(buffer);
            if taken == 0 {
                at.socket.set_nonblocking(true)?;
            }
            // Nothing is there; or what was sent did not arrive, which timers find.
            let Ok((len, source)) = came else { break };
            if buffer[0] > 3 {
                at.data.get_or_insert(now);
            }
            self.receive(now, SocketId(id), source, &mut buffer[..len]);
        }
        match self.sockets.get(&id) {
            Some(at) => at.socket.set_nonblocking(false),
            None => Ok(()),
        }
    }

    fn receive(&mut self, now: Instant, socket: SocketId, source: SocketAddr, datagram: &mut [u8]) {
        match self.stack.route(now, socket, source, datagram) {
            Route::Session(id) => {
                let Some((_, session)) = self.sessions.get_mut(&id.place()) else {
                    return;
                };
                session.receive(now, &mut self.crypto, socket, source, datagram);
                if session.ice().hears(socket, source) {
                    let is_ours = self.stack.claim(now, id, socket, source);
                    assert!(is_ours, "it was routed here");
                }
            }
            Route::Unclaimed => {
                for id in self.stack.on_socket(socket) {
                    if let Some((_, session)) = self.sessions.get_mut(&id.place()) {
                        let mut copy = datagram.to_vec();
                        session.receive(now, &mut self.crypto, socket, source, &mut copy);
                    }
                }
            }
            Route::Nobody => {}
        }
    }
}
