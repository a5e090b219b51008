//! The link proof on the target itself, and how deep its stack gets. Ends QEMU with success or
//! failure.
#![no_std]
#![no_main]

#[macro_use]
#[path = "../../../link-proof/src/fixed.rs"]
mod fixed;
#[path = "../../../link-proof/src/data.rs"]
mod data;
#[path = "../../../link-proof/src/leaf.rs"]
mod leaf;
#[path = "../../../link-proof/src/life.rs"]
mod life;
#[path = "../../../link-proof/src/logs.rs"]
mod logs;
#[path = "../../../link-proof/src/net.rs"]
mod net;
#[path = "../../../link-proof/src/wire.rs"]
mod wire;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

/// What untouched stack holds.
const PAINT: u32 = 0x5741_4e45;

#[entry]
fn main() -> ! {
    let parts: [(&str, fn() -> Option<()>); 6] = [
        ("life", life::run),
        ("data", data::run),
        ("wire", wire::run),
        ("leaf", leaf::run),
        ("net", net::run),
        ("logs", logs::run),
    ];
    for (name, part) in parts {
        let bottom = paint();
        let done = part().is_some();
        hprintln!(
            "{} stack {} {}",
            name,
            used(bottom),
            if done { "ok" } else { "FAILED" }
        );
        if !done {
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

/// Paints the stack below this function's caller; where it starts being unpainted.
#[inline(never)]
fn paint() -> usize {
    let end = cortex_m::register::msp::read() as usize - 64;
    for at in (bottom()..end).step_by(4) {
        // SAFETY: RAM above the statics and below the stack pointer.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
    }
    end
}

/// Bytes of stack below `from` that are not painted any more.
fn used(from: usize) -> usize {
    let mut at = bottom();
    // SAFETY: as above.
    while at < from && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at += 4;
    }
    from - at
}

fn bottom() -> usize {
    unsafe extern "C" {
        static __sheap: u32;
    }
    &raw const __sheap as usize
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
