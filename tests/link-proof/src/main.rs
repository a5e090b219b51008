//! The proof that peer-core is what it says: a program without `std` and without an allocator that
//! uses every public module. Were either needed anywhere, it would not link. It exits with 0 when
//! everything worked, else with the number of the part that did not.
#![no_std]
#![no_main]

#[macro_use]
mod fixed;
mod data;
mod leaf;
mod life;
mod logs;
mod net;
mod rtc;
mod wire;

use core::ffi::c_int;

#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let parts: [fn() -> Option<()>; 7] = [
        life::run,
        data::run,
        wire::run,
        leaf::run,
        net::run,
        rtc::run,
        logs::run,
    ];
    for (number, part) in (1..).zip(parts) {
        if part().is_none() {
            return number;
        }
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}

/// The precompiled `core` was built for unwinding and names this; with `panic = "abort"` nothing
/// calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
