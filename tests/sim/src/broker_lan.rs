//! The broker as a machine on the LAN: HTTP and WebSocket over smoltcp's TCP, in front of the same
//! realm.

use std::collections::BTreeMap;

use peer_core::time::Instant;
use peer_realm::{ClientMessage, SessionId};

use crate::broker::Route;
use crate::device::TURN;
use crate::gateway::lan_server;
use crate::host::HostId;
use crate::lan::{Server, Wire, WireId, websocket};
use crate::link::{BROKER, address};
use crate::sim::{Happening, Sim};

/// Sessions over TCP are numbered from here.
const SESSIONS_FROM: u64 = 1 << 32;
/// Bytes that wait for one connection. What is relayed beyond is refused.
const WAITING_MAX: usize = 64 * 1024;

pub(crate) struct BrokerLan {
    server: Server,
    legs: BTreeMap<WireId, Leg>,
    timer: Option<Instant>,
}

#[derive(Default)]
struct Leg {
    is_asked: bool,
    session: Option<SessionId>,
}

enum Heard {
    Request(String),
    Text(String),
    End,
}

impl BrokerLan {
    fn wire(&mut self, id: WireId) -> Option<&mut Wire> {
        let mut wires = self.server.wires();
        wires.find(|(wire, _)| *wire == id).map(|(_, wire)| wire)
    }

    /// Reads what has come on one connection.
    fn read(leg: &mut Leg, wire: &mut Wire) -> Vec<Heard> {
        let mut heard = Vec::new();
        if !leg.is_asked {
            let request = websocket::take_request(&mut wire.received);
            leg.is_asked = request.is_some();
            heard.extend(request.map(Heard::Request));
        } else {
            let (frames, left) = websocket::client_frames(&wire.received);
            wire.received.drain(..wire.received.len() - left);
            for (first, payload) in frames {
                match first {
                    websocket::TEXT => {
                        let text = String::from_utf8(payload).expect("signals are UTF-8");
                        heard.push(Heard::Text(text));
                    }
                    websocket::PING => {
                        wire.send
                            .extend(websocket::frame(websocket::PONG, &payload));
                    }
                    websocket::CLOSE => {
                        wire.send.extend(websocket::frame(websocket::CLOSE, &[]));
                        heard.push(Heard::End);
                    }
                    _ => {}
                }
            }
        }
        if wire.finished {
            heard.push(Heard::End);
        }
        heard
    }
}

impl Sim {
    /// The broker is on the LAN too, with room for one more client.
    pub(crate) fn put_broker_on_lan(&mut self) {
        self.broker.on_lan += 1;
        match &mut self.broker.lan {
            Some(lan) => lan.server.grow(2),
            None => self.start_broker_lan(),
        }
    }

    pub(crate) fn start_broker_lan(&mut self) {
        if self.broker.on_lan == 0 || !self.broker.up {
            return;
        }
        if let Some(lan) = &mut self.broker.lan {
            // Its machine ran on.
            lan.server.listening = true;
            self.broker_soon();
            return;
        }
        let seed = self.rng_stack.next();
        self.broker.lan = Some(BrokerLan {
            server: lan_server(BROKER, seed, 2 + 2 * self.broker.on_lan),
            legs: BTreeMap::new(),
            timer: None,
        });
        self.broker_soon();
    }

    pub(crate) fn stop_broker_lan(&mut self, orderly: bool) {
        if !orderly {
            self.broker.lan = None;
        } else if let Some(lan) = &mut self.broker.lan {
            lan.server.listening = false;
            lan.legs.clear();
            for (_, wire) in lan.server.wires() {
                wire.send.clear();
                wire.close = true;
            }
            self.broker_soon();
        }
    }

    /// A NAT forgot this client: what the broker sends to it goes nowhere, what it sends comes from
    /// somewhere else.
    pub(crate) fn broker_lan_forgets(&mut self, id: HostId) {
        if let Some(lan) = &mut self.broker.lan {
            for wire in lan.server.forget(address(id.node())) {
                lan.legs.remove(&wire);
            }
        }
    }

    pub(crate) fn broker_frame(&mut self, frame: Vec<u8>) {
        if let Some(lan) = &mut self.broker.lan {
            lan.server.port.deliver(frame);
            self.broker_turn();
        }
    }

    fn broker_soon(&mut self) {
        let now = self.now;
        self.arm_broker(now);
    }

    fn arm_broker(&mut self, at: Instant) {
        if let Some(lan) = &mut self.broker.lan
            && lan.timer.is_none_or(|timer| at < timer)
        {
            lan.timer = Some(at);
            self.schedule(at, Happening::BrokerTurn);
        }
    }

    pub(crate) fn broker_timer(&mut self) {
        let now = self.now;
        if let Some(lan) = &mut self.broker.lan
            && lan.timer == Some(now)
        {
            lan.timer = None;
            self.broker_turn();
        }
    }

    fn broker_turn(&mut self) {
        let (now, is_up) = (self.now, self.broker.up);
        let Some(lan) = &mut self.broker.lan else {
            return;
        };
        lan.server.receive(now);
        let mut heard = Vec::new();
        for (id, wire) in lan.server.wires().filter(|_| is_up) {
            let leg = lan.legs.entry(id).or_default();
            heard.extend(BrokerLan::read(leg, wire).into_iter().map(|it| (id, it)));
        }
        for (wire, heard) in heard {
            match heard {
                Heard::Request(request) => self.request(wire, &request),
                Heard::Text(text) => self.lan_text(wire, &text),
                Heard::End => self.lan_end(wire),
            }
        }
        self.arm_realm();

        let Some(lan) = &mut self.broker.lan else {
            return;
        };
        lan.server.send(now);
        let live: Vec<WireId> = lan.server.wires().map(|(id, _)| id).collect();
        lan.legs.retain(|id, _| live.contains(id));
        let mut next = lan.server.next_timeout(now);
        if lan.server.busy {
            next = Some(now);
        }
        let frames: Vec<_> = core::iter::from_fn(|| lan.server.port.take_sent()).collect();
        self.send_frames(BROKER, frames);
        if let Some(next) = next {
            self.arm_broker(next.max(now + TURN));
        }
    }

    fn request(&mut self, wire: WireId, request: &str) {
        let fresh = format!("given-{:08x}", self.rng_hosts.next() >> 32);
        let Some(lan) = &mut self.broker.lan else {
            return;
        };
        let Some(bytes) = lan.wire(wire) else { return };
        if request.starts_with("GET /peerjs/id?") {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let answer = format!("{head} {}\r\n\r\n{fresh}", fresh.len());
            bytes.send.extend(answer.into_bytes());
            bytes.close = true;
            return;
        }
        let parameter = |name| websocket::parameter(request, name);
        let (Some(key), Some(id), Some(token), Some(nonce)) = (
            parameter("key"),
            parameter("id"),
            parameter("token"),
            websocket::nonce(request),
        ) else {
            self.violated("signals-are-json", format_args!("no upgrade: {request}"));
            return;
        };
        bytes.send.extend(websocket::upgrade(&nonce));
        self.broker.lan_sessions += 1;
        let session = SessionId(SESSIONS_FROM + self.broker.lan_sessions);
        if let Some(leg) = lan.legs.get_mut(&wire) {
            leg.session = Some(session);
        }
        self.broker.by_session.insert(session, Route::Tcp(wire));
        let local = self.broker.local(self.now);
        let actions = self.broker.realm.connect(local, session, &key, &id, &token);
        self.realm_actions(actions);
    }

    fn lan_text(&mut self, wire: WireId, text: &str) {
        let leg = self.broker.lan.as_ref().and_then(|lan| lan.legs.get(&wire));
        let Some(session) = leg.and_then(|leg| leg.session) else {
            return;
        };
        self.stats.signals += 1;
        match ClientMessage::parse(text) {
            Ok(message) => {
                let local = self.broker.local(self.now);
                let actions = self.broker.realm.message(local, session, &message);
                self.realm_actions(actions);
            }
            Err(error) => self.violated(
                "signals-are-json",
                format_args!("the engine sent {text}: {error}"),
            ),
        }
    }

    fn lan_end(&mut self, wire: WireId) {
        let Some(lan) = &mut self.broker.lan else {
            return;
        };
        if let Some(wire) = lan.wire(wire) {
            wire.close = true;
        }
        let session = lan.legs.get_mut(&wire).and_then(|leg| leg.session.take());
        if let Some(session) = session {
            self.broker.by_session.remove(&session);
            self.broker.realm.disconnect(session);
        }
    }

    /// Whether a client reads too slowly to be relayed more.
    pub(crate) fn lan_is_full(&mut self, wire: WireId) -> bool {
        let lan = self.broker.lan.as_mut();
        lan.and_then(|lan| lan.wire(wire))
            .is_some_and(|wire| wire.send.len() > WAITING_MAX)
    }

    pub(crate) fn lan_send(&mut self, wire: WireId, text: &str) {
        if let Some(lan) = &mut self.broker.lan
            && let Some(wire) = lan.wire(wire)
        {
            wire.send
                .extend(websocket::frame(websocket::TEXT, text.as_bytes()));
            self.broker_soon();
        }
    }

    /// The realm closes a session.
    pub(crate) fn lan_close(&mut self, id: WireId) {
        let Some(lan) = &mut self.broker.lan else {
            return;
        };
        if let Some(leg) = lan.legs.get_mut(&id) {
            leg.session = None;
        }
        if let Some(wire) = lan.wire(id) {
            wire.send.extend(websocket::frame(websocket::CLOSE, &[]));
            wire.close = true;
            self.broker_soon();
        }
    }
}
