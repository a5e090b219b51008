#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("dcep"),
    |data: &[u8]| peer_fuzz::dcep(data)
);
