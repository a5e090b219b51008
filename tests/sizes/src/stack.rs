//! How deep the stack gets.

/// What untouched stack holds.
const PAINT: u32 = 0x5741_4e45;

/// Paints the stack below this function's caller; where it starts being unpainted.
#[inline(never)]
pub(crate) fn paint() -> usize {
    let end = cortex_m::register::msp::read() as usize - 64;
    for at in (bottom()..end).step_by(4) {
        // SAFETY: RAM above the statics and below the stack pointer.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
    }
    end
}

/// Bytes of stack below `from` that are not painted any more.
pub(crate) fn used(from: usize) -> usize {
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
