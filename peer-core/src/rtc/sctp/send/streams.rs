//! Outgoing streams: their numbers, and their reset.

use super::super::SendError;
use super::super::serial::Tsn;

/// Streams that can be sent on at the same time. A further one is
/// [`SendError::TooManyStreams`]; one that was reset makes room.
pub const STREAMS_MAX: usize = 8;

/// A stream that something was sent on.
#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u16,
    /// The next stream sequence number.
    ssn: u16,
    /// Messages of it that are not wholly cut into chunks.
    waiting: u32,
    /// The TSN of the last chunk of it.
    last: Option<Tsn>,
    reset: Reset,
}

/// How far the reset of a stream is (RFC 6525).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    No,
    /// Once everything of it is cut.
    Wanted,
    /// The request of this number names it.
    Asked(u32),
    /// The remote has answered.
    Done,
}

#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Streams([Option<Stream>; STREAMS_MAX]);

impl Streams {
    /// A message begins on the stream.
    pub(super) fn begins(&mut self, id: u16) -> Result<(), SendError> {
        let index = self
            .0
            .iter()
            .position(|one| one.is_some_and(|s| s.id == id));
        let index = index
            .or_else(|| self.0.iter().position(Option::is_none))
            .ok_or(SendError::TooManyStreams)?;
        let slot = self.0.get_mut(index).ok_or(SendError::TooManyStreams)?;
        let stream = slot.get_or_insert(Stream {
            id,
            ssn: 0,
            waiting: 0,
            last: None,
            reset: Reset::No,
        });
        if stream.reset != Reset::No {
            return Err(SendError::StreamReset);
        }
        stream.waiting = stream.waiting.saturating_add(1);
        Ok(())
    }

    /// The sequence number of the message being cut.
    pub(super) fn number(&self, id: u16) -> u16 {
        self.find(id).map_or(0, |stream| stream.ssn)
    }

    /// The last chunk of a message was cut.
    pub(super) fn ended(&mut self, id: u16, tsn: Tsn, ordered: bool) {
        let mut streams = self.0.iter_mut().flatten();
        if let Some(stream) = streams.find(|stream| stream.id == id) {
            stream.waiting = stream.waiting.saturating_sub(1);
            stream.last = Some(tsn);
            if ordered {
                stream.ssn = stream.ssn.wrapping_add(1);
            }
        }
    }

    fn find(&self, id: u16) -> Option<&Stream> {
        self.0.iter().flatten().find(|stream| stream.id == id)
    }

    /// Has the stream reset once all of it is sent. A stream that nothing was sent on, too.
    pub(in super::super) fn reset(&mut self, id: u16) -> Result<(), SendError> {
        if self.find(id).is_none() {
            self.begins(id)?;
            self.each(|stream| {
                if stream.id == id {
                    stream.waiting = 0;
                }
            });
        }
        self.each(|stream| {
            if stream.id == id && stream.reset == Reset::No {
                stream.reset = Reset::Wanted;
            }
        });
        Ok(())
    }

    /// Has the streams that are ready named by the request `number`. Whether there are any.
    pub(in super::super) fn ask(&mut self, number: u32) -> bool {
        let mut any = false;
        self.each(|stream| {
            if stream.reset == Reset::Wanted && stream.waiting == 0 {
                stream.reset = Reset::Asked(number);
                any = true;
            }
        });
        any
    }

    /// The streams that the request `number` names.
    pub(in super::super) fn asked(&self, number: u32) -> impl Iterator<Item = u16> + '_ {
        let streams = self.0.iter().flatten();
        streams
            .filter(move |stream| stream.reset == Reset::Asked(number))
            .map(|stream| stream.id)
    }

    /// The request was answered; if it has to be made again, with another number.
    pub(in super::super) fn answered(&mut self, number: u32, again: bool) {
        self.each(|stream| {
            if stream.reset == Reset::Asked(number) {
                stream.reset = if again { Reset::Wanted } else { Reset::Done };
            }
        });
    }

    /// Takes out a stream whose reset was answered.
    pub(in super::super) fn take_done(&mut self) -> Option<u16> {
        let is_done =
            |slot: &&mut Option<Stream>| slot.is_some_and(|stream| stream.reset == Reset::Done);
        let slot = self.0.iter_mut().find(is_done)?;
        slot.take().map(|stream| stream.id)
    }

    fn each(&mut self, change: impl FnMut(&mut Stream)) {
        self.0.iter_mut().flatten().for_each(change);
    }
}
