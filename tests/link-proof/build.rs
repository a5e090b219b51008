//! Links as a program of the C library, which brings `_start`, `memcpy` and `abort` and nothing of
//! Rust.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-lc");
}
