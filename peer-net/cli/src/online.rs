//! A peer that the broker knows, and what is told when it is lost.

use peer_net::{Event, Events, Peer, PeerError, PeerFailure};
use tokio::sync::watch;

use crate::failure::{Failure, sentence};
use crate::peer_options::end;
use crate::shown::tell;
use crate::state::State;

/// A peer at its broker. It comes back by itself where the options say so, and says so on stderr.
pub(crate) struct Online {
    pub(crate) peer: Peer,
    id: String,
    /// Set once the peer is at no broker and does not come back.
    over: watch::Receiver<Option<String>>,
    /// The id belongs to this process while this lives.
    _state: Option<State>,
}

/// How long a command waits for a broker that was never reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// One attempt: a person waits for what the command does.
    Once,
    /// For ever: the command may be started before the network is.
    Patient,
}

impl Online {
    /// Waits until the broker knows the peer. `returns`: it comes back to a broker that it lost.
    ///
    /// # Errors
    /// The broker refused; where there is no patience, it cannot be reached.
    pub(crate) async fn open(
        peer: Peer,
        state: Option<State>,
        broker: &str,
        start: Start,
        returns: bool,
    ) -> Result<Self, Failure> {
        let mut events = peer.events();
        let id = match first(&peer, &mut events, broker, start).await {
            Ok(id) => id,
            Err(why) => {
                end(&peer).await;
                return Err(Failure::broker(could_not_open(broker, &why)));
            }
        };
        let (set, over) = watch::channel(None);
        let broker = broker.to_owned();
        let watched = peer.clone();
        tokio::spawn(async move {
            let why = watch(&watched, events, &broker, returns).await;
            set.send_replace(Some(why));
        });
        Ok(Self {
            peer,
            id,
            over,
            _state: state,
        })
    }

    /// The id at the broker.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the broker is lost for good.
    pub(crate) async fn lost(&self) -> Failure {
        let mut over = self.over.clone();
        match over.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(why)) => Failure::broker(why.clone()),
            _ => Failure::broker("the peer was ended"),
        }
    }
}

/// The id that the broker gave, or why there is none.
async fn first(
    peer: &Peer,
    events: &mut Events,
    broker: &str,
    start: Start,
) -> Result<String, String> {
    let (mut why, mut told) = (None, None);
    while let Some(event) = events.next().await {
        match event {
            Event::Open(id) => return Ok(id.to_string()),
            Event::Error(failure) if start == Start::Once => return Err(refused(&failure)),
            Event::Error(failure) => {
                let now = Some(refused(&failure));
                // One that was refused is destroyed by now. The others fail for the same reason,
                // mostly.
                if now != told
                    && !peer.is_destroyed()
                    && let Some(why) = &now
                {
                    tell!("peer: {}; trying again", could_not_open(broker, why));
                    told.clone_from(&now);
                }
                why = now;
            }
            Event::Closed => break,
            _ => {}
        }
    }
    Err(why.unwrap_or_else(|| "the peer was ended".to_owned()))
}

/// Why the broker did not take the peer, and what helps where an id is in use.
fn refused(failure: &PeerFailure) -> String {
    let why = sentence(failure);
    if failure.error() == PeerError::UnavailableId {
        return format!(
            "{why}; whoever had it last keeps it for up to a minute, and --state or the same \
             --token takes it back at once"
        );
    }
    why
}

/// Tells how the peer fares with its broker, until it is over. Why it is.
async fn watch(peer: &Peer, mut events: Events, broker: &str, returns: bool) -> String {
    let mut why = None;
    let mut away = false;
    while let Some(event) = events.next().await {
        match event {
            // Whoever wanted that peer tells it.
            Event::Error(failure) if failure.error() == PeerError::PeerUnavailable => {}
            Event::Error(failure) => {
                let now = Some(sentence(&failure));
                // Each attempt to come back fails for the same reason, mostly.
                if away && now != why {
                    tell!("peer: still not back at {broker}: {}", sentence(&failure));
                }
                why = now;
            }
            // It leaves on its own.
            Event::Disconnected if peer.is_destroyed() => {}
            Event::Disconnected if !returns => {
                return lost(broker, why.as_deref());
            }
            Event::Disconnected if !away => {
                away = true;
                tell!(
                    "peer: {}; coming back by itself",
                    lost(broker, why.as_deref())
                );
            }
            Event::Open(id) if away => {
                (away, why) = (false, None);
                tell!("peer: back at {broker} as {id}");
            }
            Event::Closed => break,
            _ => {}
        }
    }
    "the peer was ended by its broker".to_owned()
}

/// The sentence about a broker that was never reached, or refused.
pub(crate) fn could_not_open(broker: &str, why: &str) -> String {
    format!("could not open at {broker}: {why}")
}

/// The sentence about a lost broker, for people and for events.
pub(crate) fn lost(broker: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("the broker {broker} is lost: {why}"),
        None => format!("the broker {broker} is lost"),
    }
}
