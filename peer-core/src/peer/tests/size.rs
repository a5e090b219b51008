//! What the engine costs. A test that fails here asks for a decision, not for a larger number.

use crate::peer::{slot::Slot, *};

/// In `.bss`; the link proof looks there. Here it only has to be const.
static MEMORY: PeerResources<4> = PeerResources::new();

#[test]
fn sizes() {
    let peer = size_of::<Peer<'_>>();
    let (slot, four) = (size_of::<Slot>(), size_of_val(&MEMORY));
    std::println!(
        "Peer {peer}, a connection {slot}, PeerResources<4> {four}, Event {}",
        size_of::<Event>()
    );
    assert!(size_of::<Event>() <= 16);
    assert!(size_of::<Output<'_>>() <= 48);
    assert!(size_of::<Input<'_>>() <= 40);
    assert!(peer <= 1024, "{peer}");
    assert!(slot <= 1792, "{slot}");
    assert!(four <= 3456 + 4 * (2048 + 2048 + 128 + 1792), "{four}");
}
