//! Turns `PEER_CORE_*` environment variables into the constants of `src/config.rs`.

use core::fmt::Write as _;
use std::{env, fs, path::PathBuf};

/// Name, default, smallest and largest value. Documented one by one in `src/config.rs`.
const CONSTANTS: &[(&str, usize, usize, usize)] = &[
    ("PEER_ID_MAX", 128, 36, 1024),
    ("CONNECTION_ID_MAX", 64, 16, 255),
    ("TOKEN_MAX", 64, 8, 255),
    ("LABEL_MAX", 128, 16, 1024),
    ("CANDIDATE_MAX", 256, 128, 1024),
    ("SDP_MAX", 16384, 512, 16384),
    ("JSON_DEPTH_MAX", 32, 4, 255),
    ("BINARYPACK_DEPTH_MAX", 64, 4, 255),
    ("EARLY_SIGNALS_MAX", 8, 1, 255),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut out = String::new();
    for &(name, default, min, max) in CONSTANTS {
        let variable = format!("PEER_CORE_{name}");
        println!("cargo::rerun-if-env-changed={variable}");
        let value = match env::var(&variable) {
            Ok(text) => match text.parse::<usize>() {
                Ok(value) if (min..=max).contains(&value) => value,
                _ => {
                    println!(
                        "cargo::error={variable}={text}: a number from {min} to {max} is needed"
                    );
                    default
                }
            },
            Err(_) => default,
        };
        let _ = writeln!(out, "pub(crate) const {name}: usize = {value};");
    }
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("config.rs");
    fs::write(path, out).expect("OUT_DIR is writable");
}
