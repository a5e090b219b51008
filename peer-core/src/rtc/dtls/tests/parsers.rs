//! The parsers of messages by themselves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::packets::handshake;
use super::*;
use crate::rtc::crypto::Aeads;
use crate::rtc::dtls::fragments::{Fragment, Fragments, HEADER_LEN, Taken};
use crate::rtc::dtls::hello::{HELLO_MAX, read_cookie, read_server_hello, write_client_hello};
use crate::rtc::dtls::message::{read_certificate, read_certificate_request, read_key_exchange};
use crate::rtc::dtls::reader::Reader;
use crate::rtc::dtls::record;
use crate::rtc::dtls::server_messages::{
    read_certificate_verify, read_client_hello, read_client_key_exchange, write_server_hello,
};

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..200),
        start in 0_usize..60,
    ) {
        let _ = read_client_hello(&body, Suite::Aes128Gcm.first(Aeads::Both));
        let _ = read_server_hello(&body, Suite::Aes128Gcm.first(Aeads::Both), true);
        let _ = read_cookie(&body);
        let _ = read_certificate(&body).map(<[u8]>::len);
        let _ = read_key_exchange(&body).is_ok();
        let _ = read_certificate_verify(&body);
        let _ = read_certificate_request(&body);
        let _ = read_client_key_exchange(&body);
        let mut datagram = body.clone();
        let mut rest = &mut datagram[..];
        while let Some((header, body)) = record::next(&mut rest) {
            prop_assert_eq!(usize::from(header.len), body.len());
            let mut reader = Reader::new(body);
            while Fragment::read(&mut reader).is_some() {}
        }

        // The same with a beginning that fits.
        let mut hello = [0; HELLO_MAX];
        let suites = Suite::Aes128Gcm.first(Aeads::Both);
        let len = write_client_hello(&mut hello, &[1; 32], &[], suites, true).expect("it fits");
        for (to, from) in hello.iter_mut().skip(start).zip(&body) {
            *to = *from;
        }
        let _ = read_client_hello(&hello[..len], suites);
    }

    #[test]
    fn hellos_are_read_as_written(
        random in any::<[u8; 32]>(),
        cookie in prop::collection::vec(any::<u8>(), 0..=255),
        chacha in any::<bool>(),
        srtp in any::<bool>(),
    ) {
        let prefer = if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes128Gcm };
        let mut bytes = [0; HELLO_MAX];
        let suites = prefer.first(Aeads::Both);
        let len = write_client_hello(&mut bytes, &random, &cookie, suites, srtp);
        let hello = read_client_hello(&bytes[..len.expect("it fits")], suites);
        let hello = hello.expect("it is ours");
        prop_assert_eq!((hello.random, hello.suite), (random, prefer));
        prop_assert!(hello.point_formats && hello.renegotiation_info && hello.srtp == srtp);
        let len = write_server_hello(&mut bytes, &random, &hello, srtp).expect("it fits");
        prop_assert_eq!(read_server_hello(&bytes[..len], suites, srtp), Ok((random, prefer)));
    }

    /// What can do one AEAD offers and takes no other one.
    #[test]
    fn one_aead_is_one_suite(chacha in any::<bool>(), prefers_chacha in any::<bool>()) {
        let suite = |chacha| if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes128Gcm };
        let aeads = |chacha| if chacha { Aeads::ChaCha20Poly1305 } else { Aeads::Aes128Gcm };
        let suites = suite(prefers_chacha).first(aeads(chacha));
        let other = suite(prefers_chacha).first(aeads(!chacha));
        let mut bytes = [0; HELLO_MAX];
        let len = write_client_hello(&mut bytes, &[1; 32], &[], suites, false).expect("it fits");
        let both = Suite::Aes128Gcm.first(Aeads::Both);
        let hello = read_client_hello(&bytes[..len], both).expect("it is ours");
        prop_assert_eq!(hello.suite, suite(chacha));
        prop_assert_eq!(read_client_hello(&bytes[..len], other), Err(DtlsError::CipherSuite));
        let len = write_server_hello(&mut bytes, &[1; 32], &hello, false).expect("it fits");
        prop_assert!(read_server_hello(&bytes[..len], suites, false).is_ok());
        let refused = read_server_hello(&bytes[..len], other, false);
        prop_assert_eq!(refused, Err(DtlsError::CipherSuite));
    }

    /// Messages in whatever pieces, in whatever order, some twice: against a model that has all the
    /// memory it wants.
    #[test]
    fn fragments_make_the_messages(
        lengths in prop::collection::vec(0_usize..60, 1..8),
        order in prop::collection::vec((0_usize..8, 0_usize..60, 0_usize..30), 0..300),
    ) {
        let messages: Vec<Vec<u8>> = lengths
            .iter()
            .enumerate()
            .map(|(n, len)| (0..*len).map(|at| (n * 60 + at) as u8).collect())
            .collect();
        let mut memory = [0; 128];
        let mut fragments = Fragments::new(&mut memory);
        let mut came: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        let mut taken = 0;
        // At last all messages as they are, so that all come.
        let all = (0..messages.len()).map(|n| (n, 0, usize::MAX));
        for (n, at, len) in order.into_iter().chain(all) {
            let Some(message) = messages.get(n) else { continue };
            let at = at.min(message.len());
            let end = at.saturating_add(len).min(message.len());
            let (kind, sequence) = (n as u8, [0, n as u8]);
            let record = handshake(kind, sequence, message.len(), at, &message[at..end]);
            prop_assert_eq!(record.len(), HEADER_LEN + end - at);
            let fragment = Fragment::read(&mut Reader::new(&record)).expect("well-formed");
            let outcome = fragments.insert(&fragment);
            prop_assert_eq!(outcome == Taken::Old, n < taken);
            prop_assert_ne!(outcome, Taken::TooLong);
            let known = came.entry(n).or_insert_with(|| std::vec![false; message.len()]);
            known[at..end].fill(true);
            while let Some((kind, sequence, body)) = fragments.ready() {
                prop_assert_eq!(usize::from(sequence), taken);
                prop_assert_eq!((usize::from(kind), body), (taken, &messages[taken][..]));
                prop_assert!(came[&taken].iter().all(|came| *came), "it came");
                fragments.take();
                taken += 1;
            }
        }
        // What is next always finds room.
        prop_assert!(taken >= 1);
    }
}
