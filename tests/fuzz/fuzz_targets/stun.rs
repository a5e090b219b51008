#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("stun"),
    |data: &[u8]| peer_fuzz::stun(data)
);
