#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("sdp"),
    |data: &[u8]| peer_fuzz::sdp(data)
);
