#![no_main]

libfuzzer_sys::fuzz_target!(
    init: peer_fuzz::plant("sctp_packets"),
    |data: &[u8]| peer_fuzz::sctp_packets(data)
);
