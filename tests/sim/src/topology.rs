//! Whole places instead of single hosts.
//!
//! A [`Site`] is a LAN behind one uplink: hosts on cables or radio, or leaves behind a gateway, and
//! a NAT if you like. Several of them are LANs joined by the internet. A [`Star`] is a hub and
//! those that connect to it.
//!
//! ```
//! use peer_core::time::Duration;
//! use peer_sim::topology::{Site, Star};
//! use peer_sim::{Capacity, HostOptions, Link, Sim};
//!
//! let mut sim = Sim::new(1);
//! // A plant with eight sensors behind a gateway, all behind a NAT on a cellular modem.
//! let plant = Site::new("plant").uplink(Link::cellular()).nat().leaves(8, &HostOptions::default()).build(&mut sim);
//! // An office, and in it the hub that the sensors report to.
//! let hub = HostOptions {
//!     capacity: Capacity { connections: 16, control: 16_384, ..Capacity::default() },
//!     ..HostOptions::default()
//! };
//! let office = Site::new("office").hosts(1, &hub).hosts(2, &HostOptions::default()).build(&mut sim);
//! let star = Star { hub: office.hosts[0], spokes: plant.leaves.clone() };
//! assert!(sim.wait(Duration::from_secs(30), |sim| star.is_online(sim)));
//!
//! let conns = star.connect(&mut sim);
//! assert!(sim.wait(Duration::from_secs(30), |sim| conns.iter().all(|conn| sim.is_open(*conn))));
//! assert_eq!(sim.name(plant.leaves[7]), "plant-leaf-7");
//! ```

use peer_core::peer::ConnectOptions;

use crate::{Access, Conn, GatewayOptions, HostId, HostOptions, Link, Sim, SiteId, SiteOptions};

/// A place to be built.
#[derive(Clone, Debug)]
pub struct Site {
    name: String,
    options: SiteOptions,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    kind: Kind,
    count: usize,
    options: HostOptions,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Hosts,
    Devices,
    Leaves,
}

/// A place that was built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BuiltSite {
    /// The site itself, for actions.
    pub site: SiteId,
    /// Its hosts, `name-0` and so on, then its devices, `name-device-0` and so on.
    pub hosts: Vec<HostId>,
    /// Its gateway, `name-gateway`, if it has leaves.
    pub gateway: Option<HostId>,
    /// Its leaves, `name-leaf-0` and so on.
    pub leaves: Vec<HostId>,
}

impl Site {
    /// An empty place with the uplink of [`SiteOptions`] and no NAT.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: SiteOptions::default(),
            groups: Vec::new(),
        }
    }

    /// Its way out.
    pub fn uplink(mut self, link: Link) -> Self {
        self.options.uplink = link;
        self
    }

    /// Behind a NAT.
    pub fn nat(mut self) -> Self {
        self.options.nat = true;
        self
    }

    /// So many hosts more, alike but for their ids.
    pub fn hosts(self, count: usize, options: &HostOptions) -> Self {
        self.group(Kind::Hosts, count, options)
    }

    /// So many devices more: hosts that reach the broker over smoltcp's TCP, [`Access::Tcp`].
    pub fn devices(self, count: usize, options: &HostOptions) -> Self {
        self.group(Kind::Devices, count, options)
    }

    /// So many leaves more of the site's one gateway.
    pub fn leaves(self, count: usize, options: &HostOptions) -> Self {
        self.group(Kind::Leaves, count, options)
    }

    fn group(mut self, kind: Kind, count: usize, options: &HostOptions) -> Self {
        self.groups.push(Group {
            kind,
            count,
            options: options.clone(),
        });
        self
    }

    /// Adds all of it to a simulation and starts it.
    pub fn build(self, sim: &mut Sim) -> BuiltSite {
        let site = sim.add_site(self.options);
        let mut built = BuiltSite {
            site,
            hosts: Vec::new(),
            gateway: None,
            leaves: Vec::new(),
        };
        let mut counts = [0; 3];
        for Group {
            kind,
            count,
            options,
        } in self.groups
        {
            let (infix, access) = match kind {
                Kind::Hosts => ("", options.access),
                Kind::Devices => ("-device", Access::Tcp),
                Kind::Leaves => {
                    let gateway = *built.gateway.get_or_insert_with(|| {
                        sim.add_gateway(GatewayOptions {
                            site: Some(site),
                            ..GatewayOptions::new(&format!("{}-gateway", self.name))
                        })
                    });
                    ("-leaf", Access::Leaf(gateway))
                }
            };
            for _ in 0..count {
                let number = &mut counts[kind as usize];
                let host = sim.add_host(HostOptions {
                    id: Some(format!("{}{infix}-{number}", self.name)),
                    site: Some(site),
                    access,
                    ..options.clone()
                });
                *number += 1;
                match kind {
                    Kind::Hosts | Kind::Devices => built.hosts.push(host),
                    Kind::Leaves => built.leaves.push(host),
                }
            }
        }
        built
    }
}

/// A hub and those that connect to it.
#[derive(Clone, Debug)]
pub struct Star {
    /// The one in the middle.
    pub hub: HostId,
    /// The others.
    pub spokes: Vec<HostId>,
}

impl Star {
    /// A hub that has room for all, and so many spokes, `prefix-0` and so on, directly at the
    /// internet.
    ///
    /// ```
    /// use peer_core::time::Duration;
    /// use peer_sim::topology::Star;
    /// use peer_sim::{HostOptions, Sim};
    /// let mut sim = Sim::new(1);
    /// let star = Star::build(&mut sim, "hub", "sensor", 20, &HostOptions::default());
    /// assert!(sim.wait(Duration::from_secs(5), |sim| star.is_online(sim)));
    /// ```
    pub fn build(
        sim: &mut Sim,
        hub: &str,
        prefix: &str,
        count: usize,
        options: &HostOptions,
    ) -> Self {
        let mut hub = HostOptions::new(hub);
        hub.capacity.connections = 2 * count + 8;
        hub.capacity.control = 32 * 1024;
        Self {
            hub: sim.add_host(hub),
            spokes: sim.add_hosts(prefix, count, options),
        }
    }

    /// Whether all of them are open at the broker.
    pub fn is_online(&self, sim: &Sim) -> bool {
        let mut all = self.spokes.iter().chain([&self.hub]);
        all.all(|host| sim.is_online(*host))
    }

    /// Each spoke starts a reliable connection to the hub. One that cannot is left out.
    pub fn connect(&self, sim: &mut Sim) -> Vec<Conn> {
        let hub = sim.name(self.hub).to_owned();
        let options = ConnectOptions {
            reliable: true,
            ..ConnectOptions::default()
        };
        let spokes = self.spokes.iter();
        spokes
            .filter_map(|spoke| sim.connect(*spoke, &hub, options).ok())
            .collect()
    }
}
