//! A peer that the broker knows, and what is told when it is lost.

use peer_net::{Event, Events, Peer, PeerError};
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

impl Online {
    /// Waits until the broker knows the peer.
    ///
    /// # Errors
    /// The broker cannot be reached, or refused.
    pub(crate) async fn open(
        peer: Peer,
        state: Option<State>,
        broker: &str,
        returns: bool,
    ) -> Result<Self, Failure> {
        let mut events = peer.events();
        let id = match first(&mut events).await {
            Ok(id) => id,
            Err(why) => {
                end(&peer).await;
                return Err(Failure::broker(format!(
                    "could not open at {broker}: {why}"
                )));
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
async fn first(events: &mut Events) -> Result<String, String> {
    while let Some(event) = events.next().await {
        match event {
            Event::Open(id) => return Ok(id.to_string()),
            Event::Error(failure) => return Err(sentence(&failure)),
            Event::Closed => break,
            _ => {}
        }
    }
    Err("the peer was ended".to_owned())
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

/// The sentence about a lost broker, for people and for events.
pub(crate) fn lost(broker: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("the broker {broker} is lost: {why}"),
        None => format!("the broker {broker} is lost"),
    }
}
