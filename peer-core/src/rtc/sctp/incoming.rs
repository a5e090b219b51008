//! What is done with a packet that came.

use super::association::{Association, State};
use super::packet::{self, Chunk, Sack};
use super::{End, Violation};
use crate::bytes;
use crate::time::Instant;

impl Association<'_> {
    /// Takes a packet that came. What cannot be right is dropped and counted in
    /// [`Stats`](super::Stats); nothing that comes makes this fail.
    #[inline(never)]
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        let Ok((header, chunks)) = packet::parse(packet, self.config.checksum) else {
            self.stats.bad_packets += 1;
            return;
        };
        if header.destination_port != self.config.local_port
            || header.source_port != self.config.remote_port
            || matches!(self.state, State::Over(_))
        {
            self.stats.bad_packets += 1;
            return;
        }
        let mut alone = true;
        for chunk in chunks {
            let Ok(chunk) = chunk else {
                self.stats.bad_packets += 1;
                break;
            };
            let known = self.knows(header.tag, &chunk, alone);
            alone = false;
            if !known || !self.chunk(now, header.tag, &chunk) {
                self.stats.bad_packets += u64::from(!known);
                break;
            }
        }
        self.receiver.packet_ends(&self.receive_memory, now);
    }

    /// Whether the tag of the packet is the one that such a chunk must come with (RFC 9260,
    /// section 8.5).
    fn knows(&self, tag: u32, chunk: &Chunk<'_>, alone: bool) -> bool {
        match chunk {
            Chunk::Init(_) => tag == 0 && alone,
            Chunk::Abort {
                reflected: true, ..
            }
            | Chunk::ShutdownComplete { reflected: true } => tag == self.remote_tag,
            // Checked with its cookie, which may have a tag of its own.
            Chunk::CookieEcho(_) => true,
            _ => tag == self.local_tag,
        }
    }

    /// Does what a chunk asks for. Whether the next one of the packet is looked at.
    #[inline(never)]
    fn chunk(&mut self, now: Instant, tag: u32, chunk: &Chunk<'_>) -> bool {
        let is_open = matches!(self.state, State::Established | State::ShutdownReceived);
        match *chunk {
            Chunk::Data(ref data) if is_open => {
                self.receiver.data(&mut self.receive_memory, data);
            }
            Chunk::Sack(ref sack) if is_open => self.sack(now, sack),
            Chunk::Heartbeat(info) => {
                let kept = bytes::copy(&mut self.heartbeat_info, info);
                self.owed.heartbeat_ack = kept.map(|()| info.len());
            }
            Chunk::HeartbeatAck(info) => {
                self.misses = 0;
                self.path.acknowledged(info);
            }
            Chunk::Init(ref init) => {
                self.init(init);
                return false;
            }
            Chunk::InitAck(ref init) => self.init_ack(init),
            Chunk::CookieEcho(cookie) => {
                self.cookie_echo(tag, cookie);
                // What goes with it has the tag of the association that it made.
                return tag == self.local_tag;
            }
            Chunk::CookieAck => self.cookie_ack(),
            Chunk::ForwardTsn(tsn) if is_open => {
                let done = self.receiver.forward(&mut self.receive_memory, tsn);
                self.stats.refused += u64::from(done.is_none());
            }
            Chunk::Reconfig(parameters) if is_open => self.reconfig(now, parameters),
            Chunk::Abort { cause, .. } => {
                self.end(End::Aborted(cause));
                return false;
            }
            Chunk::Shutdown(cumulative) if is_open => {
                let sack = Sack::of_shutdown(cumulative, self.sender.window());
                self.sack(now, &sack);
                if matches!(self.state, State::Established) {
                    self.enter(State::ShutdownReceived);
                }
            }
            Chunk::ShutdownAck if is_open => self.owed.shutdown_complete = true,
            Chunk::ShutdownComplete { .. } if matches!(self.state, State::ShutdownAckSent) => {
                self.end(End::Shutdown);
                return false;
            }
            // The upper two bits say whether to go on and whether to report it; nothing is
            // reported (RFC 9260, section 3.2).
            Chunk::Unknown(kind) => return kind & 0x80 != 0,
            _ => {}
        }
        true
    }

    fn sack(&mut self, now: Instant, sack: &Sack<'_>) {
        match self.sender.sack(&mut self.send_memory, now, sack) {
            Ok(()) => self.misses = 0,
            // Perhaps one of before a restart; it does no harm if it is dropped.
            Err(Violation::Acknowledgement) => self.stats.refused += 1,
            Err(violation) => self.violated(violation),
        }
    }
}
