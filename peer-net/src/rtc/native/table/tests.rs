//! The rules of [`peer_core::rtc::stack`], whose tests these repeat for this table.

use peer_core::rtc::stun::{Attribute, Class, Method, Writer};

use super::*;
use crate::rtc::native::mailbox::Mail;

const SOCKET: SocketId = SocketId(3);
const DTLS: &[u8] = &[22; 13];

fn source(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn check(ufrag: &str) -> Vec<u8> {
    let mut buffer = [0; 128];
    let user = format!("{ufrag}:theirs");
    let writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, [1; 12]);
    let written = writer.put(Attribute::Username(user.as_bytes())).finish();
    written.unwrap().to_vec()
}

fn stun(class: Class, transaction: TransactionId) -> Vec<u8> {
    let mut buffer = [0; 128];
    let writer = Writer::new(&mut buffer, class, Method::BINDING, transaction);
    writer.finish().unwrap().to_vec()
}

struct Fixture {
    table: Table,
    now: Instant,
    sessions: Vec<(Key, Arc<Mailbox>)>,
}

impl Fixture {
    /// Sessions with these ufrags.
    fn new(ufrags: &[&str]) -> Self {
        let mut table = Table::default();
        let each = ufrags.iter().map(|ufrag| {
            let mailbox = Arc::new(Mailbox::default());
            let key = table.add(Arc::clone(&mailbox));
            assert!(table.name(key, ufrag));
            (key, mailbox)
        });
        let sessions = each.collect();
        Self {
            table,
            now: Instant::now(),
            sessions,
        }
    }

    fn claim(&mut self, session: usize, port: u16) {
        let key = self.sessions[session].0;
        self.table.claim(self.now, key, (SOCKET, source(port)));
    }

    /// How many datagrams of these each session gets.
    fn deliver(&mut self, port: u16, bytes: &[u8], stride: usize) -> Vec<usize> {
        let train = Train {
            source: source(port),
            bytes,
            stride,
        };
        self.table.deliver(self.now, SOCKET, &train);
        // The next one that nobody claims is told, too.
        self.now += UNCLAIMED_PAUSE;
        let each = self.sessions.iter().map(|(_, mailbox)| {
            let (mut mail, mut count) = (Mail::default(), 0);
            mailbox.take(&mut mail);
            while let Some((socket, from, datagram)) = mail.datagrams.next() {
                assert_eq!((socket, from), (SOCKET, source(port)));
                assert!(datagram.len() <= stride);
                count += 1;
            }
            count
        });
        each.collect()
    }

    fn one(&mut self, port: u16, datagram: &[u8]) -> Vec<usize> {
        self.deliver(port, datagram, datagram.len())
    }
}

#[test]
fn requests_answers_and_data_find_their_session() {
    let mut all = Fixture::new(&["ufrag-00", "ufrag-01"]);
    assert_eq!(all.one(1, &check("ufrag-01")), [0, 1]);
    assert_eq!(all.one(1, &check("ufrag-99")), [0, 0]);
    assert_eq!(
        all.one(1, DTLS),
        [0, 0],
        "nobody's yet, and nobody has a path here"
    );

    let request = stun(Class::Request, [7; 12]);
    all.table.sent(all.sessions[0].0, &request);
    assert_eq!(all.one(9, &stun(Class::Success, [7; 12])), [1, 0]);
    assert_eq!(all.one(9, &stun(Class::Error, [8; 12])), [0, 0]);

    all.claim(1, 1);
    assert_eq!(all.one(1, DTLS), [0, 1]);
    // A check of another session from there is not answered: its data would be the other's.
    assert_eq!(all.one(1, &check("ufrag-00")), [0, 0]);
    for nobody in [&[4; 13][..], &[80; 13], &[255], &[0; 3]] {
        assert_eq!(all.one(1, nobody), [0, 0], "{nobody:?}");
    }
}

#[test]
fn what_a_server_relays_is_for_the_session_that_asks_it() {
    let mut all = Fixture::new(&["ufrag-00", "ufrag-01"]);
    let indication = stun(Class::Indication, [7; 12]);
    let channel_data = [0x40; 8];
    let relayed: [&[u8]; 2] = [&indication, &channel_data];
    let [first, second] = [0, 1].map(|at| all.sessions[at].0);
    all.table.reserve(first, [(SOCKET, source(1))]);
    // That one is the other's as long as it is there.
    let wanted = [(SOCKET, source(1)), (SOCKET, source(2))];
    all.table.reserve(second, wanted);
    for datagram in relayed {
        assert_eq!(all.one(1, datagram), [1, 0]);
        assert_eq!(all.one(2, datagram), [0, 1]);
        assert_eq!(all.one(3, datagram), [0, 0], "of no server");
    }
    all.table.remove(first);
    all.table.reserve(second, wanted);
    assert_eq!(all.one(1, &indication), [0, 1]);
    all.table.reserve(second, []);
    assert_eq!(all.one(2, &channel_data), [0, 0]);
}

#[test]
fn a_train_is_taken_apart_where_its_datagrams_are_for_others() {
    let mut all = Fixture::new(&["ufrag-00", "ufrag-01"]);
    all.claim(0, 1);
    let check = check("ufrag-00");
    let data = vec![23; check.len()];
    let train = [&data[..], &data, &check, &data[..9]].concat();
    assert_eq!(all.deliver(1, &train, check.len()), [4, 0]);
    assert_eq!(all.deliver(1, &[23; 25], 10), [3, 0]);
    assert_eq!(all.deliver(1, &[], 10), [0, 0]);
}

#[test]
fn data_from_an_unknown_source_is_told_to_those_whose_remotes_are_silent() {
    let mut all = Fixture::new(&["u-000000", "u-000001", "u-000002", "u-000003", "u-000004"]);
    for session in 0..5 {
        all.now += Duration::from_millis(1);
        all.claim(session, 10 + session as u16);
    }
    assert_eq!(
        all.one(99, DTLS),
        [1, 1, 1, 1, 0],
        "the last one was heard last"
    );
    // A flood costs no more than that.
    let train = Train {
        source: source(99),
        bytes: DTLS,
        stride: DTLS.len(),
    };
    all.table.deliver(all.now, SOCKET, &train);
    assert_eq!(
        all.one(99, DTLS),
        [1, 1, 1, 1, 0],
        "the second of two at once is lost"
    );
}

#[test]
fn a_source_is_one_sessions_until_it_is_stale_or_the_session_gone() {
    let mut all = Fixture::new(&["ufrag-00", "ufrag-01"]);
    all.claim(0, 1);
    all.claim(1, 1);
    assert_eq!(all.one(1, DTLS), [1, 0]);
    all.now += STALE;
    all.claim(1, 1);
    assert_eq!(all.one(1, DTLS), [0, 1]);
    let left = all.table.remove(all.sessions[1].0);
    assert_eq!(left, 1);
    all.claim(0, 1);
    assert_eq!(all.one(1, DTLS), [1, 0]);
    // Whose source it is drops what is of others.
    assert_eq!(all.one(1, &check("ufrag-01")), [1, 0]);
}

#[test]
fn tables_do_not_grow() {
    let mut all = Fixture::new(&["ufrag-00"]);
    let key = all.sessions[0].0;
    for at in 0..10_000_u32 {
        let mut transaction = TransactionId::default();
        transaction[..4].copy_from_slice(&at.to_be_bytes());
        all.table.sent(key, &stun(Class::Request, transaction));
        all.claim(0, at as u16);
    }
    assert_eq!(all.table.requests.len(), REQUESTS_EACH);
    assert_eq!(all.table.order.len(), REQUESTS_EACH);
    assert_eq!(all.table.sources.len(), SOURCES_MAX);
    all.table.remove(key);
    let table = &all.table;
    assert_eq!(
        table.sessions.len() + table.ufrags.len() + table.sources.len(),
        0
    );
    assert_eq!(table.requests.len() + table.order.len(), 0);
}

#[test]
fn no_two_sessions_have_the_same_ufrag() {
    let mut all = Fixture::new(&["ufrag-00"]);
    let key = all.table.add(Arc::default());
    assert!(!all.table.name(key, "ufrag-00"));
    assert!(all.table.name(key, "ufrag-01"));
}
