//! The messages of the control stream: enums in postcard. What they say is what the engine says and
//! hears.

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    peer::{
        BrokerCommand, BrokerInput, ConnectionHandle, Output, RtcCommand, RtcFailure, RtcInput,
    },
    serialization::Fragment,
};

use super::Version;

/// What a leaf says. Numbers before the texts are sessions.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum FromLeaf<'a> {
    RetrieveId,
    Open {
        token: &'a str,
        id: &'a str,
    },
    Send(&'a str),
    Close,
    CreateOffer(u32, bool, &'a str),
    AcceptOffer(u32, &'a str),
    ApplyAnswer(u32, &'a str),
    AddCandidate(u32, &'a str),
    /// Version 1.
    SendText(u32, &'a str),
    /// Version 1.
    SendBinary(u32, #[serde(serialize_with = "as_bytes")] &'a [u8]),
    CloseSession(u32),
    /// Version 2.
    Credit(u32, u32),
}

/// What a gateway says. First numbers are sessions.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum FromGateway<'a> {
    IdRetrieved(&'a str),
    Opened,
    Message(#[serde(serialize_with = "as_bytes")] &'a [u8]),
    Closed,
    Failed,
    LocalDescription(u32, &'a str),
    LocalCandidate(u32, &'a str),
    ChannelOpened(u32),
    /// Version 1.
    Text(u32, &'a str),
    /// Version 1.
    Binary(u32, #[serde(serialize_with = "as_bytes")] &'a [u8]),
    ChannelBuffered(u32, u32, u32),
    ChannelClosed(u32),
    IceState(u32, u32),
    DtlsConnected(u32),
    SessionFailed(u32, u32),
    MessageTooBig(u32),
    /// Version 2.
    Credit(u32, u32),
}

/// The number of `Message` among those of a gateway.
const MESSAGE: u8 = 2;
/// Numbers of failures are places in this.
const FAILURES: [RtcFailure; 7] = [
    RtcFailure::Description,
    RtcFailure::Ice,
    RtcFailure::Dtls,
    RtcFailure::Sctp,
    RtcFailure::Channel,
    RtcFailure::Resources,
    RtcFailure::Gateway,
];

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads one message that fills these bytes.
fn read<'m, T: Deserialize<'m>>(message: &'m [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(message).ok()?;
    rest.is_empty().then_some(value)
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|other| other == one);
    debug_assert!(place.is_some(), "every value has a number");
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or_default()
}

/// The number of a failure.
pub(super) fn failure_number(failure: &RtcFailure) -> u8 {
    place(&FAILURES, failure)
}

fn at<T: Copy>(all: &[T], place: u32) -> Option<T> {
    all.get(usize::try_from(place).ok()?).copied()
}

/// What the leaf's engine wants done. Events and timeouts stay where they are, and data goes
/// another way.
pub(super) fn from_output<'a>(output: &Output<'a>) -> Option<FromLeaf<'a>> {
    Some(match *output {
        Output::Broker(BrokerCommand::RetrieveId) => FromLeaf::RetrieveId,
        Output::Broker(BrokerCommand::Open { id, token }) => FromLeaf::Open { token, id },
        Output::Broker(BrokerCommand::Send(text)) => FromLeaf::Send(text),
        Output::Broker(BrokerCommand::Close) => FromLeaf::Close,
        Output::Rtc(handle, ref command) => {
            let session = handle.to_bits();
            match *command {
                RtcCommand::CreateOffer { label, reliable } => {
                    FromLeaf::CreateOffer(session, reliable, label)
                }
                RtcCommand::AcceptOffer { sdp } => FromLeaf::AcceptOffer(session, sdp),
                RtcCommand::ApplyAnswer { sdp } => FromLeaf::ApplyAnswer(session, sdp),
                RtcCommand::AddCandidate { candidate } => {
                    FromLeaf::AddCandidate(session, candidate)
                }
                RtcCommand::Close => FromLeaf::CloseSession(session),
                RtcCommand::Send(_) => return None,
            }
        }
        Output::Event(_) | Output::Timeout(_) => return None,
    })
}

/// What a leaf said.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Broker(BrokerCommand<'a>),
    Rtc(ConnectionHandle, RtcCommand<'a>),
    /// The limit of a session's data to the leaf.
    Credit(u32, u32),
}

/// Reads a message of a leaf. `None`: it is none of this version.
pub(super) fn read_leaf(message: &[u8], version: Version) -> Option<Said<'_>> {
    let rtc = |session, command| Said::Rtc(ConnectionHandle::from_bits(session), command);
    Some(match (read(message)?, version) {
        (FromLeaf::RetrieveId, _) => Said::Broker(BrokerCommand::RetrieveId),
        (FromLeaf::Open { token, id }, _) => Said::Broker(BrokerCommand::Open { id, token }),
        (FromLeaf::Send(text), _) => Said::Broker(BrokerCommand::Send(text)),
        (FromLeaf::Close, _) => Said::Broker(BrokerCommand::Close),
        (FromLeaf::CreateOffer(session, reliable, label), _) => {
            rtc(session, RtcCommand::CreateOffer { label, reliable })
        }
        (FromLeaf::AcceptOffer(session, sdp), _) => rtc(session, RtcCommand::AcceptOffer { sdp }),
        (FromLeaf::ApplyAnswer(session, sdp), _) => rtc(session, RtcCommand::ApplyAnswer { sdp }),
        (FromLeaf::AddCandidate(session, candidate), _) => {
            rtc(session, RtcCommand::AddCandidate { candidate })
        }
        (FromLeaf::SendText(session, text), Version::One) => {
            rtc(session, RtcCommand::Send(Fragment::text(text)))
        }
        (FromLeaf::SendBinary(session, bytes), Version::One) => {
            rtc(session, RtcCommand::Send(Fragment::binary(bytes)))
        }
        (FromLeaf::CloseSession(session), _) => rtc(session, RtcCommand::Close),
        (FromLeaf::Credit(session, limit), Version::Two) => Said::Credit(session, limit),
        _ => return None,
    })
}

/// What the gateway's driver tells of the broker.
pub(super) fn from_broker<'a>(input: &'a BrokerInput<'_>) -> FromGateway<'a> {
    match input {
        BrokerInput::IdRetrieved(id) => FromGateway::IdRetrieved(id),
        BrokerInput::Opened => FromGateway::Opened,
        BrokerInput::Message(bytes) => FromGateway::Message(bytes),
        BrokerInput::Closed => FromGateway::Closed,
        BrokerInput::Failed => FromGateway::Failed,
    }
}

/// What the gateway's driver tells of a session, but for data and what both ends count. `taken`:
/// bytes of data that the gateway has taken from the leaf for this session.
pub(super) fn from_rtc<'a>(
    session: u32,
    input: &RtcInput<'a>,
    taken: u32,
) -> Option<FromGateway<'a>> {
    Some(match *input {
        RtcInput::LocalDescription(sdp) => FromGateway::LocalDescription(session, sdp),
        RtcInput::LocalCandidate(candidate) => FromGateway::LocalCandidate(session, candidate),
        RtcInput::ChannelOpened => FromGateway::ChannelOpened(session),
        RtcInput::ChannelBuffered(bytes) => FromGateway::ChannelBuffered(session, taken, bytes),
        RtcInput::IceChecking => FromGateway::IceState(session, 0),
        RtcInput::IceConnected => FromGateway::IceState(session, 1),
        RtcInput::DtlsConnected => FromGateway::DtlsConnected(session),
        RtcInput::ChannelClosed => FromGateway::ChannelClosed(session),
        RtcInput::Failed(failure) => {
            FromGateway::SessionFailed(session, failure_number(&failure).into())
        }
        RtcInput::MessageTooBig => FromGateway::MessageTooBig(session),
        RtcInput::Fragment(_) | RtcInput::ChannelCredit(_) => return None,
    })
}

/// What a gateway told.
#[derive(Debug)]
pub(super) enum Told<'a> {
    Broker(BrokerInput<'a>),
    Rtc(u32, RtcInput<'a>),
    /// `ChannelBuffered`, and bytes of data the gateway has taken.
    Buffered {
        session: u32,
        taken: u32,
        buffered: u32,
    },
    /// The limit of a session's data from the leaf.
    Credit(u32, u32),
}

/// Reads a message of a gateway of version 2. `None`: it is none.
pub(super) fn read_gateway(message: &mut [u8]) -> Option<Told<'_>> {
    // The engine wants to write into this one.
    if message.first() == Some(&MESSAGE) {
        let FromGateway::Message(bytes) = read(message)? else {
            return None;
        };
        let start = message.len().checked_sub(bytes.len())?;
        let bytes = message.get_mut(start..)?;
        return Some(Told::Broker(BrokerInput::Message(bytes)));
    }
    Some(match read(message)? {
        FromGateway::IdRetrieved(id) => Told::Broker(BrokerInput::IdRetrieved(id)),
        FromGateway::Opened => Told::Broker(BrokerInput::Opened),
        FromGateway::Closed => Told::Broker(BrokerInput::Closed),
        FromGateway::Failed => Told::Broker(BrokerInput::Failed),
        FromGateway::LocalDescription(session, sdp) => {
            Told::Rtc(session, RtcInput::LocalDescription(sdp))
        }
        FromGateway::LocalCandidate(session, candidate) => {
            Told::Rtc(session, RtcInput::LocalCandidate(candidate))
        }
        FromGateway::ChannelOpened(session) => Told::Rtc(session, RtcInput::ChannelOpened),
        FromGateway::ChannelBuffered(session, taken, buffered) => Told::Buffered {
            session,
            taken,
            buffered,
        },
        FromGateway::ChannelClosed(session) => Told::Rtc(session, RtcInput::ChannelClosed),
        FromGateway::IceState(session, 0 | 2) => Told::Rtc(session, RtcInput::IceChecking),
        FromGateway::IceState(session, 1) => Told::Rtc(session, RtcInput::IceConnected),
        FromGateway::DtlsConnected(session) => Told::Rtc(session, RtcInput::DtlsConnected),
        FromGateway::SessionFailed(session, failure) => {
            Told::Rtc(session, RtcInput::Failed(at(&FAILURES, failure)?))
        }
        FromGateway::MessageTooBig(session) => Told::Rtc(session, RtcInput::MessageTooBig),
        FromGateway::Credit(session, limit) => Told::Credit(session, limit),
        _ => return None,
    })
}
