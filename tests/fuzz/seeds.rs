//! Writes the seeds of a target into a folder, for libFuzzer: `seeds TARGET FOLDER`.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let (Some(target), Some(folder)) = (args.next(), args.next()) else {
        return Err(io::Error::other("usage: seeds TARGET FOLDER"));
    };
    let folder = Path::new(&folder);
    for (n, seed) in peer_fuzz::seeds(&target).iter().enumerate() {
        fs::write(folder.join(format!("vector-{n}")), seed)?;
    }
    let written = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(&target);
    for file in fs::read_dir(written).into_iter().flatten() {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    Ok(())
}
