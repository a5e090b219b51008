//! The checks themselves: each is shown something wrong and has to say so.

use std::rc::Rc;

use peer_core::peer::{ConnectOptions, Output, Room};
use peer_core::serialization::MessageKind;
use peer_core::time::{Duration, Instant};

use crate::io::{RtcStimulus, Stimulus};
use crate::{Conn, HostOptions, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Two hosts with an ordered connection, on which two messages were read.
fn connected() -> (Sim, Conn, Conn) {
    let mut sim = Sim::new(1);
    let alice = sim.add_host(HostOptions::new("alice"));
    let bob = sim.add_host(HostOptions::new("bob"));
    sim.run_for(SECOND);
    let options = ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    };
    let here = sim.connect(alice, "bob", options).unwrap();
    assert!(sim.wait(SECOND, |sim| !sim.open_connections(bob).is_empty()));
    let there = sim.open_connections(bob)[0];
    sim.send(here, "one").unwrap();
    sim.send(here, "two").unwrap();
    sim.run_for(SECOND);
    assert_eq!(sim.take_messages(bob).len(), 2);
    (sim, here, there)
}

fn frame(sim: &mut Sim, to: Conn, bytes: &[u8]) {
    let frame = RtcStimulus::Frame(MessageKind::Binary, Rc::from(bytes), 0);
    sim.input(to.host, &Stimulus::Rtc(to.handle, frame));
    sim.drain(to.host);
}

fn end(sim: &Sim, conn: Conn) -> usize {
    sim.hosts[conn.host.0].ends[&conn.handle]
}

#[test]
#[should_panic(expected = "invariant `invented-message` violated at bob")]
fn a_message_nobody_sent() {
    let (mut sim, _, there) = connected();
    frame(&mut sim, there, b"\xb1x");
}

#[test]
#[should_panic(expected = "invariant `invented-message` violated at bob")]
fn a_message_that_comes_twice() {
    let (mut sim, _, there) = connected();
    frame(&mut sim, there, b"\xb3two");
}

#[test]
#[should_panic(expected = "invariant `order-kept` violated at bob")]
fn messages_in_the_wrong_order() {
    let (mut sim, here, there) = connected();
    sim.net.cut(here.host.node(), there.host.node());
    sim.send(here, "three").unwrap();
    sim.send(here, "four").unwrap();
    frame(&mut sim, there, b"\xb4four");
}

#[test]
#[should_panic(expected = "invariant `nothing-lost` violated")]
fn a_message_that_is_acknowledged_and_lost() {
    let (mut sim, here, _) = connected();
    sim.record_sent(here.host, here.handle, 7);
    sim.send(here, "three").unwrap();
    let lost = end(&sim, here);
    // Alone at the head the digest would be out of order.
    sim.ledgers[lost].reorder_for_test();
    sim.run_for(10 * SECOND);
}

#[test]
#[should_panic(expected = "invariant `close-once` violated at alice")]
fn a_session_closed_twice() {
    let (mut sim, here, _) = connected();
    sim.session_command(here.host, here.handle, crate::io::Rtc::Close);
    sim.close(here);
}

#[test]
#[should_panic(expected = "invariant `outcome-in-time` violated at alice")]
fn a_connect_without_an_outcome() {
    let (mut sim, here, _) = connected();
    sim.connect(here.host, "nobody", ConnectOptions::default())
        .unwrap();
    // Its deadline, moved ahead behind the engine's back.
    sim.hosts[here.host.0].expire_records_for_test();
    sim.drain(here.host);
    sim.run_for(4 * SECOND);
}

#[test]
#[should_panic(expected = "invariant `stale-handle` violated at alice")]
fn a_handle_that_outlives_its_end() {
    let (mut sim, here, _) = connected();
    sim.hosts[here.host.0]
        .ended
        .push_back((here.handle, Instant::ZERO));
    sim.hosts[here.host.0].ends.clear();
    sim.drain(here.host);
}

#[test]
#[should_panic(expected = "invariant `busy-loop` violated")]
fn a_host_that_never_rests() {
    let (mut sim, here, _) = connected();
    for _ in 0..30_000 {
        sim.count_outputs(here.host, 1);
    }
}

#[test]
fn a_waived_invariant_is_not_checked() {
    let (mut sim, _, there) = connected();
    sim.waive("invented-message");
    frame(&mut sim, there, b"\xb1x");
    assert_eq!(sim.take_messages(there.host).len(), 1);
}

#[test]
fn a_failure_tells_seed_step_trace_and_replay() {
    let (mut sim, _, there) = connected();
    sim.set_replay("replay --seed {seed}");
    let failure = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
        frame(&mut sim, there, b"\xb1x");
    }));
    let text = *failure.unwrap_err().downcast::<String>().unwrap();
    for part in [
        "seed 1,",
        "step ",
        "reads c0.1 2 bytes",
        "replay: replay --seed 1\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
#[should_panic(expected = "invariant `stream-whole` violated at alice")]
fn a_stream_that_takes_more_than_it_was_announced_with() {
    let (mut sim, here, _) = connected();
    sim.hosts[here.host.0].options.lazy = 1.0;
    sim.stream(here, 60_000, 700).unwrap();
    assert!(sim.is_streaming(here));
    // Another one in its place, behind the application's back.
    let handle = here.handle;
    sim.call(here.host, move |peer, _| {
        while !matches!(peer.poll_output(Room::UNLIMITED), Output::Timeout(_)) {}
        let mut connection = peer.connection(handle).unwrap();
        connection.abort_stream();
        connection.stream(70_000, 700).unwrap();
    });
    sim.stream_on(here.host, handle);
}
