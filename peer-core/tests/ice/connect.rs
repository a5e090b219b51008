//! How two agents find a path.

use peer_core::rtc::ice::{CandidateKind, Config, Event, Failure, Role, Server, Unusable};
use peer_core::time::Duration;

use crate::nat::{Dependence, Nat};
use crate::net::{End, Net, Path, Random, STUN, addr};

const SECOND: Duration = Duration::from_secs(1);

fn stun() -> &'static [Server<'static>] {
    Box::leak(Box::new([Server::stun(addr(STUN))]))
}

#[test]
fn two_public_ends_connect_in_three_round_trips() {
    let mut net = Net::plain(1);
    let begun = net.now;
    net.connect(SECOND);
    let took = net.now.saturating_duration_since(begun);
    assert!(took < Duration::from_millis(150), "{took:?}");
    assert_eq!(net.ends[0].remote(), Some(addr("203.0.113.1:6000")));
    assert_eq!(net.ends[1].remote(), Some(addr("192.0.2.1:5000")));
    net.talk(SECOND);
    for end in &net.ends {
        assert_eq!(end.count(Event::Connected), 1);
        assert_eq!(end.count(Event::GatheringDone), 1);
    }
}

#[test]
fn loss_delay_doubling_and_overtaking_do_not_keep_them_apart() {
    let mut connected = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed + 7);
        let mut net = Net::plain(seed);
        net.path = Path {
            delay: Duration::from_micros(100 + random.below(300_000)),
            jitter: Duration::from_micros(random.below(100_000)),
            loss: random.below(35) as f64 / 100.0,
            double: random.below(20) as f64 / 100.0,
        };
        net.connect(SECOND * 39);
        net.talk(SECOND * 60);
        connected += 1;
    }
    assert_eq!(connected, 60);
}

#[test]
fn nats_of_each_kind() {
    for (mapping_a, filtering_a, mapping_b, filtering_b) in kinds() {
        let configs = [Role::Controlling, Role::Controlled].map(Config::new);
        let mut net = Net::with(5, configs, stun());
        net.network.nats = [
            Some(Nat::new([192, 0, 2, 1].into(), mapping_a, filtering_a)),
            Some(Nat::new([203, 0, 113, 1].into(), mapping_b, filtering_b)),
        ];
        net.addresses(0, &["10.0.0.2:5000"]);
        net.addresses(1, &["10.0.1.2:6000"]);
        net.describe();
        let case = format!("{mapping_a:?}/{filtering_a:?} and {mapping_b:?}/{filtering_b:?}");
        let (moves_a, moves_b) = (
            mapping_a != Dependence::Independent,
            mapping_b != Dependence::Independent,
        );
        let closed = |filtering| filtering != Dependence::Independent;
        // Checks come from a port that nobody was told: it is not let in by one that filters by
        // port, and is unknown to both where both do that and filter.
        let never = (moves_a && filtering_b == Dependence::AddressAndPort)
            || (moves_b && filtering_a == Dependence::AddressAndPort)
            || (moves_a && moves_b && closed(filtering_a) && closed(filtering_b))
            // Each answer comes from yet another port.
            || [mapping_a, mapping_b] == [Dependence::AddressAndPort; 2];
        net.run(SECOND * 90);
        let connected = net.ends.iter().all(End::is_connected);
        assert_eq!(connected, !never, "{case}");
        if never {
            let failed = net.ends.iter().map(End::failure);
            assert!(failed.eq([Some(Failure::NoAnswer); 2]), "{case}");
        } else {
            net.talk(SECOND);
        }
    }
}

fn kinds() -> impl Iterator<Item = (Dependence, Dependence, Dependence, Dependence)> {
    let kinds = || {
        Dependence::ALL
            .into_iter()
            .flat_map(|mapping| Dependence::ALL.map(|filtering| (mapping, filtering)))
    };
    kinds().flat_map(move |(a, b)| kinds().map(move |(c, d)| (a, b, c, d)))
}

#[test]
fn ends_behind_one_nat_use_their_own_addresses() {
    let configs = [Role::Controlling, Role::Controlled].map(Config::new);
    let mut net = Net::with(6, configs, stun());
    let strict = Dependence::AddressAndPort;
    net.network.nats[0] = Some(Nat::new([192, 0, 2, 1].into(), strict, strict));
    net.addresses(0, &["10.0.0.2:5000"]);
    net.addresses(1, &["10.0.0.3:6000"]);
    net.describe();
    net.connect(SECOND);
    assert_eq!(net.ends[0].remote(), Some(addr("10.0.0.3:6000")));
}

#[test]
fn the_roles_are_settled_whoever_begins() {
    for roles in [
        [Role::Controlling, Role::Controlling],
        [Role::Controlled, Role::Controlled],
        [Role::Controlled, Role::Controlling],
    ] {
        for seed in 0..20 {
            let mut net = Net::with(seed, roles.map(Config::new), &[]);
            net.addresses(0, &["192.0.2.1:5000"]);
            net.addresses(1, &["203.0.113.1:6000"]);
            net.path.loss = 0.1;
            net.describe();
            net.connect(SECOND * 20);
            let [a, b] = [0, 1].map(|end: usize| net.ends[end].agent.role());
            assert_ne!(a, b, "{roles:?}, seed {seed}");
        }
    }
}

/// A browser hides its address behind a .local name: its own checks show it.
#[test]
fn a_remote_without_a_candidate_is_found_by_its_checks() {
    for hidden in 0..2 {
        let mut net = Net::new(9);
        net.signalling = None;
        net.addresses(0, &["192.0.2.1:5000"]);
        net.addresses(1, &["203.0.113.1:6000"]);
        net.describe();
        net.run(Duration::ZERO);
        let line = net.ends[1 - hidden].candidates[0];
        let ufrag = net.ends[1 - hidden].agent.ufrag().to_owned();
        let line = line.line(&ufrag).to_string();
        let now = net.now;
        net.ends[hidden].agent.add_candidate(now, &line).unwrap();
        net.connect(SECOND);
        let path = net.ends[1 - hidden].agent.path().unwrap();
        assert_eq!(path.kind, CandidateKind::PeerReflexive);
        net.talk(SECOND);
    }
}

/// The offerer's checks may come before its answer has arrived, and candidates a minute later.
#[test]
fn descriptions_and_candidates_may_come_late() {
    for late in [0, 1] {
        let mut net = Net::new(11);
        net.addresses(0, &["192.0.2.1:5000"]);
        net.addresses(1, &["203.0.113.1:6000"]);
        net.describe_to(1 - late);
        net.run(SECOND * 3);
        net.describe_to(late);
        net.connect(SECOND * 4);

        let mut net = Net::new(12);
        net.signalling = Some(SECOND * 30);
        net.addresses(0, &["192.0.2.1:5000"]);
        net.addresses(1, &["203.0.113.1:6000"]);
        net.describe();
        net.connect(SECOND * 32);
    }
}

/// One that opens after 12 s: the check of 15.5 s gets through.
#[test]
fn a_path_that_opens_late_is_found() {
    let mut net = Net::plain(13);
    let opens = net.now + SECOND * 12;
    net.dropper = Some(Box::new(move |now, _, _| now < opens));
    net.connect(SECOND * 17);
}

/// Each end is known only as a STUN server sees it, and that is not heard for 12 s.
#[test]
fn a_server_that_is_heard_late_is_asked_again() {
    let mut net = Net::behind_two_nats(15, [Role::Controlling, Role::Controlled]);
    let (opens, stun) = (net.now + SECOND * 12, addr(STUN));
    net.dropper = Some(Box::new(move |now, from, to| {
        now < opens && (from == stun || to == stun)
    }));
    net.connect(SECOND * 16);
}

#[test]
fn ipv6_and_ipv4_side_by_side() {
    let mut net = Net::new(14);
    net.addresses(0, &["[2001:db8::1]:5000", "192.0.2.1:5000"]);
    net.addresses(1, &["[2001:db8::2]:6000", "203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND);
    assert_eq!(net.ends[0].remote(), Some(addr("[2001:db8::2]:6000")));
    // The path over IPv6 dies; the other one replaces it.
    net.talk(SECOND);
    net.dropper = Some(Box::new(|_, from, _| from.is_ipv6()));
    let gap = net.gap(SECOND * 20);
    assert_eq!(net.ends[0].remote(), Some(addr("203.0.113.1:6000")));
    assert!(gap < SECOND * 10, "{gap:?}");
}

#[test]
fn a_lite_agent_answers_and_is_found() {
    let mut configs = [Role::Controlling, Role::Controlled].map(Config::new);
    configs[1].lite = true;
    let mut net = Net::with(15, configs, &[]);
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND);
    assert!(net.ends[1].requests.is_empty());
    net.talk(SECOND);
    net.run(SECOND * 60);
    assert!(net.ends.iter().all(End::is_connected));
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 100);
    assert!(
        net.ends
            .iter()
            .all(|end| end.failure() == Some(Failure::Lost))
    );
}

#[test]
fn checks_are_paced() {
    let mut net = Net::new(16);
    net.addresses(0, &["192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.3:5000"]);
    net.signalling = None;
    net.describe();
    let now = net.now;
    for n in 1..=12 {
        let line = format!("candidate:{n} 1 udp 1000 203.0.113.{n} 6000 typ host");
        net.ends[0].agent.add_candidate(now, &line).unwrap();
    }
    net.ends[0].agent.credit(10_000);
    net.run(SECOND * 30);
    let sent = &net.ends[0].requests;
    assert!(sent.len() > 100, "{}", sent.len());
    for pair in sent.windows(2) {
        let between = pair[1].saturating_duration_since(pair[0]);
        assert!(between >= Duration::from_millis(50), "{between:?}");
    }
}

#[test]
fn who_cannot_be_reached_is_given_up_after_the_patience() {
    let mut net = Net::plain(17);
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 39);
    assert!(net.ends.iter().all(|end| end.failure().is_none()));
    net.run(SECOND * 5);
    assert!(
        net.ends
            .iter()
            .all(|end| end.failure() == Some(Failure::NoAnswer))
    );
    assert_eq!(net.ends[0].packets_to("203.0.113.1:6000"), 7);

    let mut net = Net::new(18);
    net.describe();
    net.run(SECOND * 41);
    assert!(
        net.ends
            .iter()
            .all(|end| end.failure() == Some(Failure::NoCandidates))
    );
}

#[test]
fn servers_are_asked_again_and_each_outcome_is_told() {
    use peer_core::rtc::ice::Outcome;
    let dead = Server::stun(addr("198.51.100.9:3478"));
    let servers = Box::leak(Box::new([Server::stun(addr(STUN)), dead]));
    let configs = [Role::Controlling, Role::Controlled].map(Config::new);
    let mut net = Net::with(19, configs, servers);
    net.path.loss = 0.4;
    net.network.nats[0] = Some(Nat::new(
        [192, 0, 2, 1].into(),
        Dependence::Independent,
        Dependence::Independent,
    ));
    net.addresses(0, &["10.0.0.2:5000"]);
    net.run(SECOND * 9);
    assert_eq!(net.ends[0].count(Event::GatheringDone), 0);
    net.run(SECOND);
    assert_eq!(net.ends[0].count(Event::GatheringDone), 1);
    let mapped = addr("192.0.2.1:20001");
    let outcomes = net.ends[0].agent.reports().map(|report| report.outcome);
    assert!(outcomes.eq([Outcome::Reflexive(mapped), Outcome::NoAnswer]));
    let candidate = net.ends[0].candidates[1];
    assert_eq!(candidate.kind, CandidateKind::ServerReflexive);
    assert_eq!(candidate.address, mapped);
    assert_eq!(candidate.related, Some(addr("10.0.0.2:5000")));
}

#[test]
fn candidates_that_cannot_be_used_are_refused_by_name() {
    use peer_core::rtc::ice::Refused;
    let mut net = Net::plain(20);
    let now = net.now;
    let agent = &mut net.ends[0].agent;
    let mut refused = |address: &str, port: u16| {
        let line = format!("candidate:1 1 udp 1000 {address} {port} typ host");
        agent.add_candidate(now, &line).err()
    };
    for (address, port, reason) in [
        ("127.0.0.1", 5000, Unusable::Loopback),
        ("127.8.9.1", 5000, Unusable::Loopback),
        ("::1", 5000, Unusable::Loopback),
        ("::ffff:127.0.0.1", 5000, Unusable::NoHost),
        ("::ffff:192.0.2.1", 5000, Unusable::NoHost),
        ("0.0.0.0", 5000, Unusable::NoHost),
        ("0.1.2.3", 5000, Unusable::NoHost),
        ("::", 5000, Unusable::NoHost),
        ("224.0.0.1", 5000, Unusable::NoHost),
        ("255.255.255.255", 5000, Unusable::NoHost),
        ("ff02::1", 5000, Unusable::NoHost),
        ("fe80::1", 5000, Unusable::NoHost),
        ("192.168.1.1", 53, Unusable::Port),
        ("192.168.1.1", 80, Unusable::Port),
        ("10.1.1.1", 443, Unusable::Port),
        ("fd00::1", 443, Unusable::Port),
        ("100.64.0.1", 80, Unusable::Port),
        ("203.0.113.9", 123, Unusable::Port),
        ("203.0.113.9", 0, Unusable::Port),
        ("203.0.113.9", 1023, Unusable::Port),
    ] {
        let expected = Some(Refused::Address(reason));
        assert_eq!(refused(address, port), expected, "{address} {port}");
    }
    assert_eq!(refused("a.local", 5000), Some(Refused::Mdns));
    for (address, port) in [
        ("203.0.113.9", 80),
        ("203.0.113.9", 443),
        ("10.1.1.1", 1024),
    ] {
        assert_eq!(refused(address, port), None);
    }
    let mut line = |line: &str| agent.add_candidate(now, line).err();
    let tcp = "candidate:1 1 tcp 1000 203.0.113.9 9 typ host tcptype active";
    assert_eq!(line(tcp), Some(Refused::Tcp));
    let rtcp = "candidate:1 2 udp 1000 203.0.113.9 6000 typ host";
    assert_eq!(line(rtcp), Some(Refused::Component));
    let old = "candidate:1 1 udp 1000 203.0.113.9 6000 typ host ufrag other";
    assert_eq!(line(old), Some(Refused::OtherUfrag));
}
