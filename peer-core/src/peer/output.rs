//! What the engine wants done.

use crate::{serialization::Fragment, time::Instant};

use super::{ConnectionHandle, Event};

/// What the driver can take now, in bytes. What does not fit stays in the engine, and nothing of
/// another kind waits behind it.
///
/// A command or a piece of data takes its texts and bytes, and at least one; events and timeouts
/// take nothing. A driver that could never take a command as long as the engine has one says
/// [`usize::MAX`] when all of its memory is free, and answers what does not pass with
/// [`RtcInput::Failed`](super::RtcInput::Failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Room {
    /// For one [`BrokerCommand`].
    pub broker: usize,
    /// For one [`RtcCommand`] that is not `Send`.
    pub rtc: usize,
    /// For one [`RtcCommand::Send`]: what leaves through a pipe that all connections share. A
    /// message that is longer comes in pieces.
    pub data: usize,
}

impl Room {
    /// For anything.
    pub const UNLIMITED: Self = Self {
        broker: usize::MAX,
        rtc: usize::MAX,
        data: usize::MAX,
    };
    /// For events only.
    pub const NONE: Self = Self {
        broker: 0,
        rtc: 0,
        data: 0,
    };
}

/// The next thing to do. Poll until [`Output::Timeout`].
#[derive(Debug)]
pub enum Output<'a> {
    /// Tell the application.
    Event(Event),
    /// Do something with a connection's WebRTC session.
    Rtc(ConnectionHandle, RtcCommand<'a>),
    /// Do something with the broker's socket.
    Broker(BrokerCommand<'a>),
    /// Nothing more now that fits. Feed [`Input::Timeout`](super::Input::Timeout) at this time;
    /// `None`: nothing is scheduled. What waits for room has no time: poll again when there is
    /// more.
    Timeout(Option<Instant>),
}

/// Something for the broker's socket or HTTP interface.
#[derive(Debug, PartialEq, Eq)]
pub enum BrokerCommand<'a> {
    /// `GET {path}{key}/id`; answer with `IdRetrieved` or `Failed`.
    RetrieveId,
    /// Open the WebSocket as this id; answer with `Opened` or `Closed`. An older socket is closed
    /// first.
    Open {
        /// The id to take.
        id: &'a str,
        /// The secret that owns it.
        token: &'a str,
    },
    /// Send one text message.
    Send(&'a str),
    /// Close the socket. No answer is needed.
    Close,
}

/// Something for one connection's WebRTC session.
#[derive(Debug, PartialEq, Eq)]
pub enum RtcCommand<'a> {
    /// Create a session with one data channel and answer with `LocalDescription`, then candidates.
    CreateOffer {
        /// The data channel's label.
        label: &'a str,
        /// PeerJS's word for ordered delivery: `false` makes the channel unordered, still fully
        /// reliable.
        reliable: bool,
    },
    /// Create a session from the remote's offer and answer with `LocalDescription`, then
    /// candidates.
    AcceptOffer {
        /// The remote's description.
        sdp: &'a str,
    },
    /// The remote's answer has come.
    ApplyAnswer {
        /// The remote's description.
        sdp: &'a str,
    },
    /// One candidate of the remote.
    AddCandidate {
        /// `candidate:…`, as it came.
        candidate: &'a str,
    },
    /// Send one data channel message, or a part of it: never more than [`Room::data`] and the
    /// [`ChannelCredit`](super::RtcInput::ChannelCredit). With neither limit it is always whole.
    Send(Fragment<'a>),
    /// End the session so that the remote notices at once, and forget it. Comes exactly once for
    /// each session that `CreateOffer` or `AcceptOffer` asked for, also after the session failed or
    /// closed by itself. Inputs for it are stale from now on.
    Close,
}
