#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("link"),
    |data: &[u8]| peer_fuzz::link(data)
);
