//! Chunks as they are read. A chunk whose length does not fit its kind is malformed.

use super::super::serial::Tsn;
use super::padded;

/// Types of chunks (RFC 9260, section 3.2; RFC 3758, RFC 4820, RFC 6525).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const SACK: u8 = 3;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const HEARTBEAT_ACK: u8 = 5;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const ERROR: u8 = 9;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const COOKIE_ACK: u8 = 11;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
    pub(crate) const RECONFIG: u8 = 130;
    pub(crate) const PAD: u8 = 132;
    pub(crate) const FORWARD_TSN: u8 = 192;
}

/// The bytes break the rules of RFC 9260.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk<'a> {
    Data(Data<'a>),
    Init(Init<'a>),
    InitAck(Init<'a>),
    Sack(Sack<'a>),
    /// HEARTBEAT with its whole value, which is to be sent back.
    Heartbeat(&'a [u8]),
    HeartbeatAck(&'a [u8]),
    /// ABORT: whether its tag is the receiver's own (the T bit is set), and the first cause, 0 if
    /// there is none.
    Abort {
        reflected: bool,
        cause: u16,
    },
    /// SHUTDOWN with its cumulative TSN ack.
    Shutdown(Tsn),
    ShutdownAck,
    ShutdownComplete {
        reflected: bool,
    },
    Error,
    CookieEcho(&'a [u8]),
    CookieAck,
    /// RE-CONFIG with its parameters.
    Reconfig(Parameters<'a>),
    /// FORWARD-TSN with the new cumulative TSN.
    ForwardTsn(Tsn),
    /// A type that is not known. The two upper bits say what to do (RFC 9260, section 3.2).
    Unknown(u8),
}

/// DATA (RFC 9260, section 3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    pub(crate) flags: u8,
    pub(crate) tsn: Tsn,
    pub(crate) stream: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    /// Never empty.
    pub(crate) payload: &'a [u8],
}

/// INIT and INIT ACK (RFC 9260, sections 3.3.2 and 3.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Init<'a> {
    pub(crate) tag: u32,
    pub(crate) window: u32,
    pub(crate) outgoing_streams: u16,
    pub(crate) incoming_streams: u16,
    pub(crate) tsn: Tsn,
    pub(crate) parameters: Parameters<'a>,
}

/// SACK (RFC 9260, section 3.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sack<'a> {
    pub(crate) cumulative: Tsn,
    pub(crate) window: u32,
    gaps: &'a [[u8; 4]],
    /// How many TSNs came more than once.
    pub(crate) duplicates: usize,
}

/// First and last offset of each gap block.
#[derive(Clone, Debug)]
pub(crate) struct Gaps<'a>(core::slice::Iter<'a, [u8; 4]>);

/// A state cookie (RFC 9260, section 3.3.3.1) as it is sent back.
pub(crate) type Cookie<'a> = &'a [u8];

impl<'a> Sack<'a> {
    /// What a SHUTDOWN acknowledges. It tells no window, so that stays what it was.
    pub(crate) const fn of_shutdown(cumulative: Tsn, window: u32) -> Self {
        Self {
            cumulative,
            window,
            gaps: &[],
            duplicates: 0,
        }
    }

    pub(crate) fn gaps(&self) -> Gaps<'a> {
        Gaps(self.gaps.iter())
    }
}

impl Iterator for Gaps<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let &[s0, s1, e0, e1] = self.0.next()?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([e0, e1])))
    }
}

/// The chunks of a packet. After a malformed one there is no other.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = element(&mut self.0).and_then(|(head, value)| {
            let [kind, flags] = head;
            chunk(kind, flags, value)
        });
        if one.is_err() {
            self.0 = &[];
        }
        Some(one)
    }
}

/// Parameters of a chunk, as type and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = element(&mut self.0).map(|(kind, value)| (u16::from_be_bytes(kind), value));
        if one.is_err() {
            self.0 = &[];
        }
        Some(one)
    }
}

/// Takes one chunk or parameter from the front: two bytes, a length that counts these four bytes,
/// the value, padding to four bytes. The padding of the last one may be missing.
fn element<'a>(bytes: &mut &'a [u8]) -> Result<([u8; 2], &'a [u8]), Malformed> {
    let (&[a, b, l0, l1], _) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let value = bytes.get(4..len).ok_or(Malformed)?;
    *bytes = bytes.get(padded(len)..).unwrap_or_default();
    Ok(([a, b], value))
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Result<Chunk<'_>, Malformed> {
    Ok(match kind {
        kind::DATA => Chunk::Data(data(flags, value)?),
        kind::INIT => Chunk::Init(init(value)?),
        kind::INIT_ACK => Chunk::InitAck(init(value)?),
        kind::SACK => Chunk::Sack(sack(value)?),
        kind::HEARTBEAT => Chunk::Heartbeat(value),
        kind::HEARTBEAT_ACK => Chunk::HeartbeatAck(value),
        kind::ABORT => Chunk::Abort {
            reflected: flags & 1 != 0,
            cause: cause(value),
        },
        kind::SHUTDOWN => Chunk::Shutdown(Tsn(number(value)?)),
        kind::SHUTDOWN_ACK => Chunk::ShutdownAck,
        kind::ERROR => Chunk::Error,
        kind::COOKIE_ECHO => Chunk::CookieEcho(value),
        kind::COOKIE_ACK => Chunk::CookieAck,
        kind::SHUTDOWN_COMPLETE => Chunk::ShutdownComplete {
            reflected: flags & 1 != 0,
        },
        kind::RECONFIG => Chunk::Reconfig(Parameters(value)),
        kind::FORWARD_TSN => Chunk::ForwardTsn(Tsn(number(value)?)),
        unknown => Chunk::Unknown(unknown),
    })
}

fn data(flags: u8, value: &[u8]) -> Result<Data<'_>, Malformed> {
    let (head, payload) = value.split_first_chunk::<12>().ok_or(Malformed)?;
    let &[t0, t1, t2, t3, i0, i1, n0, n1, p0, p1, p2, p3] = head;
    if payload.is_empty() {
        return Err(Malformed);
    }
    Ok(Data {
        flags,
        tsn: Tsn(u32::from_be_bytes([t0, t1, t2, t3])),
        stream: u16::from_be_bytes([i0, i1]),
        ssn: u16::from_be_bytes([n0, n1]),
        ppid: u32::from_be_bytes([p0, p1, p2, p3]),
        payload,
    })
}

fn init(value: &[u8]) -> Result<Init<'_>, Malformed> {
    let (head, parameters) = value.split_first_chunk::<16>().ok_or(Malformed)?;
    let &[
        t0,
        t1,
        t2,
        t3,
        w0,
        w1,
        w2,
        w3,
        o0,
        o1,
        i0,
        i1,
        n0,
        n1,
        n2,
        n3,
    ] = head;
    let init = Init {
        tag: u32::from_be_bytes([t0, t1, t2, t3]),
        window: u32::from_be_bytes([w0, w1, w2, w3]),
        outgoing_streams: u16::from_be_bytes([o0, o1]),
        incoming_streams: u16::from_be_bytes([i0, i1]),
        tsn: Tsn(u32::from_be_bytes([n0, n1, n2, n3])),
        parameters: Parameters(parameters),
    };
    let nothing = init.tag == 0 || init.outgoing_streams == 0 || init.incoming_streams == 0;
    if nothing || init.parameters.into_iter().any(|one| one.is_err()) {
        return Err(Malformed);
    }
    Ok(init)
}

fn sack(value: &[u8]) -> Result<Sack<'_>, Malformed> {
    let (head, rest) = value.split_first_chunk::<12>().ok_or(Malformed)?;
    let &[c0, c1, c2, c3, w0, w1, w2, w3, g0, g1, d0, d1] = head;
    let (numbers, odd) = rest.as_chunks::<4>();
    let gaps = usize::from(u16::from_be_bytes([g0, g1]));
    let duplicates = usize::from(u16::from_be_bytes([d0, d1]));
    if !odd.is_empty() || numbers.len() != gaps + duplicates {
        return Err(Malformed);
    }
    Ok(Sack {
        cumulative: Tsn(u32::from_be_bytes([c0, c1, c2, c3])),
        window: u32::from_be_bytes([w0, w1, w2, w3]),
        gaps: numbers.get(..gaps).ok_or(Malformed)?,
        duplicates,
    })
}

fn number(value: &[u8]) -> Result<u32, Malformed> {
    let (&number, _) = value.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok(u32::from_be_bytes(number))
}

fn cause(value: &[u8]) -> u16 {
    match Parameters(value).next() {
        Some(Ok((cause, _))) => cause,
        _ => 0,
    }
}

/// A parameter of RE-CONFIG (RFC 6525, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reconfig<'a> {
    /// Outgoing SSN reset request: its number, the last TSN that was assigned, the streams as big
    /// endian pairs of bytes. No stream means all.
    Outgoing {
        number: u32,
        last: Tsn,
        streams: &'a [[u8; 2]],
    },
    /// The answer to a request: its number and the result.
    Response { number: u32, result: u32 },
    /// Another request, which is refused: its number.
    Other(u32),
}

impl<'a> Reconfig<'a> {
    pub(crate) const OUTGOING: u16 = 13;
    pub(crate) const RESPONSE: u16 = 16;

    /// Reads one parameter. `None` if it is no request and no response.
    ///
    /// # Errors
    /// [`Malformed`] if its length does not fit its type.
    pub(crate) fn parse(kind: u16, value: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let first = number(value);
        Ok(Some(match kind {
            Self::OUTGOING => {
                let (head, streams) = value.split_first_chunk::<12>().ok_or(Malformed)?;
                let &[n0, n1, n2, n3, _, _, _, _, t0, t1, t2, t3] = head;
                let (streams, odd) = streams.as_chunks::<2>();
                if !odd.is_empty() {
                    return Err(Malformed);
                }
                Self::Outgoing {
                    number: u32::from_be_bytes([n0, n1, n2, n3]),
                    last: Tsn(u32::from_be_bytes([t0, t1, t2, t3])),
                    streams,
                }
            }
            Self::RESPONSE => {
                let (head, _) = value.split_first_chunk::<8>().ok_or(Malformed)?;
                let &[n0, n1, n2, n3, r0, r1, r2, r3] = head;
                Self::Response {
                    number: u32::from_be_bytes([n0, n1, n2, n3]),
                    result: u32::from_be_bytes([r0, r1, r2, r3]),
                }
            }
            // Incoming SSN reset, SSN/TSN reset, add streams.
            14 | 15 | 17 | 18 => Self::Other(first?),
            _ => return Ok(None),
        }))
    }
}
