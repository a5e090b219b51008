//! Why a command ended, as a sentence and an exit code.

use core::sync::atomic::{AtomicBool, Ordering};
use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use peer_net::{BuildError, ConnectError, ConnectionFailure, PeerError, listener};

use crate::shown::tell;

/// Why a command ended badly.
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    const OTHER: u8 = 1;
    const USAGE: u8 = 2;
    const BROKER: u8 = 3;
    const NO_SUCH_PEER: u8 = 4;
    const CONNECTION: u8 = 5;
    const FILE: u8 = 6;

    pub(crate) fn other(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::OTHER,
            sentence: sentence.into(),
        }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::USAGE,
            sentence: sentence.into(),
        }
    }

    /// The peer cannot be made as the options say.
    pub(crate) fn of_build(error: &BuildError) -> Self {
        match error {
            BuildError::Id { .. } | BuildError::Token(_) | BuildError::Broker { .. } => {
                Self::usage(sentence(error))
            }
            _ => Self::other(sentence(error)),
        }
    }

    pub(crate) fn broker(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::BROKER,
            sentence: sentence.into(),
        }
    }

    pub(crate) fn connection(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::CONNECTION,
            sentence: sentence.into(),
        }
    }

    /// A connect that came to nothing.
    pub(crate) fn of_connect(remote: &str, error: &ConnectError) -> Self {
        match error {
            ConnectError::Failed(failure) => Self::of_failure(remote, failure),
            ConnectError::Id { .. } | ConnectError::Label | ConnectError::Metadata(_) => {
                Self::usage(sentence(error))
            }
            _ => Self::connection(could_not(remote, error)),
        }
    }

    /// A connection that never opened.
    pub(crate) fn of_failure(remote: &str, failure: &ConnectionFailure) -> Self {
        let unavailable = failure.kind() == PeerError::PeerUnavailable.as_str();
        if !unavailable && lacks_descriptors() {
            return Self::other(format!(
                "this machine gave no file descriptors for a connection to {remote}; raise their \
                 limit (ulimit -n)"
            ));
        }
        Self {
            code: if unavailable {
                Self::NO_SUCH_PEER
            } else {
                Self::CONNECTION
            },
            sentence: could_not(remote, failure),
        }
    }

    pub(crate) fn file(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::FILE,
            sentence: sentence.into(),
        }
    }

    /// The same, with what came before it.
    pub(crate) fn after(self, what: &str) -> Self {
        Self {
            sentence: format!("{what}: {}", self.sentence),
            ..self
        }
    }

    /// What happened, as a sentence.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Tells the user and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        tell!("peer: {}", self.sentence);
        ExitCode::from(self.code)
    }
}

/// Descriptors that one connection takes, about.
const DESCRIPTORS: usize = 8;

/// Whether this process can open fewer descriptors than a connection takes. What a stack without
/// sockets says is that no path works.
fn lacks_descriptors() -> bool {
    let sockets: Result<Vec<_>, _> = (0..DESCRIPTORS)
        .map(|_| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    sockets.is_err_and(|error| listener::lacks_descriptors(&error))
}

/// That a connect came to nothing, and why.
pub(crate) fn could_not(remote: &str, error: &dyn Error) -> String {
    format!("could not connect to {remote}: {}", sentence(error))
}

/// What the stack advises where no path works. It does not know whether a server was given.
const TURN_ADVICE: &str = "; a TURN server may be needed";
/// Whether a TURN server was given.
static HAS_TURN: AtomicBool = AtomicBool::new(false);

/// A TURN server was given: none is advised from here on.
pub(crate) fn no_turn_advice() {
    HAS_TURN.store(true, Ordering::Relaxed);
}

/// An error and what caused it, in one sentence.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Many errors repeat their source in their own text.
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    without_page(advised(&text, HAS_TURN.load(Ordering::Relaxed)))
}

/// The text with that advice once, though the engine and the stack give it, or not at all.
fn advised(text: &str, has_turn: bool) -> String {
    match text.split_once(TURN_ADVICE) {
        Some((before, after)) => {
            let advice = if has_turn { "" } else { TURN_ADVICE };
            format!("{before}{advice}{}", after.replace(TURN_ADVICE, ""))
        }
        None => text.to_owned(),
    }
}

/// The text without a web page in it: a proxy's error page says nothing in a terminal.
fn without_page(text: String) -> String {
    let lower = text.to_ascii_lowercase();
    let begins = ["<!doctype html", "<html"]
        .into_iter()
        .filter_map(|tag| lower.find(tag));
    match begins.min() {
        Some(at) => format!("{}(a web page)", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_server_is_advised_once_where_there_is_none() {
        let text = format!("no path{TURN_ADVICE}: the time was up{TURN_ADVICE}; stun:a: no answer");
        let once = format!("no path{TURN_ADVICE}: the time was up; stun:a: no answer");
        assert_eq!(advised(&text, false), once);
        assert_eq!(
            advised(&text, true),
            "no path: the time was up; stun:a: no answer"
        );
        assert_eq!(advised("another", false), "another");
    }

    #[test]
    fn web_pages_are_not_printed() {
        let text = "the broker answered an open with status 502: <!DOCTYPE html><html><body>";
        let told = without_page(text.to_owned());
        assert_eq!(
            told,
            "the broker answered an open with status 502: (a web page)"
        );
        assert_eq!(without_page("a < b".to_owned()), "a < b");
    }
}
