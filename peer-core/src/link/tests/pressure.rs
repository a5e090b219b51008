//! Ends that do not read, and what waits for them.

use std::{format, string::String};

use super::lab::{Lab, Side, leak, talk};
use crate::{
    connection::SendError,
    link::LeafOutput,
    peer::{ConnectOptions, ConnectionHandle, Event},
    serialization::Serialization,
    time::Duration,
};

#[test]
fn a_flood_waits_for_a_leaf_that_does_not_read() {
    let (mut lab, here, there) = Lab::connected();
    let mut sent = 0_u32;
    for _ in 0..200 {
        while lab
            .bob
            .connection(there)
            .unwrap()
            .send(&format!("{sent} {}", "x".repeat(400)))
            .is_ok()
        {
            sent += 1;
        }
        lab.drive();
    }
    assert!(sent > 40, "{sent}");
    let held = lab.held(Side::Leaf);
    assert!(held > 0, "the gateway's stack has to wait");
    assert!(lab.leaf.is_up());
    let mut got = 0;
    while got < sent {
        let mut connection = lab.peer.connection(here).unwrap();
        while let Ok(text) = connection.recv::<&str>() {
            assert!(text.starts_with(&format!("{got} ")));
            got += 1;
        }
        lab.drive();
    }
    assert_eq!(lab.held(Side::Leaf), 0);
}

/// An application that reads only when it can write: the messages that Bob has back after so many
/// rounds without news.
struct Echo {
    pending: Option<String>,
    returned: u32,
}

impl Echo {
    fn run(&mut self, lab: &mut Lab, here: ConnectionHandle, there: ConnectionHandle) {
        let mut idle = 0;
        while idle < 5 {
            let before = self.returned;
            let text = "x".repeat(700);
            while lab.bob.connection(there).unwrap().send(&text).is_ok() {}
            lab.drive();
            let mut connection = lab.peer.connection(here).unwrap();
            loop {
                if let Some(text) = &self.pending {
                    match connection.send(text) {
                        Ok(()) => self.pending = None,
                        Err(SendError::Full) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                match connection.recv::<&str>() {
                    Ok(text) => self.pending = Some(text.into()),
                    Err(_) => break,
                }
            }
            lab.drive();
            while lab.bob.connection(there).unwrap().recv::<&str>().is_ok() {
                self.returned += 1;
            }
            idle = match self.returned - before {
                0 => idle + 1,
                _ => 0,
            };
            if self.returned > 2_000 {
                return;
            }
        }
    }
}

#[test]
fn an_echo_goes_on_once_its_channel_was_full() {
    let (mut lab, here, there) = Lab::connected();
    let mut echo = Echo {
        pending: None,
        returned: 0,
    };
    lab.acknowledges = false;
    echo.run(&mut lab, here, there);
    let full = echo.returned;
    assert!((300..600).contains(&full), "256 KiB are buffered: {full}");
    lab.acknowledge();
    echo.run(&mut lab, here, there);
    assert!(echo.returned > 2_000, "{}", echo.returned);
}

#[test]
fn a_gateway_that_does_not_poll_fills_the_engines_outbox() {
    let (mut lab, here, there) = Lab::connected();
    lab.gateway_works = false;
    let text: String = "x".repeat(500);
    let mut sent = 0_usize;
    loop {
        match lab.peer.connection(here).unwrap().send(&text) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        lab.wait(Duration::from_millis(700));
    }
    // What it granted, and the outbox; not one byte more.
    assert!((4..8).contains(&sent), "{sent}");
    lab.wait(Duration::from_secs(60));
    assert!(lab.leaf.is_up(), "a slow gateway is no dead one");
    assert!(
        lab.peer.connection(here).unwrap().buffered_amount() > 500,
        "what is under way counts as buffered"
    );

    lab.gateway_works = true;
    let mut got = 0;
    for _ in 0..100 {
        lab.drive();
        while let Ok(text) = lab.bob.connection(there).unwrap().recv::<&str>() {
            assert_eq!(text.len(), 500);
            got += 1;
        }
    }
    assert_eq!(got, sent);
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::Writable(here)))
    );
    assert_eq!(lab.peer.connection(here).unwrap().buffered_amount(), 0);
}

#[test]
fn a_message_longer_than_the_inbox_is_told() {
    let mut lab = Lab::new(Some("sensor-7"));
    // Bob can send more than the leaf's engine can hold.
    let memory: &'static mut crate::peer::PeerResources<1, 4096, 8192> =
        leak(crate::peer::PeerResources::new());
    let mut config = crate::peer::Config::new([3; 32]);
    config.id = Some(crate::PeerId::new("bob").unwrap());
    lab.bob = crate::peer::Peer::new(config, memory);
    lab.drive();
    let here = lab.connect(ConnectOptions {
        serialization: Serialization::Raw,
        ..ConnectOptions::default()
    });
    lab.drive();
    let Some(&Event::Connection(there)) = lab.bob_events.get(1) else {
        panic!("{:?}", lab.bob_events)
    };
    let mut connection = lab.bob.connection(there).unwrap();
    connection.send(&*"x".repeat(5000)).unwrap();
    connection.send("short").unwrap();
    lab.drive();
    let error = crate::peer::ConnectionError::MessageTooBig;
    assert!(
        lab.leaf_outputs
            .contains(&LeafOutput::Event(Event::ConnectionError(here, error)))
    );
    assert_eq!(
        lab.peer.connection(here).unwrap().recv::<&str>(),
        Ok("short")
    );
}

/// One connection that the remote does not read, and one whose application does not read, hold up
/// nothing else.
#[test]
fn one_stalled_connection_stalls_nobody() {
    let (mut lab, here, there) = Lab::connected();
    let second = lab.connect(ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    });
    lab.bob_events.clear();
    lab.drive();
    let found = lab.bob_events.iter().find_map(|event| match event {
        Event::Connection(there) => Some(*there),
        _ => None,
    });
    let other = found.expect("the second connection");
    // Nobody reads the first one at the leaf.
    let text = "x".repeat(500);
    for _ in 0..200 {
        while lab.bob.connection(there).unwrap().send(&text).is_ok() {}
        lab.drive();
    }
    let held = lab.held(Side::Leaf);
    assert!(held > 0, "the stack has to wait");
    talk(&mut lab, second, other, 40);
    assert_eq!(lab.held(Side::Leaf), held);
    // Nor does its data hold up signals, ICE or its own end.
    lab.bob.connection(other).unwrap().close();
    let third = lab.connect(ConnectOptions::default());
    lab.drive();
    let closed = LeafOutput::Event(Event::ConnectionClosed(second));
    assert!(lab.leaf_outputs.contains(&closed));
    assert!(lab.peer.connection(third).unwrap().is_open());
    assert_eq!(lab.leaf.stats().resends + lab.gateway.stats().resends, 0);
    let mut read = 0;
    while let Ok(text) = lab.peer.connection(here).unwrap().recv::<&str>() {
        read += text.len();
        lab.drive();
    }
    assert!(read > 50_000, "{read}");
}
