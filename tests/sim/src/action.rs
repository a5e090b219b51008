//! What can be done to the world, now or by a script.

use peer_core::peer::ConnectOptions;
use peer_core::time::{Duration, Instant};

use crate::host::{HostId, Identity};
use crate::link::{Link, SiteId};
use crate::sim::{Happening, Sim};

/// One thing that is done to the world.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// The host loses all but id and token. Nobody is told.
    Crash(HostId),
    /// A host that is down starts with a fresh engine.
    Start(HostId, Identity),
    /// The host's process stands still; its kernel goes on.
    Pause(HostId),
    /// It goes on and finds what came meanwhile.
    Resume(HostId),
    /// The host's clock jumps by so many seconds.
    Jump(HostId, i32),
    /// The host's NAT forgets it: the address others know leads nowhere, the broker's socket is
    /// dead.
    Rebind(HostId),
    /// The NAT of a site forgets all its hosts.
    RebindSite(SiteId),
    /// The host's access changes.
    Link(HostId, Link),
    /// A site's uplink changes.
    Uplink(SiteId, Link),
    /// A site's uplink is dead.
    CutSite(SiteId),
    /// These hosts reach each other only, not even the broker.
    Partition(Vec<HostId>),
    /// Packets from one host to another are lost. One way.
    Cut(HostId, HostId),
    /// All partitions and cuts end.
    Heal,
    /// The broker ends and forgets all. `orderly`: its sockets are closed; otherwise its machine
    /// just dies.
    StopBroker {
        /// Whether its clients are told.
        orderly: bool,
    },
    /// The broker starts, empty.
    StartBroker,
    /// The broker's clock jumps ahead.
    JumpBroker(Duration),
    /// One of the latest signals that the broker relayed comes once more.
    RepeatSignal,
    /// The same with one byte changed, as only a hostile broker would.
    CorruptSignal,
    /// The application connects to a peer; what comes of it is in the events.
    Connect {
        /// Who connects.
        host: HostId,
        /// To whom.
        remote: String,
        /// Whether messages are ordered.
        reliable: bool,
    },
    /// The application leaves the broker.
    Disconnect(HostId),
    /// The application destroys its peer.
    Destroy(HostId),
}

impl Sim {
    /// Does something now.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Crash(host) => self.crash_host(host),
            Action::Start(host, identity) => self.boot(host, identity),
            Action::Pause(host) => {
                if self.hosts[host.0].runs() {
                    self.hosts[host.0].paused = true;
                    self.note(host, format_args!("pauses"));
                }
            }
            Action::Resume(host) => self.resume_host(host),
            Action::Jump(host, seconds) => self.jump_clock(host, seconds),
            Action::Rebind(host) => {
                let place = &mut self.hosts[host.0];
                // Ports of a model NAT, used again after some ten thousand.
                place.address_epoch = (place.address_epoch + 1) % 50_000;
                place.nat.forget();
                self.note(host, format_args!("has a new address"));
                self.addresses_changed(host);
                self.broker_lan_forgets(host);
            }
            Action::Link(host, link) => {
                self.net.set_link(host.node(), link);
                self.note(host, format_args!("has a new link"));
            }
            Action::RebindSite(site) => {
                self.net.forget_mappings(site);
                let hosts = self.hosts().filter(|host| self.site(*host) == Some(site));
                for host in hosts.collect::<Vec<_>>() {
                    self.act(Action::Rebind(host));
                }
            }
            Action::Uplink(site, link) => {
                self.net.set_uplink(site, link);
                self.trace
                    .line(self.now, format_args!("site {} has a new uplink", site.0));
            }
            Action::CutSite(site) => {
                self.net.cut_site(site);
                self.trace
                    .line(self.now, format_args!("site {} is cut off", site.0));
            }
            Action::Partition(hosts) => {
                self.net.partition(hosts.iter().map(|host| host.node()));
                self.trace
                    .line(self.now, format_args!("partition of {} hosts", hosts.len()));
            }
            Action::Cut(from, to) => {
                self.net.cut(from.node(), to.node());
                self.note(from, format_args!("is cut from host {}", to.0));
            }
            Action::Heal => {
                self.net.heal();
                self.trace.line(self.now, format_args!("network heals"));
            }
            Action::StopBroker { orderly } => self.stop_broker_now(orderly),
            Action::StartBroker => self.start_broker_now(),
            Action::JumpBroker(by) => self.jump_broker_clock(by),
            Action::RepeatSignal => self.tamper(false),
            Action::CorruptSignal => self.tamper(true),
            Action::Connect {
                host,
                remote,
                reliable,
            } => {
                let options = ConnectOptions {
                    reliable,
                    ..ConnectOptions::default()
                };
                // A refusal is in the trace.
                let _ = self.connect(host, &remote, options);
            }
            Action::Disconnect(host) => {
                self.note(host, format_args!("disconnects"));
                self.will_tell_time(host);
                self.call(host, |peer, now| peer.disconnect(now));
                self.drain(host);
            }
            Action::Destroy(host) => {
                self.note(host, format_args!("destroys its peer"));
                for record in &mut self.hosts[host.0].records {
                    record.closed_here = true;
                }
                self.will_tell_time(host);
                self.call(host, |peer, now| peer.destroy(now));
                self.drain(host);
            }
        }
    }

    /// Does something after so much time.
    pub fn after(&mut self, wait: Duration, action: Action) {
        let at = self.now + wait;
        self.schedule(at, Happening::Act(Box::new(action)));
    }

    /// A script: what to do when, counted from now.
    pub fn script(&mut self, script: impl IntoIterator<Item = (Duration, Action)>) {
        for (wait, action) in script {
            self.after(wait, action);
        }
    }

    /// Stops the broker in order and starts it again after so much time.
    pub fn restart_broker(&mut self, down_for: Duration) {
        self.act(Action::StopBroker { orderly: true });
        self.after(down_for, Action::StartBroker);
    }

    /// Crashes a host and starts it again as the same after so much time.
    pub fn restart_host(&mut self, host: HostId, down_for: Duration) {
        self.act(Action::Crash(host));
        self.after(down_for, Action::Start(host, Identity::Same));
    }

    /// The time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(Instant::ZERO)
    }
}
