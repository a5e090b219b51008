#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("envelope"),
    |data: &[u8]| peer_fuzz::envelope(data)
);
