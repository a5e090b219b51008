//! A laboratory of SCTP: two ends over a bad network in virtual time, ours beside other
//! implementations.
//!
//! An end is an SCTP association without I/O behind the trait [`End`](end::End): ours, and the
//! crates `dcsctp` (Chromium's), `sctp-proto` (str0m's) and `webrtc-sctp` (the stack assembled from
//! webrtc-rs). Any two of them can be joined. Between them are two [links](network::Link), one a
//! direction, with delay, rate, queue, loss (random or in bursts), duplication and reordering.
//! Above them are two [applications](load::Load), which check every byte: each message has to
//! arrive once, whole, and in its place if it was sent ordered.
//!
//! # Run it
//! ```sh
//! cargo run --release -p peer-sctp-lab -- list                 # the scenarios
//! cargo run --release -p peer-sctp-lab -- table                # all, each implementation against itself
//! cargo run --release -p peer-sctp-lab -- table bulk 5%        # those with both words in their names
//! cargo run --release -p peer-sctp-lab -- table --pairs dcsctp:sctp-proto --seeds 3 bulk 0.1ms
//! cargo run --release -p peer-sctp-lab -- trace --pairs dcsctp --from 7 echo 0.1ms 1% | less
//! tests/run long sctp-lab                                      # all pairs, a row into tests/results
//! ```
//! The tests are the laboratory's own and hold figures of ours to those of dcsctp in the same run.
//!
//! # Read the table
//! | column | what |
//! |---|---|
//! | scenario | load, one-way delay or round trip, loss each way, receive window of both ends |
//! | ends | who opens and (one way) sends, who receives |
//! | MiB/s, messages/s | both directions, in virtual time, from the first message sent to the last received |
//! | silence | longest time in which a receiver got nothing, from its first byte on |
//! | round trip | of an echo: median and 99th of a hundred |
//! | packets, lost, overflowed | of the first end and of the second; what the line lost, and what its queue had no room for |
//! | CPU µs/packet | of the first end and of the second, a packet sent or received |
//! | CPU s/GiB | of both ends together |
//! | result | `all arrived`, `not all in time` (60 s, which is no fault), or the fault |
//!
//! With more than one seed a row is the run with the median throughput, and the longest silence of
//! all. Lines are 1 Gbit/s with a queue of 1 MiB; a packet counts with its SCTP bytes.
//!
//! # What can be repeated
//! Throughput, silence and counts are the same for the same seed on any machine: nothing reads a
//! clock, and the network, `dcsctp` and ours draw from the seed. `sctp-proto` and `webrtc-sctp`
//! take tags and first TSNs from the system, on which their timing does not depend. CPU time is the
//! thread's, between the first call of an end in a turn and the last, less what reading the clock
//! costs; it depends on the machine and decides no test.
//!
//! # Settings
//! The same for all: packets of at most 1,191 bytes ([`MTU`](end::MTU)), the scenario's window, one
//! stream. An application keeps each send buffer full. Else each has its defaults:
//!
//! | implementation | settings |
//! |---|---|
//! | `dcsctp` | as Chromium: no limit of retransmissions, back-off up to 3 s; RTO from 400 ms, SACK delay up to 200 ms. Its CPU time is 95 % a hexadecimal dump of each packet, made whether or not anybody logs; Chromium's has none: 2.7–3.0 CPU s/GiB |
//! | `sctp-proto` | RTO from 1 s; waits for 8 MiB of messages |
//! | `webrtc-sctp` | RTO from 1 s; driven on a tokio runtime whose clock stands still, timers up to 5 ms late, CPU time not told |

pub mod cpu;
pub mod end;
pub mod ends;
pub mod load;
pub mod network;
pub mod random;
pub mod run;
pub mod scenario;
pub mod table;
pub mod trace;
