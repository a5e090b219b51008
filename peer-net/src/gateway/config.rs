//! The gateway's configuration file, in TOML.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use std::path::Path;

use peer_core::link::KEY_LEN;
use serde::Deserialize;
use toml::Spanned;

use super::options::{GatewayLimits, GatewayOptions, LeafOptions, SerialPort, Settings};
use crate::broker::BrokerAddress;
use crate::rtc::{IceServer, RtcConfig};

/// Where the command's status page is when the configuration does not say: this machine only.
pub const STATUS_ADDRESS: &str = "127.0.0.1:7480";
/// Bits a second of a serial port when the configuration does not say.
const SPEED: u32 = 115_200;
/// The longest file with a key that is read.
const KEY_FILE_MAX: u64 = 1024;

/// A gateway's configuration. `examples/gateway.toml` in the repository shows all of it.
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
    #[serde(default)]
    listen: Vec<Spanned<String>>,
    #[serde(default)]
    connect: Vec<Spanned<String>>,
    status: Option<Spanned<String>>,
    #[serde(default)]
    ice_server: Vec<IceServer>,
    #[serde(default)]
    rtc: Rtc,
    #[serde(default)]
    serial: Vec<Serial>,
    #[serde(default)]
    leaf: Vec<Spanned<Leaf>>,
    limits: Option<Spanned<Limits>>,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serial {
    path: String,
    speed: Option<u32>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    leaves: Option<usize>,
    connections: Option<usize>,
    bytes: Option<usize>,
}

impl GatewayConfig {
    /// Reads a configuration. Files named in it are relative to `folder`.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong, and in which line.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let blame = Blame { text };
        let file: File = toml::from_str(text).map_err(|error| ConfigError {
            line: error.span().map(|span| blame.line(&span)),
            // Some of its sentences go over several lines.
            sentence: error.message().replace('\n', "; "),
        })?;
        let broker = file.broker.get_ref().parse::<BrokerAddress>();
        let broker = broker.map_err(|error| blame.at(&file.broker, error))?;
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
        let defaults = GatewayLimits::default();
        let limits = file
            .limits
            .as_ref()
            .map_or(defaults, |limits| limits.get_ref().merge(defaults));
        let options = GatewayOptions {
            broker,
            rtc: RtcConfig {
                ice_servers: file.ice_server,
                mdns: file.rtc.mdns,
                include_loopback: file.rtc.include_loopback,
                ip_filter: file.rtc.addresses,
                interfaces: file.rtc.interfaces,
                ..RtcConfig::default()
            },
            listen,
            connect,
            serial: file
                .serial
                .into_iter()
                .map(|port| SerialPort {
                    path: port.path,
                    speed: port.speed.unwrap_or(SPEED),
                })
                .collect(),
            leaves,
            limits,
            ..GatewayOptions::default()
        };
        // What is left to be wrong are names and limits; names were looked at.
        Settings::new(&options).map_err(|error| ConfigError {
            line: file
                .limits
                .as_ref()
                .map(|limits| blame.line(&limits.span())),
            sentence: error.to_string(),
        })?;
        Ok(Self { options, status })
    }
}

impl Limits {
    fn merge(&self, defaults: GatewayLimits) -> GatewayLimits {
        GatewayLimits {
            leaves: self.leaves.unwrap_or(defaults.leaves),
            connections: self.connections.unwrap_or(defaults.connections),
            bytes: self.bytes.unwrap_or(defaults.bytes),
        }
    }
}

/// Finds the line of what is wrong.
struct Blame<'t> {
    text: &'t str,
}

impl Blame<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn at<T>(&self, place: &Spanned<T>, sentence: impl fmt::Display) -> ConfigError {
        ConfigError {
            line: Some(self.line(&place.span())),
            sentence: sentence.to_string(),
        }
    }

    fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let sentence = format!(
                "'{}' is no address with a port, as 127.0.0.1:7400 or [::]:7400",
                text.get_ref()
            );
            self.at(text, sentence)
        })
    }

    fn server(&self, text: &Spanned<String>) -> Result<String, ConfigError> {
        let port = text.get_ref().rsplit_once(':').map(|(_, port)| port);
        match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(1..) => Ok(text.get_ref().clone()),
            _ => {
                let sentence = format!("'{}' is no host with a port", text.get_ref());
                Err(self.at(text, sentence))
            }
        }
    }

    fn leaf(&self, leaf: &Spanned<Leaf>, folder: &Path) -> Result<LeafOptions, ConfigError> {
        let Leaf {
            name,
            key,
            key_file,
            ids,
            random_id,
        } = leaf.get_ref();
        if name.get_ref().is_empty() || name.get_ref().len() > peer_core::link::LEAF_NAME_MAX {
            return Err(self.at(name, "the name of a leaf has 1 to 32 bytes"));
        }
        let key = match (key, key_file) {
            (Some(key), None) => read_key(key.get_ref()).ok_or_else(|| self.at(key, NO_KEY))?,
            (None, Some(file)) => {
                let path = folder.join(file.get_ref());
                let cannot = |why: &dyn fmt::Display| {
                    let sentence = format!("the key in {} cannot be used: {why}", path.display());
                    self.at(file, sentence)
                };
                let text = read_file(&path).map_err(|error| cannot(&error))?;
                read_key(&text).ok_or_else(|| cannot(&NO_KEY))?
            }
            _ => {
                let sentence = format!(
                    "the leaf '{}' needs either key, 64 hexadecimal digits, or key_file",
                    name.get_ref()
                );
                return Err(self.at(leaf, sentence));
            }
        };
        Ok(LeafOptions {
            name: name.get_ref().clone(),
            key,
            ids: ids.clone(),
            random_id: *random_id,
        })
    }
}

const NO_KEY: &str =
    "a key is 64 hexadecimal digits, 32 random bytes: `openssl rand -hex 32` makes one";

fn read_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(KEY_FILE_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn read_key(text: &str) -> Option<[u8; KEY_LEN]> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let mut key = [0; KEY_LEN];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    fn parse(text: &str) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::parse(text, ".".as_ref())
    }

    #[test]
    fn the_example_says_everything() {
        let text = include_str!("../../../examples/gateway.toml");
        let config = parse(text).unwrap();
        assert_eq!(config.status, STATUS_ADDRESS.parse().ok());
        assert!(!config.options.leaves.is_empty());
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = parse("broker = 'ws://127.0.0.1:9000/'").unwrap();
        assert_eq!(config.options.limits, GatewayLimits::default());
        assert_eq!(config.status.unwrap().to_string(), STATUS_ADDRESS);
        let off = parse("broker = 'ws://127.0.0.1:9000/'\nstatus = 'off'").unwrap();
        assert_eq!(off.status, None);
    }

    #[test]
    fn keys_are_hexadecimal_or_in_a_file() {
        let key = read_key(KEY).unwrap();
        assert_eq!((key[0], key[1], key[31]), (0, 0x11, 0xFF));
        let path = std::env::temp_dir().join(format!("peer-key-{}", std::process::id()));
        std::fs::write(&path, format!("{KEY}\n")).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let text = format!("broker='ws://a/'\n[[leaf]]\nname='a'\nkey_file='{file}'");
        let config = GatewayConfig::parse(&text, &std::env::temp_dir()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(config.options.leaves[0].key, key);
    }

    #[test]
    fn mistakes_are_sentences_with_their_line() {
        for (text, line, words) in [
            ("", 1, "missing field `broker`"),
            ("broker = 'x'", 1, "http://"),
            ("broker = 'ws://a/'\nlisten = ['x']", 2, "'x' is no address"),
            ("broker = 'ws://a/'\nconnect = [\n'a:0']", 3, "no host"),
            ("broker = 'ws://a/'\nliste = []", 2, "unknown field `liste`"),
            ("broker = 'ws://a/'\n\n\n]", 4, ""),
            ("broker = 'ws://a/'\n[[leaf]]\nname = 'a'", 2, "'a' needs"),
            (
                "broker = 'ws://a/'\n[[leaf]]\nname = 'a'\nkey = 'q'",
                4,
                "64 hex",
            ),
            (
                "broker = 'ws://a/'\n[[leaf]]\nname = ''\nkey = 'q'",
                3,
                "32 bytes",
            ),
            ("broker = 'ws://a/'\n[limits]\nbytes = 1", 2, "2097152"),
            (
                "broker = 'ws://a/'\n[[leaf]]\nname = 'a'\nkey_file = 'nowhere'",
                4,
                "nowhere",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line(), Some(line), "{text}: {error}");
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        let twice = format!(
            "broker = 'ws://a/'\n[[leaf]]\nname='a'\nkey='{KEY}'\n[[leaf]]\nname='a'\nkey='{KEY}'"
        );
        assert_eq!(parse(&twice).unwrap_err().line(), Some(6));
    }
}
