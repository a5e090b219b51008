//! Frames: what is between two zeros once the stuffing is out.

use crc::{CRC_16_IBM_3740, Crc};

use super::{DownReason, LEAF_NAME_MAX, NONCE_LEN, PROOF_LEN, Refusal, VERSION, cobs::Encoder};

/// Poly 0x1021, initial 0xffff, not reflected; its check value is 0x29b1.
const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
/// Bytes of the CRC.
const CRC_LEN: usize = 2;

/// Bytes of a data frame beside its payload: type, number, CRC.
pub(super) const DATA_OVERHEAD: usize = 2 + CRC_LEN;
/// Bytes of the longest frame that is not a data frame, CRC included.
pub(super) const CONTROL_MAX: usize = 64;

const HELLO: u8 = 0x01;
const CHALLENGE: u8 = 0x02;
const PROOF: u8 = 0x03;
const WELCOME: u8 = 0x04;
const REFUSE: u8 = 0x05;
const RESET: u8 = 0x06;
const STATUS: u8 = 0x07;
const DATA: u8 = 0x10;
/// Bits of a data frame's type.
pub(super) const FIRST: u8 = 0x01;
pub(super) const LAST: u8 = 0x02;

const RESEND: u8 = 0x01;

/// Bytes of a hello before the name, and of a challenge before the proof.
const HEAD: usize = 2 + NONCE_LEN + 2 + 4;

/// What an end says of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: u8,
    pub(super) nonce: [u8; NONCE_LEN],
    /// The longest frame it takes, CRC included.
    pub(super) frame: u16,
    /// Its first credit: bytes of its receive queue.
    pub(super) window: u32,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Hello(Greeting, &'a str),
    Challenge(Greeting, [u8; PROOF_LEN]),
    Proof([u8; PROOF_LEN]),
    Welcome,
    Refuse(Refusal),
    Reset(DownReason),
    Status(Status),
    Data {
        flags: u8,
        number: u8,
        payload: &'a [u8],
    },
}

/// What the receiver of data tells its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Send again from `next`.
    pub(super) resend: bool,
    /// The number of the data frame that is waited for; all before it have come.
    pub(super) next: u8,
    /// How much may be sent in all since the session began.
    pub(super) limit: u32,
}

/// A small frame's bytes before the CRC.
pub(super) type Small = heapless::Vec<u8, CONTROL_MAX>;

impl Greeting {
    fn write(&self, kind: u8) -> Small {
        let mut body = Small::new();
        let fields: [&[u8]; 4] = [
            &[kind, self.version],
            &self.nonce,
            &self.frame.to_le_bytes(),
            &self.window.to_le_bytes(),
        ];
        for field in fields {
            append(&mut body, field);
        }
        body
    }

    /// The bytes of a hello, which are part of what is proved.
    pub(super) fn hello(&self, name: &str) -> Small {
        let mut body = self.write(HELLO);
        append(&mut body, name.as_bytes());
        body
    }

    /// The bytes of a challenge before its proof, which are part of what is proved.
    pub(super) fn challenge_head(&self) -> Small {
        self.write(CHALLENGE)
    }

    fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = body.split_first_chunk::<HEAD>()?;
        let (nonce, sizes) = head.get(2..)?.split_first_chunk::<NONCE_LEN>()?;
        let (frame, window) = sizes.split_first_chunk::<2>()?;
        let greeting = Self {
            version: head[1],
            nonce: *nonce,
            frame: u16::from_le_bytes(*frame),
            window: u32::from_le_bytes(window.try_into().ok()?),
        };
        Some((greeting, rest))
    }
}

/// Appends what is short enough by construction: 24 + 32 bytes at most.
pub(super) fn append(body: &mut Small, bytes: &[u8]) {
    let _ = body.extend_from_slice(bytes);
}

impl<'a> Frame<'a> {
    /// Reads a frame. `None`: the CRC is wrong, or nothing like it is defined.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (body, crc) = frame.split_last_chunk::<CRC_LEN>()?;
        if CRC.checksum(body) != u16::from_le_bytes(*crc) {
            return None;
        }
        let (&kind, rest) = body.split_first()?;
        Some(match kind {
            // Of another version only the first two bytes are known to be where they are.
            HELLO | CHALLENGE if rest.first().is_some_and(|version| *version != VERSION) => {
                let greeting = Greeting {
                    version: *rest.first()?,
                    nonce: [0; NONCE_LEN],
                    frame: 0,
                    window: 0,
                };
                if kind == HELLO {
                    Self::Hello(greeting, "")
                } else {
                    Self::Challenge(greeting, [0; PROOF_LEN])
                }
            }
            HELLO => {
                let (greeting, name) = Greeting::parse(body)?;
                let name = core::str::from_utf8(name).ok()?;
                if name.is_empty() || name.len() > LEAF_NAME_MAX {
                    return None;
                }
                Self::Hello(greeting, name)
            }
            CHALLENGE => {
                let (greeting, proof) = Greeting::parse(body)?;
                Self::Challenge(greeting, proof.try_into().ok()?)
            }
            PROOF => Self::Proof(rest.try_into().ok()?),
            WELCOME if rest.is_empty() => Self::Welcome,
            REFUSE => match *rest {
                [reason, version] => Self::Refuse(Refusal::from_wire(reason, version)?),
                _ => return None,
            },
            RESET => match *rest {
                [reason] => Self::Reset(DownReason::from_wire(reason)),
                _ => return None,
            },
            STATUS => match *rest {
                [flags, next, a, b, c, d] => Self::Status(Status {
                    resend: flags & RESEND != 0,
                    next,
                    limit: u32::from_le_bytes([a, b, c, d]),
                }),
                _ => return None,
            },
            kind if kind & !(FIRST | LAST) == DATA => {
                let (&number, payload) = rest.split_first()?;
                Self::Data {
                    flags: kind & (FIRST | LAST),
                    number,
                    payload,
                }
            }
            _ => return None,
        })
    }

    /// The bytes of any frame but a data frame.
    pub(super) fn write(&self) -> Small {
        let mut body = Small::new();
        match self {
            Self::Hello(greeting, name) => body = greeting.hello(name),
            Self::Challenge(greeting, proof) => {
                body = greeting.challenge_head();
                append(&mut body, proof);
            }
            Self::Proof(proof) => {
                append(&mut body, &[PROOF]);
                append(&mut body, proof);
            }
            Self::Welcome => append(&mut body, &[WELCOME]),
            Self::Refuse(refusal) => {
                let (reason, version) = refusal.to_wire();
                append(&mut body, &[REFUSE, reason, version]);
            }
            Self::Reset(reason) => append(&mut body, &[RESET, reason.to_wire()]),
            Self::Status(status) => {
                append(&mut body, &[STATUS, u8::from(status.resend), status.next]);
                append(&mut body, &status.limit.to_le_bytes());
            }
            Self::Data { .. } => {}
        }
        body
    }
}

/// Stuffs a body and its CRC into `out`: the length, or nothing when it does not fit.
pub(super) fn seal<'p>(parts: impl Iterator<Item = &'p [u8]>, out: &mut [u8]) -> Option<usize> {
    let mut encoder = Encoder::new(out);
    let mut digest = CRC.digest();
    for part in parts {
        digest.update(part);
        encoder.push(part);
    }
    encoder.push(&digest.finalize().to_le_bytes());
    encoder.finish()
}

/// The two bytes before a data frame's payload.
pub(super) fn data_head(flags: u8, number: u8) -> [u8; 2] {
    [DATA | flags, number]
}
