//! The engine's outputs and inputs as postcard messages.

use heapless::Vec;

use crate::{
    peer::{
        BrokerCommand, BrokerInput, ConnectionHandle, IceState, Output, RtcCommand, RtcFailure,
        RtcInput,
    },
    serialization::{Fragment, Frame, FrameKind},
};

/// A message that is to be sent, in pieces: numbers, a text, numbers, the rest.
#[derive(Debug, Default)]
pub(super) struct Outbound<'a> {
    head: Vec<u8, 20>,
    text: &'a [u8],
    middle: Vec<u8, 5>,
    tail: &'a [u8],
}

impl<'a> Outbound<'a> {
    fn new(tag: u8) -> Self {
        let mut head = Vec::new();
        let _ = head.push(tag);
        Self {
            head,
            ..Self::default()
        }
    }

    fn of(tag: u8, handle: ConnectionHandle) -> Self {
        Self::new(tag).number(handle.to_bits())
    }

    fn number(mut self, number: u32) -> Self {
        push_varint(&mut self.head, number);
        self
    }

    fn bytes(mut self, bytes: &'a [u8]) -> Self {
        push_varint(&mut self.head, len_of(bytes));
        self.tail = bytes;
        self
    }

    fn two(mut self, text: &'a str, last: &'a str) -> Self {
        push_varint(&mut self.head, len_of(text.as_bytes()));
        self.text = text.as_bytes();
        push_varint(&mut self.middle, len_of(last.as_bytes()));
        self.tail = last.as_bytes();
        self
    }

    pub(super) fn parts(&self) -> [&[u8]; 4] {
        [&self.head, self.text, &self.middle, self.tail]
    }

    pub(super) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

fn len_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A number as postcard writes it: seven bits a byte, the lowest first. It fits by construction.
fn push_varint<const N: usize>(out: &mut Vec<u8, N>, mut number: u32) {
    while number >= 0x80 {
        let _ = out.push(number as u8 | 0x80);
        number >>= 7;
    }
    let _ = out.push(number as u8);
}

/// Messages of the leaf, by the first byte.
mod up {
    pub(super) const RETRIEVE_ID: u8 = 0;
    pub(super) const OPEN: u8 = 1;
    pub(super) const SEND: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const CREATE_OFFER: u8 = 4;
    pub(super) const ACCEPT_OFFER: u8 = 5;
    pub(super) const APPLY_ANSWER: u8 = 6;
    pub(super) const ADD_CANDIDATE: u8 = 7;
    pub(super) const SEND_TEXT: u8 = 8;
    pub(super) const SEND_BINARY: u8 = 9;
    pub(super) const CLOSE_SESSION: u8 = 10;
}

/// Messages of the gateway, by the first byte.
mod down {
    pub(super) const ID_RETRIEVED: u8 = 0;
    pub(super) const OPENED: u8 = 1;
    pub(super) const MESSAGE: u8 = 2;
    pub(super) const CLOSED: u8 = 3;
    pub(super) const FAILED: u8 = 4;
    pub(super) const LOCAL_DESCRIPTION: u8 = 5;
    pub(super) const LOCAL_CANDIDATE: u8 = 6;
    pub(super) const CHANNEL_OPENED: u8 = 7;
    pub(super) const TEXT: u8 = 8;
    pub(super) const BINARY: u8 = 9;
    pub(super) const CHANNEL_BUFFERED: u8 = 10;
    pub(super) const CHANNEL_CLOSED: u8 = 11;
    pub(super) const ICE_STATE: u8 = 12;
    pub(super) const DTLS_CONNECTED: u8 = 13;
    pub(super) const SESSION_FAILED: u8 = 14;
    pub(super) const MESSAGE_TOO_BIG: u8 = 15;
}

/// What the leaf's engine wants done, written down. Events and timeouts stay where they are.
pub(super) fn write_output<'a>(output: &Output<'a>) -> Option<Outbound<'a>> {
    Some(match *output {
        Output::Broker(BrokerCommand::RetrieveId) => Outbound::new(up::RETRIEVE_ID),
        Output::Broker(BrokerCommand::Open { id, token }) => Outbound::new(up::OPEN).two(token, id),
        Output::Broker(BrokerCommand::Send(text)) => Outbound::new(up::SEND).bytes(text.as_bytes()),
        Output::Broker(BrokerCommand::Close) => Outbound::new(up::CLOSE),
        Output::Rtc(handle, ref command) => match *command {
            RtcCommand::CreateOffer { label, reliable } => Outbound::of(up::CREATE_OFFER, handle)
                .number(reliable.into())
                .bytes(label.as_bytes()),
            RtcCommand::AcceptOffer { sdp } => {
                Outbound::of(up::ACCEPT_OFFER, handle).bytes(sdp.as_bytes())
            }
            RtcCommand::ApplyAnswer { sdp } => {
                Outbound::of(up::APPLY_ANSWER, handle).bytes(sdp.as_bytes())
            }
            RtcCommand::AddCandidate { candidate } => {
                Outbound::of(up::ADD_CANDIDATE, handle).bytes(candidate.as_bytes())
            }
            RtcCommand::Send(fragment) => match fragment.kind {
                FrameKind::Text => Outbound::of(up::SEND_TEXT, handle).bytes(fragment.bytes),
                FrameKind::Binary => Outbound::of(up::SEND_BINARY, handle).bytes(fragment.bytes),
            },
            RtcCommand::Close => Outbound::of(up::CLOSE_SESSION, handle),
        },
        Output::Event(_) | Output::Timeout(_) => return None,
    })
}

/// Reads what [`write_output`] wrote. `None`: it is nothing of the kind.
pub(super) fn read_output(message: &[u8]) -> Option<Output<'_>> {
    let (tag, mut rest) = split_tag(message)?;
    let rest = &mut rest;
    let output = match tag {
        up::RETRIEVE_ID => Output::Broker(BrokerCommand::RetrieveId),
        up::OPEN => {
            let token = text(rest)?;
            Output::Broker(BrokerCommand::Open {
                id: text(rest)?,
                token,
            })
        }
        up::SEND => Output::Broker(BrokerCommand::Send(text(rest)?)),
        up::CLOSE => Output::Broker(BrokerCommand::Close),
        _ => {
            let handle = handle(rest)?;
            let command = match tag {
                up::CREATE_OFFER => {
                    let reliable = take(rest)?;
                    RtcCommand::CreateOffer {
                        label: text(rest)?,
                        reliable,
                    }
                }
                up::ACCEPT_OFFER => RtcCommand::AcceptOffer { sdp: text(rest)? },
                up::APPLY_ANSWER => RtcCommand::ApplyAnswer { sdp: text(rest)? },
                up::ADD_CANDIDATE => RtcCommand::AddCandidate {
                    candidate: text(rest)?,
                },
                up::SEND_TEXT => RtcCommand::Send(Fragment::whole(Frame::Text(text(rest)?))),
                up::SEND_BINARY => RtcCommand::Send(Fragment::whole(Frame::Binary(take(rest)?))),
                up::CLOSE_SESSION => RtcCommand::Close,
                _ => return None,
            };
            Output::Rtc(handle, command)
        }
    };
    rest.is_empty().then_some(output)
}

/// What the gateway's driver tells, written down. Timeouts stay where they are.
pub(super) fn write_broker<'a>(input: &'a BrokerInput<'_>) -> Outbound<'a> {
    match input {
        BrokerInput::IdRetrieved(id) => Outbound::new(down::ID_RETRIEVED).bytes(id.as_bytes()),
        BrokerInput::Opened => Outbound::new(down::OPENED),
        BrokerInput::Message(bytes) => Outbound::new(down::MESSAGE).bytes(bytes),
        BrokerInput::Closed => Outbound::new(down::CLOSED),
        BrokerInput::Failed => Outbound::new(down::FAILED),
    }
}

/// As [`write_broker`]. `taken`: bytes of data that the gateway has taken from the leaf for this session.
pub(super) fn write_rtc<'a>(
    handle: ConnectionHandle,
    input: &'a RtcInput<'_>,
    taken: u32,
) -> Outbound<'a> {
    match *input {
        RtcInput::LocalDescription(sdp) => {
            Outbound::of(down::LOCAL_DESCRIPTION, handle).bytes(sdp.as_bytes())
        }
        RtcInput::LocalCandidate(candidate) => {
            Outbound::of(down::LOCAL_CANDIDATE, handle).bytes(candidate.as_bytes())
        }
        RtcInput::ChannelOpened => Outbound::of(down::CHANNEL_OPENED, handle),
        RtcInput::Fragment(fragment) => match fragment.kind {
            FrameKind::Text => Outbound::of(down::TEXT, handle).bytes(fragment.bytes),
            FrameKind::Binary => Outbound::of(down::BINARY, handle).bytes(fragment.bytes),
        },
        // Not of the link's first version: the gateway refuses it.
        RtcInput::ChannelCredit(_) => Outbound::default(),
        RtcInput::ChannelBuffered(bytes) => Outbound::of(down::CHANNEL_BUFFERED, handle)
            .number(taken)
            .number(bytes),
        RtcInput::ChannelClosed => Outbound::of(down::CHANNEL_CLOSED, handle),
        RtcInput::IceState(state) => Outbound::of(down::ICE_STATE, handle).number(match state {
            IceState::Checking => 0,
            IceState::Connected => 1,
            IceState::Disconnected => 2,
        }),
        RtcInput::DtlsConnected => Outbound::of(down::DTLS_CONNECTED, handle),
        RtcInput::Failed(failure) => {
            Outbound::of(down::SESSION_FAILED, handle).number(match failure {
                RtcFailure::Description => 0,
                RtcFailure::Ice => 1,
                RtcFailure::Dtls => 2,
                RtcFailure::Sctp => 3,
                RtcFailure::Channel => 4,
                RtcFailure::Resources => 5,
                RtcFailure::Gateway => 6,
            })
        }
        RtcInput::MessageTooBig => Outbound::of(down::MESSAGE_TOO_BIG, handle),
    }
}

/// What the gateway told.
#[derive(Debug)]
pub(super) enum Told<'a> {
    Broker(BrokerInput<'a>),
    Rtc(ConnectionHandle, RtcInput<'a>),
    /// `ChannelBuffered`, and bytes of data the gateway has taken.
    Buffered {
        handle: ConnectionHandle,
        taken: u32,
        buffered: u32,
    },
}

/// Reads what [`write_broker`] and [`write_rtc`] wrote. `None`: it is nothing of the kind.
pub(super) fn read_input(message: &mut [u8]) -> Option<Told<'_>> {
    if message.first() == Some(&down::MESSAGE) {
        let (_, mut rest) = split_tag(message)?;
        let len = take::<&[u8]>(&mut rest)?.len();
        let start = message.len().checked_sub(len).filter(|_| rest.is_empty())?;
        return Some(Told::Broker(BrokerInput::Message(
            message.get_mut(start..)?,
        )));
    }
    let (tag, mut rest) = split_tag(message)?;
    let rest = &mut rest;
    let told = match tag {
        down::ID_RETRIEVED => Told::Broker(BrokerInput::IdRetrieved(text(rest)?)),
        down::OPENED => Told::Broker(BrokerInput::Opened),
        down::CLOSED => Told::Broker(BrokerInput::Closed),
        down::FAILED => Told::Broker(BrokerInput::Failed),
        _ => {
            let handle = handle(rest)?;
            let input = match tag {
                down::LOCAL_DESCRIPTION => RtcInput::LocalDescription(text(rest)?),
                down::LOCAL_CANDIDATE => RtcInput::LocalCandidate(text(rest)?),
                down::CHANNEL_OPENED => RtcInput::ChannelOpened,
                down::TEXT => RtcInput::message(Frame::Text(text(rest)?)),
                down::BINARY => RtcInput::message(Frame::Binary(take(rest)?)),
                down::CHANNEL_BUFFERED => {
                    let told = Told::Buffered {
                        handle,
                        taken: take(rest)?,
                        buffered: take(rest)?,
                    };
                    return rest.is_empty().then_some(told);
                }
                down::CHANNEL_CLOSED => RtcInput::ChannelClosed,
                down::ICE_STATE => RtcInput::IceState(match take::<u32>(rest)? {
                    0 => IceState::Checking,
                    1 => IceState::Connected,
                    2 => IceState::Disconnected,
                    _ => return None,
                }),
                down::DTLS_CONNECTED => RtcInput::DtlsConnected,
                down::SESSION_FAILED => RtcInput::Failed(match take::<u32>(rest)? {
                    0 => RtcFailure::Description,
                    1 => RtcFailure::Ice,
                    2 => RtcFailure::Dtls,
                    3 => RtcFailure::Sctp,
                    4 => RtcFailure::Channel,
                    5 => RtcFailure::Resources,
                    6 => RtcFailure::Gateway,
                    _ => return None,
                }),
                down::MESSAGE_TOO_BIG => RtcInput::MessageTooBig,
                _ => return None,
            };
            Told::Rtc(handle, input)
        }
    };
    rest.is_empty().then_some(told)
}

/// The variant's number. All are below 128, so it is one byte.
fn split_tag(message: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = message.split_first()?;
    Some((tag, rest))
}

fn take<'m, T: serde::Deserialize<'m>>(rest: &mut &'m [u8]) -> Option<T> {
    let (value, after) = postcard::take_from_bytes(rest).ok()?;
    *rest = after;
    Some(value)
}

fn text<'m>(rest: &mut &'m [u8]) -> Option<&'m str> {
    take(rest)
}

fn handle(rest: &mut &[u8]) -> Option<ConnectionHandle> {
    Some(ConnectionHandle::from_bits(take(rest)?))
}
