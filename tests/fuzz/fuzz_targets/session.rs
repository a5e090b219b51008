#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("session"),
    |data: &[u8]| peer_fuzz::session(data)
);
