//! What the tests of the whole project share.

use std::cell::Cell;

use peer_net::Stack;

/// Returns the stack of the next peer of a test, by the variable `PEER_STACK`: `native`,
/// `webrtc-rs`, or `cross`, the one and the other in turns. Without it the default.
///
/// # Panics
/// On any other value.
pub fn stack() -> Stack {
    thread_local! {
        static NATIVE: Cell<bool> = const { Cell::new(false) };
    }
    match std::env::var("PEER_STACK") {
        Ok(name) if name == "cross" => {
            let native = !NATIVE.get();
            NATIVE.set(native);
            if native {
                Stack::Native
            } else {
                Stack::WebrtcRs
            }
        }
        Ok(name) => name.parse().expect("PEER_STACK names a stack"),
        Err(_) => Stack::default(),
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
