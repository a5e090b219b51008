//! Memory that is there from the start, so that nothing large is on the stack.

/// A static of its own for each use, borrowed once: `fixed!(MEMORY: [u8; 64] = [0; 64])`.
macro_rules! fixed {
    ($name:ident: $type:ty = $value:expr) => {{
        static mut $name: $type = $value;
        // SAFETY: no part of the proof runs twice, and there is one thread.
        unsafe { &mut *&raw mut $name }
    }};
}
