//! Messages between the channel's ends and the session, and the memory for them.

use core::time::Duration;

use tokio::time::Instant;

use super::{Phase, Work};
use crate::rtc::native::storage::{Size, Sizes};
use crate::rtc::stage::Stage;

/// How long memory is kept while little is under way.
pub(super) const IDLE_KEPT: Duration = Duration::from_secs(1);

impl Work<'_, '_> {
    pub(super) fn take(&mut self) {
        let rest = &mut self.rest;
        if let Some(channel) = &mut rest.channel
            && rest.phase != Phase::Dropped
        {
            let taken = channel.take(&mut self.session);
            rest.came.count(taken);
        }
    }

    pub(super) fn give(&mut self) {
        let rest = &mut self.rest;
        if let (Some(channel), Some(sizes)) = (&mut rest.channel, rest.sizes) {
            let small = sizes.send == Size::Small;
            let given = channel.give(&mut self.session, &rest.told, small);
            rest.went.count(given);
        }
    }

    /// Whether the receiving half should have more memory, and can get it.
    pub(super) fn may_receive_more(&self) -> bool {
        let rest = &self.rest;
        let is_small = rest.sizes.is_some_and(|sizes| sizes.receive == Size::Small);
        is_small && rest.came.is_much() && self.session.is_receive_idle()
    }

    /// The memory that data should have, if that is other than what it has: a half that is idle can
    /// get it.
    pub(super) fn other_sizes(&mut self) -> Option<Sizes> {
        let may_receive_more = self.may_receive_more();
        let rest = &mut self.rest;
        let Some(before) = rest.sizes else {
            let is_secured = rest.told.stage.get() == Stage::Associating;
            return is_secured.then_some(Sizes::SMALL);
        };
        let mut sizes = before;
        let channel = rest.channel.as_mut()?;
        if channel.is_cramped() && self.session.is_send_idle() {
            sizes.send = Size::Full;
        }
        if may_receive_more {
            sizes.receive = Size::Full;
        }
        // A burst of datagrams takes memory of its own, however little the halves have.
        if sizes == Sizes::SMALL && !rest.mail.datagrams.is_large() {
            rest.idle_since = None;
        } else if rest.came.is_much() || rest.went.is_much() {
            rest.idle_since = Some(Instant::now());
        } else if rest.idle_since.get_or_insert_with(Instant::now).elapsed() >= IDLE_KEPT {
            let is_idle = self.session.is_send_idle() && self.session.is_receive_idle();
            if is_idle && channel.is_read() {
                sizes = Sizes::SMALL;
                channel.shrink();
                // There are two, which are exchanged.
                rest.mail.datagrams.shrink();
                rest.mailbox.shrink();
            }
            // The application may still have to read: nothing else would tell that it has.
            rest.idle_since = Some(Instant::now());
        }
        (sizes != before).then_some(sizes)
    }
}
