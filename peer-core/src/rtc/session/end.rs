//! What a session tells, and how it ends.

use super::channel::Channel;
use super::error::Failure;
use super::state::{Secure, Session};
use crate::rtc::crypto::Crypto;
use crate::rtc::dtls;
use crate::rtc::ice::{self, Candidate, Path};
use crate::rtc::sctp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Signal this candidate to the remote. One that was told before comes again with a higher
    /// priority after a change of address.
    LocalCandidate(Candidate),
    /// Every server has answered or was given up.
    GatheringDone,
    /// Data goes on this path from now on.
    PathChanged(Path),
    /// There is a path that works, for the first time or again.
    Connected,
    /// The path does not answer. It is looked for; nothing is lost.
    Disconnected,
    /// The remote has proved that it has the certificate of its description.
    Secured,
    /// The channel is open. Its label is [`Session::label`].
    Open {
        /// Whether messages stay in order.
        ordered: bool,
    },
    /// The remote closed. Told after all that came is read, and last.
    Closed(Closed),
    /// It is over. Told after all that came is read, and last.
    Failed(Failure),
}

/// How the remote closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Closed {
    /// It closed the channel, and nothing else: call [`Session::close`].
    Channel,
    /// It closed the connection by SCTP's ABORT with this cause: 12 if its user did, 0 if it told
    /// none.
    Aborted(u16),
    /// It ended SCTP by SHUTDOWN.
    Shutdown,
    /// It ended DTLS by `close_notify`.
    CloseNotify,
}

/// How far the end of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// It has not begun.
    No,
    /// SCTP is to be ended.
    Association,
    /// DTLS is to be ended.
    Dtls,
    /// ICE is to be ended.
    Ice,
    /// All is.
    Done,
}

/// What happened in the session itself, each once, and was not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    Secured,
    Open,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    No,
    /// To be told when all is read.
    Closed(Closed),
    Failed(Failure),
    Told,
}

impl<C: Crypto> Session<'_, '_, C> {
    /// Ends the session: the remote is told by the next [`transmit`](Self::transmit)s, after which
    /// secrets are wiped. What is not acknowledged is lost. Nothing is told but what the remote did
    /// before.
    #[inline(never)]
    pub fn close(&mut self) {
        self.begin_shut();
    }

    /// Returns whether nothing more is sent, but for TURN's allocations that are given back while
    /// [`timeout`](Self::timeout) is not `None`.
    pub const fn is_over(&self) -> bool {
        matches!(self.shut, Shut::Done)
    }

    /// Returns how the session ends as soon as that is certain: before it is
    /// [told](Self::poll_event) if something that came is yet to be read.
    pub const fn ending(&self) -> Option<Event> {
        match self.end {
            End::No | End::Told => None,
            End::Closed(closed) => Some(Event::Closed(closed)),
            End::Failed(failure) => Some(Event::Failed(failure)),
        }
    }

    pub(super) fn begin_shut(&mut self) {
        if self.shut == Shut::No {
            self.shut = Shut::Association;
        }
    }

    /// The first end is the one that is told.
    pub(super) fn end_with(&mut self, end: End) {
        if self.end == End::No && self.shut == Shut::No {
            self.end = end;
        }
        self.begin_shut();
    }

    /// The remote has reset the channel; what it waits for is sent by what is below.
    pub(super) fn channel_closed(&mut self) {
        self.channel = Channel::Closed;
        if self.end == End::No && self.shut == Shut::No {
            self.end = End::Closed(Closed::Channel);
        }
    }

    /// Looks at what ended below. SCTP's reason comes before DTLS's: it was first.
    pub(super) fn follow_ends(&mut self) {
        self.follow_association();
        while let Secure::Dtls(dtls) = &mut self.secure
            && let Some(event) = dtls.poll_event()
        {
            match event {
                dtls::Event::Connected => {
                    self.tell(Untold::Secured);
                    self.begin_association();
                }
                dtls::Event::Closed => self.end_with(End::Closed(Closed::CloseNotify)),
                dtls::Event::Failed(error) => self.end_with(End::Failed(Failure::Dtls(error))),
            }
        }
        if let Some(failure) = self.ice.failure() {
            self.end_with(End::Failed(Failure::Ice(failure)));
        }
    }

    fn follow_association(&mut self) {
        while let Some(event) = self.association().and_then(sctp::Association::poll_event) {
            match event {
                sctp::Event::Open => self.established(),
                sctp::Event::Restarted => self.end_with(End::Failed(Failure::Restarted)),
                // Ours is answered; and the end is seen below.
                sctp::Event::StreamReset(_) | sctp::Event::Closed(_) => {}
            }
        }
        self.follow_channel();
        let reason = self.association().and_then(|it| it.end_reason());
        match reason {
            None | Some(sctp::End::Local) => {}
            Some(sctp::End::Aborted(cause)) => self.end_with(End::Closed(Closed::Aborted(cause))),
            Some(sctp::End::Shutdown) => self.end_with(End::Closed(Closed::Shutdown)),
            Some(sctp::End::Unreachable) => self.end_with(End::Failed(Failure::Unreachable)),
            Some(sctp::End::Violation(rule)) => self.end_with(End::Failed(Failure::Sctp(rule))),
        }
    }

    pub(super) fn tell(&mut self, event: Untold) {
        let told = self.untold.push_back(event);
        debug_assert!(told.is_ok(), "each of the two is told once");
    }

    /// Returns what happened and was not told yet.
    #[inline(never)]
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.end == End::Told {
            return None;
        }
        while let Some(event) = self.ice.poll_event() {
            return Some(match event {
                ice::Event::LocalCandidate(candidate) => Event::LocalCandidate(candidate),
                ice::Event::GatheringDone => Event::GatheringDone,
                ice::Event::PathChanged(path) => Event::PathChanged(path),
                ice::Event::Connected => Event::Connected,
                ice::Event::Disconnected => Event::Disconnected,
                // Told as the end below, in its turn.
                ice::Event::Failed(_) => continue,
            });
        }
        match self.untold.pop_front() {
            Some(Untold::Secured) => return Some(Event::Secured),
            Some(Untold::Open) => {
                return Some(Event::Open {
                    ordered: self.ordered,
                });
            }
            None => {}
        }
        let end = self.ending()?;
        // Nothing is lost of what was acknowledged.
        if self.read().is_some() {
            return None;
        }
        self.end = End::Told;
        Some(end)
    }
}
