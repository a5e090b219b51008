//! What the driver tells the engine.

use crate::serialization::Fragment;

use super::ConnectionHandle;

/// One thing that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// Something about the broker's socket or HTTP interface.
    Broker(BrokerInput<'a>),
    /// Something about one connection's WebRTC session. Inputs for a stale handle are counted and
    /// ignored.
    Rtc(ConnectionHandle, RtcInput<'a>),
    /// The time named by the last [`Output::Timeout`](super::Output::Timeout) has come. Early or
    /// needless is harmless.
    Timeout,
}

/// What came of a [`BrokerCommand`](super::BrokerCommand), or over the broker's socket.
#[derive(Debug)]
pub enum BrokerInput<'a> {
    /// The answer to `GET {path}{key}/id`: the body.
    IdRetrieved(&'a str),
    /// The socket is up: the WebSocket upgrade succeeded.
    Opened,
    /// One whole text or binary message from the socket. Parsed in place, hence mutable.
    Message(&'a mut [u8]),
    /// The socket is gone, or could not be opened; or the path to the broker is, so that an id that
    /// was asked for has to be asked for again. Not needed after
    /// [`BrokerCommand::Close`](super::BrokerCommand::Close): once `Open` is polled, nothing may
    /// come from an older socket.
    Closed,
    /// The HTTP request for an id failed.
    Failed,
}

/// What came of an [`RtcCommand`](super::RtcCommand), or from the session.
#[derive(Debug)]
pub enum RtcInput<'a> {
    /// The offer or answer that was asked for.
    LocalDescription(&'a str),
    /// One gathered candidate, `candidate:…` without `a=`. Those that come before the description
    /// are kept back.
    LocalCandidate(&'a str),
    /// The data channel is open; both sides may send.
    ChannelOpened,
    /// One message from the data channel, which therefore is open, or a part of it. Texts may be
    /// cut anywhere. Ignored by a peer without inbox memory. See
    /// [`InputError::InboxFull`](super::InputError::InboxFull) for what is not taken.
    Fragment(Fragment<'a>),
    /// A message came that is longer than the driver can carry, and was dropped.
    MessageTooBig,
    /// Bytes handed over with [`RtcCommand::Send`](super::RtcCommand::Send) that are not yet
    /// acknowledged. To be told whenever the number falls; the engine itself adds what it sends.
    ChannelBuffered(u32),
    /// Bytes that the session takes from now on, until told again: for drivers that count credit.
    /// The engine itself takes away what it sends. Never told: there is no limit but the high
    /// water.
    ChannelCredit(u32),
    /// The data channel or the session below it ended in order, by the remote. `Close` still
    /// follows.
    ChannelClosed,
    /// ICE checks candidate pairs, for the first time or because the one in use stopped answering.
    /// Only the stage of a failing connect depends on this and the next two.
    IceChecking,
    /// A candidate pair works.
    IceConnected,
    /// DTLS has shaken hands.
    DtlsConnected,
    /// The session failed. `Close` still follows.
    Failed(RtcFailure),
}

/// Why a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RtcFailure {
    /// The remote's description cannot be used.
    Description,
    /// No candidate pair worked, or the one in use died.
    Ice,
    /// The DTLS handshake failed or the fingerprint did not match.
    Dtls,
    /// The SCTP association failed.
    Sctp,
    /// The data channel could not be opened.
    Channel,
    /// The machine lacks something: sockets, memory, a place for one more session.
    Resources,
    /// The gateway whose WebRTC stack was borrowed is gone, see [`link`](crate::link).
    Gateway,
}
