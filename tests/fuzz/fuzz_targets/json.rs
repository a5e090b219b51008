#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("json"),
    |data: &[u8]| peer_fuzz::json(data)
);
