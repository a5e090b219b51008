//! What is done with a datagram that came, and with long arithmetic.

use core::net::SocketAddr;

use super::end::Shut;
use super::state::{Secure, Session};
use crate::rtc::crypto::Crypto;
use crate::rtc::dtls::Identity;
use crate::rtc::ice::{Received, SocketId};
use crate::time::Instant;

impl<C: Crypto> Session<'_, '_, C> {
    /// Takes a datagram that came from `source` to a socket, and decrypts it where it lies. What
    /// does not belong to the session is dropped: DTLS is read only from where the remote has
    /// proved itself to ICE.
    #[inline(never)]
    pub fn receive(
        &mut self,
        now: Instant,
        crypto: &mut C,
        socket: SocketId,
        source: SocketAddr,
        datagram: &mut [u8],
    ) {
        match self.ice.receive(now, crypto, socket, source, datagram) {
            Received::Taken => self.follow_path(now, crypto),
            Received::Data(mut rest) => {
                if self.shut == Shut::No {
                    // The remote may know before us that the path is to be used.
                    self.begin_dtls(now, crypto);
                }
                while let Secure::Dtls(dtls) = &mut self.secure
                    && let Some(packet) = dtls.receive(now, crypto, &mut rest)
                {
                    // The first packet may come with the end of the handshake.
                    self.follow_ends();
                    if let Some(association) = self.association() {
                        association.receive(now, packet);
                    }
                }
            }
        }
        self.follow_ends();
    }

    /// Does one long operation of the DTLS handshake, at most one on the curve. Whether there is
    /// more. `identity` is ours, the same in each call.
    #[inline(never)]
    pub fn work(&mut self, now: Instant, crypto: &mut C, identity: &Identity) -> bool {
        if let Secure::Dtls(dtls) = &mut self.secure {
            dtls.work(now, crypto, identity);
            self.follow_ends();
        }
        self.wants_work()
    }

    /// Returns whether [`work`](Self::work) has something to do.
    #[must_use]
    pub fn wants_work(&self) -> bool {
        matches!(&self.secure, Secure::Dtls(dtls) if dtls.wants_work())
    }

    /// Begins DTLS when there is a path, and has SCTP go on when there is one again.
    pub(super) fn follow_path(&mut self, now: Instant, crypto: &mut C) {
        let Some(path) = self.ice.path() else {
            return;
        };
        if self.shut == Shut::No {
            self.begin_dtls(now, crypto);
        }
        let here = Some((path.socket, path.remote));
        let silent = self.ice.silent_since().is_some();
        let renewals = self.ice.renewals();
        let is_back = self.silent && !silent || self.path != here || self.renewals != renewals;
        (self.path, self.silent, self.renewals) = (here, silent, renewals);
        if is_back && let Some(association) = self.association() {
            association.path_is_back(now);
        }
    }
}
