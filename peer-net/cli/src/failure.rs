//! Why a command ended, as a sentence and an exit code.

use std::error::Error;
use std::process::ExitCode;

use peer_net::{ConnectError, PeerError};

/// Why a command ended badly.
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    const OTHER: u8 = 1;
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
        let why = format!("could not connect to {remote}: {}", sentence(error));
        if error.kind() == PeerError::PeerUnavailable.as_str() {
            Self {
                code: Self::NO_SUCH_PEER,
                sentence: why,
            }
        } else {
            Self {
                code: Self::CONNECTION,
                sentence: why,
            }
        }
    }

    pub(crate) fn file(sentence: impl Into<String>) -> Self {
        Self {
            code: Self::FILE,
            sentence: sentence.into(),
        }
    }

    /// Tells the user and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("peer: {}", self.sentence);
        ExitCode::from(self.code)
    }
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
    text
}
