//! Datagrams from the mailbox, and to sockets and streams.

use peer_core::rtc::session::DATAGRAM_MAX;

use super::Work;
use crate::rtc::native::mailbox::Datagrams;
use crate::rtc::native::outgoing::{Batch, with_room};
use crate::rtc::native::servers::STREAMS_FROM;
use crate::rtc::native::storage::SMALL;

/// Datagrams that are made before others come to their turn.
const BATCH: usize = 64;
/// Datagrams that are taken before their messages are handed over.
const TRAIN: usize = 16;

impl Work<'_, '_> {
    /// Takes what waits. Whether something is left, for which there has to be memory first.
    pub(super) fn take_mail(&mut self) -> bool {
        let mut mail = core::mem::take(&mut self.rest.mail);
        if mail.datagrams.is_empty() {
            self.rest.mailbox.take(&mut mail);
        }
        if let Some(sockets) = mail.sockets.take() {
            self.set_sockets(sockets);
        }
        if let Some(answer) = mail.answer.take() {
            self.answer(&answer);
        }
        for candidate in mail.candidates.drain(..) {
            self.add_candidate(&candidate);
        }
        if core::mem::take(&mut mail.signalled_again) && self.rest.has_moved {
            self.session.tell_candidates_again();
        }
        self.receive(&mut mail.datagrams);
        if core::mem::take(&mut mail.close) {
            self.close();
        }
        let is_done = mail.datagrams.is_empty();
        if is_done {
            mail.datagrams.clear();
        }
        self.rest.mail = mail;
        !is_done
    }

    /// Takes datagrams, and hands over what they bring: it makes room for what comes. A remote that
    /// was told a large window once would lose what does not fit, so where more memory can be had
    /// the rest waits for it.
    pub(super) fn receive(&mut self, datagrams: &mut Datagrams) {
        let now = self.now();
        let mut count = 0;
        while let Some((socket, source, datagram)) = datagrams.next() {
            let is_check = matches!(datagram.first(), Some(0..=3));
            let crypto = &mut self.rest.crypto;
            self.session.receive(now, crypto, socket, source, datagram);
            if is_check && self.session.ice().hears(socket, source) {
                self.rest.place.seat.claim(socket, source);
            }
            count += 1;
            if count % TRAIN == 0 || self.session.receive_room() < SMALL / 2 {
                self.take();
                if self.may_receive_more() {
                    return;
                }
            }
        }
    }

    /// Sends what there is to send. Whether there may be more.
    pub(super) fn transmit(&mut self) -> bool {
        while let Some(unsent) = self.rest.unsent.pop_front() {
            if let Some(unsent) = unsent.again() {
                self.rest.unsent.push_front(unsent);
                return false;
            }
        }
        let more = with_room(|room| self.transmit_in(room));
        self.rest.told.tell(self.session.buffered());
        more
    }

    pub(super) fn transmit_in(&mut self, room: &mut [u8]) -> bool {
        let now = self.now();
        let rest = &mut self.rest;
        let mut batch: Option<Batch> = None;
        for _ in 0..BATCH {
            let at = batch.as_ref().map_or(0, Batch::len);
            let Some(free) = room.get_mut(at..at + DATAGRAM_MAX) else {
                break;
            };
            let Some(next) = self.session.transmit(now, &mut rest.crypto, free) else {
                rest.unsent.extend(batch.and_then(|batch| batch.send(room)));
                return false;
            };
            let datagram = free.get(..next.len).unwrap_or_default();
            if next.socket.0 >= STREAMS_FROM {
                rest.streams.send(next.socket, datagram);
                continue;
            }
            rest.place.seat.sent(datagram);
            if batch.as_mut().is_some_and(|batch| batch.add(&next)) {
                continue;
            }
            if let Some(batch) = batch.take() {
                let end = batch.len();
                rest.unsent.extend(batch.send(room));
                room.copy_within(end..end + next.len, 0);
            }
            // What goes from an address that is gone is lost, as it would be beyond.
            let socket = rest.sockets.iter().find(|it| it.id == next.socket);
            batch = socket.map(|socket| Batch::new(socket, &next));
            if !rest.unsent.is_empty() {
                rest.unsent.extend(batch.map(|batch| batch.keep(room)));
                return false;
            }
        }
        rest.unsent.extend(batch.and_then(|batch| batch.send(room)));
        true
    }
}
