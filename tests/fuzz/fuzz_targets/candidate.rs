#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("candidate"),
    |data: &[u8]| peer_fuzz::candidate(data)
);
