#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("websocket"),
    |data: &[u8]| peer_fuzz::websocket(data)
);
