//! The features `log` and `defmt`: what peer-core says reaches the program's logger.

#[cfg(any(feature = "log", feature = "defmt"))]
use core::sync::atomic::{AtomicUsize, Ordering};

/// What came: lines of `log`, bytes of `defmt`.
#[cfg(any(feature = "log", feature = "defmt"))]
static CAME: AtomicUsize = AtomicUsize::new(0);

/// With neither feature there is nothing to prove.
#[cfg(not(any(feature = "log", feature = "defmt")))]
pub(crate) fn run() -> Option<()> {
    Some(())
}

#[cfg(any(feature = "log", feature = "defmt"))]
pub(crate) fn run() -> Option<()> {
    use peer_core::{
        PeerId,
        peer::{Config, ConnectOptions, Event, Output, Peer, PeerResources, Room},
        time::Instant,
    };

    start()?;
    let memory = fixed!(MEMORY: PeerResources<1> = PeerResources::new());
    let mut peer = Peer::new(Config::new([7; 32]), memory);
    let now = Instant::from_millis(1);
    let bob = PeerId::new("bob").ok()?;
    peer.connect(now, &bob, ConnectOptions::default()).ok()?;
    let before = CAME.load(Ordering::Relaxed);
    // A connect that ends is worth a line.
    peer.destroy(now);
    let failure = loop {
        match peer.poll_output(Room::UNLIMITED) {
            Output::Event(Event::ConnectionFailed(_, failure)) => break failure,
            Output::Timeout(_) => return None,
            _ => {}
        }
    };
    let told = CAME.load(Ordering::Relaxed);
    show(&failure, &peer);
    (told > before && CAME.load(Ordering::Relaxed) > told).then_some(())
}

#[cfg(all(feature = "log", not(feature = "defmt")))]
use counting::{show, start};
#[cfg(feature = "defmt")]
use encoding::{show, start};

#[cfg(all(feature = "log", not(feature = "defmt")))]
mod counting {
    use core::sync::atomic::Ordering;

    use log::{LevelFilter, Log, Metadata, Record};
    use peer_core::peer::{ConnectFailure, Peer};

    /// Writes nowhere.
    struct Counting;

    impl Log for Counting {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            if record.target().starts_with("peer_core") || record.args().as_str().is_none() {
                super::CAME.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn flush(&self) {}
    }

    pub(crate) fn start() -> Option<()> {
        log::set_logger(&Counting).ok()?;
        log::set_max_level(LevelFilter::Trace);
        Some(())
    }

    /// Public types can be shown.
    pub(crate) fn show(failure: &ConnectFailure, peer: &Peer<'_>) {
        log::info!("{failure} {:?}", peer.stats());
    }
}

#[cfg(feature = "defmt")]
mod encoding {
    use core::{cell::UnsafeCell, sync::atomic::Ordering};

    use peer_core::peer::{ConnectFailure, Peer};

    /// Encodes, as for a host that decodes, and writes nowhere.
    #[defmt::global_logger]
    struct Counting;

    struct Encoder(UnsafeCell<defmt::Encoder>);

    // SAFETY: there is one thread, and no interrupt.
    unsafe impl Sync for Encoder {}

    static ENCODER: Encoder = Encoder(UnsafeCell::new(defmt::Encoder::new()));

    fn count(bytes: &[u8]) {
        super::CAME.fetch_add(bytes.len(), Ordering::Relaxed);
    }

    // SAFETY: with one thread and no interrupt nothing comes between `acquire` and `release`.
    unsafe impl defmt::Logger for Counting {
        fn acquire() {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).start_frame(count) };
        }

        unsafe fn flush() {}

        unsafe fn release() {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).end_frame(count) };
        }

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).write(bytes, count) };
        }
    }

    pub(crate) fn start() -> Option<()> {
        Some(())
    }

    /// Public types can be shown.
    pub(crate) fn show(failure: &ConnectFailure, peer: &Peer<'_>) {
        defmt::info!("{} {}", failure, peer.stats());
    }
}
