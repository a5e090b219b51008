//! Paths that change, fall silent, or die.

use peer_core::rtc::ice::{CandidateKind, Config, Event, Failure, Role};
use peer_core::time::Duration;

use crate::nat::{Dependence, Nat};
use crate::net::{End, Net, Path, addr};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A second and a round trip of 20 ms.
const SOON: Duration = Duration::from_millis(1_020);

/// Two ends that talk, both public, with these roles.
fn talking(seed: u64, roles: [Role; 2]) -> Net {
    let mut net = Net::with(seed, roles.map(Config::new), &[]);
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND * 5);
    net.talk(SECOND);
    net
}

const ROLES: [[Role; 2]; 2] = [
    [Role::Controlling, Role::Controlled],
    [Role::Controlled, Role::Controlling],
];

#[test]
fn one_end_moves_six_times_and_the_other_follows_without_signalling() {
    for roles in ROLES {
        let mut net = talking(1, roles);
        net.signalling = None;
        for n in 2..8 {
            net.run(SECOND * 3);
            let address = format!("192.0.2.{n}:5000");
            net.addresses(0, &[&address]);
            let gap = net.gap(SECOND * 5);
            assert!(
                gap <= Duration::from_millis(300),
                "{roles:?}, move {n}: {gap:?}"
            );
            assert_eq!(net.ends[1].remote(), Some(addr(&address)));
        }
        for end in &net.ends {
            assert_eq!(end.count(Event::Disconnected), 0);
        }
    }
}

#[test]
fn one_end_moves_while_a_third_is_lost() {
    for roles in ROLES {
        for seed in 0..20 {
            let mut net = talking(seed, roles);
            net.signalling = None;
            net.path.loss = 0.3;
            net.run(SECOND * 3);
            net.addresses(0, &["192.0.2.2:5000"]);
            let gap = net.gap(SECOND * 5);
            assert!(gap <= SECOND * 3, "{roles:?}, seed {seed}: {gap:?}");
        }
    }
}

/// Nobody sends data: the remote learns it from the checks alone.
#[test]
fn an_idle_end_moves() {
    for roles in ROLES {
        let mut net = talking(3, roles);
        net.ends[0].talks = false;
        net.ends[1].talks = false;
        net.signalling = None;
        net.run(SECOND * 20);
        net.addresses(0, &["192.0.2.2:5000"]);
        let begun = net.now;
        let there = Some(addr("192.0.2.2:5000"));
        net.until(SECOND, |net| {
            net.ends[1].remote() == there && net.ends[0].remote().is_some()
        });
        let took = net.now.saturating_duration_since(begun);
        assert!(took <= Duration::from_millis(300), "{roles:?}: {took:?}");
    }
}

#[test]
fn both_move_at_once_and_the_broker_tells() {
    for roles in ROLES {
        let mut net = talking(4, roles);
        net.run(SECOND * 3);
        net.addresses(0, &["192.0.2.2:5000"]);
        net.addresses(1, &["203.0.113.2:6000"]);
        let gap = net.gap(SECOND * 5);
        assert!(gap <= SOON, "{roles:?}: {gap:?}");
    }
}

/// A NAT forgets its mapping, which no interface tells: data comes from an unknown address, which
/// is checked at once.
#[test]
fn a_nat_rebinds_while_data_flows() {
    for roles in ROLES {
        for moved in 0..2 {
            let mut net = Net::with(5, roles.map(Config::new), &[]);
            let kind = Dependence::Independent;
            let mut network = [None, None];
            let public = [[192, 0, 2, 1], [203, 0, 113, 1]][moved];
            network[moved] = Some(Nat::new(public.into(), kind, Dependence::AddressAndPort));
            net.network.nats = network;
            let mut addresses = ["192.0.2.9:5000", "203.0.113.9:6000"];
            addresses[moved] = ["10.0.0.2:5000", "10.0.1.2:6000"][moved];
            net.addresses(0, &[addresses[0]]);
            net.addresses(1, &[addresses[1]]);
            net.describe();
            net.connect(SECOND * 5);
            net.talk(SECOND);
            for n in 0..6 {
                net.run(SECOND * 3);
                net.network.nats[moved].as_mut().unwrap().rebind();
                let gap = net.gap(SECOND * 5);
                assert!(gap <= SOON, "{roles:?}, end {moved}, time {n}: {gap:?}");
            }
            let end = &net.ends[moved];
            let told = end.candidates.iter().rev();
            let mut mapped = told.filter(|it| it.kind == CandidateKind::ServerReflexive);
            let (last, before) = (mapped.next().unwrap(), mapped.next().unwrap());
            assert!(last.priority > before.priority);
            assert_eq!(last.address.ip(), std::net::IpAddr::from(public));
        }
    }
}

/// Two ends that talk, end 0 behind a NAT.
fn behind_a_nat(seed: u64, roles: [Role; 2]) -> Net {
    let mut net = Net::with(seed, roles.map(Config::new), &[]);
    let nat = Nat::new(
        [192, 0, 2, 1].into(),
        Dependence::Independent,
        Dependence::AddressAndPort,
    );
    net.network.nats = [Some(nat), None];
    net.addresses(0, &["10.0.0.2:5000"]);
    net.addresses(1, &["203.0.113.9:6000"]);
    net.describe();
    net.connect(SECOND * 5);
    net.talk(SECOND);
    net
}

/// A browser remembers the first PRIORITY that it sees from an address, and follows only one that
/// is higher than the one in use.
#[test]
fn the_first_check_from_a_new_mapping_is_worth_more_than_all_before() {
    for roles in ROLES {
        let mut net = behind_a_nat(21, roles);
        let told = net.ends[0].candidates.iter().map(|it| it.priority);
        let mut most = told.max().unwrap();
        for n in 0..6 {
            net.run(SECOND * 3);
            let before = net.shown.len();
            net.network.nats[0].as_mut().unwrap().rebind();
            net.until(SECOND * 10, |net| net.shown.len() > before);
            let (address, priority) = net.shown[before];
            assert_eq!(address.ip(), std::net::IpAddr::from([192, 0, 2, 1]));
            assert!(
                priority > most,
                "{roles:?}, time {n}: {priority:#x}, {most:#x}"
            );
            most = priority;
        }
    }
}

/// Only the remote goes on sending, to where nobody is any more.
#[test]
fn a_nat_rebinds_when_data_pauses() {
    for roles in ROLES {
        let mut net = behind_a_nat(22, roles);
        net.run(SECOND * 3);
        net.ends[0].talks = false;
        net.ends[1].talks = false;
        net.run(MILLISECOND * 50);
        net.network.nats[0].as_mut().unwrap().rebind();
        net.ends[0].data.clear();
        net.ends[1].talks = true;
        let begun = net.now;
        net.until(SECOND * 10, |net| !net.ends[0].data.is_empty());
        let took = net.now.saturating_duration_since(begun);
        assert!(took <= SOON, "{roles:?}: {took:?}");
    }
}

/// The remote's NAT lets nobody in that it has not sent to: it has to be told through the broker.
#[test]
fn a_move_towards_a_nat_that_filters_is_told_by_the_broker() {
    for roles in ROLES {
        let mut net = Net::with(6, roles.map(Config::new), &[]);
        let strict = Dependence::AddressAndPort;
        let nat = Nat::new([203, 0, 113, 1].into(), Dependence::Independent, strict);
        net.network.nats[1] = Some(nat);
        net.addresses(0, &["192.0.2.1:5000"]);
        net.addresses(1, &["10.0.1.2:6000"]);
        net.describe();
        net.connect(SECOND * 5);
        net.talk(SECOND);
        net.run(SECOND * 3);
        net.addresses(0, &["192.0.2.2:5000"]);
        let gap = net.gap(SECOND * 5);
        assert!(gap <= SOON, "{roles:?}: {gap:?}");

        // Without the broker it fails, and comes back with it, two minutes later.
        net.run(SECOND * 3);
        net.signalling = None;
        net.addresses(0, &["192.0.2.3:5000"]);
        net.run(SECOND * 50);
        assert!(!net.ends.iter().any(End::is_connected));
        net.signalling = Some(30 * MILLISECOND);
        net.ends[0].agent.tell_candidates_again();
        let gap = net.gap(SECOND * 5);
        assert!(gap <= SOON, "{roles:?}: {gap:?}");
    }
}

/// Both NATs give other addresses at once, and let nobody in: only a STUN server shows where an end
/// is then.
#[test]
fn two_nats_that_change_at_once_are_told_by_the_broker() {
    for roles in ROLES {
        let mut net = Net::behind_two_nats(9, roles);
        net.connect(SECOND * 5);
        for n in 0..3 {
            net.talk(SECOND);
            net.run(SECOND * 3);
            for nat in net.network.nats.iter_mut().flatten() {
                nat.rebind();
            }
            let gap = net.gap(SECOND * 10);
            // The next check of the path, a second without its answer, and the broker.
            assert!(gap <= SECOND * 5, "{roles:?}, time {n}: {gap:?}");
        }
    }
}

/// The way to the broker went with the old address, and with it what was told first.
#[test]
fn candidates_that_are_lost_with_the_address_are_told_again() {
    for roles in ROLES {
        let mut net = Net::behind_two_nats(10, roles);
        net.connect(SECOND * 5);
        net.talk(SECOND);
        for nat in net.network.nats.iter_mut().flatten() {
            nat.rebind();
        }
        net.signalling = None;
        let is_silent = |end: &End| end.agent.silent_since().is_some();
        net.until(SECOND * 8, |net| net.ends.iter().all(is_silent));
        net.run(MILLISECOND * 300);
        assert!(net.ends.iter().all(is_silent), "{roles:?}");
        net.signalling = Some(30 * MILLISECOND);
        let gap = net.gap(SECOND * 5);
        assert!(gap <= SECOND * 2, "{roles:?}: {gap:?}");
    }
}

#[test]
fn an_end_that_comes_back_to_an_old_address_is_followed() {
    for roles in ROLES {
        let mut net = talking(7, roles);
        net.signalling = None;
        for n in [2, 1, 2, 1, 2, 1] {
            net.run(SECOND * 2);
            net.addresses(0, &[&format!("192.0.2.{n}:5000")]);
            let gap = net.gap(SECOND * 5);
            assert!(gap <= SOON, "{roles:?}: {gap:?}");
        }
    }
}

/// Both paths stay; one of two interfaces stops working without being told.
#[test]
fn a_path_that_dies_is_replaced_by_another() {
    for roles in ROLES {
        for dies in 0..2 {
            let mut net = Net::with(8, roles.map(Config::new), &[]);
            net.addresses(0, &["192.0.2.1:5000", "192.0.2.2:5001"]);
            net.addresses(1, &["203.0.113.1:6000", "203.0.113.2:6001"]);
            net.describe();
            net.connect(SECOND * 5);
            net.talk(SECOND);
            net.run(SECOND * 10);
            let dead = match dies {
                0 => net.ends[1].remote().unwrap(),
                _ => net.ends[0].remote().unwrap(),
            };
            net.dropper = Some(Box::new(move |_, from, to| from == dead || to == dead));
            let gap = net.gap(SECOND * 20);
            // Up to 6 s until the next check, and 2 s of silence.
            assert!(gap <= SECOND * 9, "{roles:?}: {gap:?}");
            net.run(SECOND * 60);
            assert!(net.ends.iter().all(End::is_connected));
        }
    }
}

/// The caller knows sooner than the next check that nothing comes back.
#[test]
fn a_path_that_is_suspected_is_replaced_sooner() {
    let mut net = Net::new(9);
    net.addresses(0, &["192.0.2.1:5000", "192.0.2.2:5001"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND * 5);
    net.talk(SECOND);
    let dead = net.ends[1].remote().unwrap();
    net.dropper = Some(Box::new(move |_, from, to| from == dead || to == dead));
    net.run(SECOND / 2);
    let now = net.now;
    for end in &mut net.ends {
        end.agent.suspect(now);
    }
    let gap = net.gap(SECOND * 20);
    assert!(gap <= SECOND * 5 / 2, "{gap:?}");
}

#[test]
fn a_live_path_stays_for_a_day_of_loss_and_bursts() {
    let mut net = Net::plain(10);
    net.path = Path {
        delay: 30 * MILLISECOND,
        jitter: 20 * MILLISECOND,
        loss: 0.2,
        double: 0.02,
    };
    net.connect(SECOND * 30);
    // Nothing gets through for 2 s of each minute.
    net.dropper = Some(Box::new(|now, _, _| {
        now.as_micros() % 60_000_000 < 2_000_000
    }));
    net.run(SECOND * 86_400);
    for end in &net.ends {
        assert_eq!(end.failure(), None);
        assert!(end.agent.path().is_some());
        let paths = end.events.iter();
        let paths = paths.filter(|(_, event)| matches!(event, Event::PathChanged(_)));
        assert_eq!(paths.count(), 1);
        // A check each 5 s, and some again.
        assert!(end.requests.len() < 40_000, "{}", end.requests.len());
    }
}

#[test]
fn outages_are_survived_and_told() {
    for roles in ROLES {
        for (outage, survive) in [(20, 60), (25, 60), (50, 60), (330, 3_600), (3_000, 3_600)] {
            let configs = roles.map(|role| {
                let mut config = Config::new(role);
                config.survive = SECOND * survive;
                config
            });
            let mut net = Net::with(11, configs, &[]);
            net.addresses(0, &["192.0.2.1:5000"]);
            net.addresses(1, &["203.0.113.1:6000"]);
            net.describe();
            net.connect(SECOND * 5);
            net.talk(SECOND);
            net.run(SECOND * 3);
            net.dropper = Some(Box::new(|_, _, _| true));
            let before = [0, 1].map(|end: usize| net.ends[end].requests.len());
            net.run(SECOND * 12);
            for end in &net.ends {
                assert_eq!(end.count(Event::Disconnected), 1);
            }
            net.run(SECOND * (outage - 12));
            for (end, before) in net.ends.iter().zip(before) {
                assert_eq!(end.agent.path().is_none(), outage > 36);
                // Five a second for 5 s, one a second for a minute, one each 5 s.
                let sent = (end.requests.len() - before) as u32;
                assert!(sent <= 40 + outage.min(60) + outage / 5, "{outage}: {sent}");
            }
            net.dropper = None;
            let gap = net.gap(SECOND * 5);
            let asked = if outage < 60 { SECOND } else { SECOND * 5 };
            assert!(gap <= asked + SOON, "{outage}: {gap:?}");
            net.connect(SECOND * 2);
            for end in &net.ends {
                assert_eq!((end.count(Event::Connected), end.failure()), (2, None));
            }
        }
    }
}

#[test]
fn what_lasts_longer_than_is_survived_ends_it() {
    let mut net = Net::plain(12);
    net.connect(SECOND);
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 55);
    assert!(net.ends.iter().all(|end| end.failure().is_none()));
    net.run(SECOND * 12);
    for end in &net.ends {
        assert_eq!(end.failure(), Some(Failure::Lost));
        assert_eq!(end.agent.timeout(), None);
    }
}

/// The time counts from the first check that is not answered, which is one within a quarter of it.
#[test]
fn a_dead_remote_is_survived_for_as_long_as_is_asked() {
    for (survive, until, told) in [(0, 2, 0), (3, 4, 0), (5, 7, 0), (8, 11, 1), (20, 26, 1)] {
        for talks in [false, true] {
            let mut net = talking(17, ROLES[0]);
            for end in &mut net.ends {
                end.agent.set_survive(SECOND * survive);
                end.talks = talks;
            }
            net.run(SECOND * 20);
            assert!(net.ends.iter().all(End::is_connected), "{survive} s");
            net.dropper = Some(Box::new(|_, _, _| true));
            net.run(SECOND * survive.max(1) - MILLISECOND * 50);
            assert!(net.ends.iter().all(|end| end.failure().is_none()));
            net.run(SECOND * (until - survive.max(1)));
            for end in &net.ends {
                assert_eq!(end.failure(), Some(Failure::Lost), "{survive} s");
                assert_eq!(end.count(Event::Disconnected), told, "{survive} s");
                assert_eq!(end.agent.timeout(), None);
            }
        }
    }
}

/// A lite agent does not ask: what is short may be between two checks of the remote.
#[test]
fn a_lite_agent_survives_what_is_no_silence() {
    let mut configs = ROLES[0].map(Config::new);
    configs[1].lite = true;
    configs[1].survive = SECOND * 3;
    let mut net = Net::with(18, configs, &[]);
    net.addresses(0, &["192.0.2.1:5000"]);
    net.addresses(1, &["203.0.113.1:6000"]);
    net.describe();
    net.connect(SECOND * 5);
    net.run(SECOND * 100);
    assert_eq!(net.ends[1].failure(), None);
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 16);
    assert_eq!(net.ends[1].failure(), Some(Failure::Lost));
    assert_eq!(net.ends[1].count(Event::Disconnected), 0);
}

/// Both ends sleep, as nobody is called meanwhile; what was under way is lost.
#[test]
fn a_machine_that_slept_goes_on() {
    for roles in ROLES {
        for busy in [true, false] {
            let mut net = talking(15, roles);
            net.run(SECOND * 3);
            if busy {
                // A check is under way and not answered.
                net.dropper = Some(Box::new(|_, _, _| true));
                net.run(SECOND * 20);
                net.dropper = None;
            }
            net.now = net.now + SECOND * 36_000;
            let gap = net.gap(SECOND * 5);
            assert!(gap <= SOON, "{roles:?}: {gap:?}");
            net.connect(SECOND);
            assert!(
                net.ends
                    .iter()
                    .all(|end| end.agent.silent_since().is_none())
            );
        }
    }
}

#[test]
fn how_long_is_survived_may_be_changed() {
    let mut net = Net::plain(16);
    net.connect(SECOND);
    net.dropper = Some(Box::new(|_, _, _| true));
    net.run(SECOND * 50);
    assert!(net.ends[0].agent.silent_since().is_some());
    net.ends[0].agent.set_survive(SECOND * 600);
    net.run(SECOND * 300);
    let failures = [0, 1].map(|end: usize| net.ends[end].failure());
    assert_eq!(failures, [None, Some(Failure::Lost)]);
}

/// Only one direction is lost: the other end is not deceived by what it hears.
#[test]
fn a_path_that_works_one_way_is_no_path() {
    let mut net = Net::plain(13);
    net.connect(SECOND);
    net.dropper = Some(Box::new(|_, from, _| from == addr("192.0.2.1:5000")));
    net.run(SECOND * 12);
    for end in &net.ends {
        assert_eq!(end.count(Event::Disconnected), 1);
    }
}

#[test]
fn one_side_restarts() {
    for restarts in 0..2 {
        let mut net = talking(14, ROLES[0]);
        let now = net.now;
        let end = &mut net.ends[restarts];
        end.agent.restart(now, &mut end.crypto).unwrap();
        net.describe_to(restarts);
        net.describe_later(1 - restarts);
        let gap = net.gap(SECOND * 5);
        assert!(gap <= SOON, "{gap:?}");
    }
}

/// An hour of moves of either end and both, at random times, with loss.
#[test]
fn ends_that_move_all_the_time_keep_their_path() {
    for seed in 0..6 {
        let mut net = talking(seed + 20, ROLES[seed as usize % 2]);
        net.path.loss = 0.05;
        let mut host = [1, 1];
        for n in 0..60 {
            let takes = 5_000 + net.random.below(10_000);
            net.run(MILLISECOND * u32::try_from(takes).unwrap());
            let who = net.random.below(3);
            for end in 0..2 {
                if who == 2 || who == end as u64 {
                    host[end] = host[end] % 200 + 1;
                    let prefix = ["192.0.2", "203.0.113"][end];
                    net.addresses(end, &[&format!("{prefix}.{}:5000", host[end])]);
                }
            }
            let gap = net.gap(SECOND * 10);
            assert!(gap <= SECOND * 4, "seed {seed}, move {n} of {who}: {gap:?}");
        }
        assert!(
            net.ends
                .iter()
                .all(|end| end.count(Event::Disconnected) == 0)
        );
    }
}

/// RFC 7675 §5.1: from the last answer on, not from the first check without one.
#[test]
fn consent_ends_with_the_time_of_the_last_answer() {
    for seed in 0..10 {
        let mut net = Net::plain(40 + seed);
        net.connect(SECOND);
        net.run(SECOND * 20 + SECOND / 7 * seed as u32);
        net.dropper = Some(Box::new(|_, _, _| true));
        net.run(SECOND * 23);
        assert!(net.ends.iter().all(|end| end.agent.path().is_some()));
        net.run(SECOND * 7 + SECOND / 10);
        (0..2).for_each(|end| net.flush(end));
        assert!(net.ends.iter().all(|end| end.agent.path().is_none()));
        net.dropper = None;
        net.connect(SECOND * 10);
        assert!(net.ends.iter().all(|end| end.agent.path().is_some()));
        // A sleep does not lengthen it.
        net.now = net.now + SECOND * 3_600;
        (0..2).for_each(|end| net.flush(end));
        assert!(net.ends.iter().all(|end| end.agent.path().is_none()));
        net.talk(SECOND);
    }
}
