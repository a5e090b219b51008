//! Who is let in, and how the two ends find out.

use super::lab::{Lab, Slow, key, leak};
use crate::{
    link::{
        Leaf, LeafConfig, LeafOutput, LinkError, LinkResources, VERSION,
        frame::{Frame, Greeting, seal},
    },
    peer::Event,
    time::Duration,
};

#[test]
fn a_wrong_key_is_refused_at_both_ends() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.keys.key = key(8);
    lab.drive();
    assert_eq!(lab.leaf_outputs, [LeafOutput::Refused(LinkError::Key)]);
    assert_eq!(lab.trace, ["refused Key"]);
    assert!(!lab.leaf.is_up() && !lab.gateway.is_up());
    lab.keys.key = key(7);
    lab.wait(Duration::from_secs(10));
    assert!(lab.leaf.is_up() && lab.gateway.is_up());
}

#[test]
fn a_gateway_takes_no_wrong_proof() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    // The hello passes; the leaf never answers the challenge.
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    let len = lab.leaf.transmit(lab.now, &mut wire);
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    let len = seal(&Frame::Proof([9; 32]).write(), &mut wire);
    lab.gateway
        .receive(lab.now, &wire[..len.unwrap()], &lab.keys);
    assert!(!lab.gateway.is_up());
    lab.drive();
    assert_eq!(lab.trace[0], "refused Key");
    // Nor one that was right for an earlier session.
    lab.wait(Duration::from_secs(20));
    assert!(lab.gateway.is_up());
}

#[test]
fn an_unknown_leaf_is_refused() {
    let mut lab = Lab::new(Some("sensor-7"));
    let config = LeafConfig::new("stranger", [7; 32], [1; 32]);
    let memory = leak(LinkResources::<3>::new());
    lab.leaf = Leaf::new(config, memory.slices()).unwrap();
    lab.drive();
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Refused(LinkError::UnknownLeaf)]
    );
    assert_eq!(lab.trace, ["refused UnknownLeaf"]);
}

#[test]
fn other_versions_are_told_apart() {
    let mut lab = Lab::new(Some("sensor-7"));
    let mut wire = [0; 256];
    let future = Greeting {
        version: 9,
        nonce: [0; 16],
        frame: 256,
        window: 4096,
    };
    let hello = Frame::Hello(future, "greenhouse").write();
    let len = seal(&hello, &mut wire).unwrap();
    lab.gateway.receive(lab.now, &wire[..len], &lab.keys);
    lab.drive();
    assert_eq!(lab.trace[0], "refused Version(9)");
    // The leaf heard `refuse` with our version, which is its own: it cannot be meant.
    assert_eq!(
        lab.leaf_outputs[0],
        LeafOutput::Refused(LinkError::Version(VERSION))
    );

    let mut lab = Lab::new(Some("sensor-7"));
    let _ = lab.leaf.poll(lab.now, &mut lab.peer);
    let challenge = Frame::Challenge(future, [0; 32]).write();
    let len = seal(&challenge, &mut wire).unwrap();
    lab.leaf.receive(lab.now, &wire[..len], &mut lab.peer);
    assert_eq!(
        lab.leaf.poll(lab.now, &mut lab.peer),
        LeafOutput::Refused(LinkError::Version(9))
    );
}

#[test]
fn a_handshake_may_take_longer_than_its_retries() {
    let mut lab = Lab::new(Some("sensor-7"));
    lab.slow = Some(Slow {
        byte: Duration::from_micros(100),
        delay: Duration::from_millis(2_500),
        buffer: 4096,
    });
    lab.wait(Duration::from_secs(30));
    assert_eq!(
        lab.leaf_outputs,
        [LeafOutput::Up, LeafOutput::Event(Event::Open)]
    );
    assert_eq!(lab.trace[..2], ["up", "open sensor-7"]);
}

#[test]
fn memory_and_names_are_checked() {
    let config = |name| LeafConfig::new(name, [1; 32], [1; 32]);
    let mut memory = LinkResources::<1>::new();
    for name in ["", "a name of more than thirty-two bytes"] {
        assert_eq!(
            Leaf::new(config(name), memory.slices()).err(),
            Some(LinkError::Name)
        );
    }
    let mut small = LinkResources::<1, 63>::new();
    let made = Leaf::new(config("a"), small.slices());
    assert_eq!(made.err(), Some(LinkError::Memory));
    // As many sessions as there are numbers for their places, and no more.
    let most = leak(LinkResources::<{ crate::link::SESSIONS_MAX }>::new());
    assert!(Leaf::new(config("a"), most.slices()).is_ok());
    let more = leak(LinkResources::<{ crate::link::SESSIONS_MAX + 1 }>::new());
    let made = Leaf::new(config("a"), more.slices());
    assert_eq!(made.err(), Some(LinkError::Memory));
    let mut small = LinkResources::<1, 64, 4096, 2047>::new();
    let made = Leaf::new(config("a"), small.slices());
    assert_eq!(made.err(), Some(LinkError::Memory));
}
