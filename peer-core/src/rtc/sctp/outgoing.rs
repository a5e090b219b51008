//! What goes into the next packet, and what the timers do.

use super::End;
use super::association::{Association, State};
use super::packet::{PacketWriter, kind};
use super::send::RTO_MAX;
use crate::rtc;
use crate::time::Instant;

/// Streams that are asked for each way; both ends take what the other has (RFC 8831, section 6.2).
const STREAMS: u16 = u16::MAX;
/// Parameters of INIT and INIT ACK: FORWARD-TSN is understood (RFC 3758, section 3.1), and so are
/// RE-CONFIG and FORWARD-TSN as extensions (RFC 5061, section 4.2.7), with two bytes of padding.
const EXTENSIONS: [u8; 12] = [
    0xc0,
    0x00,
    0,
    4,
    0x80,
    0x08,
    0,
    6,
    kind::RECONFIG,
    kind::FORWARD_TSN,
    0,
    0,
];

impl Association<'_> {
    /// Writes the next packet to `out` and returns its length; `None` if there is nothing to send
    /// now. `out` should be as long as [`Config::packet`](super::Config::packet); a shorter one
    /// makes shorter packets.
    ///
    /// Timers are looked at here: call it when [`timeout`](Self::timeout) has come, too.
    #[inline(never)]
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.handle_timeout(now);
        let longest = out.len().min(usize::from(self.config.packet)) & !3;
        let out = out.get_mut(..longest)?;
        if let Some(cause) = self.owed.abort.take() {
            let mut writer = PacketWriter::new(out, self.header(self.remote_tag))?;
            let [c0, c1] = cause.to_be_bytes();
            writer.chunk(kind::ABORT, 0, &[&[c0, c1, 0, 4]])?;
            return writer.finish(self.config.checksum);
        }
        if core::mem::take(&mut self.owed.init_ack) {
            return self.write_init_ack(out);
        }
        match self.state {
            State::Closed | State::Over(_) => None,
            State::CookieWait => {
                self.is_due(now).then_some(())?;
                let mut writer = PacketWriter::new(out, self.header(0))?;
                let init = self.init_value(self.local_tag);
                writer.chunk(kind::INIT, 0, &[&init, &EXTENSIONS])?;
                writer.finish(self.config.checksum)
            }
            State::CookieEchoed { cookie } => {
                self.is_due(now).then_some(())?;
                let first = self.attempts == 1;
                let mut writer = PacketWriter::new(out, self.header(self.remote_tag))?;
                let cookie = self.receive_memory.bytes.get(..cookie)?;
                writer.chunk(kind::COOKIE_ECHO, 0, &[cookie])?;
                writer.limit(self.path.length());
                if first {
                    self.sender.write(&mut self.send_memory, now, &mut writer);
                }
                writer.finish(self.config.checksum)
            }
            State::Established | State::ShutdownReceived | State::ShutdownAckSent => {
                self.write_open(now, out)
            }
        }
    }

    #[inline(never)]
    fn write_open(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let mut writer = PacketWriter::new(out, self.header(self.remote_tag))?;
        let wait = self.sender.rtt.rto();
        if self.path.write(now, wait, &mut writer).is_some() {
            return writer.finish(self.config.checksum);
        }
        writer.limit(self.path.length());
        if core::mem::take(&mut self.owed.cookie_ack) {
            writer.chunk(kind::COOKIE_ACK, 0, &[])?;
        }
        if core::mem::take(&mut self.owed.shutdown_complete) {
            writer.chunk(kind::SHUTDOWN_COMPLETE, 0, &[])?;
        }
        if let Some(len) = self.owed.heartbeat_ack.take() {
            let info = self.heartbeat_info.get(..len)?;
            writer.chunk(kind::HEARTBEAT_ACK, 0, &[info])?;
        }
        self.write_reset(now, &mut writer);
        if matches!(self.state, State::ShutdownAckSent) {
            if self.is_due(now) {
                writer.chunk(kind::SHUTDOWN_ACK, 0, &[])?;
            }
            return (!writer.is_empty()).then(|| writer.finish(self.config.checksum))?;
        }
        if core::mem::take(&mut self.owed.heartbeat) {
            // The information is ours alone; the answer to any counts.
            writer.chunk(kind::HEARTBEAT, 0, &[&[0, 1, 0, 8], &[0; 4]])?;
        }
        let joins = self.receiver.sack_is_wanted() && self.sender.wants(&self.send_memory);
        if joins || self.receiver.sack_is_due(now) {
            self.receiver
                .write_sack(&self.receive_memory, &mut writer)?;
        }
        if self.sender.write(&mut self.send_memory, now, &mut writer) {
            self.wait_for_heartbeat(now);
        }
        if writer.room() < 4 {
            self.path.wants_more(now);
        }
        (!writer.is_empty()).then(|| writer.finish(self.config.checksum))?
    }

    fn write_init_ack(&self, out: &mut [u8]) -> Option<usize> {
        let pending = self.pending?;
        let mut writer = PacketWriter::new(out, self.header(pending.remote_tag))?;
        let init = self.init_value(pending.local_tag);
        let cookie = pending.cookie();
        let head = [0, 7, 0, 12];
        let parts: [&[u8]; 4] = [&init, &EXTENSIONS, &head, &cookie];
        writer.chunk(kind::INIT_ACK, 0, &parts)?;
        writer.finish(self.config.checksum)
    }

    /// The fixed part of INIT and INIT ACK.
    fn init_value(&self, tag: u32) -> [u8; 16] {
        let window = self.receiver.window(&self.receive_memory);
        let [t0, t1, t2, t3] = tag.to_be_bytes();
        let [w0, w1, w2, w3] = u32::try_from(window).unwrap_or(u32::MAX).to_be_bytes();
        let [s0, s1] = STREAMS.to_be_bytes();
        let [n0, n1, n2, n3] = self.initial_tsn().to_be_bytes();
        [
            t0, t1, t2, t3, w0, w1, w2, w3, s0, s1, s0, s1, n0, n1, n2, n3,
        ]
    }

    /// Whether the timer of the handshake has run out, which begins it anew.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.handshake.is_some_and(|at| now >= at);
        if due {
            self.handshake = Some(match self.config.round_trip {
                Some(round_trip) if self.state_before_open() => {
                    let times = 1_u32.checked_shl(self.attempts.into()).unwrap_or(u32::MAX);
                    let twice = round_trip.saturating_add(round_trip);
                    let wait = rtc::first_wait(twice).saturating_mul(times);
                    now.plus(u64::from(wait.min(RTO_MAX)))
                }
                _ => {
                    if self.attempts > 0 {
                        self.sender.rtt.back_off();
                    }
                    now.plus(self.sender.rtt.rto())
                }
            });
            self.attempts = self.attempts.saturating_add(1);
        }
        due
    }

    fn wait_for_heartbeat(&mut self, now: Instant) {
        self.heartbeat = Some(now + self.config.heartbeat);
    }

    #[inline(never)]
    fn handle_timeout(&mut self, now: Instant) {
        let retransmissions = self.config.retransmissions;
        if matches!(self.state, State::Over(_)) {
            return;
        }
        let waits = self.handshake.is_some_and(|at| now >= at);
        if waits && self.attempts > retransmissions {
            self.end(End::Unreachable);
            return;
        }
        if !matches!(self.state, State::Established | State::ShutdownReceived) {
            return;
        }
        if self.heartbeat.is_none_or(|at| now >= at) {
            if self.heartbeat.is_some() {
                self.owed.heartbeat = true;
                self.misses = self.misses.saturating_add(1);
            }
            self.wait_for_heartbeat(now);
        }
        self.sender.handle_timeout(&mut self.send_memory, now);
        self.handle_reset_timeout(now);
        if self.unanswered() > retransmissions {
            self.end(End::Unreachable);
        } else if matches!(self.state, State::ShutdownReceived) && self.sender.is_flushed() {
            self.enter(State::ShutdownAckSent);
        }
    }
}
