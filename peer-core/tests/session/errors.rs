//! What errors tell a person: what failed, whose fault it is, and, from below, the same words.

use std::collections::HashSet;
use std::error::Error;

use peer_core::rtc::dtls::DtlsError;
use peer_core::rtc::ice::{self, CredentialsError, ServersKnown};
use peer_core::rtc::sctp::{self, Violation};
use peer_core::rtc::session::{Failure, OpenError, RemoteError, SendError, ServersError};
use peer_core::wire::dcep::DcepError;

/// Each a sentence of its own, which names what it is about.
fn say(errors: &[(&dyn Error, &str)]) {
    let mut seen = HashSet::new();
    for (error, subject) in errors {
        let text = error.to_string();
        assert!(text.contains(subject), "{text}: {subject}");
        assert!(text.len() > 15 && !text.ends_with('.'), "{text}");
        assert!(seen.insert(text.clone()), "twice: {text}");
    }
}

#[test]
fn failures_name_stage_and_blame() {
    say(&[
        (&Failure::Ice(ice::Failure::NoAnswer), "ICE"),
        (&Failure::Ice(ice::Failure::Lost), "ICE"),
        (&Failure::Dtls(DtlsError::Fingerprint), "certificate"),
        (&Failure::Sctp(Violation::Fragments), "remote broke a rule"),
        (&Failure::Unreachable, "does not answer SCTP"),
        (&Failure::Restarted, "is lost"),
        (&Failure::Channel(DcepError::NotUtf8), "label"),
    ]);
}

#[test]
fn errors_name_what_to_change() {
    say(&[
        (&RemoteError::Credentials(CredentialsError::Ufrag), "ufrag"),
        (&ServersError::Known(ServersKnown), "servers"),
        (&ServersError::TooLateToRelay, "may_relay"),
        (
            &RemoteError::Credentials(CredentialsError::Password),
            "password",
        ),
        (&RemoteError::Setup, "a=setup"),
        (&RemoteError::Changed, "fingerprint"),
        (&OpenError::LabelTooLong, "LABEL_MAX"),
        (&OpenError::NotFirst, "channel already"),
        (&OpenError::Over, "over"),
        (&SendError::NotOpen, "not open yet"),
        (&SendError::Closed, "closed"),
        (&SendError::Full, "acknowledged"),
        (&SendError::Sctp(sctp::SendError::TooLong), "longer"),
    ]);
}

#[test]
fn words_from_below_are_not_said_twice() {
    for (error, below) in [
        (
            Failure::Ice(ice::Failure::Random).to_string(),
            ice::Failure::Random.to_string(),
        ),
        (
            Failure::Dtls(DtlsError::Finished).to_string(),
            DtlsError::Finished.to_string(),
        ),
        (
            Failure::Channel(DcepError::Truncated).to_string(),
            DcepError::Truncated.to_string(),
        ),
        (
            RemoteError::Credentials(CredentialsError::Ufrag).to_string(),
            CredentialsError::Ufrag.to_string(),
        ),
        (
            SendError::Sctp(sctp::SendError::Empty).to_string(),
            sctp::SendError::Empty.to_string(),
        ),
    ] {
        assert_eq!(error, below);
    }
}
