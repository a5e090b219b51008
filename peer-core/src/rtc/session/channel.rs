//! The channel: how it is opened (RFC 8832), and messages in pieces (RFC 8831 §6.6).

use super::LABEL_MAX;
use super::end::{End, Shut, Untold};
use super::error::{Failure, SendError};
use super::resources::Live;
use super::state::{Session, Transport};
use crate::bytes;
use crate::rtc::crypto::Crypto;
use crate::rtc::sctp;
use crate::wire::dcep::{
    self, ACK, DcepError, DcepMessage, OPEN_HEADER_LEN, Open, PPID_BINARY, PPID_BINARY_EMPTY,
    PPID_DCEP, PPID_STRING, PPID_STRING_EMPTY, PROTOCOL_MAX,
};

/// Bytes of the longest OPEN that is read.
const OPEN_MAX: usize = OPEN_HEADER_LEN + LABEL_MAX + PROTOCOL_MAX;

/// The length of what does not fit.
const TOO_LONG: usize = usize::MAX;

/// Where the channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// The remote is to open it.
    Awaited,
    /// We are to.
    Wanted,
    /// Our OPEN waits for the association.
    Asked(u16),
    /// It can be used. The remote has not acknowledged our OPEN, so all goes in order.
    Unacknowledged(u16),
    /// It can be used. The remote's OPEN is to be acknowledged before anything else is sent.
    Owed(u16),
    /// It can be used.
    Open(u16),
    /// The remote has reset it.
    Closed,
}

impl Channel {
    const fn stream(self) -> Option<u16> {
        match self {
            Self::Asked(stream)
            | Self::Unacknowledged(stream)
            | Self::Owed(stream)
            | Self::Open(stream) => Some(stream),
            Self::Awaited | Self::Wanted | Self::Closed => None,
        }
    }
}

/// What the piece belongs to that was read last, if its message goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Nothing,
    /// What the application does not read: of DCEP, or of another channel.
    Hidden,
    /// What it reads.
    Message,
}

impl Within {
    /// What it is within after a piece of this, which may have been the last.
    const fn after(self, last: bool) -> Self {
        match last {
            true => Self::Nothing,
            false => self,
        }
    }
}

/// A DCEP message in pieces, or [`TOO_LONG`].
#[derive(Debug)]
pub(super) struct Dcep {
    bytes: [u8; OPEN_MAX],
    len: usize,
}

impl Default for Dcep {
    fn default() -> Self {
        Self {
            bytes: [0; OPEN_MAX],
            len: 0,
        }
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// UTF-8, as the sender says.
    Text,
    /// Bytes.
    Binary,
}

/// What a piece that is sent belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What the message is; the same for all of its pieces.
    pub kind: Kind,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether the message ends here.
    pub last: bool,
    /// Whether it waits for those before it on an unordered channel, too: a remote of this stack
    /// reads it after all that was sent before, another one after what was sent so (RFC 9260
    /// §6.6); the same for all of its pieces.
    pub in_order: bool,
}

impl Outgoing {
    /// Returns a whole message, ordered as the channel is.
    pub const fn message(kind: Kind) -> Self {
        Self {
            kind,
            first: true,
            last: true,
            in_order: false,
        }
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A piece of a message. Pieces of two messages never mix.
    Piece(Piece<'a>),
    /// The remote gave up the message of which pieces were read (RFC 3758).
    Abandoned,
}

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What the message is.
    pub kind: Kind,
    /// Whether the message begins here.
    pub first: bool,
    /// Whether the message ends here, once all of these bytes are consumed.
    pub last: bool,
    /// At least one byte, unless the message is empty.
    pub bytes: &'a [u8],
}

impl<C: Crypto> Session<'_, '_, C> {
    /// Takes a piece of a message: as much as there is room for, whose length is returned. Give the
    /// rest again once there is more, with `first` only if nothing was taken. An empty message is
    /// one piece, and taken with 0. Transmit after it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was taken.
    #[inline(never)]
    pub fn send(&mut self, message: Outgoing, bytes: &[u8]) -> Result<usize, SendError> {
        if self.shut != Shut::No {
            return Err(SendError::Closed);
        }
        let stream = match self.channel {
            Channel::Unacknowledged(stream) | Channel::Open(stream) => stream,
            Channel::Awaited | Channel::Wanted | Channel::Asked(_) => {
                return Err(SendError::NotOpen);
            }
            // The acknowledgement waits for room, too.
            Channel::Owed(_) => return Err(SendError::Full),
            Channel::Closed => return Err(SendError::Closed),
        };
        if message.first {
            // Before the acknowledgement a message could overtake our OPEN (RFC 8832 §6).
            let may_overtake = !self.ordered && matches!(self.channel, Channel::Open(_));
            self.sends_unordered = may_overtake && !message.in_order;
        }
        let is_empty = bytes.is_empty() && message.first && message.last;
        let outgoing = sctp::Outgoing {
            stream,
            ppid: match (message.kind, is_empty) {
                (Kind::Text, false) => PPID_STRING,
                (Kind::Binary, false) => PPID_BINARY,
                (Kind::Text, true) => PPID_STRING_EMPTY,
                (Kind::Binary, true) => PPID_BINARY_EMPTY,
            },
            unordered: self.sends_unordered,
            first: message.first,
            last: message.last,
        };
        let given = if is_empty { &[0][..] } else { bytes };
        let association = self.association().ok_or(SendError::NotOpen)?;
        match association.send(outgoing, given).map_err(SendError::Sctp)? {
            0 => Err(SendError::Full),
            _ if is_empty => Ok(0),
            taken => Ok(taken),
        }
    }

    /// Returns how many bytes [`send`](Self::send) takes at once.
    pub fn send_room(&self) -> usize {
        match &self.transport {
            Transport::Live(live) => live.association.send_room(),
            Transport::Unborn(_) => 0,
        }
    }

    /// Returns the bytes that were taken and are not acknowledged.
    pub const fn buffered(&self) -> usize {
        match &self.transport {
            Transport::Live(live) => live.association.buffered(),
            Transport::Unborn(_) => 0,
        }
    }

    /// Lends the next piece of a message. The same again until it is [consumed](Self::consume).
    pub fn read(&mut self) -> Option<Received<'_>> {
        self.follow_channel();
        match self.association()?.read()? {
            sctp::Received::Piece(piece) => {
                let empty = is_empty(piece.ppid);
                Some(Received::Piece(Piece {
                    kind: match piece.ppid {
                        PPID_STRING | PPID_STRING_EMPTY => Kind::Text,
                        _ => Kind::Binary,
                    },
                    first: piece.first || empty,
                    last: piece.last,
                    bytes: if empty { &[] } else { piece.bytes },
                }))
            }
            sctp::Received::Abandoned => Some(Received::Abandoned),
            sctp::Received::Reset(_) => None,
        }
    }

    /// Takes `count` bytes of the piece that was lent, all of an empty message, or
    /// [`Received::Abandoned`], which makes room for more. Transmit after it: the remote may have
    /// to be told.
    #[inline(never)]
    pub fn consume(&mut self, count: usize) {
        self.follow_channel();
        let Some(association) = self.association() else {
            return;
        };
        let (count, within) = match association.read() {
            Some(sctp::Received::Piece(piece)) => {
                let all = piece.bytes.len();
                let count = if is_empty(piece.ppid) { all } else { count };
                (count, Within::Message.after(piece.last && count >= all))
            }
            Some(sctp::Received::Abandoned | sctp::Received::Reset(_)) => (count, Within::Nothing),
            // Nothing was lent; the message that was begun may yet be abandoned.
            None => return,
        };
        association.consume(count);
        self.within = within;
        self.follow_ends();
    }

    /// Asks for our channel where that is possible, and pays what is owed.
    pub(super) fn ask_for_channel(&mut self) {
        let Some(role) = self.remote.map(|remote| remote.role) else {
            return;
        };
        let Transport::Live(live) = &mut self.transport else {
            return;
        };
        let association = &mut live.association;
        let (stream, next) = match self.channel {
            Channel::Wanted => {
                let stream = u16::from(role.is_server());
                (stream, Channel::Asked(stream))
            }
            Channel::Owed(stream) => (stream, Channel::Open(stream)),
            _ => return,
        };
        let open = Open {
            ordered: self.ordered,
            label: &self.label,
            ..Open::default()
        };
        let mut buffer = [0; OPEN_HEADER_LEN + LABEL_MAX];
        let written = match self.channel {
            Channel::Owed(_) => &ACK[..],
            _ => match open.write(&mut buffer) {
                Ok(len) => bytes::front(&buffer, len),
                Err(error) => {
                    debug_assert!(false, "the label was measured: {error}");
                    return;
                }
            },
        };
        // All at once, or not now.
        if association.send_room() < written.len() {
            return;
        }
        match association.send(sctp::Outgoing::message(stream, PPID_DCEP), written) {
            Ok(taken) => {
                debug_assert!(taken == written.len(), "there was room");
                self.channel = next;
            }
            // Its end is told as such.
            Err(sctp::SendError::Closed) => {}
            Err(error) => debug_assert!(false, "nothing was sent before: {error}"),
        }
        if matches!(self.channel, Channel::Asked(_)) && self.established {
            self.established();
        }
    }

    /// The association is there.
    pub(super) fn established(&mut self) {
        self.established = true;
        if let Channel::Asked(stream) = self.channel {
            self.channel = Channel::Unacknowledged(stream);
            self.tell(Untold::Open);
        }
    }

    /// Reads what is not for the application, up to what is.
    pub(super) fn follow_channel(&mut self) {
        while let Transport::Live(live) = &mut self.transport
            && let Live { association, dcep } = &mut **live
            && let Some(received) = association.read()
        {
            match received {
                sctp::Received::Piece(piece) if piece.ppid == PPID_DCEP => {
                    let (stream, len, last) = (piece.stream, piece.bytes.len(), piece.last);
                    if piece.first {
                        dcep.len = 0;
                    }
                    let room = dcep.bytes.get_mut(dcep.len..);
                    let fits = room.and_then(|room| bytes::copy(room, piece.bytes));
                    dcep.len = match fits {
                        Some(()) => dcep.len.saturating_add(len),
                        None => TOO_LONG,
                    };
                    association.consume(len);
                    self.within = Within::Hidden.after(last);
                    if last {
                        self.dcep(stream);
                    }
                }
                // Only the last byte of what counts as empty is shown.
                sctp::Received::Piece(piece)
                    if Some(piece.stream) == self.channel.stream()
                        && (piece.last || !is_empty(piece.ppid)) =>
                {
                    return;
                }
                sctp::Received::Piece(piece) => {
                    let (len, last) = (piece.bytes.len(), piece.last);
                    association.consume(len);
                    self.within = Within::Hidden.after(last);
                }
                sctp::Received::Abandoned if self.within == Within::Message => return,
                sctp::Received::Abandoned => {
                    association.consume(0);
                    self.within = Within::Nothing;
                }
                sctp::Received::Reset(stream) => {
                    association.consume(0);
                    let ours = self.channel.stream();
                    if let Some(ours) = ours.filter(|ours| stream.is_none_or(|it| it == *ours)) {
                        self.channel_closed();
                        self.reset(ours);
                    }
                }
            }
        }
    }

    /// Resets our half of a stream.
    fn reset(&mut self, stream: u16) {
        if let Some(association) = self.association() {
            match association.reset_stream(stream) {
                // Where there are too many, the remote has to live with it.
                Ok(()) | Err(sctp::SendError::Closed | sctp::SendError::TooManyStreams) => {}
                Err(error) => debug_assert!(false, "a stream can be reset: {error}"),
            }
        }
    }

    /// Takes a DCEP message, which has come whole.
    fn dcep(&mut self, stream: u16) {
        let Transport::Live(Live { dcep, .. }) = &mut self.transport else {
            return;
        };
        let len = core::mem::take(&mut dcep.len);
        let read = match dcep.bytes.get(..len) {
            Some(bytes) => dcep::parse(bytes),
            None => Err(DcepError::LabelTooLong),
        };
        match (read, self.channel) {
            (Ok(DcepMessage::Open(open)), Channel::Awaited) => {
                let Ok(label) = heapless::String::try_from(open.label) else {
                    debug_assert!(false, "it was read, so it fits");
                    return;
                };
                self.ordered = open.ordered;
                self.label = label;
                self.channel = Channel::Owed(stream);
                self.tell(Untold::Open);
                self.ask_for_channel();
            }
            (Ok(DcepMessage::Open(_)), channel) if channel.stream() == Some(stream) => {}
            (Ok(DcepMessage::Open(_)), _) => self.reset(stream),
            (Ok(DcepMessage::Ack), Channel::Unacknowledged(ours)) if ours == stream => {
                self.channel = Channel::Open(ours);
            }
            (Ok(DcepMessage::Ack), _) => {}
            (Err(error), Channel::Awaited) => {
                self.end_with(End::Failed(Failure::Channel(error)));
            }
            // It opens nothing.
            (Err(_), _) => {}
        }
    }
}

const fn is_empty(ppid: u32) -> bool {
    matches!(ppid, PPID_STRING_EMPTY | PPID_BINARY_EMPTY)
}
