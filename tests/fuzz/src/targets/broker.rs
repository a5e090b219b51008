//! What a client says to the broker of peer-net.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use peer_core::time::{Duration, Instant};
use peer_realm::{Action, ClientMessage, MessageType, Realm, RealmLimits, RealmOptions, SessionId};
use serde_json::Value;

use super::bytes::Bytes;

/// One message of a client, read as `serde_json` reads it.
pub fn envelope(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let parsed = ClientMessage::parse(text);
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        // A number that no double holds, or half a surrogate pair, is nothing to a broker that
        // passes them on.
        if let Ok(message) = parsed {
            assert!(text.trim_start().starts_with('{'), "{message:?}");
        }
        return;
    };
    let message = parsed.unwrap();
    let string = |key: &str| object.get(key).and_then(Value::as_str);
    assert_eq!(message.dst.as_deref(), string("dst"));
    let kind = match string("type") {
        Some("HEARTBEAT") => MessageType::Heartbeat,
        Some("OFFER") => MessageType::Offer,
        Some("ANSWER") => MessageType::Answer,
        Some("CANDIDATE") => MessageType::Candidate,
        Some("OPEN" | "LEAVE" | "EXPIRE" | "ERROR" | "ID-TAKEN") => MessageType::Broker,
        _ => MessageType::Unknown,
    };
    assert_eq!(message.kind, kind);
    let payload = message
        .payload
        .map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(payload.as_ref(), object.get("payload"));
}

const IDS: [&str; 5] = [
    "a",
    "b",
    "c",
    "an id that is longer than the limit allows",
    "",
];

/// A broker's state between any clients: whatever they do, what it holds stays within its limits.
pub fn realm(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let limits = RealmLimits {
        message_bytes: 1_000,
        id_bytes: 32,
        token_bytes: 8,
        queue_messages: 4,
        queue_bytes: 2_000,
        absent_destinations: 3,
        queued_bytes: 4_000,
        source_messages: 6,
        source_bytes: 3_000,
        source_destinations: 2,
    };
    let options = RealmOptions {
        expire_timeout: Duration::from_millis(50),
        alive_timeout: Duration::from_millis(200),
        cleanup_out_msgs: Duration::from_millis(10),
        concurrent_limit: 3,
        limits,
        ..RealmOptions::default()
    };
    let mut world = World {
        realm: Realm::new(options.clone()),
        sockets: HashMap::new(),
    };
    let mut now = Instant::ZERO;
    let mut sockets = 0;
    while !bytes.is_empty() {
        let actions = match bytes.below(8) {
            0 | 1 => {
                let session = SessionId(sockets);
                sockets += 1;
                let (id, token) = (IDS[bytes.below(IDS.len())], bytes.below(3));
                let key = if bytes.below(8) == 0 { "x" } else { "peerjs" };
                let token = ["s", "t", "a long token"][token];
                world.sockets.insert(session, Socket::default());
                world.realm.connect(now, session, key, id, token)
            }
            2 => {
                let session = SessionId(u64::from(bytes.byte()) % (sockets + 1));
                world.sockets.remove(&session);
                world.realm.disconnect(session);
                Vec::new()
            }
            3 => {
                now = now + Duration::from_millis(bytes.byte().into());
                world.realm.poll(now)
            }
            n => {
                let session = SessionId(u64::from(bytes.byte()) % (sockets + 1));
                let text = match n {
                    4 => bytes.text(),
                    5 => r#"{"type":"HEARTBEAT"}"#.to_owned(),
                    _ => {
                        let dst = match bytes.below(8) {
                            n @ 0..5 => IDS[n].to_owned(),
                            _ => bytes.text(),
                        };
                        let payload = "x".repeat(4 * usize::from(bytes.byte()));
                        serde_json::json!({"type": "OFFER", "payload": payload, "dst": dst})
                            .to_string()
                    }
                };
                match ClientMessage::parse(&text) {
                    Ok(message) => world.realm.message(now, session, &message),
                    Err(_) => Vec::new(),
                }
            }
        };
        world.perform(actions, bytes.below(5) == 0);
        world.check(&options);
    }
    // Whatever waits ends, and all that is asked for is time.
    for _ in 0..1_000 {
        let Some(at) = world.realm.next_timeout() else {
            assert_eq!(world.realm.stats().queued_bytes, 0);
            assert_eq!(world.realm.stats().clients, 0);
            return;
        };
        now = now.max(at);
        let actions = world.realm.poll(now);
        world.perform(actions, false);
        assert!(
            world.realm.next_timeout().is_none_or(|at| at > now),
            "no busy loop"
        );
    }
    panic!("it never comes to rest");
}

#[derive(Debug, Default)]
struct Socket {
    sent: usize,
    closed: bool,
}

struct World {
    realm: Realm,
    /// Those that the server has.
    sockets: HashMap<SessionId, Socket>,
}

impl World {
    /// Does what the realm says. `full`: nobody has room for what others send.
    fn perform(&mut self, actions: Vec<Action>, full: bool) {
        let mut actions = std::collections::VecDeque::from(actions);
        let mut steps = 0;
        while let Some(action) = actions.pop_front() {
            steps += 1;
            assert!(
                steps < 1_000,
                "one call asks for a bounded number of things"
            );
            let (session, text) = match action {
                Action::Send { session, text } => (session, Some(text)),
                Action::Relay { from, to, text } => {
                    assert_eq!(self.realm.session(self.realm.id(to).unwrap()), Some(to));
                    if full {
                        actions.extend(self.realm.refused(from, to));
                        continue;
                    }
                    (to, Some(text))
                }
                Action::Close { session } => {
                    assert_eq!(self.realm.id(session), None, "it is forgotten already");
                    (session, None)
                }
            };
            let socket = self
                .sockets
                .get_mut(&session)
                .expect("a socket that is there");
            assert!(!socket.closed, "nothing after the end");
            match text {
                Some(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    let kind = message["type"].as_str().expect("a type");
                    assert!(socket.sent > 0 || matches!(kind, "OPEN" | "ERROR" | "ID-TAKEN"));
                    socket.sent += 1;
                }
                None => socket.closed = true,
            }
        }
    }

    fn check(&self, options: &RealmOptions) {
        let stats = self.realm.stats();
        assert!(stats.clients <= options.concurrent_limit);
        assert!(stats.queued_bytes <= options.limits.queued_bytes);
        let ids = self.realm.ids();
        assert_eq!(ids.len(), stats.clients);
        assert_eq!(ids.iter().collect::<HashSet<&Arc<str>>>().len(), ids.len());
        for id in &ids {
            assert!(id.len() <= options.limits.id_bytes);
            let session = self.realm.session(id).expect("an id has a session");
            assert_eq!(self.realm.id(session), Some(&**id));
            assert!(
                self.sockets
                    .get(&session)
                    .is_some_and(|socket| !socket.closed)
            );
        }
    }
}
