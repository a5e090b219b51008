use proptest::prelude::*;

use super::*;
use crate::options::RealmLimits;

const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
const EVE: SessionId = SessionId(3);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn realm(options: RealmOptions) -> Realm {
    Realm::new(options)
}

fn with_limits(limits: RealmLimits) -> Realm {
    realm(RealmOptions {
        limits,
        ..RealmOptions::default()
    })
}

fn send(session: SessionId, text: &str) -> Action {
    Action::Send {
        session,
        text: text.to_owned(),
    }
}

fn open(realm: &mut Realm, session: SessionId, id: &str) {
    let actions = realm.connect(at(0), session, "peerjs", id, "token");
    assert_eq!(actions, [send(session, r#"{"type":"OPEN"}"#)]);
}

fn say(realm: &mut Realm, millis: u64, session: SessionId, text: &str) -> Vec<Action> {
    realm.message(at(millis), session, &ClientMessage::parse(text).unwrap())
}

fn offer(dst: &str) -> String {
    format!(r#"{{"type":"OFFER","payload":1,"dst":"{dst}"}}"#)
}

fn expire(session: SessionId, absent: &str, to: &str) -> Action {
    send(
        session,
        &format!(r#"{{"type":"EXPIRE","src":"{absent}","dst":"{to}"}}"#),
    )
}

#[test]
fn recorded_exchanges_are_relayed_byte_for_byte() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/signalling_vectors.json"
    );
    let vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut relayed = 0;
    for exchange in vectors["exchanges"].as_array().unwrap() {
        let frames = |side: &str, kind: &str| -> Vec<String> {
            let frames = exchange[side].as_array().unwrap().iter();
            frames
                .filter(|frame| frame["kind"] == kind)
                .map(|frame| frame["data"].as_str().unwrap().to_owned())
                .filter(|data| !data.contains(r#""type":"OPEN""#))
                .collect()
        };
        for (sender, receiver, from, to) in [
            ("offerer_ws", "answerer_ws", ALICE, BOB),
            ("answerer_ws", "offerer_ws", BOB, ALICE),
        ] {
            let mut realm = realm(RealmOptions::default());
            open(&mut realm, ALICE, "alice");
            open(&mut realm, BOB, "bob");
            let mut got = Vec::new();
            for frame in frames(sender, "ws.sent") {
                for action in say(&mut realm, 0, from, &frame) {
                    match action {
                        Action::Relay {
                            to: session, text, ..
                        } if session == to => got.push(text),
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(got, frames(receiver, "ws.recv"));
            relayed += got.len();
        }
    }
    assert!(relayed > 20, "{relayed}");
}

#[test]
fn whoever_may_not_in_is_told_why_and_closed() {
    let options = RealmOptions {
        concurrent_limit: 1,
        ..RealmOptions::default()
    };
    let mut realm = realm(options);
    open(&mut realm, ALICE, "alice");
    let long = "x".repeat(513);
    for (key, id, token, answer) in [
        (
            "peerjs",
            "",
            "t",
            r#"{"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}}"#,
        ),
        (
            "peerjs",
            "a",
            "",
            r#"{"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}}"#,
        ),
        (
            "",
            "a",
            "t",
            r#"{"type":"ERROR","payload":{"msg":"No id, token, or key supplied to websocket server"}}"#,
        ),
        (
            "other",
            "a",
            "t",
            r#"{"type":"ERROR","payload":{"msg":"Invalid key provided"}}"#,
        ),
        (
            "peerjs",
            "bob",
            "t",
            r#"{"type":"ERROR","payload":{"msg":"Server has reached its concurrent user limit"}}"#,
        ),
        (
            "peerjs",
            "alice",
            "other",
            r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#,
        ),
        (
            "peerjs",
            "alice",
            "toke",
            r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#,
        ),
        (
            "peerjs",
            &long,
            "t",
            r#"{"type":"ERROR","payload":{"msg":"The id or token is too long for this server"}}"#,
        ),
        (
            "peerjs",
            "a",
            &long,
            r#"{"type":"ERROR","payload":{"msg":"The id or token is too long for this server"}}"#,
        ),
    ] {
        let actions = realm.connect(at(0), BOB, key, id, token);
        assert_eq!(actions, [send(BOB, answer), Action::Close { session: BOB }]);
        // Nothing it says now has an effect.
        assert_eq!(say(&mut realm, 0, BOB, &offer("alice")), []);
        realm.disconnect(BOB);
    }
    assert_eq!(realm.stats().clients, 1);
}

#[test]
fn who_has_most_gives_way_to_who_has_none_when_it_is_nearly_full() {
    let mut realm = realm(RealmOptions {
        concurrent_limit: 16,
        ..RealmOptions::default()
    });
    let mut came = 0;
    let mut come = |realm: &mut Realm, origin: u128| {
        came += 1;
        let (session, id) = (SessionId(came), came.to_string());
        realm.connect_from(at(0), session, Origin(origin), "peerjs", &id, "token")
    };
    let opened = |actions: &[Action]| matches!(actions.last(), Some(Action::Send { text, .. }) if text.contains("OPEN"));
    // One origin takes what there is, and honest ones come meanwhile.
    for _ in 0..13 {
        assert_eq!(come(&mut realm, 1).len(), 1);
    }
    assert_eq!(come(&mut realm, 2).len(), 1, "there is room");
    // Nearly full: the newest of the origin that has most goes.
    let actions = come(&mut realm, 3);
    assert!(opened(&actions));
    assert!(
        matches!(&actions[0], Action::Send { session: SessionId(13), text } if text.contains("ERROR"))
    );
    assert_eq!(
        actions[1],
        Action::Close {
            session: SessionId(13)
        }
    );
    assert_eq!(realm.stats().clients, 14);
    // Who has some already takes what is free, and no more.
    assert_eq!(come(&mut realm, 1).len(), 1);
    assert_eq!(come(&mut realm, 1).len(), 1);
    for origin in [1, 2] {
        assert!(!opened(&come(&mut realm, origin)), "it is full");
    }
    // Who has none is let in as long as somebody has several.
    for origin in 4..16 {
        let actions = come(&mut realm, origin);
        assert!(opened(&actions) && actions.len() == 3, "{origin}");
    }
    let stats = realm.stats();
    assert_eq!((stats.clients, stats.gave_way), (16, 13));
    assert_eq!(realm.origins.len(), 15);
    assert!(opened(&come(&mut realm, 16)));
    assert!(!opened(&come(&mut realm, 17)), "each has one");
    // Who comes back from elsewhere counts there.
    let back = realm.connect_from(at(0), SessionId(900), Origin(99), "peerjs", "1", "token");
    assert!(opened(&back));
    assert_eq!(realm.origins.len(), 16);
    for session in (0..1000).map(SessionId) {
        realm.disconnect(session);
    }
    assert!(realm.origins.is_empty() && realm.clients.is_empty());
}

#[test]
fn attaching_again_answers_open_and_closes_the_old_socket() {
    let mut realm = realm(RealmOptions {
        concurrent_limit: 1,
        ..RealmOptions::default()
    });
    open(&mut realm, ALICE, "alice");
    let actions = realm.connect(at(1), BOB, "peerjs", "alice", "token");
    assert_eq!(
        actions,
        [
            Action::Close { session: ALICE },
            send(BOB, r#"{"type":"OPEN"}"#)
        ]
    );
    // What the old socket still says, and its end, do not count.
    assert_eq!(say(&mut realm, 1, ALICE, &offer("alice")), []);
    realm.disconnect(ALICE);
    assert!(matches!(
        say(&mut realm, 1, BOB, &offer("alice"))[..],
        [Action::Relay {
            from: BOB,
            to: BOB,
            ..
        }]
    ));
    realm.disconnect(BOB);
    assert!(!realm.contains("alice"));
    assert_eq!(realm.next_timeout(), None);
}

#[test]
fn a_message_keeps_its_payload_and_loses_all_else() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "a\"☃");
    open(&mut realm, BOB, "bob");
    for (sent, relayed) in [
        (
            r#"{"type":"OFFER","src":"forged","dst":"bob","extra":{"a":[1]},"payload":{ "x" : 1e400, "\ud800":"\u00e9" }}"#,
            r#"{"type":"OFFER","src":"a\"☃","dst":"bob","payload":{ "x" : 1e400, "\ud800":"\u00e9" }}"#,
        ),
        (
            r#"{"dst":"bob","type":"CANDIDATE"}"#,
            r#"{"type":"CANDIDATE","src":"a\"☃","dst":"bob"}"#,
        ),
        (
            r#"{"type":"OFFER","type":"ANSWER","dst":"eve","dst":"\u0062ob","payload":1,"payload":null}"#,
            r#"{"type":"ANSWER","src":"a\"☃","dst":"bob","payload":null}"#,
        ),
    ] {
        let relay = Action::Relay {
            from: ALICE,
            to: BOB,
            text: relayed.to_owned(),
        };
        assert_eq!(say(&mut realm, 0, ALICE, sent), [relay]);
    }
}

#[test]
fn what_only_the_broker_may_say_is_dropped() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "alice");
    open(&mut realm, BOB, "bob");
    for kind in ["LEAVE", "EXPIRE", "OPEN", "ERROR", "ID-TAKEN"] {
        let text = format!(r#"{{"type":"{kind}","dst":"bob"}}"#);
        assert_eq!(say(&mut realm, 0, ALICE, &text), []);
    }
    assert_eq!(say(&mut realm, 0, ALICE, r#"{"type":"LEAVE"}"#), []);
    assert_eq!((realm.stats().forged, realm.contains("alice")), (6, true));
    for text in [
        "{}",
        r#"{"type":"offer","dst":"bob"}"#,
        r#"{"type":7,"dst":"bob"}"#,
        r#"{"type":"OFFER"}"#,
        r#"{"type":"OFFER","dst":""}"#,
        r#"{"type":"OFFER","dst":["bob"]}"#,
        r#"{"type":"OFFER","dst":"\ud800"}"#,
    ] {
        assert_eq!(say(&mut realm, 0, ALICE, text), [], "{text}");
    }
    assert_eq!(realm.stats().dropped, 7);
    for text in [
        "",
        "[]",
        "null",
        "5",
        "\"x\"",
        "{",
        r#"{"type":"OFFER","payload":{]}"#,
        "{} {}",
    ] {
        assert!(ClientMessage::parse(text).is_err(), "{text}");
    }
}

#[test]
fn messages_wait_for_an_absent_peer_and_come_behind_open() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "alice");
    open(&mut realm, EVE, "eve");
    for (session, kind) in [(ALICE, "OFFER"), (EVE, "OFFER"), (ALICE, "CANDIDATE")] {
        let text = format!(r#"{{"type":"{kind}","dst":"bob"}}"#);
        assert_eq!(say(&mut realm, 100, session, &text), []);
    }
    realm.disconnect(ALICE);
    assert_eq!(
        realm.connect(at(4_000), BOB, "peerjs", "bob", "t"),
        [
            send(BOB, r#"{"type":"OPEN"}"#),
            send(BOB, r#"{"type":"OFFER","src":"alice","dst":"bob"}"#),
            send(BOB, r#"{"type":"OFFER","src":"eve","dst":"bob"}"#),
            send(BOB, r#"{"type":"CANDIDATE","src":"alice","dst":"bob"}"#),
        ]
    );
    assert!(realm.absent.is_empty());
    assert_eq!(realm.poll(at(20_000)), []);
}

#[test]
fn what_nobody_picks_up_expires_once_for_each_pair() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "alice");
    open(&mut realm, EVE, "eve");
    assert_eq!(say(&mut realm, 250, ALICE, &offer("bob")), []);
    assert_eq!(say(&mut realm, 300, ALICE, &offer("bob")), []);
    assert_eq!(say(&mut realm, 300, ALICE, &offer("carol")), []);
    assert_eq!(say(&mut realm, 4_000, EVE, &offer("bob")), []);

    // 250 ms + expire_timeout, seen at the next multiple of cleanup_out_msgs.
    assert_eq!(realm.next_timeout(), Some(at(6_000)));
    assert_eq!(realm.poll(at(5_999)), []);
    assert_eq!(
        realm.poll(at(6_000)),
        [
            expire(ALICE, "bob", "alice"),
            expire(ALICE, "carol", "alice")
        ]
    );
    // Eve's came later and still waits.
    assert_eq!(realm.next_timeout(), Some(at(9_000)));
    assert_eq!(realm.poll(at(9_000)), [expire(EVE, "bob", "eve")]);
    assert!(realm.absent.is_empty());
    assert_eq!(realm.stats().expired, 3);
}

#[test]
fn only_a_heartbeat_keeps_alive() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "alice");
    open(&mut realm, BOB, "bob");
    assert_eq!(
        say(&mut realm, 50_000, ALICE, r#"{"type":"HEARTBEAT"}"#),
        []
    );
    let _ = say(&mut realm, 80_000, BOB, &offer("alice"));
    assert_eq!(realm.next_timeout(), Some(at(90_000)));
    assert_eq!(realm.poll(at(89_999)), []);
    assert_eq!(realm.poll(at(90_000)), [Action::Close { session: BOB }]);
    assert_eq!(
        (realm.contains("bob"), realm.next_timeout()),
        (false, Some(at(140_000)))
    );
    assert_eq!(realm.poll(at(140_000)), [Action::Close { session: ALICE }]);
    assert_eq!((realm.stats().timed_out, realm.next_timeout()), (2, None));
}

#[test]
fn at_each_limit_the_sender_learns_it_at_once() {
    let cost = |text: &str| text.len() + RealmLimits::MESSAGE_OVERHEAD;
    let one = cost(r#"{"type":"OFFER","src":"alice","dst":"bob","payload":1}"#);
    let generous = RealmLimits::default;
    for limits in [
        RealmLimits {
            queue_messages: 1,
            ..generous()
        },
        RealmLimits {
            queue_bytes: 3 * one - 1,
            ..generous()
        },
        RealmLimits {
            queued_bytes: 2 * one - 1,
            ..generous()
        },
        RealmLimits {
            source_messages: 1,
            ..generous()
        },
        RealmLimits {
            source_bytes: 2 * one - 1,
            ..generous()
        },
    ] {
        let mut realm = with_limits(limits);
        open(&mut realm, ALICE, "alice");
        assert_eq!(say(&mut realm, 0, ALICE, &offer("bob")), []);
        assert_eq!(
            say(&mut realm, 0, ALICE, &offer("bob")),
            [expire(ALICE, "bob", "alice")]
        );
        assert_eq!(realm.stats().refused, 1);
        // The first one stays, and its place is free again after it.
        assert_eq!(realm.connect(at(1), BOB, "peerjs", "bob", "t").len(), 2);
        realm.disconnect(BOB);
        assert_eq!(say(&mut realm, 2, ALICE, &offer("bob")), []);
    }
    for limits in [
        RealmLimits {
            absent_destinations: 1,
            ..generous()
        },
        RealmLimits {
            source_destinations: 1,
            ..generous()
        },
    ] {
        let mut realm = with_limits(limits);
        open(&mut realm, ALICE, "alice");
        assert_eq!(say(&mut realm, 0, ALICE, &offer("bob")), []);
        assert_eq!(
            say(&mut realm, 0, ALICE, &offer("carol")),
            [expire(ALICE, "carol", "alice")]
        );
        assert_eq!(say(&mut realm, 0, ALICE, &offer("bob")), []);
    }
    // An id so long that nobody can have it.
    let mut realm = with_limits(RealmLimits {
        id_bytes: 5,
        ..generous()
    });
    open(&mut realm, ALICE, "alice");
    let long = "sixsix";
    assert_eq!(
        say(&mut realm, 0, ALICE, &offer(long)),
        [expire(ALICE, long, "alice")]
    );
}

#[test]
fn many_senders_together_do_not_fill_the_queues_for_all() {
    let mut realm = realm(RealmOptions::default());
    let text = "x".repeat(10_000);
    let flood = |dst: &str| format!(r#"{{"type":"OFFER","payload":"{text}","dst":"{dst}"}}"#);
    for n in 0..200 {
        let eve = SessionId(1_000 + n);
        open(&mut realm, eve, &format!("eve{n}"));
        for message in 0..400 {
            let dst = if message % 2 == 0 {
                "bob".to_owned()
            } else {
                format!("x{n} {}", message % 80)
            };
            let _ = say(&mut realm, 0, eve, &flood(&dst));
        }
    }
    assert!(realm.stats().refused > 10_000);
    open(&mut realm, ALICE, "alice");
    assert_eq!(say(&mut realm, 0, ALICE, &flood("carol")), []);
    assert_eq!(say(&mut realm, 0, ALICE, &offer("carol")), []);
}

#[test]
fn one_sender_does_not_fill_a_queue_for_others() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, EVE, "eve");
    open(&mut realm, ALICE, "alice");
    for _ in 0..1_000 {
        let _ = say(&mut realm, 0, EVE, &offer("bob"));
    }
    for _ in 0..30 {
        assert_eq!(say(&mut realm, 0, ALICE, &offer("bob")), []);
    }
}

#[test]
fn one_sender_does_not_fill_the_queues_for_all() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, EVE, "eve");
    open(&mut realm, ALICE, "alice");
    let mut waiting = 0;
    for n in 0..10_000 {
        waiting += usize::from(say(&mut realm, 0, EVE, &offer(&format!("x{n}"))).is_empty());
    }
    assert_eq!(waiting, RealmLimits::default().source_destinations);
    assert_eq!(say(&mut realm, 0, ALICE, &offer("x1")), []);
    assert_eq!(say(&mut realm, 0, ALICE, &offer("bob")), []);
}

#[test]
fn a_full_outbox_is_told_as_expire() {
    let mut realm = realm(RealmOptions::default());
    open(&mut realm, ALICE, "alice");
    open(&mut realm, BOB, "bob");
    assert_eq!(realm.refused(ALICE, BOB), [expire(ALICE, "bob", "alice")]);
    assert_eq!(realm.refused(ALICE, EVE), []);
}

#[test]
fn the_list_of_peers_is_in_order_of_arrival() {
    let mut realm = realm(RealmOptions::default());
    for (n, id) in ["zoe", "adam", "mia"].into_iter().enumerate() {
        open(&mut realm, SessionId(n as u64), id);
    }
    let _ = realm.connect(at(0), SessionId(9), "peerjs", "zoe", "token");
    assert_eq!(
        realm.ids().iter().map(|id| &**id).collect::<Vec<_>>(),
        ["zoe", "adam", "mia"]
    );
    assert_eq!(realm.id(SessionId(9)), Some("zoe"));
}

#[derive(Clone, Debug)]
enum Step {
    Connect {
        id: u8,
        token: u8,
    },
    Disconnect {
        nth: u8,
    },
    Say {
        nth: u8,
        kind: u8,
        dst: u8,
        length: u8,
    },
    Wait {
        millis: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 0..2u8).prop_map(|(id, token)| Step::Connect { id, token }),
        any::<u8>().prop_map(|nth| Step::Disconnect { nth }),
        (any::<u8>(), 0..4u8, 0..8u8, any::<u8>()).prop_map(|(nth, kind, dst, length)| Step::Say {
            nth,
            kind,
            dst,
            length
        }),
        (0..4_000u16).prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance(steps in prop::collection::vec(step(), 0..200)) {
        let limits = RealmLimits {
            queue_messages: 4,
            queue_bytes: 2_000,
            queued_bytes: 4_000,
            absent_destinations: 3,
            source_messages: 6,
            source_bytes: 2_500,
            source_destinations: 2,
            ..RealmLimits::default()
        };
        let options = RealmOptions {
            concurrent_limit: 4,
            alive_timeout: Duration::from_secs(20),
            limits,
            ..RealmOptions::default()
        };
        let mut realm = realm(options);
        let (mut now, mut next, mut live) = (0, 0, Vec::<SessionId>::new());
        for step in steps {
            let actions = match step {
                Step::Connect { id, token } => {
                    let session = SessionId(next);
                    next += 1;
                    live.push(session);
                    realm.connect(at(now), session, "peerjs", &format!("p{id}"), &format!("t{token}"))
                }
                Step::Disconnect { nth } => {
                    if !live.is_empty() {
                        realm.disconnect(live.swap_remove(usize::from(nth) % live.len()));
                    }
                    Vec::new()
                }
                Step::Say { nth, kind, dst, length } => {
                    let Some(&session) = live.get(usize::from(nth) % live.len().max(1)) else { continue };
                    let kind = ["OFFER", "CANDIDATE", "HEARTBEAT", "LEAVE"][usize::from(kind)];
                    let payload = "x".repeat(usize::from(length) * 4);
                    let text = format!(r#"{{"type":"{kind}","payload":"{payload}","dst":"p{dst}"}}"#);
                    realm.message(at(now), session, &ClientMessage::parse(&text).unwrap())
                }
                Step::Wait { millis } => {
                    now += u64::from(millis);
                    realm.poll(at(now))
                }
            };
            for action in actions {
                match action {
                    Action::Send { session, .. } | Action::Relay { to: session, .. } => {
                        prop_assert!(live.contains(&session));
                    }
                    Action::Close { session } => {
                        prop_assert_eq!(realm.id(session), None);
                        live.retain(|&other| other != session);
                    }
                }
            }
            prop_assert!(realm.stats().clients <= 4);
            prop_assert!(realm.stats().queued_bytes <= 4_000);
            prop_assert_eq!(realm.sessions.len(), realm.clients.len());
            prop_assert_eq!(realm.alive.len(), realm.clients.len());
        }
        let _ = realm.poll(at(now + 100_000));
        prop_assert_eq!(realm.stats().clients, 0);
        prop_assert!(realm.absent.is_empty());
        prop_assert_eq!(realm.next_timeout(), None);
    }
}
