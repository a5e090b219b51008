//! The board's timer 0, a CMSDK APB timer: counts down at the clock of the core, 25 MHz.

const CONTROL: *mut u32 = 0x4000_0000 as *mut u32;
const VALUE: *mut u32 = 0x4000_0004 as *mut u32;
const RELOAD: *mut u32 = 0x4000_0008 as *mut u32;

/// Instructions of a nanosecond each in a tick.
pub(super) const INSTRUCTIONS: u32 = 40;

pub(super) fn start() {
    // SAFETY: the timer's registers, which touch no memory.
    unsafe {
        RELOAD.write_volatile(u32::MAX);
        VALUE.write_volatile(u32::MAX);
        CONTROL.write_volatile(1);
    }
}

pub(super) fn value() -> u32 {
    // SAFETY: as above.
    unsafe { VALUE.read_volatile() }
}
