//! `peer gateway` as a process, with leaves, our broker and peers of peer-net around it.
#![cfg(unix)]

mod command;
// Leaves and their surroundings are those of the library's own tests.
#[allow(dead_code)]
#[path = "../../../tests/gateway/device.rs"]
mod device;
mod process;
#[allow(dead_code)]
#[path = "../shared/mod.rs"]
mod shared;
mod shortage;
#[allow(dead_code)]
#[path = "../../../tests/gateway/surroundings.rs"]
mod surroundings;
