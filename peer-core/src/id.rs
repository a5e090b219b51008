//! Identifiers, valid by construction.
//!
//! PeerJS's client rule for a peer id is `^[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*$`
//! (`lib/utils/validateId.ts`). Ids that come *from* the wire are taken as they are, since the
//! server checks nothing, as long as they fit and hold no control characters. A label is any text
//! that fits: a data channel carries line ends in it, too.

use core::fmt;

use heapless::String;
use zeroize::ZeroizeOnDrop;

use crate::{
    bytes,
    config::{CONNECTION_ID_MAX, LABEL_MAX, PEER_ID_MAX, TOKEN_MAX},
    random::Secret,
};

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    Empty,
    /// The text is longer than the limit in [`crate::config`].
    TooLong,
    /// The text has a character that PeerJS does not allow there.
    Invalid,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an id must not be empty",
            Self::TooLong => "the id is longer than this build allows",
            Self::Invalid => {
                "an id holds letters and digits, with single spaces, '-' or '_' between them"
            }
        })
    }
}

impl core::error::Error for IdError {}

/// A text that fits, is not empty and has no control characters.
fn take_id<const N: usize>(text: &str) -> Result<String<N, u16>, IdError> {
    if text.chars().any(char::is_control) {
        return Err(IdError::Invalid);
    }
    take_text(text)
}

/// A text that fits and is not empty.
fn take_text<const N: usize>(text: &str) -> Result<String<N, u16>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    String::try_from(text).map_err(|_| IdError::TooLong)
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $max:expr, $take:ident, $takes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name(String<{ $max }, u16>);

        impl $name {
            /// No text, all zero: what a free slot holds.
            pub(crate) const fn vacant() -> Self {
                Self(String::new())
            }

            #[doc = concat!("Takes a text from the wire: any that ", $takes, ".")]
            ///
            /// # Errors
            /// [`IdError`] says what is wrong with the text.
            pub fn from_wire(text: &str) -> Result<Self, IdError> {
                $take(text).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }
    };
}

text_newtype!(
    /// A peer's id at its broker. At most [`PEER_ID_MAX`] bytes.
    ///
    /// ```
    /// use peer_core::{IdError, PeerId};
    /// assert_eq!(PeerId::new("sensor-7")?.as_str(), "sensor-7");
    /// assert_eq!(PeerId::new("a--b"), Err(IdError::Invalid));
    /// # Ok::<(), IdError>(())
    /// ```
    PeerId,
    PEER_ID_MAX,
    take_id,
    "fits, is not empty and has no control characters"
);
text_newtype!(
    /// A connection's id on the wire, `dc_` and random base 36 in PeerJS. At most
    /// [`CONNECTION_ID_MAX`] bytes.
    ConnectionId,
    CONNECTION_ID_MAX,
    take_id,
    "fits, is not empty and has no control characters"
);
text_newtype!(
    /// A data channel's label. At most [`LABEL_MAX`] bytes.
    Label,
    LABEL_MAX,
    take_text,
    "fits and is not empty, control characters included: escape it where it is shown"
);

impl PeerId {
    /// Takes an id that a user chose, under PeerJS's rule.
    ///
    /// # Errors
    /// [`IdError`] says what is wrong with the text.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let id = Self::from_wire(text)?;
        let words_are_whole = text
            .split([' ', '_', '-'])
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
        if words_are_whole {
            Ok(id)
        } else {
            Err(IdError::Invalid)
        }
    }
}

impl core::str::FromStr for PeerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// The secret that proves ownership of a peer id to the broker. At most [`TOKEN_MAX`] bytes.
///
/// `Debug` does not print it, and it is wiped on drop.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct Token(String<TOKEN_MAX, u16>);

impl Token {
    /// Takes a stored or configured token: any text that fits, is not empty and has no control
    /// characters.
    ///
    /// # Errors
    /// [`IdError`] says what is wrong with the text.
    pub fn from_wire(text: &str) -> Result<Self, IdError> {
        take_id(text).map(Self)
    }

    /// A new token, derived under a label of its own.
    pub(crate) fn derive(secret: &Secret) -> Self {
        let random = secret.derive("peer token", 0);
        let mut text = String::new();
        for word in random.chunks(8).take(TOKEN_WORDS) {
            let mut bytes = [0; 8];
            let done = bytes::copy(&mut bytes, word);
            debug_assert!(done.is_some(), "there is room for it");
            push_base36(&mut text, u64::from_le_bytes(bytes));
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Token {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Token(…)");
    }
}

/// Characters of the base 36 that PeerJS writes random ids in.
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Digits made of 64 random bits, as many as PeerJS's `randomToken()` makes.
const DIGITS: usize = 11;
/// 64-bit words in a derived token: as many as fit, at most two.
const TOKEN_WORDS: usize = if TOKEN_MAX >= 2 * DIGITS { 2 } else { 1 };

/// Appends eleven base 36 digits of `random`, or as many as there is room for.
fn push_base36<const N: usize>(text: &mut String<N, u16>, mut random: u64) {
    for _ in 0..DIGITS {
        let digit = BASE36[(random % 36) as usize];
        random /= 36;
        if text.push(char::from(digit)).is_err() {
            return;
        }
    }
}

impl ConnectionId {
    /// `dc_` and eleven base 36 digits, from 64 random bits that the caller supplies.
    pub fn from_random(random: u64) -> Self {
        let mut text = String::new();
        let pushed = text.push_str("dc_");
        debug_assert!(pushed.is_ok(), "CONNECTION_ID_MAX is at least 16");
        push_base36(&mut text, random);
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn peerjs_rule() {
        for good in ["a", "a b", "A-1_b", "123"] {
            assert!(PeerId::new(good).is_ok(), "{good}");
        }
        for bad in ["-a", "a-", "a--b", "ä", "a.b", " a", "a/b"] {
            assert_eq!(PeerId::new(bad), Err(IdError::Invalid), "{bad}");
        }
        assert_eq!(PeerId::new(""), Err(IdError::Empty));
        let long = [b'a'; PEER_ID_MAX + 1];
        assert_eq!(
            PeerId::new(core::str::from_utf8(&long).unwrap()),
            Err(IdError::TooLong)
        );
    }

    #[test]
    fn a_label_may_have_line_ends_and_an_id_may_not() {
        assert!(Label::from_wire("two\nlines").is_ok());
        assert_eq!(Label::from_wire(""), Err(IdError::Empty));
        assert_eq!(PeerId::from_wire("two\nlines"), Err(IdError::Invalid));
        assert_eq!(ConnectionId::from_wire("\u{7f}"), Err(IdError::Invalid));
    }

    #[test]
    fn random_ids_look_like_peerjs() {
        let id = ConnectionId::from_random(u64::MAX);
        assert!(id.as_str().starts_with("dc_"));
        assert_eq!(id.as_str().len(), 14);
        assert_ne!(id, ConnectionId::from_random(1));
    }

    #[test]
    fn a_derived_token_is_long_and_not_printed() {
        let token = Token::derive(&Secret::new([7; 32]));
        assert_eq!(token.as_str().len(), TOKEN_WORDS * DIGITS);
        assert_ne!(token, Token::derive(&Secret::new([8; 32])));
        assert_eq!(std::format!("{token:?}"), "Token(…)");
    }
}
