//! A microcontroller that is a PeerJS peer by itself: its Ethernet leads to a PeerServer, and
//! browsers connect to it. There is no gateway and no allocator.
//!
//! It does what the program `firmware` does: see `app`. A port to another board changes `board` and
//! `lan9118`.
#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;
mod lan9118;
mod network;
mod settings;

use board::Board;
use cortex_m_rt::entry;
use firmware::app::{App, CONNECTIONS, Hardware};
use network::{Network, NetworkMemory, Sockets};
use peer_core::{
    PeerId, Token,
    device::{Device, DeviceOutput, DeviceResources},
    peer::{Config, Event, Peer, PeerResources},
    rtc::{
        crypto::{CryptoError, RustCrypto},
        dtls::Identity,
        ice, session,
    },
    time::Duration,
};
use settings::Settings;

/// Who it is to browsers.
const PEER_ID: &str = "greenhouse";
/// Owns the peer id at the broker. The same after a restart, so that the device can take over from
/// its former self.
const TOKEN: &str = "greenhouse-of-the-demo";
/// How often the log says how things are.
const REPORT: Duration = Duration::from_secs(10);

/// Bytes of the longest datagram that Ethernet carries: browsers send longer ones than we do.
const DATAGRAM_MAX: usize = 1472;

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

/// All memory there is, in `.bss`.
type PeerMemory = PeerResources<CONNECTIONS>;
/// Browsers fill a window to the last byte; in one of 2 KB much is sent twice.
type DeviceMemory = DeviceResources<'static, Crypto, CONNECTIONS, 2048, 16, 4096, 8>;

#[entry]
fn main() -> ! {
    static mut PEER: PeerMemory = PeerMemory::new();
    static mut DEVICE: DeviceMemory = DeviceMemory::new();
    static mut NETWORK: NetworkMemory = NetworkMemory::new();
    static mut SETTINGS: [u8; settings::MAX] = [0; settings::MAX];
    static mut DATAGRAM: [u8; DATAGRAM_MAX] = [0; DATAGRAM_MAX];
    static mut IDENTITY: Option<Identity> = None;
    static mut APP: App = App::new();
    // It is the first and only call.
    let Some(mut board) = Board::take() else {
        loop {}
    };
    board.log(format_args!("firmware: started"));
    let Some(settings) = Settings::read(board::arguments(SETTINGS)) else {
        board.log(format_args!("firmware: no settings, so it stops"));
        board::stop()
    };
    let (Some(ids), Ok(identity)) = (board.random(), Identity::generate(&mut crypto())) else {
        board.log(format_args!("firmware: no random numbers, so it stops"));
        board::stop()
    };
    let identity = IDENTITY.insert(identity);
    let mut sockets = Sockets::new();
    let Some(network) = Network::start(&settings, NETWORK, &mut sockets, board.now()) else {
        board.log(format_args!("firmware: no Ethernet, so it stops"));
        board::stop()
    };
    let config = session::Config::new(ice::Role::Controlled);
    let mut device = Device::new(config, crypto(), identity, DEVICE);
    device.set_addresses(board.now(), &[settings.reached_at]);
    let mut config = Config::new(ids);
    config.token = Token::from_wire(TOKEN).ok();
    config.id = PeerId::new(PEER_ID).ok();
    let peer = Peer::new(config, PEER);
    run(&mut board, network, device, peer, APP, DATAGRAM);
    board.log(format_args!("firmware: starting anew"));
    board.restart()
}

fn crypto() -> Crypto {
    RustCrypto::new(|out| match board::fill_random(out) {
        true => Ok(()),
        false => Err(CryptoError::Random),
    })
}

/// Until the engine is destroyed.
fn run(
    board: &mut Board,
    mut network: Network<'_>,
    mut device: Device<'_, Crypto>,
    mut peer: Peer<'_>,
    app: &mut App,
    datagram: &mut [u8; DATAGRAM_MAX],
) {
    let mut report = board.now() + REPORT;
    loop {
        let now = board.now();
        network.poll(now, &mut peer);
        while let Some((from, came)) = network.receive(datagram) {
            device.receive(now, from, came);
        }
        device.work(now);
        let due = app.run(now, &mut peer, board);
        let engine = loop {
            match device.poll(now, network.broker_room(), &mut peer) {
                DeviceOutput::Broker(command) => network.command(now, command),
                DeviceOutput::Event(Event::Closed) => return,
                DeviceOutput::Event(event) => app.event(event, now, &mut peer, board),
                DeviceOutput::Timeout(at) => break at,
            }
        };
        while network.can_send()
            && let Some(it) = device.transmit(now, datagram)
        {
            network.send(it.destination, &datagram[..it.len]);
        }
        if report <= now {
            report = now + REPORT;
            tell_state(board, &network, &device, &peer, app);
        }
        let wake = [engine, device.timeout(), network.timeout(now), Some(due)];
        if wake.into_iter().flatten().all(|at| at > now) {
            board.rest();
        }
    }
}

fn tell_state(
    board: &mut Board,
    network: &Network<'_>,
    device: &Device<'_, Crypto>,
    peer: &Peer<'_>,
    app: &App,
) {
    let (engine, (used, stack)) = (peer.stats(), board.stack());
    board.log(format_args!(
        "state: stack {used} of {stack} B; {} datagrams of nobody's; broker {} failures; \
         engine {} bad signals, {} dropped, {} bad messages; {} answers dropped",
        device.dropped(),
        network.failures(),
        engine.malformed_signals,
        engine.dropped_signals,
        engine.malformed_messages,
        app.answers_dropped(),
    ));
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    board::last_words(info)
}
