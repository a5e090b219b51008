#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| peer_fuzz::dcep(data));
