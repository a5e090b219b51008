//! Frames: what is between two zeros once the stuffing is out.

use crc::{CRC_16_IBM_3740, Crc, Digest};

use super::{LEAF_NAME_MAX, LinkError, NONCE_LEN, PROOF_LEN, Version, cobs::Encoder};

/// Poly 0x1021, initial 0xffff, not reflected; its check value is 0x29b1.
static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
/// Bytes of the CRC.
const CRC_LEN: usize = 2;

/// Bytes of a control frame beside its payload: type, number, CRC.
pub(super) const CONTROL_OVERHEAD: usize = 2 + CRC_LEN;
/// Bytes of a data frame beside its payload: type, number, session, CRC.
pub(super) const DATA_OVERHEAD: usize = 6 + CRC_LEN;
/// Bytes of the longest frame that is neither, CRC included.
pub(super) const SERVICE_MAX: usize = 64;

const HELLO: u8 = 0x01;
const CHALLENGE: u8 = 0x02;
const PROOF: u8 = 0x03;
const WELCOME: u8 = 0x04;
const REFUSE: u8 = 0x05;
const RESET: u8 = 0x06;
/// The status of version 1 and of version 2.
const STATUS_1: u8 = 0x07;
const STATUS_2: u8 = 0x08;
const CONTROL: u8 = 0x10;
const DATA: u8 = 0x20;
/// Bits of the type of a control or data frame.
pub(super) const FIRST: u8 = 0x01;
pub(super) const LAST: u8 = 0x02;
/// One more of a data frame's type.
pub(super) const TEXT: u8 = 0x04;

/// Bits of a status.
const CONTROL_AGAIN: u8 = 0x01;
const DATA_AGAIN: u8 = 0x02;

/// Bytes of a hello before the name, and of a challenge before the proof.
const HEAD: usize = 2 + NONCE_LEN + 2 + 4;

/// What an end says of itself in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Perhaps one that nobody knows yet.
    pub(super) version: u8,
    pub(super) nonce: [u8; NONCE_LEN],
    /// The longest frame it takes, CRC included.
    pub(super) frame: u16,
    /// The first limit of its control stream.
    pub(super) window: u32,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Hello(Greeting, &'a str),
    Challenge(Greeting, [u8; PROOF_LEN]),
    Proof([u8; PROOF_LEN]),
    Welcome,
    /// And the version that its sender speaks.
    Refuse(LinkError, u8),
    Reset(LinkError),
    Status(Status),
    /// A piece of a message of the control stream.
    Control {
        flags: u8,
        number: u8,
        payload: &'a [u8],
    },
    /// A fragment of a session's channel message.
    Data(DataFrame<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataFrame<'a> {
    pub(super) flags: u8,
    pub(super) number: u8,
    pub(super) session: u32,
    pub(super) payload: &'a [u8],
}

/// What the receiver of frames tells their sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) control: Acknowledgement,
    /// How much may be sent on the control stream in all since the link session began.
    pub(super) limit: u32,
    /// `None` in version 1, which has no data stream.
    pub(super) data: Option<Acknowledgement>,
}

/// Of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    /// Send again from `next`.
    pub(super) again: bool,
    /// The number of the frame that is waited for; all before it have come.
    pub(super) next: u8,
}

/// A small frame's bytes before the CRC.
pub(super) type Small = heapless::Vec<u8, SERVICE_MAX>;

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
    let fits = body.extend_from_slice(bytes);
    debug_assert!(fits.is_ok(), "longer than the longest service frame");
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
            HELLO | CHALLENGE if Version::from_wire(*rest.first()?).is_none() => {
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
                [reason, version] => {
                    Self::Refuse(LinkError::from_refuse(reason, version)?, version)
                }
                _ => return None,
            },
            RESET => match *rest {
                [reason] => Self::Reset(LinkError::from_reset(reason)),
                _ => return None,
            },
            STATUS_1 => match *rest {
                [flags, next, a, b, c, d] => Self::Status(Status {
                    control: Acknowledgement {
                        again: flags & CONTROL_AGAIN != 0,
                        next,
                    },
                    limit: u32::from_le_bytes([a, b, c, d]),
                    data: None,
                }),
                _ => return None,
            },
            STATUS_2 => match *rest {
                [flags, next, a, b, c, d, data] => Self::Status(Status {
                    control: Acknowledgement {
                        again: flags & CONTROL_AGAIN != 0,
                        next,
                    },
                    limit: u32::from_le_bytes([a, b, c, d]),
                    data: Some(Acknowledgement {
                        again: flags & DATA_AGAIN != 0,
                        next: data,
                    }),
                }),
                _ => return None,
            },
            kind if kind & !(FIRST | LAST) == CONTROL => {
                let (&number, payload) = rest.split_first()?;
                Self::Control {
                    flags: kind & (FIRST | LAST),
                    number,
                    payload,
                }
            }
            kind if kind & !(FIRST | LAST | TEXT) == DATA => {
                let (head, payload) = rest.split_first_chunk::<5>()?;
                let [number, a, b, c, d] = *head;
                Self::Data(DataFrame {
                    flags: kind & (FIRST | LAST | TEXT),
                    number,
                    session: u32::from_le_bytes([a, b, c, d]),
                    payload,
                })
            }
            _ => return None,
        })
    }

    /// The bytes of any frame of the types 01 to 08.
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
            Self::Refuse(refusal, version) => {
                append(&mut body, &[REFUSE, refusal.to_refuse(), *version]);
            }
            Self::Reset(reason) => append(&mut body, &[RESET, reason.to_reset()]),
            Self::Status(status) => {
                let mut flags = u8::from(status.control.again) * CONTROL_AGAIN;
                let kind = match status.data {
                    None => STATUS_1,
                    Some(data) => {
                        flags |= u8::from(data.again) * DATA_AGAIN;
                        STATUS_2
                    }
                };
                append(&mut body, &[kind, flags, status.control.next]);
                append(&mut body, &status.limit.to_le_bytes());
                if let Some(data) = status.data {
                    append(&mut body, &[data.next]);
                }
            }
            Self::Control { .. } | Self::Data(_) => {
                debug_assert!(false, "such frames are cut from messages");
            }
        }
        body
    }
}

/// Stuffs a body and its CRC into a slice that is lent to each call, a piece at a time.
pub(super) struct Sealer {
    encoder: Encoder,
    digest: Digest<'static, u16>,
}

impl Sealer {
    /// Begins a frame at the start of `out`. `None`: it does not fit, here as in the other calls.
    pub(super) fn new(out: &mut [u8]) -> Option<Self> {
        Some(Self {
            encoder: Encoder::new(out)?,
            digest: CRC.digest(),
        })
    }

    pub(super) fn push(&mut self, out: &mut [u8], bytes: &[u8]) -> Option<()> {
        self.digest.update(bytes);
        self.encoder.push(out, bytes)
    }

    /// Ends the frame: its length in `out`.
    pub(super) fn finish(mut self, out: &mut [u8]) -> Option<usize> {
        let crc = self.digest.finalize().to_le_bytes();
        self.encoder.push(out, &crc)?;
        self.encoder.finish(out)
    }
}

/// Stuffs a body and its CRC into `out`: the length, or nothing when it does not fit.
pub(super) fn seal(body: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut sealer = Sealer::new(out)?;
    sealer.push(out, body)?;
    sealer.finish(out)
}

/// The bytes before a control frame's payload.
pub(super) fn control_head(flags: u8, number: u8) -> [u8; 2] {
    [CONTROL | flags, number]
}

/// The bytes before a data frame's payload.
pub(super) fn data_head(flags: u8, number: u8, session: u32) -> [u8; 6] {
    let [a, b, c, d] = session.to_le_bytes();
    [DATA | flags, number, a, b, c, d]
}
