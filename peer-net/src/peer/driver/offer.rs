//! An OFFER, read before the engine has it: what it says, whether it can be answered, and which
//! limit it exceeds.

use core::fmt;

use peer_core::config::{CONNECTION_ID_MAX, JSON_DEPTH_MAX, LABEL_MAX, PEER_ID_MAX, SDP_MAX};
use peer_core::serialization::Serialization;
use peer_core::wire::json;
use peer_core::wire::sdp;
use peer_core::{ConnectionId, PeerId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::METADATA_MAX;
use crate::options::Offer;

/// Values that the message of an offer opens around its metadata.
const METADATA_DEPTH: usize = 2;

/// Why an offer was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// By the application's rule.
    Rule,
    RulePanicked,
    RemoteRate,
    Rate,
    Unread(Unread),
    /// No place, or no share of the places.
    Full,
    /// Nobody can accept connections any more.
    Unwanted,
}

/// What is wrong with an offer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Something is longer than a limit.
    Limit {
        what: &'static str,
        size: usize,
        name: &'static str,
        limit: usize,
    },
    /// The session description cannot be used.
    Description(String),
    /// A field is missing or makes no sense; what it is, in words.
    Field(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "on_offer said no",
            Self::RulePanicked => "on_offer panicked",
            Self::RemoteRate => "its remote offers too often (remote_offer_rate)",
            Self::Rate => "there are too many offers (offer_rate)",
            Self::Unread(problem) => return problem.fmt(f),
            Self::Full => {
                "every place is taken, or its remote's share of them (max_connections, remote_share)"
            }
            Self::Unwanted => "nobody accepts connections any more",
        })
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit {
                what,
                size,
                name,
                limit,
            } => write!(f, "its {what} has {size}, and {limit} is the most ({name})"),
            Self::Description(why) => write!(f, "its description cannot be used: {why}"),
            Self::Field(what) => write!(f, "its {what}"),
        }
    }
}

/// An offer as it came.
#[derive(Debug)]
pub(super) struct Received {
    /// Who sent it, as far as that can be told.
    pub(super) src: String,
    pub(super) content: Content,
}

/// What an offer says, and what is wrong with it.
#[derive(Debug)]
pub(super) enum Content {
    /// The rule is asked about it. It may be that it cannot be answered all the same.
    Whole(Offer, Option<Unread>),
    /// Its ids are longer than any that the rule knows: as much of them as there is room for.
    Cut(Offer, Unread),
    /// It is not known what it offers.
    Unknown(Unread),
}

impl Content {
    /// The offer, as much of it as is known.
    pub(super) const fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Whole(offer, _) | Self::Cut(offer, _) => Some(offer),
            Self::Unknown(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    src: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    connection_id: Option<&'a RawValue>,
    #[serde(borrow)]
    sdp: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
    #[serde(borrow)]
    reliable: Option<&'a RawValue>,
    #[serde(borrow)]
    serialization: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Description<'a> {
    #[serde(borrow)]
    sdp: Option<&'a RawValue>,
}

/// Reads a message of the broker. `None`: it is no offer of a data connection, or the engine knows
/// better.
pub(super) fn read(message: &[u8], own: Option<&PeerId>) -> Option<Received> {
    // Most messages are not; whatever is said here about them is said by the engine as well.
    if !message.windows(5).any(|window| window == b"OFFER") {
        return None;
    }
    let message: Message<'_> = serde_json::from_slice(message).ok()?;
    if text(message.kind?)? != "OFFER" {
        return None;
    }
    let payload: Payload<'_> = serde_json::from_str(message.payload?.get()).ok()?;
    if text(payload.kind?)? != "data" {
        return None;
    }
    let src = text(message.src?)?;
    if own.is_some_and(|own| own.as_str() == src) {
        return None;
    }
    let content = match offer(&src, &payload) {
        Ok((offer, None)) => Content::Whole(offer, problem(&payload)),
        Ok((offer, Some(problem))) => Content::Cut(offer, problem),
        Err(problem) => Content::Unknown(problem),
    };
    Some(Received { src, content })
}

/// The offer, and which of its ids had to be cut.
fn offer(src: &str, payload: &Payload<'_>) -> Result<(Offer, Option<Unread>), Unread> {
    let (peer, long_peer) = id(
        src,
        ("sender's id", "PEER_ID_MAX", PEER_ID_MAX),
        PeerId::from_wire,
    );
    let peer = peer.ok_or(Unread::Field("sender's id makes no sense"))?;
    // Without one the engine invents one.
    let wire_id = payload.connection_id.and_then(text);
    let (connection_id, long_id) = id(
        wire_id.as_deref().unwrap_or("-"),
        ("connection id", "CONNECTION_ID_MAX", CONNECTION_ID_MAX),
        ConnectionId::from_wire,
    );
    let connection_id = connection_id.ok_or(Unread::Field("connection id makes no sense"))?;
    let serialization = payload.serialization.and_then(text);
    let serialization = serialization
        .as_deref()
        .and_then(Serialization::from_wire)
        .ok_or(Unread::Field("serialization is missing or not known"))?;
    let label = payload.label.and_then(text).filter(|text| !text.is_empty());
    let offer = Offer {
        peer,
        label: label.unwrap_or_else(|| connection_id.as_str().to_owned()),
        connection_id,
        metadata: payload.metadata.map(|metadata| metadata.get().to_owned()),
        reliable: payload.reliable.is_some_and(is_true),
        serialization,
    };
    Ok((offer, long_peer.or(long_id)))
}

/// An id, or as much of one that is too long as there is room for, and then what is wrong with it.
fn id<T, E>(
    text: &str,
    (what, name, limit): (&'static str, &'static str, usize),
    from_wire: impl Fn(&str) -> Result<T, E>,
) -> (Option<T>, Option<Unread>) {
    let size = text.len();
    let fits = text.get(..text.floor_char_boundary(limit)).unwrap_or(text);
    let problem = (size > limit).then_some(Unread::Limit {
        what,
        size,
        name,
        limit,
    });
    (from_wire(fits).ok(), problem)
}

fn problem(payload: &Payload<'_>) -> Option<Unread> {
    let longer = |what, size, name, limit| {
        (size > limit).then_some(Unread::Limit {
            what,
            size,
            name,
            limit,
        })
    };
    let label = payload.label.and_then(text).unwrap_or_default();
    let metadata = payload.metadata.map_or("", RawValue::get);
    let depth_max = JSON_DEPTH_MAX.saturating_sub(METADATA_DEPTH);
    let sdp = payload.sdp.and_then(|sdp| {
        let description: Option<Description<'_>> = serde_json::from_str(sdp.get()).ok();
        description
            .and_then(|description| description.sdp)
            .and_then(text)
            .or_else(|| text(sdp))
    });
    let Some(sdp) = sdp else {
        return Some(Unread::Field("description is missing"));
    };
    longer("label", label.len(), "LABEL_MAX", LABEL_MAX)
        .or_else(|| longer("metadata", metadata.len(), "METADATA_MAX", METADATA_MAX))
        .or_else(|| {
            longer(
                "metadata's nesting",
                depth(metadata),
                "JSON_DEPTH_MAX",
                depth_max,
            )
        })
        .or_else(|| longer("description", sdp.len(), "SDP_MAX", SDP_MAX))
        .or_else(|| {
            let error = sdp::parse(&sdp).err()?;
            Some(Unread::Description(error.to_string()))
        })
}

/// A JSON string, lone surrogates as U+FFFD.
fn text(raw: &RawValue) -> Option<String> {
    let mut bytes = raw.get().as_bytes().to_vec();
    let mut reader = json::Reader::new(&mut bytes).ok()?;
    reader.string().ok().map(str::to_owned)
}

/// What JavaScript makes of a value as a condition.
fn is_true(raw: &RawValue) -> bool {
    let zero = |text: &str| text.parse::<f64>().is_ok_and(|number| number == 0.0);
    !matches!(raw.get(), "false" | "null" | "\"\"") && !zero(raw.get())
}

/// How deep a JSON text nests.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
        a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n";

    fn message(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut message = serde_json::json!({
            "type": "OFFER", "src": "bob", "dst": "alice",
            "payload": {
                "sdp": {"type": "offer", "sdp": SDP}, "type": "data", "connectionId": "dc_1",
                "metadata": {"a": 1}, "label": "label", "reliable": true, "serialization": "binary",
            },
        });
        change(&mut message);
        message.to_string().into_bytes()
    }

    fn content(message: &[u8]) -> Content {
        read(message, None).unwrap().content
    }

    fn whole(message: &[u8]) -> Offer {
        match content(message) {
            Content::Whole(offer, None) => offer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_offer_says() {
        let offer = whole(&message(|_| {}));
        assert_eq!(
            (offer.peer.as_str(), offer.label.as_str()),
            ("bob", "label")
        );
        assert_eq!(offer.metadata.as_deref(), Some(r#"{"a":1}"#));
        assert!(offer.reliable);
        assert!(read(br#"{"type":"OPEN"}"#, None).is_none());
        let media = message(|message| message["payload"]["type"] = "media".into());
        assert!(read(&media, None).is_none());
    }

    #[test]
    fn each_limit_is_named() {
        let nested = "[".repeat(100) + &"]".repeat(100);
        let nested: serde_json::Value = serde_json::from_str(&nested).unwrap();
        let long = |len: usize| serde_json::Value::from("x".repeat(len));
        for (field, value, name) in [
            ("label", long(LABEL_MAX + 1), "LABEL_MAX"),
            ("metadata", long(METADATA_MAX), "METADATA_MAX"),
            ("metadata", nested, "JSON_DEPTH_MAX"),
            ("sdp", long(SDP_MAX + 1), "SDP_MAX"),
        ] {
            match content(&message(|message| message["payload"][field] = value)) {
                Content::Whole(_, Some(Unread::Limit { name: found, .. })) => {
                    assert_eq!(found, name);
                }
                other => panic!("{field}: {other:?}"),
            }
        }
        let cut = |message: &[u8]| match content(message) {
            Content::Cut(offer, problem) => (offer, problem.to_string()),
            other => panic!("{other:?}"),
        };
        let (offer, told) = cut(&message(|message| message["src"] = long(300)));
        assert!(
            told.contains("300") && told.contains("PEER_ID_MAX"),
            "{told}"
        );
        assert_eq!(offer.peer.as_str(), "x".repeat(PEER_ID_MAX));
        let id = |message: &mut serde_json::Value| message["payload"]["connectionId"] = long(65);
        let (_, told) = cut(&message(id));
        assert!(told.contains("CONNECTION_ID_MAX"), "{told}");
        let garbage = message(|message| message["payload"]["sdp"] = "v=0".into());
        let content = content(&garbage);
        assert!(
            matches!(content, Content::Whole(_, Some(Unread::Description(_)))),
            "{content:?}"
        );
    }

    #[test]
    fn a_label_may_have_line_ends() {
        let label = |message: &mut serde_json::Value| message["payload"]["label"] = "a\nb".into();
        assert_eq!(whole(&message(label)).label, "a\nb");
    }

    #[test]
    fn a_lone_surrogate_costs_one_character() {
        let text = String::from_utf8(message(|_| {})).unwrap();
        let text = text.replace(r#""label""#, r#""l\ud800""#);
        let text = text.replacen(r#""l\ud800":"#, r#""label":"#, 1);
        assert_eq!(whole(text.as_bytes()).label, "l\u{FFFD}");
    }
}
