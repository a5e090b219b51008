//! A cable between two Ethernet interfaces of this process's making (TAP) that delays each frame,
//! and loses some of those that carry UDP: where the kernel has no `sch_netem`. The interfaces may
//! be moved to other network namespaces afterwards.
//!
//! ```sh
//! cable LEFT RIGHT LOSS_PERCENT DELAY_MS SEED
//! ```
//! The delay is that of one way. The same seed loses the same of the same frames.

use core::time::Duration;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Instant;

use fastrand::Rng;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes of the longest frame: UDP and TCP come in trains.
const FRAME_MAX: usize = 1 << 17;
/// Frames that are under way in one direction; more are lost.
const UNDER_WAY_MAX: usize = 10_000;

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF of `<linux/if_tun.h>`.
    set_interface,
    0x4004_54ca,
    [u8; 40]
);

/// Makes an interface of this name.
fn tap(name: &str) -> io::Result<File> {
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(nonblocking);
    let file = options.open("/dev/net/tun")?;
    // struct ifreq: the name in 16 bytes, and the flags IFF_TAP and IFF_NO_PI.
    let mut request = [0; 40];
    let room = request[..15].get_mut(..name.len());
    let room = room.ok_or_else(|| io::Error::other("the name of an interface is too long"))?;
    room.copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&0x1002_u16.to_ne_bytes());
    // SAFETY: the kernel reads and writes a struct ifreq, which has 40 bytes.
    unsafe { set_interface(file.as_raw_fd(), &request) }?;
    Ok(file)
}

/// One direction.
struct Way {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    random: Rng,
}

/// What happens to frames.
struct Cable {
    loss: f64,
    delay: Duration,
}

impl Cable {
    /// Takes what came.
    fn take(&self, way: &mut Way, from: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let count = match from.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let frame = &buffer[..count];
            let is_lost = carries_udp(frame) && way.random.f64() * 100.0 < self.loss;
            if !is_lost && way.under_way.len() < UNDER_WAY_MAX {
                let at = Instant::now() + self.delay;
                way.under_way.push_back((at, frame.to_vec()));
            }
        }
    }
}

impl Way {
    /// Hands over what has arrived.
    fn give(&mut self, to: &mut File) {
        while let Some((at, frame)) = self.under_way.front() {
            if *at > Instant::now() {
                return;
            }
            // What an interface does not take that is down is lost.
            let _ = to.write(frame);
            self.under_way.pop_front();
        }
    }
}

/// Whether that is an Ethernet frame with IPv4 or IPv6 and UDP in it.
fn carries_udp(frame: &[u8]) -> bool {
    const UDP: u8 = 17;
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&UDP),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&UDP),
        _ => false,
    }
}

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [left, right, loss, delay, seed] = &words[..] else {
        return Err("usage: cable LEFT RIGHT LOSS_PERCENT DELAY_MS SEED".into());
    };
    let mut ends = [tap(left)?, tap(right)?];
    let cable = Cable {
        loss: loss.parse()?,
        delay: Duration::from_secs_f64(delay.parse::<f64>()? / 1000.0),
    };
    let seed: u64 = seed.parse()?;
    let mut ways = [0, 1].map(|way| Way {
        under_way: VecDeque::new(),
        random: Rng::with_seed(seed.wrapping_mul(2).wrapping_add(way)),
    });
    let mut buffer = vec![0; FRAME_MAX];
    println!("ready");
    loop {
        let next = ways.iter().filter_map(|way| way.under_way.front());
        let next = next
            .map(|(at, _)| at.saturating_duration_since(Instant::now()))
            .min();
        // Rounded up, so as not to spin.
        let timeout = next.map_or(PollTimeout::NONE, |next| {
            let milliseconds = next.as_micros().div_ceil(1000);
            u16::try_from(milliseconds).unwrap_or(u16::MAX).into()
        });
        let mut fds = ends
            .each_ref()
            .map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        poll(&mut fds, timeout)?;
        for (at, way) in ways.iter_mut().enumerate() {
            cable.take(way, &mut ends[at], &mut buffer)?;
            way.give(&mut ends[1 - at]);
        }
    }
}
