//! peer-core's `net` on a simulated LAN: smoltcp at both ends of a cable in memory, and behind the
//! router's end a broker that is scripted, ours, or npm `peer`.

mod brokers;
mod lan;
mod link;
mod router;
mod scripted;
