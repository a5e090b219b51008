#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("signal"),
    |data: &[u8]| peer_fuzz::signal(data)
);
