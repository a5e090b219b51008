//! What is known of a leaf's WebRTC sessions.

use core::time::Duration;
use std::sync::Arc;

use peer_core::peer::{ConnectionHandle, RtcFailure};
use peer_core::time::Instant;

use crate::gateway::assembly::Assembly;
use crate::gateway::counts::Counts;
use crate::gateway::remotes::Remote;
use crate::rtc::{IceState, Message};

/// What a session has for the leaf. Messages and the end come in their order, and the rest in its
/// own: what the leaf has no credit for holds up no signal.
#[derive(Debug)]
pub(in crate::gateway) enum SessionInput {
    LocalDescription(String),
    LocalCandidate(String),
    IceState(IceState),
    DtlsConnected,
    Opened,
    Message(Message),
    /// The remote has something of what was sent. So many bytes it has not.
    Acknowledged(usize),
    Closed,
    Failed(RtcFailure),
}

impl SessionInput {
    /// Whether it is told in the order of the messages.
    pub(in crate::gateway) fn is_data(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Closed | Self::Failed(_))
    }

    fn is_end(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}

/// What is taken of a session now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) enum Takes {
    /// The link had no room for something.
    #[default]
    Nothing,
    /// All but messages and the end.
    Signals,
    All,
}

/// How far a session is, as the leaf knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
    /// Its remote ended it, and the leaf is being told. What that sends goes nowhere.
    Ending,
    /// It was ended by this side.
    Failed,
}

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Sessions begun.
    pub(super) begun: u64,
    /// Whether others are there than were shown.
    changed: bool,
}

pub(super) struct Slot {
    pub(super) handle: ConnectionHandle,
    pub(super) stage: Stage,
    /// What the leaf was told last: the bytes that are not acknowledged, of so many that it had
    /// sent.
    pub(super) told: (u32, u64),
    /// What the description of the leaf's offer is known by, once it has one.
    pub(super) offered: Option<u64>,
    pub(super) counts: Arc<Counts>,
    /// Data of the leaf on its way to the channel.
    pub(super) assembly: Assembly,
    /// What the link had no room for.
    signal: Option<SessionInput>,
    data: Option<SessionInput>,
    /// Bytes of the message that is held in `data` that the leaf has.
    pub(super) given: usize,
}

impl Slots {
    pub(super) fn begin(&mut self, now: Instant, handle: ConnectionHandle, incoming: bool) {
        self.begun += 1;
        self.changed = true;
        self.slots.push(Slot {
            handle,
            stage: Stage::Connecting,
            told: (0, 0),
            offered: None,
            counts: Arc::new(Counts::new(now, self.begun, incoming)),
            assembly: Assembly::default(),
            signal: None,
            data: None,
            given: 0,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn at(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    pub(super) fn get(&mut self, handle: ConnectionHandle) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.handle == handle)
    }

    pub(super) fn close(&mut self, handle: ConnectionHandle) {
        self.slots.retain(|slot| slot.handle != handle);
        self.changed = true;
    }

    pub(super) fn takes(&self) -> impl Iterator<Item = (ConnectionHandle, Takes)> + '_ {
        self.slots.iter().map(|slot| (slot.handle, slot.takes()))
    }

    /// When the first of the channels that take nothing has taken nothing for so long.
    pub(super) fn stalled_at(&self, stall: Duration) -> Option<Instant> {
        let open = self.slots.iter().filter(|slot| slot.stage == Stage::Open);
        open.filter_map(|slot| slot.assembly.stalled_at(stall))
            .min()
    }

    /// Whether the leaf is about to send an offer.
    pub(super) fn expect_offer(&self) -> bool {
        let mut counts = self.slots.iter().map(|slot| &slot.counts);
        counts.any(|counts| counts.is_nameless_offer())
    }

    /// The offer with this description goes to this remote.
    pub(super) fn offered(&mut self, description: u64, remote: Remote) {
        let mut slots = self.slots.iter();
        if let Some(slot) = slots.find(|slot| slot.offered == Some(description)) {
            slot.counts.name(remote);
        }
    }

    /// The counters of all, if others are there than at the last call.
    pub(super) fn changed_counts(&mut self) -> Option<Vec<Arc<Counts>>> {
        let counts = self.slots.iter().map(|slot| slot.counts.clone());
        core::mem::take(&mut self.changed).then(|| counts.collect())
    }
}

impl Slot {
    fn takes(&self) -> Takes {
        match self.stage {
            Stage::Ending | Stage::Failed => Takes::Nothing,
            // Data is the leaf's only once it knows that the channel is open.
            _ if self.signal.is_some() => Takes::Nothing,
            _ if self.data.is_some() => Takes::Signals,
            _ => Takes::All,
        }
    }

    /// Whether the leaf may send data.
    pub(super) fn takes_data(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Ending)
    }

    /// Keeps what is to be told.
    pub(super) fn hold(&mut self, input: SessionInput) {
        if input.is_end() && self.stage != Stage::Failed {
            self.end(Stage::Ending);
        }
        if let SessionInput::Acknowledged(buffered) = input {
            self.counts.buffered(buffered);
        }
        self.hold_again(input);
    }

    /// Keeps what the link had no room for.
    pub(super) fn hold_again(&mut self, input: SessionInput) {
        let held = match input.is_data() {
            true => &mut self.data,
            false => &mut self.signal,
        };
        debug_assert!(held.is_none(), "nothing is taken behind what is held");
        *held = Some(input);
    }

    /// What is held.
    pub(super) fn take_held(&mut self) -> [Option<SessionInput>; 2] {
        [self.signal.take(), self.data.take()]
    }

    /// Ends the session by this side: nothing more comes of it, and nothing goes.
    pub(super) fn fail(&mut self) {
        self.assembly.clear();
        let _ = self.take_held();
        self.end(Stage::Failed);
    }

    fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.counts.over();
    }

    /// The leaf knows that the channel is open.
    pub(super) fn open(&mut self) {
        if self.stage == Stage::Connecting {
            self.stage = Stage::Open;
        }
        self.counts.open();
    }

    /// The channel took the message that it was handed; so much is not acknowledged.
    pub(super) fn sent(&mut self, buffered: usize) {
        self.counts.sent(self.assembly.sent());
        self.counts.buffered(buffered);
    }
}
