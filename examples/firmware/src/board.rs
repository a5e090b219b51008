//! All that is particular to the board: ARM's MPS2+ with the AN386 image, a Cortex-M4 at 25 MHz, as
//! QEMU's `mps2-an386` has it. For another board write this file anew; nothing else knows
//! registers.
//!
//! Two UARTs: one to the gateway, received by interrupt into a ring; one for log lines. A third one
//! for the frames of `defmt`, with that feature. SysTick gives the time. No DMA, no heap. The file
//! has all `unsafe` of the firmware.
//!
//! The board has no source of randomness at all: no generator, and a clock whose jitter is none.
//! See [`Board::random`] for where its random numbers come from in QEMU.

use core::{
    cell::{Cell, RefCell},
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use cortex_m::{
    interrupt::{Mutex, free},
    peripheral::{NVIC, syst::SystClkSource},
};
use cortex_m_rt::{ExceptionFrame, exception};
#[cfg(feature = "direct")]
use cortex_m_semihosting::syscall1;
use cortex_m_semihosting::{nr, syscall};
use firmware::app::Hardware;
use heapless::Deque;
use peer_core::time::Instant;

/// Hz of the core.
const CLOCK: u32 = 25_000_000;
/// Bits a second of the UART to the gateway. QEMU does not care.
const LINK_BAUD: u32 = 460_800;
/// Bits a second of the log.
const LOG_BAUD: u32 = 115_200;
/// Bytes from the gateway that wait for the main loop. When they are as many the UART is no longer
/// read: QEMU then holds back the other end, as RTS would. Without either the link repairs what is
/// lost.
const RING: usize = 1024;
/// The host's random device, which QEMU opens for the firmware; a C string for the host.
const RANDOM_DEVICE: &[u8] = b"/dev/urandom\0";

const LINK: Uart = Uart(0x4000_4000);
const LOG: Uart = Uart(0x4000_5000);
#[cfg(feature = "defmt")]
const FRAMES: Uart = Uart(0x4000_6000);
/// The LEDs' register in the FPGA's I/O block: bits 0 and 1.
const LEDS: *mut u32 = 0x4002_8000 as *mut u32;

static MILLIS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));
static RECEIVED: Mutex<RefCell<Deque<u8, RING>>> = Mutex::new(RefCell::new(Deque::new()));

/// The board. There is one.
#[derive(Debug)]
pub struct Board {
    leds: u32,
}

impl Board {
    /// Starts clock and UARTs. `None` the second time.
    pub fn take() -> Option<Self> {
        let mut core = cortex_m::Peripherals::take()?;
        paint_stack();
        core.SYST.set_clock_source(SystClkSource::Core);
        core.SYST.set_reload(CLOCK / 1000 - 1);
        core.SYST.clear_current();
        core.SYST.enable_counter();
        core.SYST.enable_interrupt();
        LINK.start(LINK_BAUD, RX_INTERRUPT);
        LOG.start(LOG_BAUD, 0);
        #[cfg(feature = "log")]
        lines::start();
        #[cfg(feature = "defmt")]
        FRAMES.start(LOG_BAUD, 0);
        // SAFETY: the handler shares data with the rest through a `Mutex` only, so it may run from
        // now on.
        unsafe { NVIC::unmask(Interrupt::LinkReceive) };
        Some(Self { leds: 0 })
    }

    /// Time since the start, to a millisecond.
    pub fn now(&self) -> Instant {
        Instant::from_millis(free(|token| MILLIS.borrow(token).get()))
    }

    /// Reads 32 bytes for ids and nonces, fresh at each call. `None`: there are none, and the
    /// firmware must not go on; a substitute that others can guess would give them its token and
    /// its nonces.
    ///
    /// This is for QEMU only: it asks the host for `/dev/urandom` by ARM's semihosting, and needs
    /// `-semihosting-config enable=on,target=native`. Without that the call ends in [`HardFault`],
    /// which says so. On a real board read the chip's true random number generator here, and return
    /// `None` when its health test fails.
    pub fn random(&self) -> Option<[u8; 32]> {
        let mut random = [0; 32];
        fill_random(&mut random).then_some(random)
    }

    /// Bytes that came from the gateway, into `out`: how many.
    #[cfg_attr(feature = "direct", expect(dead_code, reason = "there is no gateway"))]
    pub fn receive(&mut self, out: &mut [u8]) -> usize {
        free(|token| {
            let mut ring = RECEIVED.borrow(token).borrow_mut();
            let mut len = 0;
            for (to, byte) in out.iter_mut().zip(core::iter::from_fn(|| ring.pop_front())) {
                *to = byte;
                len += 1;
            }
            LINK.fill(&mut ring);
            len
        })
    }

    /// Gives bytes to the gateway without waiting: how many it took.
    #[cfg_attr(feature = "direct", expect(dead_code, reason = "there is no gateway"))]
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| LINK.write(**byte)).count()
    }

    /// Sleeps until an interrupt: a byte from the gateway or the next millisecond.
    pub fn rest(&self) {
        // Sleep only where nothing came meanwhile; a pending interrupt ends `wfi` even while it is
        // masked.
        free(|token| {
            if RECEIVED.borrow(token).borrow().is_empty() {
                cortex_m::asm::wfi();
            }
        });
    }

    /// Starts anew, as after power-on.
    pub fn restart(&self) -> ! {
        cortex_m::peripheral::SCB::sys_reset()
    }

    /// Bytes of stack that were used at the deepest so far, and how many there are.
    pub fn stack(&self) -> (usize, usize) {
        let (bottom, top) = stack_bounds();
        let untouched = (bottom..top)
            .step_by(4)
            // SAFETY: words of the RAM between the statics and the stack's start; nobody else
            // writes below the stack's end.
            .take_while(|at| unsafe { (*at as *const u32).read_volatile() } == PAINT)
            .count();
        (top - bottom - untouched * 4, top - bottom)
    }
}

impl Hardware for Board {
    /// Switches LED 0 or 1. Others do not exist.
    fn set_led(&mut self, led: usize, on: bool) {
        let bit = 1 << (led & 1);
        self.leds = if on {
            self.leds | bit
        } else {
            self.leds & !bit
        };
        // SAFETY: the register of the LEDs, which no one else writes.
        unsafe { LEDS.write_volatile(self.leds) };
    }

    /// A tenth of a degree that wanders, in place of a sensor's reading on I²C: milli-degrees.
    fn temperature(&mut self) -> i32 {
        let millis = self.now().as_micros() / 1000;
        // A day in two minutes, and noise of the last bits.
        let phase = (millis % 120_000) as i32 - 60_000;
        let noise = (millis.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as i32 - 64;
        18_000 + (60_000 - phase.abs()) / 8 + noise
    }

    /// Writes a line to the log. Waits for the UART.
    fn log(&mut self, line: fmt::Arguments<'_>) {
        let _ = fmt::write(&mut LogLine, line);
        let _ = fmt::Write::write_str(&mut LogLine, "\n");
    }
}

struct LogLine;

impl fmt::Write for LogLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while !LOG.write(byte) {}
        }
        Ok(())
    }
}

/// The panic handler's way to the log, whatever the state of the rest.
pub fn last_words(info: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    let _ = fmt::write(&mut LogLine, format_args!("firmware: {info}\n"));
    stop()
}

/// Does nothing more, until a reset.
pub fn stop() -> ! {
    cortex_m::interrupt::disable();
    loop {
        cortex_m::asm::wfi();
    }
}

// ---- random numbers, from QEMU's host -----------------------------------------------------------

/// Whether the host is being asked, for the fault handler: a breakpoint without a host is a fault.
static ASKING_HOST: AtomicBool = AtomicBool::new(false);

/// Fills it from the source of [`Board::random`]. `false`: there is nothing random in it.
pub fn fill_random(out: &mut [u8]) -> bool {
    ASKING_HOST.store(true, Ordering::Relaxed);
    let filled = read_random_device(out).is_some();
    ASKING_HOST.store(false, Ordering::Relaxed);
    filled
}

/// `None` where the host refuses, gives less than was asked for, or gives nothing at all.
fn read_random_device(random: &mut [u8]) -> Option<()> {
    // Fewer zeros may be random.
    const ENOUGH: usize = 16;
    // The name's length is told without its zero.
    let name_len = RANDOM_DEVICE.len() - 1;
    // SAFETY: the host reads the name, which is a C string of that length.
    let file = unsafe { syscall!(OPEN, RANDOM_DEVICE.as_ptr(), nr::open::R_BINARY, name_len) };
    // -1: it cannot be opened.
    if file as isize == -1 {
        return None;
    }
    // SAFETY: the host writes into `random`, and no more than its length.
    let missing = unsafe { syscall!(READ, file, random.as_mut_ptr(), random.len()) };
    // SAFETY: the file is the one that was opened, and is not used again.
    unsafe { syscall!(CLOSE, file) };
    let is_blank = random.len() >= ENOUGH && random.iter().all(|byte| *byte == 0);
    (missing == 0 && !is_blank).then_some(())
}

// ---- settings, from QEMU's command line ---------------------------------------------------------

/// What stands behind the program's name in `-semihosting-config arg=…`, read into `out`. A real
/// device keeps its settings in its flash.
#[cfg(feature = "direct")]
pub fn arguments(out: &mut [u8]) -> &str {
    let mut about = [out.as_mut_ptr() as usize, out.len()];
    ASKING_HOST.store(true, Ordering::Relaxed);
    // SAFETY: the host writes at most so many bytes into `out`, and how many into `about`.
    let failed = unsafe { syscall1!(GET_CMDLINE, about.as_mut_ptr()) };
    ASKING_HOST.store(false, Ordering::Relaxed);
    let line = out.get(..about[1]).filter(|_| failed == 0);
    let line = line.and_then(|line| core::str::from_utf8(line).ok());
    let line = line.unwrap_or_default().trim_end_matches('\0');
    line.split_once(' ').map_or("", |(_, arguments)| arguments)
}

// ---- what peer-core logs ------------------------------------------------------------------------

/// Each as a line among the firmware's own.
#[cfg(feature = "log")]
mod lines {
    use core::fmt;

    use log::{LevelFilter, Log, Metadata, Record};

    use super::LogLine;

    const LEVEL: LevelFilter = LevelFilter::Debug;

    pub(super) fn start() {
        // The first and only one.
        let _ = log::set_logger(&LogLine);
        log::set_max_level(LEVEL);
    }

    impl Log for LogLine {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= LEVEL
        }

        fn log(&self, record: &Record<'_>) {
            let (from, what) = (record.target(), record.args());
            let _ = fmt::write(&mut LogLine, format_args!("{from}: {what}\n"));
        }

        fn flush(&self) {}
    }
}

/// Frames for `defmt-print` and the like, which read the texts from the program's ELF file.
#[cfg(feature = "defmt")]
mod frames {
    use core::cell::UnsafeCell;

    use defmt::Encoder;

    #[defmt::global_logger]
    struct Frames;

    struct Shared(UnsafeCell<Encoder>);

    // SAFETY: only the main loop logs; no interrupt does.
    unsafe impl Sync for Shared {}

    static ENCODER: Shared = Shared(UnsafeCell::new(Encoder::new()));

    fn write(bytes: &[u8]) {
        for byte in bytes {
            while !super::FRAMES.write(*byte) {}
        }
    }

    // SAFETY: only the main loop logs, so that nothing comes between `acquire` and `release`.
    unsafe impl defmt::Logger for Frames {
        fn acquire() {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).start_frame(write) };
        }

        unsafe fn flush() {}

        unsafe fn write(bytes: &[u8]) {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).write(bytes, write) };
        }

        unsafe fn release() {
            // SAFETY: as above.
            unsafe { (*ENCODER.0.get()).end_frame(write) };
        }
    }
}

// ---- the stack: between the statics and the end of RAM, growing down ----------------------------

/// What untouched stack holds.
const PAINT: u32 = 0x5741_4e45;
/// Bytes below the stack pointer that are left alone while painting.
const PAINT_MARGIN: usize = 128;

fn stack_bounds() -> (usize, usize) {
    unsafe extern "C" {
        static __sheap: u32;
        static _stack_start: u32;
    }
    (
        &raw const __sheap as usize,
        &raw const _stack_start as usize,
    )
}

/// Marks the stack that is not in use, to see later how much was.
fn paint_stack() {
    let (bottom, _) = stack_bounds();
    let end = (cortex_m::register::msp::read() as usize).saturating_sub(PAINT_MARGIN);
    for at in (bottom..end).step_by(4) {
        // SAFETY: words of RAM above the statics and well below the stack pointer; interrupts'
        // frames that land there meanwhile are below the margin only when they are over.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
    }
}

// ---- UARTs: the CMSDK APB UART ------------------------------------------------------------------

const TX_FULL: u32 = 1;
const RX_FULL: u32 = 1 << 1;
const TX_ENABLE: u32 = 1;
const RX_ENABLE: u32 = 1 << 1;
const RX_INTERRUPT: u32 = 1 << 3;
const RX_PENDING: u32 = 1 << 1;

#[derive(Clone, Copy)]
struct Uart(usize);

impl Uart {
    const DATA: usize = 0x00;
    const STATE: usize = 0x04;
    const CONTROL: usize = 0x08;
    const INTERRUPTS: usize = 0x0c;
    const DIVISOR: usize = 0x10;

    fn start(self, baud: u32, interrupts: u32) {
        self.set(Self::DIVISOR, (CLOCK / baud).max(16));
        self.set(Self::CONTROL, TX_ENABLE | RX_ENABLE | interrupts);
    }

    /// Gives a byte, or says that there is no room.
    fn write(self, byte: u8) -> bool {
        let room = self.read(Self::STATE) & TX_FULL == 0;
        if room {
            self.set(Self::DATA, byte.into());
        }
        room
    }

    /// The byte that came.
    fn take(self) -> Option<u8> {
        (self.read(Self::STATE) & RX_FULL != 0).then(|| self.read(Self::DATA) as u8)
    }

    /// Moves what came into the ring, and interrupts for more while that has room.
    fn fill(self, ring: &mut Deque<u8, RING>) {
        self.set(Self::CONTROL, TX_ENABLE | RX_ENABLE | RX_INTERRUPT);
        while !ring.is_full() {
            let Some(byte) = self.take() else { return };
            let _ = ring.push_back(byte);
        }
        self.set(Self::CONTROL, TX_ENABLE | RX_ENABLE);
    }

    fn read(self, register: usize) -> u32 {
        // SAFETY: only the constants above make a `Uart`; these are its registers, which may be
        // read at any time.
        unsafe { ((self.0 + register) as *const u32).read_volatile() }
    }

    fn set(self, register: usize, value: u32) {
        // SAFETY: as above; writing them touches no memory.
        unsafe { ((self.0 + register) as *mut u32).write_volatile(value) }
    }
}

// ---- interrupts ---------------------------------------------------------------------------------

/// Says what it can, and stops.
#[exception(trampoline = true)]
// SAFETY: it uses the log's UART only, and does not return.
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    let _ = if ASKING_HOST.load(Ordering::Relaxed) {
        let how = "start QEMU with -semihosting-config enable=on,target=native";
        fmt::write(
            &mut LogLine,
            format_args!("firmware: no random numbers, so it stops: {how}\n"),
        )
    } else {
        fmt::write(
            &mut LogLine,
            format_args!("firmware: fault at {:#010x}\n", frame.pc()),
        )
    };
    stop()
}

#[exception]
fn SysTick() {
    free(|token| {
        let millis = MILLIS.borrow(token);
        millis.set(millis.get() + 1);
    });
}

/// A byte came from the gateway.
extern "C" fn link_receive() {
    LINK.set(Uart::INTERRUPTS, RX_PENDING);
    free(|token| LINK.fill(&mut RECEIVED.borrow(token).borrow_mut()));
}

#[derive(Clone, Copy)]
enum Interrupt {
    LinkReceive = 0,
}

// SAFETY: the number is that of UART 0's receive line, and never changes.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

/// The vectors behind the core's own, as many as this firmware uses. `cortex-m-rt` puts them in
/// place.
// SAFETY: the name and the section are those `cortex-m-rt` wants; the one entry is a handler.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [extern "C" fn(); 1] = [link_receive];
