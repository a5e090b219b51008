//! Pages, from `peer-net/docs`. They are in the documentation only.

#[doc = "[json-lines]: crate::docs::json_lines\n"]
#[cfg_attr(feature = "gateway", doc = "[example]: crate::gateway::EXAMPLE\n")]
#[doc = include_str!("../docs/command.md")]
pub mod command {}

#[doc = "[exit-status]: crate::docs::command#exit-status\n"]
#[doc = include_str!("../docs/json-lines.md")]
pub mod json_lines {}

#[doc = include_str!("../docs/peerjs-api.md")]
pub mod peerjs_api {}

#[doc = include_str!("../docs/figures.md")]
pub mod figures {}
