//! What an end knows of one WebRTC session.

use crate::peer::{ConnectionHandle, RtcInput};

use super::{
    DATA_MESSAGE_COST,
    frame::{FIRST, LAST},
    message::{FromGateway, failure_number},
    outgoing::is_within,
};

/// Room for what an end knows of one WebRTC session. All zero until it is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionSlot {
    pub(super) number: u32,
    /// Bytes of data that went from the leaf, modulo 2³²: at the leaf sent, at the gateway taken.
    pub(super) bytes: u32,
    /// Of the data to the other end, and from it.
    pub(super) out: Credit,
    pub(super) incoming: Credit,
    pub(super) state: SessionState,
    /// How it ended, as the message says it.
    pub(super) end: u8,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SessionState {
    /// The slot holds none.
    #[default]
    Free = 0,
    Begun,
    /// The channel is open. At a gateway, credit is granted as the link's own memory allows.
    Open,
    /// At a gateway: as `Open`, and the driver says how much credit is granted.
    Granted,
    /// At a gateway: it has ended; the leaf is told when it has all data.
    Ending,
    /// The other side of this end is to be told of the end, or was: nothing more comes.
    Over,
}

/// How much of a session's data may go one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    used: u32,
    limit: u32,
    /// A message has begun and not ended.
    inside: bool,
}

impl Credit {
    /// What is left of the limit.
    pub(super) fn left(&self) -> u32 {
        match is_within(self.used, self.limit) {
            true => self.limit.wrapping_sub(self.used),
            false => 0,
        }
    }

    /// Bytes of a message that may go next.
    pub(super) fn bytes_left(&self) -> u32 {
        let head = if self.inside { 0 } else { DATA_MESSAGE_COST };
        self.left().saturating_sub(head)
    }

    /// Counts a fragment. `None`: it is out of place, has nothing in it, or is beyond the limit.
    #[must_use]
    pub(super) fn spend(&mut self, flags: u8, len: usize) -> Option<()> {
        let first = flags & FIRST != 0;
        if first == self.inside || (len == 0 && flags & (FIRST | LAST) == 0) {
            return None;
        }
        let head = if first { DATA_MESSAGE_COST } else { 0 };
        let cost = u32::try_from(len).ok()?.checked_add(head)?;
        if cost > self.left() {
            return None;
        }
        self.used = self.used.wrapping_add(cost);
        self.inside = flags & LAST == 0;
        Some(())
    }

    /// Counts a message of version 1, which is whole; one may go beyond what the driver granted.
    pub(super) fn spend_whole(&mut self, len: usize) {
        let cost = u32::try_from(len).unwrap_or(u32::MAX);
        let cost = cost.saturating_add(DATA_MESSAGE_COST).min(self.left());
        self.used = self.used.wrapping_add(cost);
    }

    /// Whether the other end has to hear that there is so much `room`, out of `most`: when a
    /// quarter became free, and whenever it has nothing left.
    pub(super) fn is_news(&self, room: u32, most: u32) -> bool {
        let left = self.left();
        let more = room.saturating_sub(left);
        more > 0 && (more >= most / 4 || left <= DATA_MESSAGE_COST)
    }

    /// The limit is told: at least so many bytes may go from now on. It is never less than what was
    /// told before.
    pub(super) fn grant(&mut self, bytes: u32) -> u32 {
        self.limit = self.used.wrapping_add(bytes.max(self.left()));
        self.limit
    }

    /// The other end tells its limit. One that is lower than before is ignored.
    pub(super) fn set_limit(&mut self, limit: u32) {
        if is_within(self.limit, limit) {
            self.limit = limit;
        }
    }
}

impl SessionSlot {
    pub(super) const FREE: Self = Self {
        number: 0,
        bytes: 0,
        out: Credit {
            used: 0,
            limit: 0,
            inside: false,
        },
        incoming: Credit {
            used: 0,
            limit: 0,
            inside: false,
        },
        state: SessionState::Free,
        end: 0,
    };

    pub(super) fn handle(&self) -> ConnectionHandle {
        ConnectionHandle::from_bits(self.number)
    }

    pub(super) fn is_used(&self) -> bool {
        self.state != SessionState::Free
    }

    /// Whether the channel is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, SessionState::Open | SessionState::Granted)
    }

    /// It has ended; the leaf is to be told so.
    pub(super) fn end(&mut self, how: &RtcInput<'_>) {
        self.state = SessionState::Ending;
        self.end = match how {
            RtcInput::Failed(failure) => 1 + failure_number(failure),
            _ => 0,
        };
    }

    /// What the leaf is told of it.
    pub(super) fn end_message(&self) -> FromGateway<'static> {
        match self.end.checked_sub(1) {
            Some(failure) => FromGateway::SessionFailed(self.number, failure.into()),
            None => FromGateway::ChannelClosed(self.number),
        }
    }

    pub(super) fn count(&mut self, bytes: usize) {
        // No message has 2³² bytes.
        self.bytes = self.bytes.wrapping_add(bytes as u32);
    }

    pub(super) fn find(slots: &mut [Self], number: u32) -> Option<&mut Self> {
        let mut used = slots.iter_mut().filter(|slot| slot.is_used());
        used.find(|slot| slot.number == number)
    }

    /// The place of a session in the table.
    pub(super) fn place(slots: &[Self], number: u32) -> Option<u8> {
        let is_it = |slot: &Self| slot.is_used() && slot.number == number;
        u8::try_from(slots.iter().position(is_it)?).ok()
    }

    /// Notes a session. `false`: there is no room, or it is there already.
    #[must_use]
    pub(super) fn claim(slots: &mut [Self], number: u32) -> bool {
        if Self::find(slots, number).is_some() {
            return false;
        }
        let Some(free) = slots.iter_mut().find(|slot| !slot.is_used()) else {
            return false;
        };
        *free = Self {
            number,
            state: SessionState::Begun,
            ..Self::FREE
        };
        true
    }
}
