//! Which memory the linker has, and where defmt's strings go: a linker script of its own keeps them
//! out of the image.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let has = |feature| std::env::var_os(feature).is_some();
    let program = match has("CARGO_FEATURE_DIRECT") {
        true => "direct",
        false => "uart",
    };
    println!("cargo::rerun-if-changed=memory/{program}/memory.x");
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-search={here}/memory/{program}");
    if has("CARGO_FEATURE_DEFMT") {
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
}
