//! What is sent next.

use core::ops::Range;

use super::DATAGRAM_MAX;
use super::end::Shut;
use super::state::{Secure, Session, Transport};
use crate::bytes;
use crate::rtc::crypto::Crypto;
use crate::rtc::dtls::{HEADROOM, SealError, TAILROOM};
use crate::rtc::ice::{self, Transmit};
use crate::time::{Instant, earlier};

impl<C: Crypto> Session<'_, '_, C> {
    /// Writes the next datagram that is to be sent now; `None` if there is none. `out` has at least
    /// [`DATAGRAM_MAX`] bytes. Also does what is due.
    #[inline(never)]
    pub fn transmit(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<Transmit> {
        let len = out.len().min(DATAGRAM_MAX);
        let out = bytes::front_mut(out, len);
        if let Some(transmit) = self.ice.transmit(now, crypto, out) {
            return Some(transmit);
        }
        self.follow_path(now, crypto);
        self.follow_ends();
        if let Some(transmit) = self.transmit_data(now, crypto, out) {
            return Some(transmit);
        }
        // What could not be sent may have ended it, or its path is to be checked.
        self.follow_ends();
        let ending = self.transmit_end(now, crypto, out);
        ending.or_else(|| self.ice.transmit(now, crypto, out))
    }

    fn transmit_data(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<Transmit> {
        self.path()?;
        if self.shut != Shut::No {
            return None;
        }
        self.ask_for_channel();
        if let Some(transmit) = self.transmit_dtls(now, crypto, out) {
            return Some(transmit);
        }
        match self.ice.is_disconnected() {
            true => None,
            false => self.transmit_sctp(now, crypto, out),
        }
    }

    fn transmit_dtls(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<Transmit> {
        let Secure::Dtls(dtls) = &mut self.secure else {
            return None;
        };
        let (at, end) = room(&self.ice, out.len())?;
        while let Some(len) = dtls.transmit(now, crypto, out.get_mut(at..end)?) {
            if let Some(transmit) = frame(&mut self.ice, out, at..at + len) {
                return Some(transmit);
            }
        }
        None
    }

    fn transmit_sctp(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<Transmit> {
        let (Secure::Dtls(dtls), Transport::Live(live)) = (&mut self.secure, &mut self.transport)
        else {
            return None;
        };
        let association = &mut live.association;
        if !dtls.is_open() {
            return None;
        }
        let (at, end) = room(&self.ice, out.len())?;
        let (at, end) = (at + HEADROOM, end.checked_sub(TAILROOM)?);
        loop {
            let before = association.unanswered();
            let len = association.transmit(now, out.get_mut(at..end)?);
            if association.unanswered() > before {
                self.ice.suspect(now);
            }
            match dtls.seal(crypto, out, at..at + len?) {
                Ok(sealed) => {
                    if let Some(transmit) = frame(&mut self.ice, out, sealed) {
                        return Some(transmit);
                    }
                }
                // The session is over, as its event tells.
                Err(SealError::Exhausted) => return None,
                Err(error @ (SealError::NotOpen | SealError::NoRoom)) => {
                    debug_assert!(false, "it is open, and there is room: {error}");
                    return None;
                }
            }
        }
    }

    /// Ends what is still up, from the top down.
    fn transmit_end(&mut self, now: Instant, crypto: &mut C, out: &mut [u8]) -> Option<Transmit> {
        let has_path = self.path().is_some();
        loop {
            match self.shut {
                Shut::No | Shut::Done => return None,
                Shut::Association => {
                    self.shut = Shut::Dtls;
                    if let Some(association) = self.association() {
                        association.abort();
                    }
                    if has_path && let Some(last) = self.transmit_sctp(now, crypto, out) {
                        return Some(last);
                    }
                }
                Shut::Dtls => {
                    self.shut = Shut::Ice;
                    if let Secure::Dtls(dtls) = &mut self.secure {
                        dtls.close();
                    }
                    if has_path && let Some(last) = self.transmit_dtls(now, crypto, out) {
                        return Some(last);
                    }
                }
                Shut::Ice => {
                    self.shut = Shut::Done;
                    self.ice.close();
                }
            }
        }
    }

    /// Returns when [`transmit`](Self::transmit) has something to do by itself; `None` for never.
    #[inline(never)]
    pub fn timeout(&self) -> Option<Instant> {
        match self.shut {
            Shut::No => {}
            Shut::Association | Shut::Dtls | Shut::Ice => return Some(Instant::ZERO),
            Shut::Done => return self.ice.timeout(),
        }
        let at = self.ice.timeout();
        let Secure::Dtls(dtls) = &self.secure else {
            return at;
        };
        if self.path().is_none() {
            return at;
        }
        let at = earlier(at, dtls.timeout());
        match &self.transport {
            Transport::Live(live) if dtls.is_open() && !self.ice.is_disconnected() => {
                earlier(at, live.association.timeout())
            }
            _ => at,
        }
    }
}

/// Where in a buffer of this length what ICE frames may lie.
fn room(ice: &ice::Agent<'_>, len: usize) -> Option<(usize, usize)> {
    match ice.path()?.relayed {
        false => Some((0, len)),
        true => Some((ice::HEADROOM, len.checked_sub(ice::TAILROOM)?)),
    }
}

/// Makes a datagram of what lies there, and moves it to the start.
fn frame(ice: &mut ice::Agent<'_>, out: &mut [u8], data: Range<usize>) -> Option<Transmit> {
    let (transmit, framed) = ice.frame(out, data)?;
    if framed.start > 0 {
        bytes::copy_within(out, framed, 0)?;
    }
    Some(transmit)
}
