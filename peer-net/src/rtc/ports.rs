//! The UDP ports that sockets of sessions may take.

use core::fmt;
use core::num::NonZero;
use core::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A range of UDP ports, as a firewall lets them through. Its text is `PORT` or `FIRST-LAST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    first: NonZero<u16>,
    last: NonZero<u16>,
}

/// These are no ports: they go from a port from 1 to 65,535 up to another one, or to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPorts;

impl UdpPorts {
    /// Returns the ports from one to another, both among them.
    ///
    /// # Errors
    /// [`BadPorts`]: the first is 0, or above the last.
    pub fn new(first: u16, last: u16) -> Result<Self, BadPorts> {
        match (NonZero::new(first), NonZero::new(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(BadPorts),
        }
    }

    /// Returns the lowest.
    pub const fn first(self) -> u16 {
        self.first.get()
    }

    /// Returns the highest.
    pub const fn last(self) -> u16 {
        self.last.get()
    }

    /// Returns how many there are.
    #[cfg(feature = "native")]
    pub(super) fn count(self) -> usize {
        usize::from(self.last() - self.first()) + 1
    }

    /// Returns one of them by its number, over and over.
    #[cfg(feature = "native")]
    pub(super) fn get(self, number: usize) -> u16 {
        // Less than there are ports.
        self.first() + (number % self.count()) as u16
    }
}

impl FromStr for UdpPorts {
    type Err = BadPorts;

    fn from_str(text: &str) -> Result<Self, BadPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => Self::new(first, last),
            _ => Err(BadPorts),
        }
    }
}

impl fmt::Display for UdpPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl<'de> Deserialize<'de> for UdpPorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for BadPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UDP ports are PORT or FIRST-LAST, from 1 to 65535")
    }
}

impl core::error::Error for BadPorts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, ports) in [
            ("5000", Some((5000, 5000))),
            ("5000-5010", Some((5000, 5010))),
            ("1-65535", Some((1, 65_535))),
            ("0", None),
            ("0-5", None),
            ("6-5", None),
            ("65536", None),
            ("-", None),
            ("5000-", None),
            ("", None),
        ] {
            let parsed = text.parse::<UdpPorts>();
            let range = parsed.map(|ports| (ports.first(), ports.last()));
            assert_eq!(range.ok(), ports, "{text}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.to_string(), text);
                #[cfg(feature = "native")]
                for number in 0..3 {
                    let there = usize::from(parsed.first()) + number % parsed.count();
                    assert_eq!(usize::from(parsed.get(number)), there);
                }
            }
        }
    }
}
