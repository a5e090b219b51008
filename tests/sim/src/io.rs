//! What an engine is told and what it says, in a form that owns what it carries.

use std::rc::Rc;

use peer_core::peer::{
    BrokerCommand, BrokerInput, ConnectionHandle, Event, IceState, Input, InputError, Output, Peer,
    RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{Frame, FrameKind};
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
                    RtcStimulus::Frame(kind, bytes) => RtcInput::Message(match kind {
                        FrameKind::Text => {
                            Frame::Text(str::from_utf8(bytes).expect("it was a text when sent"))
                        }
                        FrameKind::Binary => Frame::Binary(bytes),
                    }),
                    RtcStimulus::Buffered(bytes) => RtcInput::ChannelBuffered(*bytes),
                    RtcStimulus::Closed => RtcInput::ChannelClosed,
                    RtcStimulus::Failed(failure) => RtcInput::Failed(*failure),
                },
            ),
        };
        peer.handle_input(now, input)
    }
}

/// An output that owns what it carries.
#[derive(Debug)]
pub(crate) enum Command {
    RetrieveId,
    Open { id: String, token: String },
    Send(String),
    CloseSocket,
    Rtc(ConnectionHandle, Rtc),
    Event(Event),
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
pub(crate) struct Batch {
    pub(crate) commands: Vec<Command>,
    pub(crate) waits: Option<Option<Instant>>,
}

/// The type of a signalling message, for the trace.
pub(crate) fn kind_of(text: &str) -> &str {
    text.split('"').nth(3).unwrap_or("?")
}

/// Polls at most so many outputs, and not beyond an event.
pub(crate) fn poll(peer: &mut Peer<'_>, at_most: usize) -> Batch {
    let mut commands = Vec::new();
    while commands.len() < at_most {
        commands.push(match peer.poll_output() {
            Output::Timeout(at) => {
                return Batch {
                    commands,
                    waits: Some(at),
                };
            }
            Output::Event(event) => {
                commands.push(Command::Event(event));
                break;
            }
            Output::Broker(BrokerCommand::RetrieveId) => Command::RetrieveId,
            Output::Broker(BrokerCommand::Open { id, token }) => Command::Open {
                id: id.to_owned(),
                token: token.to_owned(),
            },
            Output::Broker(BrokerCommand::Send(text)) => Command::Send(text.to_owned()),
            Output::Broker(BrokerCommand::Close) => Command::CloseSocket,
            Output::Rtc(handle, command) => Command::Rtc(
                handle,
                match command {
                    RtcCommand::CreateOffer { reliable, .. } => Rtc::CreateOffer { reliable },
                    RtcCommand::AcceptOffer { sdp } => Rtc::AcceptOffer(sdp.to_owned()),
                    RtcCommand::ApplyAnswer { sdp } => Rtc::ApplyAnswer(sdp.to_owned()),
                    RtcCommand::AddCandidate { candidate } => {
                        Rtc::AddCandidate(candidate.to_owned())
                    }
                    RtcCommand::Send(frame) => Rtc::Send(frame.kind(), frame.as_bytes().into()),
                    RtcCommand::Close => Rtc::Close,
                },
            ),
        });
    }
    Batch {
        commands,
        waits: None,
    }
}
