#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("engine"),
    |data: &[u8]| peer_fuzz::engine(data)
);
