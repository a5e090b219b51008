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
#[path = "../stack.rs"]
mod stack;
#[path = "../../../link-proof/src/wire.rs"]
mod wire;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

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
        let painted = stack::paint();
        let done = part().is_some();
        hprintln!(
            "{} stack {} {}",
            name,
            stack::used(painted),
            if done { "ok" } else { "FAILED" }
        );
        if !done {
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
