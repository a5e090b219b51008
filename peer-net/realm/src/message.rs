//! The envelope of PeerServer's messages: read what a client sent, write what a client gets.
//!
//! Payloads are not looked into: they are checked to be JSON and passed on byte by byte.

use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A message of a client, not yet believed.
#[derive(Clone, Debug)]
pub struct ClientMessage<'a> {
    /// What it is.
    pub kind: MessageType,
    /// Who shall get it. `None` when it is missing or not a string.
    pub dst: Option<String>,
    /// The payload as the client wrote it. `None` when it is missing.
    pub payload: Option<&'a str>,
}

/// `type` of a message, as far as the broker tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageType {
    /// The client is alive.
    Heartbeat,
    /// An offer for another client.
    Offer,
    /// An answer for another client.
    Answer,
    /// A candidate for another client.
    Candidate,
    /// A type only the broker may send: OPEN, LEAVE, EXPIRE, ERROR, ID-TAKEN.
    Broker,
    /// Any other, or none.
    Unknown,
}

impl MessageType {
    fn parse(text: &str) -> Self {
        match text {
            "HEARTBEAT" => Self::Heartbeat,
            "OFFER" => Self::Offer,
            "ANSWER" => Self::Answer,
            "CANDIDATE" => Self::Candidate,
            "OPEN" | "LEAVE" | "EXPIRE" | "ERROR" | "ID-TAKEN" => Self::Broker,
            _ => Self::Unknown,
        }
    }

    /// Whether messages of this type are passed on to another client.
    pub fn is_relayed(self) -> bool {
        self.relayed().is_some()
    }

    /// The name of a type that is relayed.
    pub(crate) fn relayed(self) -> Option<&'static str> {
        match self {
            Self::Offer => Some("OFFER"),
            Self::Answer => Some("ANSWER"),
            Self::Candidate => Some("CANDIDATE"),
            Self::Heartbeat | Self::Broker | Self::Unknown => None,
        }
    }
}

/// The text is not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("the client's message is not a JSON object")]
pub struct MessageError(#[from] serde_json::Error);

impl<'a> ClientMessage<'a> {
    /// Reads a message. Of a repeated key the last one counts, as in JavaScript; unknown keys are
    /// ignored.
    ///
    /// # Errors
    /// The text is not JSON, or not an object.
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        Ok(serde_json::from_str(text)?)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ClientMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = ClientMessage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut message = ClientMessage {
            kind: MessageType::Unknown,
            dst: None,
            payload: None,
        };
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Type => {
                    let value = map.next_value::<&RawValue>()?;
                    message.kind = string(value)
                        .map_or(MessageType::Unknown, |text| MessageType::parse(&text));
                }
                Key::Dst => message.dst = string(map.next_value::<&RawValue>()?),
                Key::Payload => message.payload = Some(map.next_value::<&RawValue>()?.get()),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    Type,
    Dst,
    Payload,
    #[serde(other)]
    Other,
}

pub(crate) const OPEN: &str = r#"{"type":"OPEN"}"#;
pub(crate) const ID_TAKEN: &str = r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;

/// An ERROR message.
pub(crate) fn error(msg: &str) -> String {
    format!(r#"{{"type":"ERROR","payload":{{"msg":{}}}}}"#, quote(msg))
}

/// Nobody picked up what `to` had sent to `absent`.
pub(crate) fn expire(absent: &str, to: &str) -> String {
    format!(
        r#"{{"type":"EXPIRE","src":{},"dst":{}}}"#,
        quote(absent),
        quote(to)
    )
}

/// A relayed message, with the keys in PeerServer's order.
pub(crate) fn relay(kind: &str, src: &str, dst: &str, payload: Option<&str>) -> String {
    let (src, dst) = (quote(src), quote(dst));
    let length = 64 + src.len() + dst.len() + payload.map_or(0, str::len);
    let mut text = String::with_capacity(length);
    for part in [
        r#"{"type":""#,
        kind,
        r#"","src":"#,
        &src,
        r#","dst":"#,
        &dst,
    ] {
        text.push_str(part);
    }
    if let Some(payload) = payload {
        text.push_str(r#","payload":"#);
        text.push_str(payload);
    }
    text.push('}');
    text
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
