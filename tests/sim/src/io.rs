//! What an engine is told and what it says, in a form that owns what it carries.

use std::rc::Rc;

use peer_core::link::LinkError;
use peer_core::peer::{
    BrokerCommand, BrokerInput, ConnectionHandle, Event, Input, InputError, Output, Peer, Room,
    RtcCommand, RtcFailure, RtcInput,
};
use peer_core::serialization::{Fragment, MessageKind};
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

/// How far ICE is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IceState {
    Checking,
    Connected,
    Disconnected,
}

#[derive(Clone, Debug)]
pub(crate) enum RtcStimulus {
    Description(String),
    Candidate(String),
    Ice(IceState),
    Dtls,
    Opened,
    /// A message, of which the engine took so many bytes already.
    Frame(MessageKind, Rc<[u8]>, usize),
    Buffered(u32),
    Credit(u32),
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
                    RtcStimulus::Ice(IceState::Checking | IceState::Disconnected) => {
                        RtcInput::IceChecking
                    }
                    RtcStimulus::Ice(IceState::Connected) => RtcInput::IceConnected,
                    RtcStimulus::Dtls => RtcInput::DtlsConnected,
                    RtcStimulus::Opened => RtcInput::ChannelOpened,
                    RtcStimulus::Frame(kind, bytes, taken) => RtcInput::Fragment(Fragment {
                        first: *taken == 0,
                        last: true,
                        kind: *kind,
                        bytes: &bytes[*taken..],
                    }),
                    RtcStimulus::Credit(bytes) => RtcInput::ChannelCredit(*bytes),
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
    LinkDown(LinkError),
}

#[derive(Debug)]
pub(crate) enum Rtc {
    CreateOffer {
        reliable: bool,
        label: String,
    },
    AcceptOffer(String),
    ApplyAnswer(String),
    AddCandidate(String),
    /// A message, or a piece of one.
    Send {
        first: bool,
        last: bool,
        kind: MessageKind,
        bytes: Rc<[u8]>,
    },
    Close,
}

/// Outputs until an event, which the application may want to look into before the next poll, or
/// until there are no more: then with the time of the timeout.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) commands: Vec<Command>,
    pub(crate) waits: Option<Option<Instant>>,
    /// What a device has sent.
    pub(crate) frames: Vec<Vec<u8>>,
    /// What came although there was no room for it, or did not come although there was.
    pub(crate) roomless: Option<String>,
    /// What is left of the room.
    pub(crate) room: Option<Room>,
}

/// What an output costs, and how much room of its kind there is.
fn cost<'r>(output: &Output<'_>, room: &'r mut Room) -> Option<(usize, &'r mut usize)> {
    let (bytes, room) = match output {
        Output::Event(_) | Output::Timeout(_) => return None,
        Output::Broker(command) => (
            match command {
                BrokerCommand::Send(text) => text.len(),
                BrokerCommand::Open { id, token } => id.len() + token.len(),
                BrokerCommand::RetrieveId | BrokerCommand::Close => 0,
            },
            &mut room.broker,
        ),
        Output::Rtc(_, command) => match command {
            RtcCommand::CreateOffer { label, .. } => (label.len(), &mut room.rtc),
            RtcCommand::AcceptOffer { sdp } | RtcCommand::ApplyAnswer { sdp } => {
                (sdp.len(), &mut room.rtc)
            }
            RtcCommand::AddCandidate { candidate } => (candidate.len(), &mut room.rtc),
            RtcCommand::Send(piece) => (piece.bytes.len(), &mut room.data),
            RtcCommand::Close => (0, &mut room.rtc),
        },
    };
    Some((bytes.max(1), room))
}

/// The type of a signalling message, for the trace.
pub(crate) fn kind_of(text: &str) -> &str {
    text.split('"').nth(3).unwrap_or("?")
}

/// Polls at most so many outputs that fit this room, and not beyond an event.
///
/// With `presses`: when there is nothing more that fits, polls once with all the room there is, to
/// see that nothing else was held back.
pub(crate) fn poll(peer: &mut Peer<'_>, at_most: usize, room: Room, presses: bool) -> Batch {
    let (mut batch, mut left) = (Batch::default(), room);
    while batch.commands.len() < at_most {
        let output = peer.poll_output(left);
        if let Some((bytes, room)) = cost(&output, &mut left) {
            if bytes > *room {
                batch.roomless = Some(format!("{bytes} bytes for {room}: {output:?}"));
            }
            if *room != usize::MAX {
                *room = room.saturating_sub(bytes);
            }
        }
        match output {
            Output::Timeout(at) => {
                batch.waits = Some(at);
                break;
            }
            output => {
                batch.commands.push(own(&output));
                if matches!(output, Output::Event(_)) {
                    break;
                }
            }
        }
    }
    batch.room = Some(left);
    if presses && batch.waits.is_some() && room != Room::UNLIMITED {
        let output = peer.poll_output(Room::UNLIMITED);
        let fits = match &output {
            Output::Timeout(_) => return batch,
            // Of data there is always a piece that fits.
            Output::Rtc(_, RtcCommand::Send(_)) => left.data > 0,
            output => cost(output, &mut left).is_none_or(|(bytes, room)| bytes <= *room),
        };
        if fits {
            batch.roomless = Some(format!("held back with {left:?}: {output:?}"));
        }
        batch.waits = None;
        batch.commands.push(own(&output));
    }
    batch
}

fn own(output: &Output<'_>) -> Command {
    match output {
        Output::Event(event) => Command::Event(*event),
        Output::Broker(command) => broker_command(command),
        Output::Rtc(handle, command) => Command::Rtc(*handle, rtc_command(command)),
        Output::Timeout(_) => unreachable!("a timeout is no command"),
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
        RtcCommand::CreateOffer { reliable, label } => Rtc::CreateOffer {
            reliable: *reliable,
            label: (*label).to_owned(),
        },
        RtcCommand::AcceptOffer { sdp } => Rtc::AcceptOffer((*sdp).to_owned()),
        RtcCommand::ApplyAnswer { sdp } => Rtc::ApplyAnswer((*sdp).to_owned()),
        RtcCommand::AddCandidate { candidate } => Rtc::AddCandidate((*candidate).to_owned()),
        RtcCommand::Send(piece) => Rtc::Send {
            first: piece.first,
            last: piece.last,
            kind: piece.kind,
            bytes: piece.bytes.into(),
        },
        RtcCommand::Close => Rtc::Close,
    }
}
