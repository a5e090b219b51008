//! What a simulation is like, and what it counts.

use peer_core::time::Duration;
use peer_realm::RealmOptions;

use crate::link::Link;

/// What a simulation is like, besides its hosts.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The broker's options. Default: those of the real one, `alive_timeout` 60 s as its command
    /// has it.
    pub realm: RealmOptions,
    /// The broker's access to the network. Default: 5 ms, no loss.
    pub broker_link: Link,
    /// Whether sessions live on when a NAT gives one end a new address, as browsers' do;
    /// webrtc-ice's fail. Default: no.
    pub follows_rebinding: bool,
    /// Probability that the stack below a connection fails: no resources, DTLS, SCTP. Default: 0.
    pub stack_fails: f64,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            realm: RealmOptions {
                alive_timeout: Duration::from_secs(60),
                ..RealmOptions::default()
            },
            broker_link: Link {
                latency: Duration::from_millis(5),
                ..Link::perfect()
            },
            follows_rebinding: false,
            stack_fails: 0.0,
        }
    }
}

/// What carries connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sessions {
    /// A model, quick to compute.
    #[default]
    Modelled,
    /// [`peer_core::rtc`], all of it: ICE with a STUN server, DTLS with RustCrypto, SCTP with
    /// windows of 16 KiB or 2 KiB. One socket a session, [`Nat`](crate::Nat)s between.
    Real,
}

/// What a simulation has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimStats {
    /// Inputs fed to engines.
    pub inputs: u64,
    /// Outputs polled from engines.
    pub outputs: u64,
    /// Messages engines sent to the broker.
    pub signals: u64,
    /// Ends of sessions made.
    pub sessions: u64,
    /// Connections started by hosts.
    pub connects: u64,
    /// Connections that came in.
    pub incoming: u64,
    /// Connections that opened, both ends counted.
    pub opened: u64,
    /// Connections that closed after they were open.
    pub closed: u64,
    /// Connections that failed.
    pub failed: u64,
    /// Messages accepted by engines.
    pub messages_sent: u64,
    /// Of those, how many were streamed.
    pub streamed: u64,
    /// Messages read by applications.
    pub messages_read: u64,
    /// Of those, how many were longer than the memory and read in pieces.
    pub pieced: u64,
    /// Messages not accepted for want of room.
    pub sends_full: u64,
    /// Frames delivered by channels.
    pub frames: u64,
    /// Frames that machines with smoltcp sent.
    pub lan_frames: u64,
    /// Inputs that were `Full` at first.
    pub full: u64,
    /// Frames that were `InboxFull` at first.
    pub inbox_full: u64,
    /// Messages dropped because they did not fit the receiver's memory.
    pub too_big: u64,
    /// Packets sent, and of those lost.
    pub packets: u64,
    /// Packets lost.
    pub packets_lost: u64,
}
