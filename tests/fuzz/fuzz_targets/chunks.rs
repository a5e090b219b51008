#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("chunks"),
    |data: &[u8]| peer_fuzz::chunks(data)
);
