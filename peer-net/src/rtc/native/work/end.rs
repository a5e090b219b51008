//! What happened to the session, and its end.

use core::time::Duration;
use std::sync::Arc;

use peer_core::rtc::session::{self, Closed, Event};
use tokio::time::Instant;

use super::{Phase, Work};
use crate::rtc::channel::{Channel, End, channel, end};
use crate::rtc::native::channel::OpenChannel;
use crate::rtc::native::failure;
use crate::rtc::stage::{Failure, Stage};
use crate::rtc::{IceState, SessionEvent};
use crate::time::{FOREVER, after};

/// Candidates and states that wait until somebody listens; further ones are not told.
const UNTOLD_MAX: usize = 64;
/// How long the remote has to answer the reset of our stream before everything else ends.
const RESET_WAIT: Duration = Duration::from_millis(300);
/// The part of the time for opening by which our end of it is apart from the engine's.
const APART: u32 = 64;
/// How long a channel's reader may need after the remote's end, until that is told.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

impl Work<'_, '_> {
    pub(super) fn follow_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::LocalCandidate(candidate) => {
                    self.rest.has_moved |= self.rest.phase == Phase::Open;
                    let line = candidate.line(self.session.ice().ufrag()).to_string();
                    self.tell(SessionEvent::LocalCandidate(line));
                }
                Event::GatheringDone => self.look_for_relays(),
                Event::PathChanged(path) => *self.rest.told.address() = Some(path.remote),
                Event::Connected => {
                    self.rest.candidates = 0;
                    if self.rest.told.stage.get() == Stage::Checking {
                        self.rest.told.stage.enter(Stage::Encrypting);
                    }
                    self.tell(SessionEvent::IceState(IceState::Connected));
                }
                Event::Disconnected => {
                    // The remote checks us then, too, through what NATs of its own it is behind.
                    self.session.tell_candidates_again();
                    self.tell(SessionEvent::IceState(IceState::Disconnected));
                }
                Event::Secured => {
                    self.rest.told.stage.enter(Stage::Associating);
                    self.tell(SessionEvent::DtlsConnected);
                }
                Event::Open { .. } => self.opened(),
                Event::Closed(Closed::Channel) => self.reset(),
                Event::Closed(_) => self.end(SessionEvent::Closed, Phase::Ended),
                Event::Failed(failure) => self.failed(failure),
                _ => {}
            }
        }
        let is_ending = self.session.ending().is_some();
        if is_ending && matches!(self.rest.phase, Phase::Opening(_) | Phase::Open) {
            self.nothing_more_is_sent();
            self.rest.phase = Phase::Draining(Instant::now() + DRAIN_WAIT);
        }
    }

    pub(super) fn opened(&mut self) {
        let rest = &mut self.rest;
        let size = rest.max_message_size as usize;
        let (Channel { sender, receiver }, ends) =
            channel(&rest.config, size, Arc::clone(&rest.told) as _);
        rest.channel = Some(OpenChannel::new(ends));
        rest.phase = Phase::Open;
        rest.told.stage.enter(Stage::Open);
        self.tell(SessionEvent::Open(sender, receiver));
    }

    /// The remote closed the channel; it hears that ours is closed, too, and that is the end.
    pub(super) fn reset(&mut self) {
        self.nothing_more_is_sent();
        self.rest.phase = Phase::Resetting(Instant::now() + RESET_WAIT);
    }

    pub(super) fn failed(&mut self, failure: session::Failure) {
        let was_open = self.rest.channel.is_some();
        let (kind, sentence) = failure::of_session(failure, &self.asked(), was_open);
        self.end(SessionEvent::Failed(kind, sentence), Phase::Ended);
    }

    /// We cannot go on.
    pub(super) fn fail(&mut self, (kind, sentence): Failure) {
        self.session.close();
        self.end(SessionEvent::Failed(kind, sentence), Phase::Dropped);
    }

    /// The handle is closed.
    pub(super) fn close(&mut self) {
        self.session.close();
        let phase = match self.rest.phase {
            // What the remote sent before its own end is still handed over.
            Phase::Resetting(_) | Phase::Draining(_) | Phase::Ended => Phase::Ended,
            Phase::Opening(_) | Phase::Open | Phase::Dropped => Phase::Dropped,
        };
        self.end(SessionEvent::Closed, phase);
    }

    pub(super) fn follow_time(&mut self) {
        let now = Instant::now();
        match self.rest.phase {
            Phase::Opening(until) if self.opening_ends(until) <= now => {
                let failure = failure::in_time(self.rest.told.stage.get(), &self.asked());
                self.fail(failure);
            }
            Phase::Resetting(until) if until <= now || self.session.is_over() => {
                self.session.close();
                self.end(SessionEvent::Closed, Phase::Ended);
            }
            Phase::Draining(until) if until <= now => match self.session.ending() {
                Some(Event::Failed(failure)) => self.failed(failure),
                _ => self.end(SessionEvent::Closed, Phase::Ended),
            },
            _ => {}
        }
    }

    /// When what has to be open until then is given up. The engine's own time is as long. While
    /// paths are checked it would say less, so that this comes a little sooner; that nobody answers
    /// is the engine's to say, so that this comes a little later.
    pub(super) fn opening_ends(&self, until: Instant) -> Instant {
        let apart = self.rest.config.connect_timeout.min(FOREVER) / APART;
        match self.rest.told.stage.get() {
            Stage::Checking => until.checked_sub(apart).unwrap_or(until),
            Stage::AwaitingAnswer => after(until, apart),
            _ => until,
        }
    }

    /// Tells the last event. The first one counts.
    pub(super) fn end(&mut self, event: SessionEvent, phase: Phase) {
        self.nothing_more_is_sent();
        let rest = &mut self.rest;
        if matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            return;
        }
        rest.phase = phase;
        tracing::debug!(?event, "the session is over");
        let why = match &event {
            SessionEvent::Failed(..) => End::Failed("the session failed"),
            _ => End::Ended,
        };
        end(&rest.told.end, why);
        rest.untold.push_back(event);
    }

    pub(super) fn nothing_more_is_sent(&mut self) {
        if let Some(channel) = &mut self.rest.channel {
            channel.close();
        }
    }

    pub(super) fn tell(&mut self, event: SessionEvent) {
        let rest = &mut self.rest;
        if matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            return;
        }
        let is_news = matches!(
            event,
            SessionEvent::LocalCandidate(_) | SessionEvent::IceState(_)
        );
        if rest.untold.len() < UNTOLD_MAX || !is_news {
            rest.untold.push_back(event);
        }
    }

    /// Whether all is told and sent, and handed over what anybody wants.
    pub(super) fn is_over(&mut self) -> bool {
        let rest = &mut self.rest;
        if rest.untold.is_empty() && matches!(rest.phase, Phase::Ended | Phase::Dropped) {
            // The receiver of events sees that it was the last.
            rest.events = None;
        }
        let is_read = rest.phase == Phase::Dropped
            || rest.channel.as_ref().is_none_or(OpenChannel::is_delivered);
        rest.events.is_none()
            && is_read
            && self.session.is_over()
            && self.session.timeout().is_none()
    }
}
