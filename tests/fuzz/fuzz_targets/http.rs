#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("http"),
    |data: &[u8]| peer_fuzz::http(data)
);
