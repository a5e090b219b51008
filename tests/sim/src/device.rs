//! A device on the LAN: an engine, what `peer_core::net` and `peer_core::link` put around it, and
//! smoltcp.
//!
//! One [turn](Device::turn) is the loop of a program on such a device, as the documentation of
//! [`peer_core::net`] has it.

use core::fmt::Write as _;

use peer_core::link::{Leaf, LeafConfig, LeafOutput, LinkSlices, SessionSlot};
use peer_core::net::{BrokerSocket, LinkSocket, SocketTiming, instant, timestamp};
use peer_core::peer::{BrokerCommand, Output, Peer, PeerState};
use peer_core::time::{Duration, Instant};
use peer_core::wire::http;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpCidr, IpEndpoint};

use crate::Rng;
use crate::engine::Capacity;
use crate::host::{Access, HostId};
use crate::io::{Batch, Command, rtc_command};
use crate::lan::{Port, hardware_address};
use crate::link::{LAN_PORT, MTU, Node, address, destination};
use crate::sim::{Happening, Sim};

/// TCP's buffers, and the memory for a message of the broker.
const RECEIVE: usize = 2_048;
const SEND: usize = 4_096;
const MESSAGE: usize = 2_048;
/// What a turn takes at least. Whatever never waits shows as turns that do nothing.
pub(crate) const TURN: Duration = Duration::from_micros(100);

type Random = Box<dyn FnMut(&mut [u8])>;

/// How a device is attached.
#[derive(Clone)]
pub(crate) struct Attachment {
    pub(crate) own: Node,
    pub(crate) remote: Node,
    pub(crate) rng: Rng,
    pub(crate) to: To,
}

/// Turns of one device in one second that it wanted and had nothing to do in. More is a busy loop.
const IDLE_TURNS_MAX: u32 = 1_000;

#[derive(Clone)]
pub(crate) enum To {
    /// HTTP and a WebSocket over TCP.
    Broker { key: String, reconnect: bool },
    /// A link over TCP.
    Gateway { name: String, key: [u8; 32] },
}

/// smoltcp with one TCP socket.
pub(crate) struct Stack {
    port: Port,
    iface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
}

impl Stack {
    fn new(own: Node, seed: u64) -> Self {
        let mut port = Port::new(Medium::Ethernet, MTU);
        let mut config = Config::new(hardware_address(Medium::Ethernet, own as u32));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut port, timestamp(Instant::ZERO));
        iface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(IpAddress::Ipv4(address(own)), 8);
            addresses.push(cidr).expect("a device has one address");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; RECEIVE]),
            tcp::SocketBuffer::new(vec![0; SEND]),
        ));
        Self {
            port,
            iface,
            sockets,
            tcp,
        }
    }

    fn poll(&mut self, now: Instant) {
        self.iface
            .poll(timestamp(now), &mut self.port, &mut self.sockets);
    }

    fn frames(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.port.take_sent()).collect()
    }

    fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.iface.poll_at(timestamp(now), &self.sockets);
        at.map(instant)
    }
}

/// An engine and its way out.
pub(crate) struct Device<'m> {
    pub(crate) peer: Peer<'m>,
    face: Face<'m>,
}

enum Face<'m> {
    /// The simulation's models.
    Bare,
    Broker(Box<Stack>, Box<BrokerSocket<'m, Random>>),
    Link(Box<Stack>, Box<Leaf<'m>>, Box<LinkSocket<Random>>),
}

/// What the face of a device borrows.
pub(crate) struct FaceMemory {
    host: String,
    key: String,
    message: Vec<u8>,
    sessions: Vec<SessionSlot>,
    frame: Vec<u8>,
    transmit: Vec<u8>,
    receive: Vec<u8>,
}

impl FaceMemory {
    /// The link's outgoing memory is sized as the documentation of [`peer_core::link`] says.
    pub(crate) fn new(attachment: Option<&Attachment>, capacity: Capacity) -> Self {
        let (is_link, is_broker) = match attachment.map(|attachment| &attachment.to) {
            Some(To::Gateway { .. }) => (1, 0),
            Some(To::Broker { .. }) => (0, 1),
            None => (0, 0),
        };
        let longest = capacity.control * 3 / 8;
        let (mut host, mut key) = (String::new(), String::new());
        if let Some(attachment) = attachment {
            let _ = write!(host, "{}", address(attachment.remote));
            if let To::Broker { key: given, .. } = &attachment.to {
                key.clone_from(given);
            }
        }
        Self {
            host,
            key,
            message: vec![0; is_broker * MESSAGE],
            sessions: vec![SessionSlot::default(); is_link * capacity.connections],
            frame: vec![0; is_link * 512],
            transmit: vec![0; is_link * (longest * 8 / 5 + 512)],
            receive: vec![0; is_link * 4_096],
        }
    }
}

impl<'m> Device<'m> {
    pub(crate) fn new(
        peer: Peer<'m>,
        attachment: Option<Attachment>,
        memory: &'m mut FaceMemory,
    ) -> Self {
        let Some(Attachment {
            own,
            remote,
            mut rng,
            to,
        }) = attachment
        else {
            return Self {
                peer,
                face: Face::Bare,
            };
        };
        let stack = Box::new(Stack::new(own, rng.next()));
        let remote = IpAddress::Ipv4(address(remote));
        let mut link_random = [0; 32];
        fill(&mut rng, &mut link_random);
        let random: Random = Box::new(move |bytes| fill(&mut rng, bytes));
        let face = match to {
            To::Broker { reconnect, .. } => {
                let broker = http::BrokerAddress {
                    host: &memory.host,
                    port: LAN_PORT,
                    path: "/",
                    key: &memory.key,
                };
                let timing = SocketTiming::default();
                let mut socket =
                    BrokerSocket::new(remote, broker, timing, &mut memory.message, random);
                socket.set_reconnect(reconnect);
                Face::Broker(stack, Box::new(socket))
            }
            To::Gateway { name, key } => {
                let slices = LinkSlices {
                    sessions: &mut memory.sessions,
                    frame: &mut memory.frame,
                    transmit: &mut memory.transmit,
                    receive: &mut memory.receive,
                };
                let config = LeafConfig::new(&name, key, link_random);
                let leaf = Leaf::new(config, slices).expect("a leaf's name and memory suffice");
                let remote = IpEndpoint::new(remote, LAN_PORT);
                let socket = LinkSocket::new(remote, SocketTiming::default(), random);
                Face::Link(stack, Box::new(leaf), Box::new(socket))
            }
        };
        Self { peer, face }
    }

    /// A frame has come.
    pub(crate) fn deliver(&mut self, frame: Vec<u8>) {
        match &mut self.face {
            Face::Bare => {}
            Face::Broker(stack, _) | Face::Link(stack, ..) => stack.port.deliver(frame),
        }
    }

    /// The loop of a program, once, up to an event, which the application may want to look into.
    /// `None`: no device.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Batch> {
        let Self { peer, face } = self;
        let mut commands = Vec::new();
        let (stack, waits) = match face {
            Face::Bare => return None,
            Face::Broker(stack, broker) => {
                stack.poll(now);
                let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(stack.tcp);
                broker.poll(now, &mut stack.iface, socket, peer);
                if peer.state() == PeerState::Connecting {
                    commands.push(Command::Attempts);
                }
                let waits = loop {
                    match broker.poll_output(socket, peer) {
                        Output::Broker(command) => {
                            commands.push(Command::Done(said(&command)));
                            broker.handle_command(now, socket, command);
                        }
                        Output::Rtc(handle, command) => {
                            commands.push(Command::Rtc(handle, rtc_command(&command)));
                        }
                        Output::Event(event) => {
                            commands.push(Command::Event(event));
                            break None;
                        }
                        Output::Timeout(at) => break Some(at),
                    }
                };
                (stack, waits)
            }
            Face::Link(stack, leaf, link) => {
                stack.poll(now);
                let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(stack.tcp);
                link.poll(now, &mut stack.iface, socket, leaf, peer);
                let waits = loop {
                    match leaf.poll(now, peer) {
                        LeafOutput::Up => {
                            commands.push(Command::LinkUp);
                            // The leaf reconnects by itself.
                            if peer.state() == PeerState::Connecting {
                                commands.push(Command::Attempts);
                            }
                        }
                        LeafOutput::Down(reason) => commands.push(Command::LinkDown(reason)),
                        LeafOutput::Refused(refusal) => {
                            commands.push(Command::Done(format!("link refused: {refusal:?}")));
                        }
                        LeafOutput::Event(event) => {
                            commands.push(Command::Event(event));
                            break None;
                        }
                        LeafOutput::Timeout(at) => {
                            break Some(at.into_iter().chain(link.next_timeout()).min());
                        }
                    }
                };
                link.flush(now, socket, leaf);
                (stack, waits)
            }
        };
        stack.poll(now);
        let of_stack = stack.next_timeout(now);
        Some(Batch {
            roomless: None,
            room: None,
            commands,
            waits: waits.map(|at: Option<Instant>| {
                let next = at.into_iter().chain(of_stack).min();
                next.map(|at| at.max(now + TURN))
            }),
            frames: stack.frames(),
        })
    }
}

pub(crate) fn fill(rng: &mut Rng, bytes: &mut [u8]) {
    for byte in bytes {
        *byte = rng.next() as u8;
    }
}

/// A command for the trace.
fn said(command: &BrokerCommand<'_>) -> String {
    match command {
        BrokerCommand::RetrieveId => "broker retrieve id".to_owned(),
        BrokerCommand::Open { id, .. } => format!("broker open {id}"),
        BrokerCommand::Send(text) => {
            format!("{}, {} bytes", crate::io::kind_of(text), text.len())
        }
        BrokerCommand::Close => "broker close".to_owned(),
    }
}

impl Sim {
    /// A turn of a device that runs. Its frames are on their way then.
    pub(crate) fn turn(&mut self, id: HostId) -> Batch {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let local = host.local(now);
        let is_leaf = matches!(host.options.access, Access::Leaf(_));
        if !is_leaf || host.was_up {
            host.told = host.told.max(local);
        }
        let turned = host.engine.as_mut().and_then(|engine| {
            engine.with_device(move |device| {
                let batch = device.turn(local)?;
                Some((batch, device.peer.stats().malformed_messages))
            })
        });
        let Some((mut batch, malformed)) = turned else {
            return Batch::default();
        };
        if core::mem::replace(&mut host.malformed, malformed) != malformed {
            // Documented: a message too large for the memory is dropped and reported. The link does
            // not say which.
            let handles: Vec<_> = host.records.iter().map(|record| record.handle).collect();
            for handle in handles {
                self.excuse(id, handle);
            }
        }
        if !batch.frames.is_empty() || !batch.commands.is_empty() {
            self.hosts[id.0].idle_turns.1 = 0;
        }
        self.send_frames(id.node(), core::mem::take(&mut batch.frames));
        batch
    }

    /// A device turns because it wanted to.
    pub(crate) fn timed_turn(&mut self, id: HostId) {
        let now = self.now;
        let (since, count) = &mut self.hosts[id.0].idle_turns;
        if now.saturating_duration_since(*since) > Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count > IDLE_TURNS_MAX {
            self.violated("busy-loop", format_args!("a device turns and turns"));
        }
        self.drain(id);
        self.retry_held(id);
    }

    /// Sends what a network card has sent to whom it is for.
    pub(crate) fn send_frames(&mut self, from: Node, frames: Vec<Vec<u8>>) {
        let now = self.now;
        for frame in frames {
            self.stats.lan_frames += 1;
            self.trace.count(&frame);
            let Some(to) = destination(&frame).filter(|to| *to <= self.hosts.len()) else {
                continue;
            };
            for at in self
                .net
                .send(now, from, to, frame.len())
                .into_iter()
                .flatten()
            {
                self.schedule(at, Happening::Frame(to, frame.clone()));
            }
        }
    }

    /// A frame is there.
    pub(crate) fn frame(&mut self, node: Node, frame: Vec<u8>) {
        let Some(index) = node.checked_sub(1) else {
            self.broker_frame(frame);
            return;
        };
        let id = HostId(index);
        let host = &mut self.hosts[index];
        if host.is_gateway {
            self.gateway_frame(id, frame);
            return;
        }
        if host.engine.is_none() || !host.is_device() {
            return;
        }
        let Some(Happening::Frame(_, frame)) = host.keep(Happening::Frame(node, frame)) else {
            return;
        };
        if let Some(engine) = &mut self.hosts[index].engine {
            engine.with_device(move |device| device.deliver(frame));
            self.drain(id);
            self.retry_held(id);
        }
    }
}
