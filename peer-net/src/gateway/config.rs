//! The gateway's configuration file, in TOML.

mod blame;
#[cfg(test)]
mod tests;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;
use std::io;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::GatewayError;
use super::options::{GatewayOptions, Settings};
use crate::rtc::{IceServer, RtcConfig, Stack, UdpPorts};
use crate::signalling::BrokerAddress;
use crate::tls;
use blame::Blame;

/// Where the command's status page is when the configuration does not say: this machine only.
pub const STATUS_ADDRESS: &str = "127.0.0.1:7480";
/// Bits a second of a serial port when the configuration does not say.
const SPEED: u32 = 115_200;
/// No wait is longer.
const SECONDS_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest file with a key that is read.
const KEY_FILE_MAX: u64 = 1024;

/// A gateway's configuration. [`EXAMPLE`](super::EXAMPLE) shows all of it.
///
/// ```
/// use peer_net::gateway::GatewayConfig;
/// let config = GatewayConfig::parse(r#"
///     broker = "ws://127.0.0.1:9000/"
///     listen = ["127.0.0.1:7400"]
///
///     [[leaf]]
///     name = "greenhouse"
///     key = "0707070707070707070707070707070707070707070707070707070707070707"
///     ids = ["sensor-7"]
/// "#, ".".as_ref())?;
/// assert_eq!(config.options.leaves[0].ids, ["sensor-7"]);
///
/// let error = GatewayConfig::parse("listen = []\nbroker = 9000", ".".as_ref()).unwrap_err();
/// assert_eq!(error.line(), Some(2));
/// # Ok::<(), peer_net::gateway::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// What the gateway is made with.
    pub options: GatewayOptions,
    /// Where the status page is; `None`: nowhere.
    pub status: Option<SocketAddr>,
}

/// A configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    line: Option<usize>,
    sentence: String,
}

impl ConfigError {
    /// The line that is to blame, from 1, if one is.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}

impl core::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    broker: Spanned<String>,
    cafile: Option<Spanned<String>>,
    #[serde(default)]
    listen: Vec<Spanned<String>>,
    #[serde(default)]
    connect: Vec<Spanned<String>>,
    status: Option<Spanned<String>>,
    #[serde(default)]
    ice_server: Vec<Spanned<IceServer>>,
    #[serde(default)]
    rtc: Rtc,
    #[serde(default)]
    serial: Vec<Serial>,
    #[serde(default)]
    leaf: Vec<Spanned<Leaf>>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rtc {
    #[serde(default)]
    include_loopback: bool,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    interfaces: Vec<String>,
    #[serde(default)]
    mdns: bool,
    #[serde(default)]
    stack: Stack,
    udp_port: Option<UdpPorts>,
    turn_cafile: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serial {
    path: Spanned<String>,
    speed: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    name: Spanned<String>,
    key: Option<Spanned<String>>,
    key_file: Option<Spanned<String>>,
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    random_id: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    leaves: Option<Spanned<usize>>,
    connections: Option<Spanned<usize>>,
    bytes: Option<Spanned<usize>>,
    unproven: Option<Spanned<usize>>,
    /// In seconds.
    prove_within: Option<Spanned<f64>>,
    stall: Option<Spanned<f64>>,
    arrivals: Option<Spanned<Often>>,
    sessions: Option<Spanned<Often>>,
    opens: Option<Spanned<Often>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Often {
    burst: u32,
    per_second: u32,
}

impl GatewayConfig {
    /// Reads a configuration. Files named in it are relative to `folder`.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong, and in which line.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let blame = Blame { text };
        let file: File = toml::from_str(text).map_err(|error| blame.parser(&error))?;
        let broker = file.broker.get_ref().parse::<BrokerAddress>();
        let broker = broker.map_err(|error| blame.at(&file.broker, error))?;
        let root_certificates = match &file.cafile {
            Some(cafile) => blame.certificates(cafile, folder)?,
            None => Vec::new(),
        };
        let listen = file.listen.iter().map(|text| blame.address(text));
        let listen = listen.collect::<Result<Vec<_>, _>>()?;
        let connect = file.connect.iter().map(|text| blame.server(text));
        let connect = connect.collect::<Result<Vec<_>, _>>()?;
        let status = match &file.status {
            Some(text) if text.get_ref() == "off" => None,
            Some(text) => Some(blame.address(text)?),
            None => STATUS_ADDRESS.parse().ok(),
        };
        let mut leaves = Vec::new();
        for leaf in &file.leaf {
            leaves.push(blame.leaf(leaf, folder)?);
            let names = |name: &str| leaves.iter().filter(|leaf| leaf.name == name).count();
            let name = &leaf.get_ref().name;
            if names(name.get_ref()) > 1 {
                let twice = format!("there are two leaves named '{}'", name.get_ref());
                return Err(blame.at(name, twice));
            }
        }
        let serial = blame.ports(&file.serial)?;
        let ice_servers = blame.ice_servers(file.ice_server)?;
        let limits = blame.limits(&file.limits)?;
        let mut rtc = RtcConfig {
            ice_servers,
            mdns: file.rtc.mdns,
            stack: file.rtc.stack,
            include_loopback: file.rtc.include_loopback,
            ip_filter: file.rtc.addresses,
            interfaces: file.rtc.interfaces,
            ports: file.rtc.udp_port,
            ..RtcConfig::default()
        };
        if let Some(cafile) = &file.rtc.turn_cafile {
            let added = rtc.add_turn_certificates(blame.certificates(cafile, folder)?);
            added.map_err(|error| blame.at(cafile, error))?;
        }
        let options = GatewayOptions {
            broker,
            root_certificates,
            rtc,
            listen,
            connect,
            serial,
            leaves,
            limits,
            ..GatewayOptions::default()
        };
        // What is left to be wrong are limits.
        Settings::new(&options).map_err(|error| ConfigError {
            line: file.limits.span(&error).map(|span| blame.line(&span)),
            sentence: error.to_string(),
        })?;
        Ok(Self { options, status })
    }
}

/// Reads a file of certificates to trust. Returns its PEM, for
/// [`GatewayOptions::root_certificates`].
///
/// # Errors
/// It cannot be read, or, as [`io::ErrorKind::InvalidData`], it holds none that can be used. The
/// error names the file.
pub fn read_certificates(file: &Path) -> io::Result<Vec<u8>> {
    let cannot = |kind, why: &dyn fmt::Display| {
        let file = file.display();
        io::Error::new(
            kind,
            format!("the certificates in {file} cannot be used: {why}"),
        )
    };
    let pem = std::fs::read(file).map_err(|error| cannot(error.kind(), &error))?;
    match tls::certificates(&pem) {
        Ok(_) => Ok(pem),
        Err(error) => Err(cannot(io::ErrorKind::InvalidData, &error)),
    }
}

impl Limits {
    /// Where the limit is that is to blame.
    fn span(&self, error: &GatewayError) -> Option<Range<usize>> {
        fn of<T>(limit: &Option<Spanned<T>>) -> Option<Range<usize>> {
            limit.as_ref().map(Spanned::span)
        }
        match error {
            GatewayError::Bytes { .. } => of(&self.bytes).or(of(&self.connections)),
            GatewayError::Connections => of(&self.connections),
            GatewayError::Zero(name) => match *name {
                "leaves" => of(&self.leaves),
                "unproven" => of(&self.unproven),
                "prove_within" => of(&self.prove_within),
                "stall" => of(&self.stall),
                "arrivals" => of(&self.arrivals),
                "sessions" => of(&self.sessions),
                "opens" => of(&self.opens),
                _ => None,
            },
            _ => None,
        }
    }
}
