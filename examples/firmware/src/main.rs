#![no_std]
#![no_main]
use cortex_m_rt::entry;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[entry]
fn main() -> ! {
    unsafe {
        let uart = 0x4000_5000 as *mut u32;
        uart.add(4).write_volatile(16);
        uart.add(2).write_volatile(3);
        for b in b"hello\n" { uart.write_volatile(u32::from(*b)); }
    }
    loop { cortex_m::asm::wfi(); }
}
