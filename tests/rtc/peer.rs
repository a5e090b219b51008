//! A peer of `peer_core::rtc` alone, for browsers.test.mjs: sends each message back.
//!
//! Its arguments are the addresses of its sockets. It reads and writes JSON, one object a line,
//! with the number of the session in each:
//!
//! | read | |
//! |---|---|
//! | `{"session", "offer": LABEL, "ordered", "setup"}` | makes an offer |
//! | `{"session", "description", "setup"}` | takes an answer, or an offer and answers it |
//! | `{"session", "candidate"}` | takes a candidate |
//! | `{"session", "close"}` | closes it |
//! | `{"move"}` | new sockets in the place of the old ones, for all sessions |
//!
//! | written | |
//! |---|---|
//! | `{"session", "description"}`, `{"session", "candidate"}` | to be signalled |
//! | `{"session", "event": "open", "label", "ordered"}` | |
//! | `{"session", "event": "connected"/"disconnected"/"secured"}` | |
//! | `{"session", "event": "closed"/"failed", "why"}` | the last of that session |
//! | `{"event": "moved", "seconds"}` | data came to the new sockets |

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::sync::mpsc;

use peer_core::rtc::ice::Role;
use peer_core::rtc::session::{Config, Event, Outgoing, Received, SendError, Setup};
use peer_core::rtc::stack::SessionId;
use peer_net::rtc::crypto::RingCrypto;
use peer_tests::udp::Sessions;
use serde_json::{Value, json};

fn main() {
    let arguments = std::env::args().skip(1);
    let addresses: Vec<SocketAddr> = arguments
        .map(|it| SocketAddr::new(it.parse().expect("an IP address"), 0))
        .collect();
    let (sender, commands) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let command = serde_json::from_str(&line.expect("a line")).expect("JSON");
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    let sessions = Sessions::bind(RingCrypto::default(), &addresses).expect("sockets");
    let mut peer = Peer {
        sessions,
        addresses,
        numbers: BTreeMap::new(),
        moved: false,
    };
    loop {
        peer.sessions.turn();
        peer.tell_what_happened();
        loop {
            match commands.try_recv() {
                Ok(command) => peer.obey(&command),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    }
}

struct Peer {
    sessions: Sessions<RingCrypto>,
    addresses: Vec<SocketAddr>,
    numbers: BTreeMap<u64, SessionId>,
    /// Whether data is awaited on new sockets.
    moved: bool,
}

impl Peer {
    fn obey(&mut self, command: &Value) {
        if command.get("move").is_some() {
            self.sessions.rebind(&self.addresses).expect("sockets");
            self.moved = true;
            return;
        }
        let number = command["session"].as_u64().expect("a number");
        let text = |name: &str| command.get(name).and_then(Value::as_str);
        let setup = match text("setup") {
            None | Some("actpass") => Setup::Actpass,
            Some("active") => Setup::Active,
            Some("passive") => Setup::Passive,
            Some(other) => panic!("no a=setup: {other}"),
        };
        if let Some(label) = text("offer") {
            let id = self.add(number, Role::Controlling, setup);
            let ordered = command["ordered"].as_bool().expect("ordered");
            let session = self.sessions.session(id);
            session.open(label, ordered).expect("the first channel");
            let description = self.sessions.describe(id, "0");
            say(&json!({"session": number, "description": description}));
        } else if let Some(description) = text("description") {
            if let Some(id) = self.numbers.get(&number) {
                self.sessions.set_description(*id, description);
                return;
            }
            let id = self.add(number, Role::Controlled, setup);
            let mid = self.sessions.set_description(id, description);
            let description = self.sessions.describe(id, mid.as_deref().unwrap_or("0"));
            say(&json!({"session": number, "description": description}));
        } else if let Some(candidate) = text("candidate") {
            // One with a name that only browsers understand is of no use.
            self.sessions
                .add_candidate(self.numbers[&number], candidate);
        } else if command.get("close").is_some() {
            self.sessions.session(self.numbers[&number]).close();
        } else {
            panic!("no command: {command}");
        }
    }

    fn add(&mut self, number: u64, role: Role, setup: Setup) -> SessionId {
        let mut config = Config::new(role);
        config.setup = setup;
        let id = self.sessions.add(config);
        let before = self.numbers.insert(number, id);
        assert_eq!(before, None, "a session of that number");
        id
    }

    fn tell_what_happened(&mut self) {
        if self.moved
            && let Some(wait) = self.sessions.until_data()
        {
            self.moved = false;
            say(&json!({"event": "moved", "seconds": wait.as_secs_f64()}));
        }
        let mut over = Vec::new();
        for (number, id) in &self.numbers {
            let session = self.sessions.session(*id);
            // Back to where it came from, in pieces, and only as fast as it goes.
            while let Some(Received::Piece(piece)) = session.read() {
                let room = piece.bytes.len().min(16_384);
                let bytes = piece.bytes[..room].to_vec();
                let outgoing = Outgoing {
                    kind: piece.kind,
                    first: piece.first,
                    last: piece.last && room == piece.bytes.len(),
                    in_order: false,
                };
                match session.send(outgoing, &bytes) {
                    Ok(taken) => session.consume(taken),
                    Err(SendError::Full) => break,
                    Err(SendError::Closed) => session.consume(room),
                    Err(error) => panic!("{error}"),
                }
            }
            while let Some(event) = session.poll_event() {
                let event = match event {
                    Event::LocalCandidate(candidate) => {
                        let line = candidate.line(session.ice().ufrag()).to_string();
                        say(&json!({"session": number, "candidate": line}));
                        continue;
                    }
                    Event::Open { ordered } => {
                        let label = session.label();
                        json!({"event": "open", "label": label, "ordered": ordered})
                    }
                    Event::Connected => json!({"event": "connected"}),
                    Event::Disconnected => json!({"event": "disconnected"}),
                    Event::Secured => json!({"event": "secured"}),
                    Event::Closed(why) => {
                        session.close();
                        json!({"event": "closed", "why": format!("{why:?}")})
                    }
                    Event::Failed(why) => json!({"event": "failed", "why": why.to_string()}),
                    _ => continue,
                };
                let mut event = event;
                event["session"] = json!(number);
                say(&event);
            }
            if session.is_over() && session.timeout().is_none() {
                over.push(*number);
            }
        }
        for number in over {
            if let Some(id) = self.numbers.remove(&number) {
                self.sessions.remove(id);
            }
        }
    }
}

fn say(what: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").expect("stdout");
}
