//! What a configuration's parts have to be, and where it says something else.

use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::path::Path;

use peer_core::link::KEY_LEN;
use toml::Spanned;

use super::{
    ConfigError, KEY_FILE_MAX, Leaf, Limits, Often, SECONDS_MAX, SPEED, Serial, read_certificates,
};
use crate::gateway::options::{GatewayLimits, LeafOptions, RateLimit, SerialPort};
use crate::rtc::IceServer;

/// Finds the line of what is wrong.
pub(super) struct Blame<'t> {
    pub(super) text: &'t str,
}

impl Blame<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// What the parser says, in words for people.
    pub(super) fn parser(&self, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| self.line(&span));
        let key = line.and_then(|line| self.key(line));
        // Some of its sentences go over several lines.
        let message = error.message().replace('\n', "; ");
        ConfigError {
            line,
            sentence: sentence(&message, key),
        }
    }

    /// The key that is set in a line.
    fn key(&self, line: usize) -> Option<&str> {
        let line = self.text.lines().nth(line.checked_sub(1)?)?;
        let (key, _) = line.split_once('=')?;
        let key = key.trim();
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        (!key.is_empty() && key.chars().all(is_bare)).then_some(key)
    }

    pub(super) fn at<T>(&self, place: &Spanned<T>, sentence: impl fmt::Display) -> ConfigError {
        ConfigError {
            line: Some(self.line(&place.span())),
            sentence: sentence.to_string(),
        }
    }

    /// Reads a file of certificates and looks whether there are some.
    pub(super) fn certificates(
        &self,
        file: &Spanned<String>,
        folder: &Path,
    ) -> Result<Vec<u8>, ConfigError> {
        read_certificates(&folder.join(file.get_ref())).map_err(|error| self.at(file, error))
    }

    pub(super) fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let sentence = format!(
                "'{}' is no address with a port, as 127.0.0.1:7400 or [::]:7400",
                text.get_ref()
            );
            self.at(text, sentence)
        })
    }

    pub(super) fn server(&self, text: &Spanned<String>) -> Result<String, ConfigError> {
        let port = text.get_ref().rsplit_once(':').map(|(_, port)| port);
        match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(1..) => Ok(text.get_ref().clone()),
            _ => {
                let sentence = format!(
                    "'{}' is no host with a port, as 192.0.2.7:4001",
                    text.get_ref()
                );
                Err(self.at(text, sentence))
            }
        }
    }

    pub(super) fn ports(&self, ports: &[Serial]) -> Result<Vec<SerialPort>, ConfigError> {
        let mut taken: Vec<SerialPort> = Vec::new();
        for Serial { path, speed } in ports {
            if taken.iter().any(|port| port.path == *path.get_ref()) {
                let sentence = format!(
                    "the serial port '{}' is named twice; remove one",
                    path.get_ref()
                );
                return Err(self.at(path, sentence));
            }
            if let Some(speed) = speed.as_ref().filter(|speed| *speed.get_ref() == 0) {
                return Err(self.at(speed, "`speed` is in bits a second, for example 115200"));
            }
            taken.push(SerialPort {
                path: path.get_ref().clone(),
                speed: speed.as_ref().map_or(SPEED, |speed| *speed.get_ref()),
            });
        }
        Ok(taken)
    }

    pub(super) fn ice_servers(
        &self,
        servers: Vec<Spanned<IceServer>>,
    ) -> Result<Vec<IceServer>, ConfigError> {
        let check = |server: Spanned<IceServer>| {
            let schemes = ["stun:", "turn:", "stuns:", "turns:"];
            let usable = |url: &String| schemes.iter().any(|scheme| url.starts_with(scheme));
            let urls = &server.get_ref().urls;
            match urls.iter().find(|url| !usable(url)) {
                None if !urls.is_empty() => Ok(server.into_inner()),
                url => {
                    let url = url.map_or("", String::as_str);
                    let sentence = format!(
                        "'{url}' is no URL of an ICE server, as stun:stun.example.org:3478"
                    );
                    Err(self.at(&server, sentence))
                }
            }
        };
        servers.into_iter().map(check).collect()
    }

    pub(super) fn limits(&self, limits: &Limits) -> Result<GatewayLimits, ConfigError> {
        fn or<T: Copy>(limit: &Option<Spanned<T>>, default: T) -> T {
            limit.as_ref().map_or(default, |limit| *limit.get_ref())
        }
        let often = |limit: &Option<Spanned<Often>>, default: RateLimit| {
            limit.as_ref().map_or(default, |limit| RateLimit {
                burst: limit.get_ref().burst,
                per_second: limit.get_ref().per_second,
            })
        };
        let seconds = |limit: &Option<Spanned<f64>>, default: Duration| match limit {
            None => Ok(default),
            Some(limit) => match Duration::try_from_secs_f64(*limit.get_ref()) {
                Ok(duration) if duration <= SECONDS_MAX => Ok(duration),
                _ => {
                    let sentence = format!(
                        "'{:?}' is no time in seconds, from 0.001 to {}",
                        limit.get_ref(),
                        SECONDS_MAX.as_secs()
                    );
                    Err(self.at(limit, sentence))
                }
            },
        };
        let default = GatewayLimits::default();
        Ok(GatewayLimits {
            leaves: or(&limits.leaves, default.leaves),
            connections: or(&limits.connections, default.connections),
            bytes: or(&limits.bytes, default.bytes),
            unproven: or(&limits.unproven, default.unproven),
            prove_within: seconds(&limits.prove_within, default.prove_within)?,
            stall: seconds(&limits.stall, default.stall)?,
            arrivals: often(&limits.arrivals, default.arrivals),
            sessions: often(&limits.sessions, default.sessions),
            opens: often(&limits.opens, default.opens),
        })
    }

    pub(super) fn leaf(
        &self,
        leaf: &Spanned<Leaf>,
        folder: &Path,
    ) -> Result<LeafOptions, ConfigError> {
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

/// The parser's words are for those who know Rust.
fn sentence(message: &str, key: Option<&str>) -> String {
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing; `peer gateway --example` shows where it belongs");
    }
    if let Some(field) = message.strip_prefix("unknown field ") {
        return match field.split_once(", expected ") {
            Some((field, known)) => {
                let known = known.strip_prefix("one of ").unwrap_or(known);
                format!("there is no setting {field} here; there are {known}")
            }
            None => format!("there is no setting {field} here"),
        };
    }
    let key = key.map_or("this".to_owned(), |key| format!("`{key}`"));
    let invalid = message.strip_prefix("invalid type: ");
    let invalid = invalid.or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = invalid.and_then(|invalid| invalid.split_once(", expected ")) {
        let expected = match expected {
            "a sequence" => "a list, as [\"…\"]",
            "a boolean" => "true or false",
            "a string" => "a text in quotes",
            "usize" | "u32" => "a whole number, 0 or more",
            "f64" => "a number",
            _ if expected.starts_with("struct ") => "a table",
            _ => expected,
        };
        if found == "map" {
            return "a table of which there may be several has two brackets, as [[leaf]]"
                .to_owned();
        }
        return format!("{key} takes {expected}, not {found}");
    }
    if message.contains("untagged enum Urls") {
        return format!("{key} takes a text in quotes, or a list of texts");
    }
    if message.contains("IP address") {
        return format!("{message} in {key}: write it as 192.0.2.7 or 2001:db8::7");
    }
    match message {
        "duplicate key" => format!("{key} is there twice; remove one"),
        _ => message.to_owned(),
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

pub(super) fn read_key(text: &str) -> Option<[u8; KEY_LEN]> {
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
