//! One end of an association, whoever made it.

use std::time::Duration;

/// Who opens the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends INIT.
    Active,
    /// Waits for INIT.
    Passive,
}

/// What an end is made with.
#[derive(Clone, Copy, Debug)]
pub struct EndOptions {
    /// Who opens.
    pub role: Role,
    /// Receive window in bytes.
    pub window: usize,
    /// From which an implementation draws its random numbers, if it lets itself be told.
    pub seed: u64,
}

/// Largest SCTP packet of all ends: 1,280 bytes of IPv6 less IP, UDP, DTLS and TURN, as `dcsctp`,
/// `webrtc-sctp` and browsers have it.
pub const MTU: usize = 1191;

/// Stream that all messages travel on.
pub const STREAM: u16 = 1;

/// Payload protocol identifier of all messages: WebRTC binary.
pub const PPID: u32 = 53;

/// How far an association is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not open yet.
    Opening,
    /// Data may be sent.
    Open,
    /// It ended, for this reason.
    Ended(String),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Stream of the message.
    pub stream: u16,
    /// Payload protocol identifier of the message.
    pub ppid: u32,
    /// Whether the message ends with these bytes.
    pub last: bool,
}

/// One end of an association without I/O: it is told the time, and who has it carries its packets.
///
/// Times count from the start of the run. After any call [`transmit`](Self::transmit) is asked
/// until it has no more, and [`timeout`](Self::timeout) after that.
pub trait End {
    /// Takes a packet from the network.
    fn receive(&mut self, now: Duration, packet: &[u8]);

    /// Puts the next packet for the network in `packet`, which is empty; false if there is none.
    fn transmit(&mut self, now: Duration, packet: &mut Vec<u8>) -> bool;

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    fn timeout(&self) -> Option<Duration>;

    /// Does what is due.
    fn handle_timeout(&mut self, now: Duration);

    /// Queues a message on [`STREAM`] with [`PPID`]; false if there is no room now.
    fn send(&mut self, now: Duration, unordered: bool, message: &[u8]) -> bool;

    /// Appends to `bytes` what arrived next: a message, or a part of one.
    fn read(&mut self, now: Duration, bytes: &mut Vec<u8>) -> Option<Read>;

    /// How far the association is.
    fn state(&self) -> State;

    /// Ends the association at once, with an ABORT if the implementation sends one.
    fn abort(&mut self, now: Duration);

    /// Whether the CPU time of this thread is what the end costs.
    fn counts_cpu(&self) -> bool {
        true
    }
}
