//! The part of the firmware that knows no hardware, so that its tests run on the host.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod app;
mod history;
mod upload;
mod words;
