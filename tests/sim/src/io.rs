//! What an engine is told and what it says, in a form that owns what it carries.

use std::rc::Rc;

use peer_core::link::DownReason;
use peer_core::peer::{
    BrokerCommand, BrokerInput, ConnectionHandle, Event, IceState, Input, InputError, Output, Peer,
    Room, RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{Fragment, FrameKind};
use peer_core::time::Instant;

#[derive(Clone, Debug)]
pub(crate) enum Stimulus {
    IdRetrieved(String),
    RetrieveFailed,
    Opened,
    Text(String),
    SocketClosed,
    Timeout,
    Rtc(ConnectionHandle, RtcStimulus),
}

#[derive(Clone, Debug)]
pub(crate) enum RtcStimulus {
    Description(String),
    Candidate(String),
    Ice(IceState),
    Dtls,
    Opened,
    Frame(FrameKind, Rc<[u8]>),
    Buffered(u32),
    Closed,
    Failed(RtcFailure),
}

impl Stimulus {
    pub(crate) fn feed(&self, peer: &mut Peer<'_>, now: Instant) -> Result<(), InputError> {
        self.with_input(|input| peer.handle_input(now, input))
    }

    /// Makes an input of it for a while.
    pub(crate) fn with_input<R>(&self, take: impl FnOnce(Input<'_>) -> R) -> R {
        let mut bytes;
        let input = match self {
            Self::IdRetrieved(id) => Input::Broker(BrokerInput::IdRetrieved(id)),
            Self::RetrieveFailed => Input::Broker(BrokerInput::Failed),
            Self::Opened => Input::Broker(BrokerInput::Opened),
            Self::Text(text) => {
                bytes = text.clone().into_bytes();
                Input::Broker(BrokerInput::Message(&mut bytes))
            }
            Self::SocketClosed => Input::Broker(BrokerInput::Closed),
            Self::Timeout => Input::Timeout,
            Self::Rtc(handle, rtc) => Input::Rtc(
                *handle,
                match rtc {
                    RtcStimulus::Description(sdp) => RtcInput::LocalDescription(sdp),
                    RtcStimulus::Candidate(line) => RtcInput::LocalCandidate(line),
                    RtcStimulus::Ice(state) => RtcInput::IceState(*state),
                    RtcStimulus::Dtls => RtcInput::DtlsConnected,
                    RtcStimulus::Opened => RtcInput::ChannelOpened,
                    RtcStimulus::Frame(kind, bytes) => RtcInput::Fragment(Fragment {
                        first: true,
                        last: true,
                        kind: *kind,
                        bytes,
                    }),
                    RtcStimulus::Buffered(bytes) => RtcInput::ChannelBuffered(*bytes),
                    RtcStimulus::Closed => RtcInput::ChannelClosed,
                    RtcStimulus::Failed(failure) => RtcInput::Failed(*failure),
                },
            ),
        };
        take(input)
    }
}

/// An output that owns what it carries.
#[derive(Debug)]
pub(crate) enum Command {
    RetrieveId,
    Open {
        id: String,
        token: String,
    },
    Send(String),
    CloseSocket,
    Rtc(ConnectionHandle, Rtc),
    Event(Event),
    /// The device did this by itself; it is for the trace.
    Done(String),
    /// The device's engine connects to its broker, by itself as it may be.
    Attempts,
    LinkUp,
    LinkDown(DownReason),
}

#[derive(Debug)]
pub(crate) enum Rtc {
    CreateOffer { reliable: bool },
    AcceptOffer(String),
    ApplyAnswer(String),
    AddCandidate(String),
    Send(FrameKind, Rc<[u8]>),
    Close,
}

/// Outputs until an event, which the application may want to look into before the next poll, or until there are no
/// more: then with the time of the timeout.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) commands: Vec<Command>,
    pub(crate) waits: Option<Option<Instant>>,
    /// What a device has sent.
    pub(crate) frames: Vec<Vec<u8>>,
}

/// The type of a signalling message, for the trace.
pub(crate) fn kind_of(text: &str) -> &str {
    text.split('"').nth(3).unwrap_or("?")
}

/// Polls at most so many outputs, and not beyond an event.
pub(crate) fn poll(peer: &mut Peer<'_>, at_most: usize) -> Batch {
    let mut commands = Vec::new();
    while commands.len() < at_most {
        commands.push(match peer.poll_output(Room::UNLIMITED) {
            Output::Timeout(at) => {
                return Batch {
                    commands,
                    waits: Some(at),
                    frames: Vec::new(),
                };
            }
            Output::Event(event) => {
                commands.push(Command::Event(event));
                break;
            }
            Output::Broker(command) => broker_command(&command),
            Output::Rtc(handle, command) => Command::Rtc(handle, rtc_command(&command)),
        });
    }
    Batch {
        commands,
        waits: None,
        frames: Vec::new(),
    }
}

pub(crate) fn broker_command(command: &BrokerCommand<'_>) -> Command {
    match *command {
        BrokerCommand::RetrieveId => Command::RetrieveId,
        BrokerCommand::Open { id, token } => Command::Open {
            id: id.to_owned(),
            token: token.to_owned(),
        },
        BrokerCommand::Send(text) => Command::Send(text.to_owned()),
        BrokerCommand::Close => Command::CloseSocket,
    }
}

pub(crate) fn rtc_command(command: &RtcCommand<'_>) -> Rtc {
    match command {
        RtcCommand::CreateOffer { reliable, .. } => Rtc::CreateOffer {
            reliable: *reliable,
        },
        RtcCommand::AcceptOffer { sdp } => Rtc::AcceptOffer((*sdp).to_owned()),
        RtcCommand::ApplyAnswer { sdp } => Rtc::ApplyAnswer((*sdp).to_owned()),
        RtcCommand::AddCandidate { candidate } => Rtc::AddCandidate((*candidate).to_owned()),
        RtcCommand::Send(frame) => Rtc::Send(frame.kind, frame.bytes.into()),
        RtcCommand::Close => Rtc::Close,
    }
}
