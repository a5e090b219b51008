//! A gateway: `peer_core::link`'s end next to a WebRTC stack, at a machine on the LAN.
//!
//! Each leaf's commands are done with the models that other hosts use, from the gateway's place in
//! the network. What comes for a leaf goes into its link, and waits where that is full.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use peer_core::link::{
    Gateway, GatewayOutput, Key, LeafKeys, LinkInputError, LinkSlices, SessionSlot, Timing,
};
use peer_core::peer::{ConnectionHandle, Input, RtcInput};
use peer_core::serialization::Fragment;
use peer_core::time::Instant;

use crate::Rng;
use crate::device::TURN;
use crate::host::{Access, HostId, HostOptions};
use crate::house::{House, Tenant};
use crate::io::{Command, RtcStimulus, Stimulus, broker_command, rtc_command};
use crate::lan::{Server, ServerOptions, Wire, WireId};
use crate::link::{LAN_PORT, Link, Node, SiteId, address};
use crate::sim::{Happening, Sim};

/// WebRTC sessions of one leaf.
const SESSIONS: usize = 16;
/// Bytes of each link's memory, each way: twice PeerJS's chunk.
const WINDOW: usize = 33_000;
/// Bytes that wait for TCP, of one link.
const WRITE_MAX: usize = 4_096;

/// What a gateway is like: a machine that lends its broker's socket and its WebRTC stack to
/// [leaves](Access::Leaf). It has no peer of its own, but it can crash, pause and be cut off as any
/// host.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Its name in the trace.
    pub name: String,
    /// Its network card, for the LAN and all else. Default: [`Link::lan`].
    pub link: Link,
    /// Where it stands.
    pub site: Option<SiteId>,
}

impl GatewayOptions {
    /// A gateway of this name, with the defaults above.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            link: Link::lan(),
            site: None,
        }
    }
}

/// A leaf, as its gateway sees it.
#[derive(Debug, Default)]
pub(crate) struct Leased {
    /// Sessions of the link so far. What is meant for an older one is void.
    pub(crate) session: u32,
    /// As many of them as there were when the leaf started last.
    pub(crate) before_start: u32,
    /// The connection that carries it.
    wire: Option<WireId>,
    /// What the link had no room for yet, in order. Data of a session waits only for itself.
    pub(crate) held: VecDeque<Held>,
}

/// Something for a leaf, and how much of it the leaf has.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) stimulus: Stimulus,
    given: usize,
}

impl Held {
    pub(crate) const fn new(stimulus: Stimulus) -> Self {
        Self { stimulus, given: 0 }
    }

    /// Whose it is, and whether it waits behind data.
    fn queue(&self) -> (Option<ConnectionHandle>, bool) {
        match &self.stimulus {
            Stimulus::Rtc(handle, rtc) => {
                let is_data = matches!(
                    rtc,
                    RtcStimulus::Frame(..) | RtcStimulus::Closed | RtcStimulus::Failed(_)
                );
                (Some(*handle), is_data)
            }
            _ => (None, false),
        }
    }

    fn feed(&self, link: &mut Gateway<'_>) -> Result<(), LinkInputError> {
        if let Stimulus::Rtc(handle, RtcStimulus::Frame(kind, bytes, _)) = &self.stimulus {
            let fragment = Fragment {
                first: self.given == 0,
                last: true,
                kind: *kind,
                bytes: &bytes[self.given..],
            };
            return link.handle_input(&Input::Rtc(*handle, RtcInput::Fragment(fragment)));
        }
        self.stimulus.with_input(|input| link.handle_input(&input))
    }
}

/// The leaves that a gateway knows: name, key, and the id that it may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<(String, Key, Option<String>)>);

impl Keys {
    pub(crate) fn add(&mut self, name: &str, key: Key, id: Option<String>) {
        self.0.push((name.to_owned(), key, id));
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, leaf: &str) -> Option<&(String, Key, Option<String>)> {
        self.0.iter().find(|(name, ..)| name == leaf)
    }
}

impl LeafKeys for Keys {
    fn key(&self, leaf: &str) -> Option<&Key> {
        self.find(leaf).map(|(_, key, _)| key)
    }

    fn allows_id(&self, leaf: &str, id: &str) -> bool {
        self.find(leaf)
            .is_some_and(|(_, _, allowed)| allowed.as_deref() == Some(id))
    }
}

struct Links;

impl Tenant for Links {
    type With<'m> = Gateway<'m>;
}

/// One connection of a gateway.
struct Leg {
    link: House<Links>,
    leaf: Option<HostId>,
    wanted: Option<Instant>,
}

impl Leg {
    fn new(rng: &mut Rng) -> Self {
        let mut random = [0; 32];
        for byte in &mut random {
            *byte = rng.next() as u8;
        }
        Self {
            link: House::new(move |jobs| async move {
                let mut sessions = vec![SessionSlot::default(); SESSIONS];
                let (mut frame, mut transmit) = (vec![0; 1_024], vec![0; WINDOW]);
                let mut receive = vec![0; WINDOW];
                let memory = LinkSlices {
                    sessions: &mut sessions,
                    frame: &mut frame,
                    transmit: &mut transmit,
                    receive: &mut receive,
                };
                let gateway = Gateway::new(Timing::default(), random, memory);
                let mut gateway = gateway.expect("the memory suffices for a link");
                jobs.serve(&mut gateway).await;
            }),
            leaf: None,
            wanted: None,
        }
    }

    /// Takes bytes, or the end of them, and says what is to be done.
    fn poll(&mut self, now: Instant, bytes: Vec<u8>, ended: bool, keys: Rc<Keys>) -> Vec<Said> {
        let (said, wanted) = self.link.with(move |gateway| {
            gateway.receive(now, &bytes, &*keys);
            if ended {
                gateway.close();
            }
            let mut said = Vec::new();
            loop {
                said.push(match gateway.poll_output(now, &*keys) {
                    GatewayOutput::Up => Said::Up(gateway.leaf().unwrap_or_default().to_owned()),
                    GatewayOutput::Down(reason) => Said::Down(format!("{reason:?}")),
                    GatewayOutput::Refused(refusal) => Said::Note(format!("refuses: {refusal:?}")),
                    GatewayOutput::IdRefused(id) => Said::Note(format!("refuses the id {id}")),
                    GatewayOutput::Broker(command) => Said::Do(broker_command(&command)),
                    GatewayOutput::Rtc(handle, command) => {
                        Said::Do(Command::Rtc(handle, rtc_command(&command)))
                    }
                    GatewayOutput::Timeout(at) => return (said, at),
                });
            }
        });
        self.wanted = wanted;
        said
    }

    fn transmit(&mut self, now: Instant, wire: &mut Wire) {
        while wire.send.len() < WRITE_MAX {
            let bytes = self.link.with(move |gateway| {
                let mut piece = [0; 512];
                let len = gateway.transmit(now, &mut piece);
                piece[..len].to_vec()
            });
            if bytes.is_empty() {
                return;
            }
            wire.send.extend(bytes);
        }
    }
}

/// What a link leads to.
enum Said {
    Up(String),
    Down(String),
    Note(String),
    Do(Command),
}

/// A gateway that runs.
pub(crate) struct Machine {
    server: Server,
    legs: BTreeMap<WireId, Leg>,
    rng: Rng,
    timer: Option<Instant>,
}

impl Machine {
    pub(crate) fn new(node: Node, mut rng: Rng, connections: usize) -> Self {
        Self {
            server: lan_server(node, rng.next(), connections),
            legs: BTreeMap::new(),
            rng,
            timer: None,
        }
    }

    pub(crate) fn grow(&mut self) {
        self.server.grow(2);
    }
}

/// A machine at this node's address.
pub(crate) fn lan_server(node: Node, seed: u64, connections: usize) -> Server {
    let mut options = ServerOptions::new([0; 4]);
    let own = smoltcp::wire::IpAddress::Ipv4(address(node));
    options.addresses = vec![smoltcp::wire::IpCidr::new(own, 8)];
    options.hardware = node as u32;
    options.port = LAN_PORT;
    options.connections = connections;
    options.seed = seed;
    Server::new(options)
}

impl Sim {
    /// Adds a gateway and starts it. Hosts whose [access](HostOptions::access) is [`Access::Leaf`]
    /// of it are its leaves.
    pub fn add_gateway(&mut self, options: GatewayOptions) -> HostId {
        let options_of_host = HostOptions {
            link: options.link,
            site: options.site,
            ..HostOptions::anonymous()
        };
        self.place_host(options.name, options_of_host, true)
    }

    /// The machine whose network card and WebRTC stack a host uses: its own, or its gateway's.
    pub(crate) fn machine(&self, id: HostId) -> HostId {
        match self.hosts[id.0].options.access {
            Access::Leaf(gateway) => gateway,
            Access::Modelled | Access::Tcp => id,
        }
    }

    /// What inputs for a host's engine are addressed to, so that those for an earlier one are void.
    pub(crate) fn lease(&self, id: HostId) -> u32 {
        let host = &self.hosts[id.0];
        match host.options.access {
            Access::Leaf(_) => host.leased.session,
            Access::Modelled | Access::Tcp => host.incarnation,
        }
    }

    /// Something is to be told to a leaf's engine.
    pub(crate) fn tell_leaf(&mut self, id: HostId, lease: u32, stimulus: Stimulus) {
        let gateway = self.machine(id);
        if self.hosts[gateway.0].paused {
            let happening = Happening::Stimulus(id, lease, stimulus);
            self.hosts[gateway.0].backlog.push_back(happening);
            return;
        }
        self.hosts[id.0].leased.held.push_back(Held::new(stimulus));
        self.gateway_soon(gateway);
    }

    /// Hands a leaf's link what waits for it, as far as there is room.
    fn feed_leaf(&mut self, id: HostId) {
        let gateway = self.machine(id);
        let (mut at, mut full) = (0, Vec::new());
        loop {
            let leased = &mut self.hosts[id.0].leased;
            let Some(wire) = leased.wire else { return };
            if at >= leased.held.len() {
                return;
            }
            let Some(mut held) = leased.held.remove(at) else {
                return;
            };
            held.stimulus = self.up_to_date(id, held.stimulus);
            let machine = self.hosts[gateway.0].gateway.as_mut();
            let leg = machine.and_then(|machine| machine.legs.get_mut(&wire));
            let queue = held.queue();
            let (held, result) = match leg {
                Some(leg) if !full.contains(&queue) => leg.link.with(move |link| {
                    let result = held.feed(link);
                    if let Err(LinkInputError::NoRoom { taken }) = result {
                        held.given += taken;
                    }
                    (held, result)
                }),
                Some(_) => (held, Err(LinkInputError::Full)),
                None => {
                    self.hosts[id.0].leased.held.insert(at, held);
                    return;
                }
            };
            if let Err(LinkInputError::Full | LinkInputError::NoRoom { .. }) = result {
                full.push(queue);
                self.hosts[id.0].leased.held.insert(at, held);
                at += 1;
                continue;
            }
            let stimulus = held.stimulus;
            if let Stimulus::Rtc(handle, RtcStimulus::Frame(_, bytes, _)) = &stimulus {
                self.release_held(id, *handle, bytes.len());
                match result {
                    Ok(()) => self.look_for_close(id, *handle, bytes),
                    // Documented: dropped, and told to the leaf.
                    Err(LinkInputError::TooLong) => self.excuse(id, *handle),
                    Err(_) => {}
                }
            }
            if result.is_ok() {
                self.note_stimulus(id, &stimulus);
            }
        }
    }

    /// A turn at this instant, but after what is being done.
    pub(crate) fn gateway_soon(&mut self, id: HostId) {
        let now = self.now;
        self.arm_gateway(id, now);
    }

    fn arm_gateway(&mut self, id: HostId, at: Instant) {
        if let Some(machine) = &mut self.hosts[id.0].gateway
            && machine.timer.is_none_or(|timer| at < timer)
        {
            machine.timer = Some(at);
            self.schedule(at, Happening::GatewayTurn(id));
        }
    }

    pub(crate) fn gateway_timer(&mut self, id: HostId) {
        let now = self.now;
        if let Some(machine) = &mut self.hosts[id.0].gateway
            && machine.timer == Some(now)
        {
            machine.timer = None;
            self.gateway_turn(id);
        }
    }

    pub(crate) fn gateway_frame(&mut self, id: HostId, frame: Vec<u8>) {
        if let Some(machine) = &mut self.hosts[id.0].gateway {
            machine.server.port.deliver(frame);
            self.gateway_turn(id);
        }
    }

    /// The loop of the gateway, once.
    fn gateway_turn(&mut self, id: HostId) {
        self.subject = Some(id);
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let (local, keys) = (host.local(now), Rc::clone(&host.keys));
        let is_paused = host.paused;
        let Some(machine) = &mut host.gateway else {
            return;
        };
        machine.server.receive(local);
        let mut said = Vec::new();
        // While the process stands still its kernel goes on.
        let wires = machine.server.wires().filter(|_| !is_paused);
        for (
            wire,
            Wire {
                received,
                close,
                finished,
                ..
            },
        ) in wires
        {
            let leg = machine.legs.entry(wire);
            let leg = leg.or_insert_with(|| Leg::new(&mut machine.rng));
            let bytes = core::mem::take(received);
            *close |= *finished;
            for said_of_it in leg.poll(local, bytes, *finished, Rc::clone(&keys)) {
                said.push((wire, said_of_it));
            }
        }
        for (wire, said) in said {
            self.link_said(id, local, wire, said);
        }
        let leaves = self.hosts.iter().enumerate();
        let leaves = leaves.filter(|(_, host)| host.options.access == Access::Leaf(id));
        for leaf in leaves.map(|(leaf, _)| HostId(leaf)).collect::<Vec<_>>() {
            self.feed_leaf(leaf);
        }

        let Some(machine) = &mut self.hosts[id.0].gateway else {
            return;
        };
        let mut next = None;
        for (wire, bytes) in machine.server.wires().filter(|_| !is_paused) {
            let Some(leg) = machine.legs.get_mut(&wire) else {
                continue;
            };
            leg.transmit(local, bytes);
            next = next.into_iter().chain(leg.wanted).min();
            if bytes.gone {
                machine.legs.remove(&wire);
            }
        }
        machine.server.send(local);
        next = next
            .into_iter()
            .chain(machine.server.next_timeout(local))
            .min();
        let frames: Vec<_> = core::iter::from_fn(|| machine.server.port.take_sent()).collect();
        if machine.server.busy {
            next = Some(local);
        }
        self.send_frames(id.node(), frames);
        if let Some(next) = next {
            let at = self.hosts[id.0].global(next.max(local + TURN));
            self.arm_gateway(id, at.max(now + TURN));
        }
    }

    fn link_said(&mut self, id: HostId, now: Instant, wire: WireId, said: Said) {
        match said {
            Said::Note(text) => self.note(id, format_args!("link {wire} {text}")),
            Said::Up(name) => {
                let is_it = |host: &crate::host::Host| {
                    host.name == name && host.options.access == Access::Leaf(id)
                };
                let Some(leaf) = self.hosts.iter().position(is_it).map(HostId) else {
                    return;
                };
                self.note(id, format_args!("link {wire} up: {name}"));
                // Where it was before, it is no more.
                if let Some(old) = self.hosts[leaf.0].leased.wire.filter(|old| *old != wire) {
                    self.end_leg(id, now, old);
                }
                let leased = &mut self.hosts[leaf.0].leased;
                leased.session += 1;
                leased.wire = Some(wire);
                leased.held.clear();
                self.set_leaf(id, wire, Some(leaf));
            }
            Said::Down(reason) => {
                self.note(id, format_args!("link {wire} down: {reason}"));
                if let Some(leaf) = self.leaf_of(id, wire) {
                    let leased = &mut self.hosts[leaf.0].leased;
                    if leased.wire == Some(wire) {
                        leased.wire = None;
                        leased.held.clear();
                    }
                    self.set_leaf(id, wire, None);
                }
            }
            Said::Do(command) => {
                if let Some(leaf) = self.leaf_of(id, wire) {
                    self.perform(leaf, command);
                }
            }
        }
    }

    fn end_leg(&mut self, id: HostId, now: Instant, wire: WireId) {
        let keys = Rc::clone(&self.hosts[id.0].keys);
        let machine = self.hosts[id.0].gateway.as_mut();
        let said = machine
            .and_then(|machine| machine.legs.get_mut(&wire))
            .map(|leg| leg.poll(now, Vec::new(), true, keys));
        for said in said.unwrap_or_default() {
            self.link_said(id, now, wire, said);
        }
    }

    fn leaf_of(&self, id: HostId, wire: WireId) -> Option<HostId> {
        self.hosts[id.0].gateway.as_ref()?.legs.get(&wire)?.leaf
    }

    fn set_leaf(&mut self, id: HostId, wire: WireId, leaf: Option<HostId>) {
        if let Some(machine) = &mut self.hosts[id.0].gateway
            && let Some(leg) = machine.legs.get_mut(&wire)
        {
            leg.leaf = leaf;
        }
    }

    /// A gateway's machine is gone, and with it all that it held for its leaves.
    pub(crate) fn gateway_vanished(&mut self, id: HostId) {
        for leaf in 0..self.hosts.len() {
            let host = &mut self.hosts[leaf];
            if host.options.access != Access::Leaf(id) {
                continue;
            }
            host.leased.session += 1;
            host.leased.wire = None;
            host.leased.held.clear();
            self.drop_stack(HostId(leaf));
        }
    }
}
