//! A program that uses as much of peer-core as its features say. It is linked and measured, never
//! run: a driver's loop around inputs that the compiler cannot see through.
#![no_std]
#![no_main]

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    #[cfg(feature = "engine")]
    engine::run();
    #[cfg(feature = "sctp")]
    sctp::run();
    #[cfg(all(feature = "session", not(feature = "device")))]
    session::run();
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(feature = "sctp")]
mod sctp {
    use core::hint::black_box;

    use peer_core::{rtc::sctp::*, time::Instant};

    /// Memory with windows of 2 KB and of 4 KB, and as long as an association is beside it.
    #[unsafe(no_mangle)]
    static mut SCTP_2: Resources<2048, 8, 2048, 4> = Resources::new();
    #[unsafe(no_mangle)]
    static mut SCTP_4: Resources<4096, 8, 4096, 8> = Resources::new();
    #[unsafe(no_mangle)]
    static mut ASSOCIATION: [u8; size_of::<Association<'_>>()] = [0; _];

    pub(super) fn run() {
        black_box((&raw mut ASSOCIATION, &raw mut SCTP_4));
        // SAFETY: the only use, in the only thread.
        let memory = unsafe { &mut *&raw mut SCTP_2 };
        let mut association = Association::new(Config::new(black_box([7; 8])), memory.lend());
        let mut packet = [0; 1200];
        association.connect();
        loop {
            let now = Instant::from_millis(black_box(1));
            association.receive(now, black_box(&packet));
            while let Some(received) = association.read() {
                black_box(received);
                association.consume(black_box(1));
            }
            let _ = association.send(black_box(Outgoing::message(1, 53)), black_box(&packet));
            while association.transmit(now, &mut packet).is_some() {}
            while let Some(event) = association.poll_event() {
                black_box(event);
            }
            let _ = association.reset_stream(1);
            if association.timeout().is_some() {
                association.abort();
            }
        }
    }
}

#[cfg(all(feature = "session", not(feature = "device")))]
mod session {
    use core::hint::black_box;

    use peer_core::rtc::crypto::{CryptoError, RustCrypto};
    use peer_core::rtc::dtls::Identity;
    use peer_core::rtc::ice::{Role, Server, SocketId};
    use peer_core::rtc::session::*;
    use peer_core::time::Instant;

    type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

    /// Memory with windows of 2 KB, and for one allocation on a TURN server.
    #[unsafe(no_mangle)]
    static mut SESSION_2: Resources<'static, 2, 8, 8, 2, 1, 1536, 2048, 8, 2048, 4> =
        Resources::new();
    /// As long as what it is named after.
    #[unsafe(no_mangle)]
    static mut SESSION: [u8; size_of::<Session<'_, '_, Crypto>>()] = [0; _];

    fn random(out: &mut [u8]) -> Result<(), CryptoError> {
        black_box(out);
        black_box(Ok(()))
    }

    pub(super) fn run() {
        black_box(&raw mut SESSION);
        // SAFETY: the only use, in the only thread.
        let memory = unsafe { &mut *&raw mut SESSION_2 };
        let servers: &'static [Server<'static>] = black_box(&[]);
        let mut crypto: Crypto = RustCrypto::new(random);
        let now = Instant::from_millis(black_box(1));
        let config = Config::new(black_box(Role::Controlled));
        let (Ok(identity), Ok(mut session)) = (
            Identity::generate(&mut crypto),
            Session::new(now, &mut crypto, config, memory.lend(), servers),
        ) else {
            return;
        };
        let mut datagram = [0; DATAGRAM_MAX];
        let here = black_box((
            SocketId(0),
            "192.0.2.1:5000".parse().unwrap_or(([0; 4], 0).into()),
        ));
        let _ = session.set_addresses(now, &[here]);
        let remote = Remote {
            fingerprint: black_box(*identity.fingerprint()),
            ..Remote::new(
                black_box("ufrag"),
                black_box("password"),
                black_box(Setup::Actpass),
            )
        };
        let _ = session.set_remote(now, &remote);
        session.credit(black_box(1_000));
        let _ = session.open(black_box("label"), black_box(true));
        loop {
            let now = Instant::from_millis(black_box(1));
            let _ = session.add_candidate(now, black_box("candidate:"));
            let (socket, from) = black_box(here);
            session.receive(now, &mut crypto, socket, from, black_box(&mut datagram));
            while session.work(now, &mut crypto, &identity) {}
            while let Some(it) = session.transmit(now, &mut crypto, &mut datagram) {
                black_box(it);
            }
            while let Some(event) = session.poll_event() {
                black_box(event);
            }
            while let Some(received) = session.read() {
                black_box(received);
                session.consume(black_box(1));
            }
            let _ = session.send(
                black_box(Outgoing::message(Kind::Text)),
                black_box(&datagram),
            );
            let _ = session.restart_ice(now, &mut crypto);
            session.tell_candidates_again();
            #[cfg(feature = "turn")]
            session.stream_opened(now, socket);
            if session.timeout().is_some() {
                session.close();
            }
        }
    }
}

#[cfg(feature = "engine")]
mod engine {
    use core::hint::black_box;

    use peer_core::{PeerId, peer::*, serialization::Fragment, time::Instant};

    /// What `run` looks for by name: the memory for so many connections.
    macro_rules! memory {
        ($($name:ident $count:literal),*) => {$(
            #[unsafe(no_mangle)]
            static mut $name: PeerResources<$count> = PeerResources::new();
        )*};
    }
    memory!(PEER_1 1, PEER_2 2, PEER_4 4, PEER_8 8);
    /// As long as what it is named after.
    #[unsafe(no_mangle)]
    static mut PEER: [u8; size_of::<Peer<'_>>()] = [0; _];
    #[unsafe(no_mangle)]
    static mut SLOT: [u8; size_of::<ConnectionSlot>()] = [0; _];

    pub(super) fn run() {
        black_box((
            &raw mut PEER,
            &raw mut SLOT,
            &raw mut PEER_1,
            &raw mut PEER_2,
            &raw mut PEER_8,
        ));
        let mut config = Config::new([7; 32]);
        config.id = PeerId::new("sensor-7").ok();
        // SAFETY: the only use, in the only thread.
        let memory = unsafe { &mut *&raw mut PEER_4 };
        let mut peer = Peer::new(config, memory);
        #[cfg(feature = "link")]
        super::link::run(&mut peer);
        #[cfg(feature = "device")]
        super::device::run(&mut peer);
        let mut buffer = [0; 512];
        loop {
            let now = Instant::from_millis(black_box(1));
            let _ = peer.handle_input(now, black_box(Input::Timeout));
            let message = Input::Broker(BrokerInput::Message(black_box(&mut buffer)));
            let _ = peer.handle_input(now, message);
            if let Ok(id) = PeerId::new(black_box("bob"))
                && let Ok(handle) = peer.connect(now, &id, black_box(ConnectOptions::default()))
            {
                let message = Input::Rtc(handle, RtcInput::Fragment(Fragment::binary(&buffer)));
                let _ = peer.handle_input(now, message);
                if let Some(mut connection) = peer.connection(handle) {
                    black_box(connection.recv_raw());
                    #[cfg(any(
                        feature = "binarypack",
                        feature = "json",
                        feature = "serializations"
                    ))]
                    super::values::exchange(&mut connection);
                    connection.close_flush(now);
                }
            }
            while let output = peer.poll_output(Room::UNLIMITED)
                && !matches!(output, Output::Timeout(_))
            {
                black_box(output);
            }
            let _ = peer.reconnect(now);
            peer.destroy(now);
        }
    }
}

#[cfg(any(feature = "binarypack", feature = "json", feature = "serializations"))]
mod values {
    use core::hint::black_box;

    use peer_core::peer::DataConnection;
    use serde::{Deserialize, Serialize};

    /// As the firmware's example: integers, a flag, a text.
    #[derive(Default, Deserialize, Serialize)]
    struct Reading<'m> {
        number: u32,
        millidegrees: i32,
        alarm: bool,
        #[serde(borrow)]
        place: Option<&'m str>,
    }

    pub(super) fn exchange(connection: &mut DataConnection<'_>) {
        let reading = black_box(Reading::default());
        #[cfg(feature = "binarypack")]
        {
            let mut buffer = black_box([0; 256]);
            let _ = black_box(peer_core::binarypack::to_slice(&reading, &mut buffer));
            let _ = black_box(peer_core::binarypack::from_slice::<Reading<'_>>(&buffer));
        }
        #[cfg(feature = "json")]
        {
            let mut buffer = black_box([0; 256]);
            let _ = black_box(peer_core::wire::json::to_slice(&reading, &mut buffer));
            let _ = black_box(peer_core::wire::json::from_slice::<Reading<'_>>(
                &mut buffer,
            ));
        }
        #[cfg(feature = "serializations")]
        {
            let _ = black_box(connection.send(&reading));
            let _ = black_box(connection.recv::<Reading<'_>>());
        }
        let _ = connection;
    }
}

#[cfg(feature = "device")]
mod device {
    use core::hint::black_box;

    use peer_core::device::*;
    use peer_core::rtc::crypto::{CryptoError, RustCrypto};
    use peer_core::rtc::{dtls::Identity, ice::Role, session::Config};
    use peer_core::{peer::Peer, time::Instant};

    type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

    #[unsafe(no_mangle)]
    static mut DEVICE_1: DeviceResources<'static, Crypto, 1> = DeviceResources::new();
    #[unsafe(no_mangle)]
    static mut DEVICE_4: DeviceResources<'static, Crypto, 4> = DeviceResources::new();
    static mut IDENTITY: Option<Identity> = None;

    fn random(out: &mut [u8]) -> Result<(), CryptoError> {
        black_box(out);
        black_box(Ok(()))
    }

    pub(super) fn run(peer: &mut Peer<'_>) {
        black_box(&raw mut DEVICE_1);
        // SAFETY: the only use, in the only thread.
        let (memory, identity) = unsafe { (&mut *&raw mut DEVICE_4, &mut *&raw mut IDENTITY) };
        let mut crypto: Crypto = RustCrypto::new(random);
        let Ok(made) = Identity::generate(&mut crypto) else {
            return;
        };
        let config = Config::new(black_box(Role::Controlled));
        let mut device = Device::new(config, crypto, identity.insert(made), memory);
        let mut datagram = black_box([0; 1472]);
        let from = black_box(([192, 0, 2, 1], 5000).into());
        for millis in 0..black_box(9) {
            let now = Instant::from_millis(millis);
            device.set_addresses(now, &[from]);
            device.receive(now, from, &mut datagram);
            device.work(now);
            black_box(device.poll(now, black_box(9), peer));
            while device.transmit(now, &mut datagram).is_some() {}
            black_box((device.timeout(), device.dropped()));
        }
    }
}

#[cfg(feature = "link")]
mod link {
    use core::hint::black_box;

    use peer_core::{link::*, peer::Peer, time::Instant};

    #[unsafe(no_mangle)]
    static mut LINK_4: LinkResources<4> = LinkResources::new();
    #[unsafe(no_mangle)]
    static mut LEAF: [u8; size_of::<Leaf<'_>>()] = [0; _];

    pub(super) fn run(peer: &mut Peer<'_>) {
        black_box(&raw mut LEAF);
        // SAFETY: the only use, in the only thread.
        let memory = unsafe { &mut *&raw mut LINK_4 };
        let config = LeafConfig::new("greenhouse", [7; 32], [1; 32]);
        let Ok(mut leaf) = Leaf::new(config, memory.slices()) else {
            return;
        };
        let mut buffer = black_box([0; 64]);
        for millis in 0..black_box(9) {
            let now = Instant::from_millis(millis);
            leaf.receive(now, &buffer, peer);
            black_box(leaf.poll(now, peer));
            black_box(leaf.transmit(now, &mut buffer));
        }
    }
}
