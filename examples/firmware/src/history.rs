//! The sensor's history: 100 KB of text that is computed where it is needed, and held nowhere.

/// Bytes of a line: `0001234;+21.437;0001234000 ms ago`.
const LINE: usize = 32;
/// Lines.
const LINES: usize = 3_200;
/// Bytes of the whole: 100 KB.
pub(crate) const LEN: usize = LINE * LINES;

/// Copies bytes from offset `at` on into `out`, up to the end of their line: how many.
pub(crate) fn read(at: usize, out: &mut [u8]) -> usize {
    if at >= LEN {
        return 0;
    }
    let line = line(at / LINE);
    let rest = line.get(at % LINE..).unwrap_or_default();
    let len = rest.len().min(out.len());
    for (to, from) in out.iter_mut().zip(rest) {
        *to = *from;
    }
    len
}

/// Line `number`: a number, a temperature that goes up and down, and what fills the line.
fn line(number: usize) -> [u8; LINE] {
    let mut line = *b"line 0000: 00.000 degrees.......";
    // Below 3,200.
    let number = number as u32;
    let phase = number % 400;
    digits(&mut line[5..9], number);
    let milli = 15_000 + 40 * phase.abs_diff(200);
    digits(&mut line[11..13], milli / 1000);
    digits(&mut line[14..17], milli % 1000);
    line[LINE - 1] = b'\n';
    line
}

fn digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// FNV-1a, 32 bits (RFC 9923): tells the page whether all of it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum(pub(crate) u32);

impl Checksum {
    pub(crate) const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_however_it_is_cut() {
        let whole = |step: usize| {
            let (mut all, mut piece) = (std::vec::Vec::new(), std::vec![0; step]);
            loop {
                match read(all.len(), &mut piece) {
                    0 => return all,
                    len => all.extend_from_slice(&piece[..len]),
                }
            }
        };
        let all = whole(1);
        assert_eq!(all.len(), LEN);
        assert!(all.is_ascii());
        assert!(all.starts_with(b"line 0000: 23.000 degrees......\n"));
        assert_eq!(all, whole(7));
        assert_eq!(all, whole(100));
    }

    #[test]
    fn published_checksums() {
        let of = |bytes: &[u8]| {
            let mut sum = Checksum::new();
            sum.add(bytes);
            sum.0
        };
        assert_eq!(of(b""), 0x811c_9dc5);
        assert_eq!(of(b"a"), 0xe40c_292c);
        assert_eq!(of(b"foobar"), 0xbf9c_f968);
    }
}
