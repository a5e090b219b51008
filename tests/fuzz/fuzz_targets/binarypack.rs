#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("binarypack"),
    |data: &[u8]| peer_fuzz::binarypack(data)
);
