//! Traces of small worlds, as they were: a change of behaviour shows as a difference in a file.
//!
//! When the difference is meant, `PEER_SIM_RENEW=1 cargo test -p peer-sim --test snapshots` writes
//! the files anew, for the review to look at. A file holds how long the whole trace is and its
//! hash, which covers every frame on the LAN, then the beginning of it.

use std::fmt::Write as _;
use std::path::Path;

use peer_core::peer::ConnectOptions;
use peer_core::time::Duration;
use peer_sim::scenario::{Hard, hard_with};
use peer_sim::topology::Site;
use peer_sim::{Access, Action, HostOptions, Link, Sim};

/// Set to write the files anew.
const RENEW: &str = "PEER_SIM_RENEW";
/// Lines of a trace that a file shows.
const LINES: usize = 150;

const SECOND: Duration = Duration::from_secs(1);

fn check(name: &str, sim: &Sim) {
    let mut text = format!(
        "# seed {}, {} steps, {} lines, hash {:016x}\n",
        sim.seed(),
        sim.steps(),
        sim.trace_lines(),
        sim.trace_hash()
    );
    for line in sim.trace().lines().take(LINES) {
        let _ = writeln!(text, "{line}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let file = folder.join(format!("{name}.txt"));
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&file, text).expect("the folder of the snapshots can be written to");
        return;
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    // Git may have made line ends of its own.
    let difference = stored
        .lines()
        .zip(text.lines())
        .enumerate()
        .skip(1)
        .find(|(_, (was, is))| was != is);
    if let Some((number, (was, is))) = difference {
        panic!(
            "{name}.txt, line {}:\nwas {was}\nis  {is}\n{HELP}",
            number + 1
        );
    }
    assert_eq!(
        stored.lines().next(),
        text.lines().next(),
        "{name}.txt: {HELP}"
    );
    assert_eq!(
        stored.lines().count(),
        text.lines().count(),
        "{name}.txt: {HELP}"
    );
}

const HELP: &str = "if that is meant: PEER_SIM_RENEW=1 cargo test -p peer-sim --test snapshots";

#[test]
fn two_peers() {
    let mut sim = Sim::new(1);
    let alice = sim.add_host(HostOptions::new("alice"));
    let bob = sim.add_host(HostOptions {
        link: Link::wifi(),
        ..HostOptions::new("bob")
    });
    sim.run_for(SECOND);
    let conn = sim
        .connect(alice, "bob", ConnectOptions::default())
        .unwrap();
    sim.run_for(SECOND);
    sim.send(conn, "hello").unwrap();
    sim.act(Action::Pause(bob));
    sim.after(2 * SECOND, Action::Resume(bob));
    sim.run_for(3 * SECOND);
    sim.close_flush(conn);
    sim.run_for(SECOND);
    sim.act(Action::Crash(bob));
    sim.run_for(10 * SECOND);
    check("two-peers", &sim);
}

#[test]
fn leaf() {
    let mut sim = Sim::new(2);
    let bob = sim.add_host(HostOptions::new("bob"));
    let radio = HostOptions {
        link: Link::wifi(),
        ..HostOptions::default()
    };
    let site = Site::new("plant").nat().leaves(2, &radio).build(&mut sim);
    sim.add_host(HostOptions {
        access: Access::Tcp,
        ..HostOptions::new("device")
    });
    sim.run_for(3 * SECOND);
    let conn = sim
        .connect(site.leaves[0], "bob", ConnectOptions::default())
        .unwrap();
    sim.run_for(2 * SECOND);
    sim.send(conn, 21.5).unwrap();
    sim.stream(conn, 5_000, 400).unwrap();
    sim.run_for(2 * SECOND);
    assert_eq!(
        sim.take_messages(bob).len(),
        1,
        "the other was too long for it"
    );
    sim.restart_host(site.gateway.unwrap(), 3 * SECOND);
    sim.restart_broker(SECOND);
    sim.run_for(30 * SECOND);
    check("leaf", &sim);
}

#[test]
fn hard() {
    let small = Hard {
        hosts: 5,
        gateways: 1,
        leaves: 2,
        devices: 1,
        actions: 80,
        ..Hard::default()
    };
    check("hard", &hard_with(3, small));
}
