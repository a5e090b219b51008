#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("realm"),
    |data: &[u8]| peer_fuzz::realm(data)
);
