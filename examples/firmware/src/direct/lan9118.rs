//! The Ethernet chip of the board: SMSC's LAN9118, without interrupts, as a device of smoltcp. The
//! second file with `unsafe`.

use smoltcp::{
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

pub const MAC_LEN: usize = 6;

/// Where its registers are.
const BASE: usize = 0x4020_0000;
/// Bytes of the longest frame, its checksum left out.
const FRAME_MAX: usize = 1514;
const FRAME_ROOM: usize = FRAME_MAX.next_multiple_of(4);
const CHECKSUM_LEN: usize = 4;
/// How often something is looked at that the chip does at once.
const PATIENCE: u32 = 100_000;

#[derive(Clone, Copy)]
#[repr(usize)]
enum Register {
    ReceiveData = 0x00,
    TransmitData = 0x20,
    ReceiveStatus = 0x40,
    TransmitStatus = 0x48,
    IdAndRevision = 0x50,
    InterruptEnable = 0x5c,
    ReceiveConfig = 0x6c,
    TransmitConfig = 0x70,
    HardwareConfig = 0x74,
    ReceiveControl = 0x78,
    ReceiveFill = 0x7c,
    TransmitFill = 0x80,
    MacCommand = 0xa4,
    MacData = 0xa8,
}
use Register::{
    HardwareConfig, IdAndRevision, InterruptEnable, MacCommand, MacData, ReceiveConfig,
    ReceiveControl, ReceiveData, ReceiveFill, ReceiveStatus, TransmitConfig, TransmitData,
    TransmitFill, TransmitStatus,
};

const SOFT_RESET: u32 = 1;
/// "Must be one", and 5 KB for what is to be sent.
const FIFOS: u32 = 1 << 20 | 5 << 16;
const TRANSMIT_ON: u32 = 1 << 1;
/// Drops all that came.
const RECEIVE_DUMP: u32 = 1 << 15;
/// Drops the frame at the front.
const FAST_FORWARD: u32 = 1 << 31;
const FRAME_IS_BAD: u32 = 1 << 15;
const FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;
/// Registers of the MAC, and what is set in the first: full duplex, transmitter, receiver.
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
const MAC_ON: u32 = 1 << 20 | 1 << 3 | 1 << 2;
const MAC_BUSY: u32 = 1 << 31;

fn read(register: Register) -> u32 {
    // SAFETY: a register of the chip, which only this file uses; reading touches no memory.
    unsafe { ((BASE + register as usize) as *const u32).read_volatile() }
}

fn write(register: Register, value: u32) {
    // SAFETY: as above.
    unsafe { ((BASE + register as usize) as *mut u32).write_volatile(value) }
}

/// Waits until it holds, if it does in time.
fn wait(mut holds: impl FnMut() -> bool) -> Option<()> {
    (0..PATIENCE).any(|_| holds()).then_some(())
}

fn write_mac(register: u32, value: u32) -> Option<()> {
    write(MacData, value);
    write(MacCommand, MAC_BUSY | register);
    wait(|| read(MacCommand) & MAC_BUSY == 0)
}

/// The chip, and a frame each way.
pub struct Lan9118 {
    received: [u8; FRAME_ROOM],
    to_send: [u8; FRAME_ROOM],
}

impl Lan9118 {
    pub const fn new() -> Self {
        Self {
            received: [0; FRAME_ROOM],
            to_send: [0; FRAME_ROOM],
        }
    }

    /// Starts it with that address. `None` where there is no such chip, or it does not answer.
    pub fn start(&mut self, mac: [u8; MAC_LEN]) -> Option<()> {
        if read(IdAndRevision) >> 16 != 0x0118 {
            return None;
        }
        write(HardwareConfig, SOFT_RESET);
        wait(|| read(HardwareConfig) & SOFT_RESET == 0)?;
        write(HardwareConfig, FIFOS);
        write(InterruptEnable, 0);
        write(ReceiveConfig, RECEIVE_DUMP);
        write(ReceiveConfig, 0);
        let [a, b, c, d, e, f] = mac;
        write_mac(MAC_ADDRESS_LOW, u32::from_le_bytes([a, b, c, d]))?;
        write_mac(MAC_ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0]))?;
        write_mac(MAC_CONTROL, MAC_ON)?;
        write(TransmitConfig, TRANSMIT_ON);
        Some(())
    }

    /// Reads the next frame, if it is a good one. How long it is.
    fn take(&mut self) -> Option<usize> {
        while read(ReceiveFill) >> 16 & 0xff > 0 {
            let status = read(ReceiveStatus);
            let padded = (status >> 16 & 0x3fff) as usize;
            let len = padded.checked_sub(CHECKSUM_LEN);
            let Some(len) = len.filter(|len| status & FRAME_IS_BAD == 0 && *len <= FRAME_MAX)
            else {
                self.skip(padded);
                continue;
            };
            // The last words have the checksum, which nobody wants.
            let mut places = self.received.chunks_exact_mut(4);
            for _ in 0..padded.div_ceil(4) {
                let word = read(ReceiveData).to_le_bytes();
                if let Some(place) = places.next() {
                    place.copy_from_slice(&word);
                }
            }
            return Some(len);
        }
        None
    }

    /// Drops the frame at the front.
    fn skip(&self, padded: usize) {
        // The chip can skip only what has four words.
        if padded < 16 {
            for _ in 0..padded.div_ceil(4) {
                read(ReceiveData);
            }
            return;
        }
        write(ReceiveControl, FAST_FORWARD);
        let _ = wait(|| read(ReceiveControl) & FAST_FORWARD == 0);
    }
}

impl Device for Lan9118 {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, ToSend<'_>)> {
        let len = self.take()?;
        let frame = self.received.get(..len)?;
        Some((Received(frame), ToSend(&mut self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        has_room().then_some(ToSend(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        all.medium = Medium::Ethernet;
        all.max_transmission_unit = FRAME_MAX;
        all.max_burst_size = Some(1);
        all
    }
}

/// Whether a frame of any length can be sent. What became of those before is of no interest.
fn has_room() -> bool {
    while read(TransmitFill) >> 16 & 0xff > 0 {
        read(TransmitStatus);
    }
    read(TransmitFill) as usize & 0xffff >= FRAME_ROOM + 16
}

/// A frame that came.
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// A frame to be sent.
pub struct ToSend<'a>(&'a mut [u8; FRAME_ROOM]);

impl TxToken for ToSend<'_> {
    /// An answer to what came is dropped where the chip has no room.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let len = len.min(FRAME_MAX);
        let result = fill(&mut self.0[..len]);
        if has_room() {
            write(TransmitData, FIRST_AND_LAST | len as u32);
            write(TransmitData, len as u32);
            for word in self.0[..len.next_multiple_of(4)].chunks_exact(4) {
                let word = word.try_into().unwrap_or_default();
                write(TransmitData, u32::from_le_bytes(word));
            }
        }
        result
    }
}
