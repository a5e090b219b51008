//! Who is at the other end of a session. Signals between a leaf and its broker are read along for
//! that, and for the status alone: nothing is decided by it.

use core::hash::BuildHasher as _;
use std::collections::VecDeque;
use std::hash::RandomState;

use serde::Deserialize;

/// Offers of remotes that their leaf has not accepted. At the limit the oldest is forgotten, and
/// its session nameless.
const OFFERS_MAX: usize = 16;
/// Bytes kept of an id or a label.
const TEXT_MAX: usize = 128;

/// A remote, and what its connection is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) peer: String,
    pub(super) connection_id: Option<String>,
    pub(super) label: Option<String>,
}

/// Knows sessions by their descriptions.
pub(super) struct Remotes {
    /// Offers that came, with a hash of their description.
    offers: VecDeque<(u64, Remote)>,
    hasher: RandomState,
}

#[derive(Deserialize)]
struct Signal {
    #[serde(rename = "type")]
    kind: String,
    src: Option<String>,
    dst: Option<String>,
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    sdp: Description,
    #[serde(rename = "connectionId")]
    connection_id: Option<String>,
    label: Option<String>,
}

#[derive(Deserialize)]
struct Description {
    sdp: String,
}

impl Remotes {
    pub(super) fn new() -> Self {
        Self {
            offers: VecDeque::with_capacity(OFFERS_MAX),
            hasher: RandomState::new(),
        }
    }

    /// What a description is known by.
    pub(super) fn hash(&self, sdp: &str) -> u64 {
        self.hasher.hash_one(sdp)
    }

    /// The broker has a message for the leaf.
    pub(super) fn heard(&mut self, message: &[u8]) {
        let Some((signal, peer)) = offer(message, |signal| signal.src.take()) else {
            return;
        };
        if self.offers.len() >= OFFERS_MAX {
            self.offers.pop_front();
        }
        let offer = (self.hash(&signal.payload.sdp.sdp), remote(signal, peer));
        self.offers.push_back(offer);
    }

    /// The leaf accepts an offer: whose it is.
    pub(super) fn accepted(&mut self, sdp: &str) -> Option<Remote> {
        let hash = self.hash(sdp);
        let index = self.offers.iter().position(|(known, _)| *known == hash)?;
        self.offers.remove(index).map(|(_, remote)| remote)
    }

    /// The leaf sends a message to its broker. If it is an offer: of which description, and to
    /// whom.
    pub(super) fn sent(&self, message: &str) -> Option<(u64, Remote)> {
        let (signal, peer) = offer(message.as_bytes(), |signal| signal.dst.take())?;
        Some((self.hash(&signal.payload.sdp.sdp), remote(signal, peer)))
    }
}

fn offer(
    message: &[u8],
    peer: impl FnOnce(&mut Signal) -> Option<String>,
) -> Option<(Signal, String)> {
    let mut signal: Signal = serde_json::from_slice(message).ok()?;
    let peer = peer(&mut signal).filter(|_| signal.kind == "OFFER")?;
    Some((signal, peer))
}

fn remote(signal: Signal, peer: String) -> Remote {
    Remote {
        peer: cut(peer),
        connection_id: signal.payload.connection_id.map(cut),
        label: signal.payload.label.map(cut),
    }
}

fn cut(mut text: String) -> String {
    let end = (0..=TEXT_MAX).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer_of(peer: &str, sdp: &str) -> String {
        serde_json::json!({
            "type": "OFFER", "src": peer, "dst": peer,
            "payload": {
                "sdp": {"type": "offer", "sdp": sdp}, "type": "data", "connectionId": "dc_1",
                "label": "readings", "metadata": {"deep": [[[1]]]},
            },
        })
        .to_string()
    }

    #[test]
    fn offers_are_known_by_their_description() {
        let mut remotes = Remotes::new();
        remotes.heard(offer_of("alice", "v=0\r\na").as_bytes());
        remotes.heard(offer_of("bob", "v=0\r\nb").as_bytes());
        let bob = remotes.accepted("v=0\r\nb").unwrap();
        assert_eq!(bob.peer, "bob");
        assert_eq!(bob.label.as_deref(), Some("readings"));
        assert_eq!(bob.connection_id.as_deref(), Some("dc_1"));
        assert_eq!(remotes.accepted("v=0\r\nb"), None);
        let (hash, carol) = remotes.sent(&offer_of("carol", "v=0\r\nc")).unwrap();
        assert_eq!(
            (hash, carol.peer.as_str()),
            (remotes.hash("v=0\r\nc"), "carol")
        );
    }

    #[test]
    fn nothing_else_is_kept_and_nothing_grows() {
        let mut remotes = Remotes::new();
        for message in [
            "",
            "{",
            r#"{"type":"OFFER"}"#,
            r#"{"type":"OFFER","src":7,"payload":{"sdp":{"sdp":"x"}}}"#,
            &offer_of("a", "x").replace("OFFER", "ANSWER"),
            &"[".repeat(100_000),
        ] {
            remotes.heard(message.as_bytes());
            assert_eq!(remotes.sent(message), None);
        }
        assert!(remotes.offers.is_empty());
        for n in 0..100 {
            remotes.heard(offer_of(&"ä".repeat(10_000), &n.to_string()).as_bytes());
        }
        assert_eq!(remotes.offers.len(), OFFERS_MAX);
        assert_eq!(remotes.accepted("83"), None);
        let last = remotes.accepted("99").unwrap();
        assert_eq!(last.peer, "ä".repeat(TEXT_MAX / 2));
        assert_eq!(
            cut(format!("{}ä", "a".repeat(TEXT_MAX - 1))).len(),
            TEXT_MAX - 1
        );
    }
}
