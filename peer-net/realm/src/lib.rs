#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod absent;
mod message;
mod options;
mod realm;

pub use message::{ClientMessage, MessageError, MessageType};
pub use options::{RealmLimits, RealmOptions};
pub use realm::{Action, Origin, Realm, RealmStats, SessionId};
