//! The fuzz targets for libFuzzer.

use std::path::Path;
use std::{env, fs};

mod targets;

pub use targets::*;

/// Puts the seeds of a target into its corpus, the first folder that libFuzzer is called with.
pub fn plant(target: &str) {
    let mut folders = env::args_os().skip(1).filter(|arg| Path::new(arg).is_dir());
    let Some(corpus) = folders.next() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (n, seed) in seeds(target, &folder).iter().enumerate() {
        // Without them it only takes longer.
        let _ = fs::write(Path::new(&corpus).join(format!("seed-{n}")), seed);
    }
}
