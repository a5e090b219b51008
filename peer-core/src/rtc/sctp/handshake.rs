//! How an association begins (RFC 9260, section 5), from either end or both at once.
//!
//! The state cookie only names what an INIT said, which is kept: one INIT at a time, the last one.
//! Under DTLS there is one remote and it is known, so nothing has to be proved by a cookie.

use super::association::{Association, Pending, State};
use super::packet::{Cookie, Init, Parameters};
use super::reset::Resets;
use super::serial::Tsn;
use crate::bytes;

/// The parameter of INIT ACK that holds the state cookie.
const STATE_COOKIE: u16 = 7;
/// Bytes of our state cookie.
pub(super) const COOKIE_LEN: usize = 8;

impl Pending {
    pub(super) fn cookie(&self) -> [u8; COOKIE_LEN] {
        let [l0, l1, l2, l3] = self.local_tag.to_be_bytes();
        let [r0, r1, r2, r3] = self.remote_tag.to_be_bytes();
        [l0, l1, l2, l3, r0, r1, r2, r3]
    }
}

impl Association<'_> {
    /// An INIT: it is answered, and nothing else changes (RFC 9260, sections 5.1 and 5.2).
    pub(super) fn init(&mut self, init: &Init<'_>) {
        let local_tag = match self.state {
            State::Over(_) | State::ShutdownAckSent => return,
            State::Closed | State::CookieWait | State::CookieEchoed { .. } => self.local_tag,
            State::Established | State::ShutdownReceived => {
                if init.tag == self.remote_tag {
                    self.local_tag
                } else {
                    // A restart has to have another tag.
                    self.local_tag.wrapping_add(0x9e37_79b9).max(1)
                }
            }
        };
        self.pending = Some(Pending {
            remote_tag: init.tag,
            remote_tsn: init.tsn.0,
            window: init.window,
            local_tag,
        });
        self.owed.init_ack = true;
    }

    pub(super) fn init_ack(&mut self, init: &Init<'_>) {
        if !matches!(self.state, State::CookieWait) {
            return;
        }
        let Some(cookie) = cookie(init.parameters) else {
            self.stats.bad_packets += 1;
            return;
        };
        let Some(()) = bytes::copy(self.receive_memory.bytes, cookie) else {
            // The attempts run out: the cookie is no shorter the next time.
            self.stats.bad_packets += 1;
            return;
        };
        self.remote_tag = init.tag;
        self.resets = Resets::new(self.initial_tsn(), init.tsn.0);
        self.receiver.start(&mut self.receive_memory, init.tsn);
        self.sender.start(Tsn(self.initial_tsn()), init.window);
        self.enter(State::CookieEchoed {
            cookie: cookie.len(),
        });
    }

    /// A state cookie that came back, in a packet with `tag`.
    pub(super) fn cookie_echo(&mut self, tag: u32, cookie: Cookie<'_>) {
        let Some(pending) = self.pending else {
            return;
        };
        if cookie != pending.cookie() || tag != pending.local_tag {
            self.stats.refused += 1;
            return;
        }
        let initial = Tsn(self.initial_tsn());
        match self.state {
            State::Closed | State::CookieWait => self.sender.start(initial, pending.window),
            // What went with our COOKIE ECHO counts already.
            State::CookieEchoed { .. } => {}
            State::Established | State::ShutdownReceived => {
                if pending.remote_tag == self.remote_tag {
                    self.owed.cookie_ack = true;
                    return;
                }
                let packet = usize::from(self.config.packet);
                self.sender.restart(packet, initial, pending.window);
                self.untold.restarted = true;
            }
            State::ShutdownAckSent | State::Over(_) => return,
        }
        self.local_tag = pending.local_tag;
        self.remote_tag = pending.remote_tag;
        self.resets = Resets::new(self.initial_tsn(), pending.remote_tsn);
        self.receiver
            .start(&mut self.receive_memory, Tsn(pending.remote_tsn));
        self.owed.cookie_ack = true;
        self.open();
    }

    pub(super) fn cookie_ack(&mut self) {
        if matches!(self.state, State::CookieEchoed { .. }) {
            self.open();
        }
    }

    fn open(&mut self) {
        if self.attempts > 1 {
            // The COOKIE ECHO with which chunks went was lost, and they with it.
            self.sender.send_again(&mut self.send_memory);
        }
        self.enter(State::Established);
        self.untold.open = !self.untold.restarted;
    }
}

fn cookie(parameters: Parameters<'_>) -> Option<Cookie<'_>> {
    let mut parameters = parameters.filter_map(Result::ok);
    parameters
        .find(|(kind, cookie)| *kind == STATE_COOKIE && !cookie.is_empty())
        .map(|(_, cookie)| cookie)
}
