#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("handshake"),
    |data: &[u8]| peer_fuzz::handshake(data)
);
