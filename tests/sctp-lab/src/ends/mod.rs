//! The implementations, each behind [`End`].

mod dcsctp;
mod ours;
mod sctp_proto;
mod webrtc_sctp;

use crate::end::{End, EndOptions};

/// An implementation of SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// Ours.
    Ours,
    /// The `dcsctp` crate, the one in Chromium.
    Dcsctp,
    /// The `sctp-proto` crate, the one in str0m.
    SctpProto,
    /// The `webrtc-sctp` crate, the one of the stack assembled from webrtc-rs.
    WebrtcSctp,
}

impl Implementation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Dcsctp, Self::SctpProto, Self::WebrtcSctp];

    /// Its name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Dcsctp => "dcsctp",
            Self::SctpProto => "sctp-proto",
            Self::WebrtcSctp => "webrtc-sctp",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|implementation| implementation.name() == name)
    }

    /// Calls `with` with a new end.
    pub fn with_end<R>(self, options: &EndOptions, with: impl FnOnce(&mut dyn End) -> R) -> R {
        match self {
            Self::Ours => {
                let mut lent = ours::Lent::new(options.window);
                with(&mut ours::Ours::new(options, &mut lent))
            }
            Self::Dcsctp => with(&mut dcsctp::Dcsctp::new(options)),
            Self::SctpProto => with(&mut sctp_proto::SctpProto::new(options)),
            Self::WebrtcSctp => with(&mut webrtc_sctp::WebrtcSctp::new(options)),
        }
    }
}
