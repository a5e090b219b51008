#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("ice"),
    |data: &[u8]| peer_fuzz::ice(data)
);
