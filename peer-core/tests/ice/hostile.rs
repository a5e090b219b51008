//! What strangers and hostile remotes send.

use peer_core::rtc::ice::turn::Login;
use peer_core::rtc::ice::{
    Agent, Config, CredentialsError, Event, Failure, PEER_REFLEXIVE_MAX, REFLECTION_FACTOR,
    Received, Role, Server, SocketId, Via,
};
use peer_core::rtc::stun::{Attribute, Class, Message, Method, NoRoom, Writer};
use peer_core::time::Duration;
use proptest::prelude::*;

use crate::net::{Crypto, Memory, Net, addr, crypto};

const SECOND: Duration = Duration::from_secs(1);
const HERE: SocketId = SocketId(0);

/// A request from the remote of end 0, as whoever has its credentials may write it.
struct Request<'a> {
    user: String,
    password: String,
    class: Class,
    method: Method,
    attributes: Vec<Attribute<'a>>,
    fingerprint: bool,
}

impl Request<'_> {
    fn right(net: &Net) -> Self {
        let [here, there] = &net.ends;
        Self {
            user: format!("{}:{}", here.agent.ufrag(), there.agent.ufrag()),
            password: here.agent.password().to_owned(),
            class: Class::Request,
            method: Method::BINDING,
            attributes: vec![Attribute::Priority(1), Attribute::IceControlled(1)],
            fingerprint: true,
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut buffer = [0; 512];
        let writer = Writer::new(&mut buffer, self.class, self.method, [9; 12])
            .put(Attribute::Username(self.user.as_bytes()));
        let all = self.attributes.iter();
        let mut writer = all.fold(writer, |writer, it| writer.put(*it));
        if !self.password.is_empty() {
            writer = writer.integrity(&mut crypto(1), self.password.as_bytes());
        }
        if self.fingerprint {
            writer = writer.fingerprint();
        }
        let written: Result<_, NoRoom> = writer.finish();
        written.unwrap().to_vec()
    }
}

/// A pair of ends that are connected, and have nothing to say for some seconds.
fn quiet() -> Net {
    let mut net = Net::plain(1);
    net.connect(SECOND);
    net.run(SECOND / 2);
    net
}

/// What end 0 sends at once, when this comes from there.
fn answers(net: &mut Net, from: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let end = &mut net.ends[0];
    let mut datagram = bytes.to_vec();
    let received = end
        .agent
        .receive(net.now, &mut end.crypto, HERE, addr(from), &mut datagram);
    assert_eq!(received, Received::Taken);
    let mut sent = Vec::new();
    let mut buffer = [0; 1200];
    while let Some(it) = end.agent.transmit(net.now, &mut end.crypto, &mut buffer) {
        assert_eq!(it.destination, addr(from));
        sent.push(buffer[..it.len].to_vec());
    }
    sent
}

fn error_code(bytes: &[u8]) -> Option<u16> {
    let message = Message::parse(bytes).unwrap();
    message.attributes().find_map(|attribute| match attribute {
        Attribute::ErrorCode { code, .. } => Some(code),
        _ => None,
    })
}

const REMOTE: &str = "203.0.113.1:6000";

#[test]
fn no_answer_of_any_kind_without_the_right_user_name_and_integrity() {
    let mut net = quiet();
    type Change = fn(&mut Request<'_>);
    let wrong: [(&str, Change); 9] = [
        ("no password", |it| it.password.clear()),
        ("another password", |it| it.password.push('x')),
        ("no user name", |it| it.user.clear()),
        ("another ufrag of ours", |it| it.user.insert(0, 'x')),
        ("another ufrag of the remote", |it| it.user.push('x')),
        ("no ufrag of the remote", |it| it.user.truncate(8)),
        ("no fingerprint", |it| it.fingerprint = false),
        ("an indication", |it| it.class = Class::Indication),
        ("a request of TURN", |it| it.method = Method::ALLOCATE),
    ];
    for (what, change) in wrong {
        for from in [REMOTE, "198.51.100.66:7777"] {
            let mut request = Request::right(&net);
            change(&mut request);
            let sent = answers(&mut net, from, &request.write());
            assert_eq!(sent.len(), 0, "{what} from {from}");
        }
    }
    // The same, not spoilt, is answered.
    let request = Request::right(&net).write();
    let sent = answers(&mut net, REMOTE, &request);
    assert_eq!(sent.len(), 1);
    let answer = Message::parse(&sent[0]).unwrap();
    assert_eq!(answer.class(), Class::Success);
    let password = net.ends[0].agent.password().to_owned();
    let proof = answer.verify_integrity(&mut crypto(1), password.as_bytes());
    assert_eq!(proof, Ok(()));
    assert!(sent[0].len() < request.len());
}

#[test]
fn what_cannot_be_understood_is_answered_by_name() {
    let mut net = quiet();
    let mut request = Request::right(&net);
    request.attributes.push(Attribute::Unknown {
        kind: 0x7f,
        value: b"x",
    });
    let sent = answers(&mut net, REMOTE, &request.write());
    assert_eq!(error_code(&sent[0]), Some(420));
    let mut request = Request::right(&net);
    request.attributes.remove(0);
    let sent = answers(&mut net, REMOTE, &request.write());
    assert_eq!(error_code(&sent[0]), Some(400));
    let mut request = Request::right(&net);
    request.attributes[1] = Attribute::IceControlling(0);
    let sent = answers(&mut net, REMOTE, &request.write());
    assert_eq!(error_code(&sent[0]), Some(487));
    assert_eq!(net.ends[0].agent.role(), Role::Controlling);
}

#[test]
fn responses_count_from_the_right_address_with_the_right_transaction_and_integrity() {
    for (spoilt, from) in [
        (0, "203.0.113.2:6000"),
        (1, REMOTE),
        (2, REMOTE),
        (3, REMOTE),
    ] {
        let mut net = Net::plain(2);
        net.run(Duration::from_millis(31));
        // End 0 has sent its first check. Here is what end 1 would say.
        let mut buffer = [0; 1200];
        let end = &mut net.ends[0];
        let mut check = None;
        for _ in 0..20 {
            net.now = net.now + Duration::from_millis(50);
            if let Some(it) = end.agent.transmit(net.now, &mut end.crypto, &mut buffer) {
                check = Some(buffer[..it.len].to_vec());
            }
        }
        let check = check.unwrap();
        let check = Message::parse(&check).unwrap();
        let mut id = *check.transaction();
        id[0] ^= u8::from(spoilt == 1);
        let mut password = net.ends[1].agent.password().to_owned();
        if spoilt == 2 {
            password.push('x');
        }
        let class = if spoilt == 3 {
            Class::Indication
        } else {
            Class::Success
        };
        let answer = |id| {
            let mut buffer = [0; 128];
            Writer::new(&mut buffer, class, Method::BINDING, id)
                .put(Attribute::XorMappedAddress(addr("192.0.2.1:5000")))
                .integrity(&mut crypto(1), password.as_bytes())
                .fingerprint()
                .finish()
                .unwrap()
                .to_vec()
        };
        let sent = answers(&mut net, from, &answer(id));
        assert_eq!(sent.len(), 0, "{spoilt}");
        // Nothing is nominated.
        let end = &mut net.ends[0];
        net.now = net.now + Duration::from_millis(50);
        let next = end.agent.transmit(net.now, &mut end.crypto, &mut buffer);
        let nominates = next.is_some_and(|it| {
            let message = Message::parse(&buffer[..it.len]).unwrap();
            message.attributes().any(|it| it == Attribute::UseCandidate)
        });
        assert!(!nominates, "{spoilt}");
    }
}

#[test]
fn data_is_taken_only_from_where_the_remote_has_proved_itself() {
    let mut net = quiet();
    for n in 0..2_000_u16 {
        let from = format!("198.51.{}.{}:7777", 100 + n / 250, n % 250 + 1);
        let end = &mut net.ends[0];
        let mut datagram = vec![23; 100];
        let received =
            end.agent
                .receive(net.now, &mut end.crypto, HERE, addr(&from), &mut datagram);
        assert_eq!(received, Received::Taken);
    }
    let mut datagram = vec![23; 100];
    let end = &mut net.ends[0];
    let from = addr(REMOTE);
    let received = end
        .agent
        .receive(net.now, &mut end.crypto, HERE, from, &mut datagram);
    assert_eq!(received, Received::Data(&mut [23; 100]));
    // Who sends from 2,000 addresses has some of them checked, and moves nothing.
    net.run(SECOND * 60);
    let strangers = net.ends[0].sent.iter().filter(|(to, _)| **to != from);
    let packets: u64 = strangers.map(|(_, sent)| sent.0).sum();
    assert!(packets <= 7 * PEER_REFLEXIVE_MAX as u64, "{packets}");
    assert_eq!(net.ends[0].remote(), Some(from));
    assert!(
        net.ends
            .iter()
            .all(|end| end.count(Event::Disconnected) == 0)
    );
}

/// Who has the credentials, and can forge where a datagram comes from, aims nothing of ours.
#[test]
fn nothing_is_sent_where_nothing_may_be_sent_whoever_asks_from_there() {
    let mut net = quiet();
    let request = Request::right(&net);
    let mut spoilt = Request::right(&net);
    spoilt.attributes.remove(0);
    for from in [
        "192.168.1.1:53",
        "255.255.255.255:6000",
        "224.0.0.1:6000",
        "0.0.0.0:6000",
        "127.0.0.1:6000",
        "198.51.100.66:500",
        "198.51.100.66:0",
        "192.168.1.1:443",
        "[fe80::1]:6000",
        "[::ffff:192.0.2.1]:6000",
    ] {
        for request in [&request, &spoilt] {
            let sent = answers(&mut net, from, &request.write());
            assert_eq!(sent.len(), 0, "{from}");
        }
    }
    assert_eq!(answers(&mut net, REMOTE, &request.write()).len(), 1);
}

/// The remote names a pair that answered long ago: it is used, and told, once it answers again.
#[test]
fn a_change_of_path_is_told_once_the_remote_consents() {
    const OTHER: &str = "203.0.113.2:6000";
    let configs = [Role::Controlled, Role::Controlling].map(Config::new);
    let mut net = Net::with(6, configs, &[]);
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &[REMOTE, OTHER]);
    net.describe();
    net.connect(SECOND);
    net.run(SECOND);
    let mut request = Request::right(&net);
    request.attributes = vec![Attribute::Priority(1), Attribute::IceControlling(1)];
    let ask = |net: &mut Net, request: &Request<'_>| {
        let (end, mut datagram) = (&mut net.ends[0], request.write());
        let (crypto, from) = (&mut end.crypto, addr(OTHER));
        end.agent
            .receive(net.now, crypto, HERE, from, &mut datagram);
    };
    ask(&mut net, &request);
    net.run(SECOND * 40);
    assert_eq!(net.ends[0].remote(), Some(addr(REMOTE)));
    let nominate = [Attribute::UseCandidate, Attribute::Nomination(99)];
    request.attributes.extend(nominate);
    ask(&mut net, &request);
    let end = &mut net.ends[0];
    assert_eq!(end.agent.path(), None);
    assert_eq!(end.agent.poll_event(), None);
    net.run(SECOND);
    assert_eq!(net.ends[0].remote(), Some(addr(OTHER)));
    let mut events = net.ends[0].events.iter().rev();
    let told = events.find_map(|(_, event)| match event {
        Event::PathChanged(path) => Some(path.remote),
        _ => None,
    });
    assert_eq!(told, Some(addr(OTHER)));
}

#[test]
fn nothing_is_told_or_kept_after_the_end() {
    let server = Server::turn(
        addr("198.51.100.20:3478"),
        Login {
            username: "user",
            password: "password",
        },
        Via::Stream(SocketId(9)),
    );
    let servers: &'static [Server<'static>] = Vec::leak(vec![server]);
    let mut net = Net::with(
        5,
        [Role::Controlling, Role::Controlled].map(Config::new),
        servers,
    );
    let (now, end) = (net.now, &mut net.ends[0]);
    let sockets = [(HERE, addr("192.0.2.1:5000"))];
    end.agent.set_addresses(now, &sockets).unwrap();
    end.agent.close();
    assert_eq!(end.agent.poll_event(), None);
    let moved = [(HERE, addr("192.0.2.2:5000"))];
    end.agent.set_addresses(now, &moved).unwrap();
    end.agent.stream_opened(now, SocketId(9));
    end.agent.tell_candidates_again();
    end.agent.credit(1_000);
    let password = "p".repeat(22);
    assert_eq!(end.agent.set_remote(now, "abcd", &password, false), Ok(()));
    assert_eq!(end.agent.restart(now, &mut end.crypto), Ok(()));
    let _ = end
        .agent
        .add_candidate(now, "candidate:1 1 udp 1 203.0.113.1 6000 typ host");
    let mut buffer = [0; 1200];
    let sent = end.agent.transmit(now, &mut end.crypto, &mut buffer);
    assert_eq!(sent, None);
    assert_eq!(end.agent.poll_event(), None);
    assert_eq!(end.agent.timeout(), None);
    assert_eq!(end.agent.password(), "\0".repeat(24));
}

/// A remote that asks from a thousand addresses, or says so.
#[test]
fn peer_reflexive_addresses_are_bounded() {
    let mut net = quiet();
    let request = Request::right(&net).write();
    let mut answered = 0;
    for n in 0..1_000_u16 {
        let from = format!("198.51.{}.{}:7777", 100 + n / 250, n % 250 + 1);
        let end = &mut net.ends[0];
        let mut datagram = request.clone();
        end.agent
            .receive(net.now, &mut end.crypto, HERE, addr(&from), &mut datagram);
        let mut buffer = [0; 1200];
        while let Some(it) = end.agent.transmit(net.now, &mut end.crypto, &mut buffer) {
            answered += it.len;
        }
    }
    assert!(answered <= request.len() * 1_000, "{answered}");
    net.run(SECOND * 60);
    let strangers = net.ends[0]
        .sent
        .iter()
        .filter(|(to, _)| **to != addr(REMOTE));
    assert!(strangers.count() <= PEER_REFLEXIVE_MAX);
    assert_eq!(net.ends[0].remote(), Some(addr(REMOTE)));
}

/// The measure of the assembled stack was 116 times and 265 times the bytes of one offer and 20.
#[test]
fn an_offer_makes_us_send_at_most_five_times_its_bytes() {
    for offers in [1, 20] {
        let mut credited = 0;
        let mut sent = 0;
        for offer in 0..offers {
            let mut net = Net::new(offer);
            net.signalling = None;
            net.addresses(0, &["192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.3:5000"]);
            let ufrag = "u".repeat(32);
            let (now, agent) = (net.now, &mut net.ends[0].agent);
            agent
                .set_remote(now, &ufrag, &"p".repeat(256), false)
                .unwrap();
            let mut bytes = 900;
            for n in 0..56 {
                let line = format!(
                    "candidate:{n} 1 udp 2113937151 203.0.113.7 {} typ host",
                    2_000 + n
                );
                bytes += line.len();
                // What does not fit is refused.
                let _ = agent.add_candidate(now, &line);
            }
            agent.credit(bytes as u32);
            net.run(SECOND * 90);
            assert_eq!(net.ends[0].failure(), Some(Failure::NoAnswer));
            sent += net.ends[0].sent.values().map(|sent| sent.1).sum::<u64>();
            credited += bytes as u64;
        }
        assert!(
            sent <= REFLECTION_FACTOR * credited,
            "{sent} for {credited}"
        );
        println!("{offers} offers: {:.1}", sent as f64 / credited as f64);
    }
}

#[test]
fn credentials_that_are_too_long_or_illegal_are_refused() {
    let mut net = Net::new(3);
    let (now, agent) = (net.now, &mut net.ends[0].agent);
    let good = "p".repeat(22);
    let mut set = |ufrag: &str, password: &str| agent.set_remote(now, ufrag, password, false);
    for ufrag in ["", "abc", &"u".repeat(33), "ab:cd", "ab cd", "\u{e9}\u{e9}"] {
        assert_eq!(set(ufrag, &good), Err(CredentialsError::Ufrag), "{ufrag}");
    }
    for password in ["", &"p".repeat(21), &"p".repeat(257), &" ".repeat(30)] {
        assert_eq!(set("abcd", password), Err(CredentialsError::Password));
    }
    assert_eq!(set(&"u".repeat(32), &"p".repeat(256)), Ok(()));
}

#[test]
fn no_password_is_printed_and_none_is_left() {
    let mut net = quiet();
    let passwords = [0, 1].map(|end: usize| net.ends[end].agent.password().to_owned());
    let printed = format!("{:?}", net.ends[0].agent);
    assert!(passwords.iter().all(|it| !printed.contains(it.as_str())));
    net.ends[0].agent.close();
    assert_eq!(net.ends[0].agent.password(), "\0".repeat(24));
    assert_eq!(net.ends[0].agent.timeout(), None);
    net.run(SECOND * 200);
    assert_eq!(net.ends[1].failure(), Some(Failure::Lost));
    assert_eq!(net.ends[1].agent.password(), "\0".repeat(24));
}

#[test]
fn a_source_of_randomness_that_fails_ends_it() {
    use peer_core::rtc::crypto::{CryptoError, RustCrypto};
    for calls in 0..8 {
        let mut left = calls;
        let mut crypto: Crypto = RustCrypto::new(Box::new(move |out: &mut [u8]| {
            left -= 1;
            out.fill(7);
            if left < 0 {
                Err(CryptoError::Random)
            } else {
                Ok(())
            }
        }));
        let mut net = Net::plain(4);
        let memory: &'static mut Memory = Box::leak(Box::default());
        let config = Config::new(Role::Controlling);
        let Ok(agent) = Agent::new(net.now, &mut crypto, config, memory.lend(), &[]) else {
            assert!(calls < 3);
            continue;
        };
        net.ends[0].agent = agent;
        net.ends[0].crypto = crypto;
        net.addresses(0, &["192.0.2.9:5000"]);
        net.describe();
        net.run(SECOND * 60);
        assert_eq!(net.ends[0].failure(), Some(Failure::Random), "{calls}");
    }
}

#[test]
fn no_two_agents_have_the_same_credentials() {
    let net = Net::new(5);
    let [a, b] = &net.ends;
    assert_ne!(a.agent.ufrag(), b.agent.ufrag());
    assert_ne!(a.agent.password(), b.agent.password());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes are changed in what the ends send each other: nobody panics, nobody spins, and a path
    /// that works is kept.
    #[test]
    fn changed_datagrams_do_no_harm(
        changes in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u16>()), 1..200),
    ) {
        let mut net = quiet();
        let mut datagrams = vec![Request::right(&net).write()];
        let mut answer = [0; 128];
        let written = Writer::new(&mut answer, Class::Success, Method::BINDING, [9; 12])
            .put(Attribute::XorMappedAddress(addr(REMOTE)))
            .fingerprint()
            .finish();
        datagrams.push(written.unwrap().to_vec());
        for (at, value, from) in changes {
            let mut bytes = datagrams[usize::from(at) % 2].clone();
            let place = usize::from(at / 2) % bytes.len();
            bytes[place] ^= value;
            let from = format!("203.0.113.{}:{}", from % 3 + 1, from | 1024);
            let end = &mut net.ends[0];
            let from = addr(&from);
            end.agent.receive(net.now, &mut end.crypto, HERE, from, &mut bytes);
        }
        net.run(SECOND * 60);
        prop_assert_eq!(net.ends[0].remote(), Some(addr(REMOTE)));
    }
}
