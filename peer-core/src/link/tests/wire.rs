//! Wires that are slow, or garble what they carry.

use super::lab::{Lab, Slow, talk};
use crate::time::Duration;

#[test]
fn noise_costs_time_and_nothing_else() {
    for seed in 1..=6_u64 {
        let (mut lab, here, there) = Lab::connected();
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        // Bytes change, vanish and come from nowhere, zeros among them.
        lab.noise = std::boxed::Box::new(move |bytes| {
            if draw(40) == 0 && !bytes.is_empty() {
                let at = draw(bytes.len() as u64) as usize;
                match draw(3) {
                    0 => bytes[at] = draw(256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => (0..draw(300)).for_each(|_| bytes.insert(at, draw(256) as u8)),
                }
            }
        });
        talk(&mut lab, here, there, 150);
        assert!(lab.leaf.stats().garbage + lab.gateway.stats().garbage > 10);
        assert!(lab.leaf.stats().resends > 0);
        assert_eq!(lab.trace.iter().filter(|word| *word == "up").count(), 0);
    }
}

#[test]
fn a_slow_wire_is_only_slow() {
    let (mut lab, here, there) = Lab::connected();
    // 2,400 bits a second behind a socket whose buffers hold minutes.
    lab.slow = Some(Slow {
        byte: Duration::from_micros(4_167),
        delay: Duration::ZERO,
        buffer: 65_536,
    });
    talk(&mut lab, here, there, 40);
    assert_eq!(lab.trace.iter().filter(|word| *word == "up").count(), 0);
    // It learns: most of what is sent, is sent once.
    for stats in [lab.leaf.stats(), lab.gateway.stats()] {
        assert!(stats.resends <= 6, "{stats:?}");
    }
}

#[test]
fn a_frame_acknowledged_while_it_is_written_again_is_done_with() {
    let (mut lab, here, _) = Lab::connected();
    // The acknowledgement comes after the first wait, while little of the repeated frame is
    // written.
    lab.slow = Some(Slow {
        byte: Duration::from_millis(2),
        delay: Duration::from_millis(300),
        buffer: 24,
    });
    for _ in 0..5 {
        let text = "x".repeat(120);
        lab.peer.connection(here).unwrap().send(&text).unwrap();
        lab.wait(Duration::from_secs(5));
    }
    assert!(lab.leaf.stats().resends > 0);
}
