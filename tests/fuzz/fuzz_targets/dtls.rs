#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("dtls"),
    |data: &[u8]| peer_fuzz::dtls(data)
);
