//! `peer send` and `peer receive`: files of any size in bounded memory, resumed and verified.

mod folder;
mod name;
mod places;
mod protocol;
mod receive;
mod send;
mod store;

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::peer_options::PeerOptions;
use crate::shown::Shown;

pub(crate) use receive::receive;
pub(crate) use send::send;

/// What `peer send` takes.
#[derive(clap::Args)]
pub(crate) struct SendArgs {
    /// The peer that runs `peer receive`.
    #[arg(value_name = "ID")]
    remote: String,

    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Give up when nothing got on for so many seconds. Until then a lost network, broker or
    /// receiver is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    timeout: f64,

    #[command(flatten)]
    peer: PeerOptions,
}

/// What `peer receive` takes.
#[derive(clap::Args)]
pub(crate) struct ReceiveArgs {
    /// The folder to put files into; it is made where there is none. What is there is never
    /// overwritten. Unfinished files are kept for a day in `.peer-receive` in it.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    into: PathBuf,

    /// End after the first whole file.
    #[arg(long)]
    once: bool,

    /// Take files from this peer only.
    #[arg(long, value_name = "ID")]
    from: Option<String>,

    /// Refuse files of more bytes than this.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    max_size: u64,

    /// Refuse files that would leave less of the disk free than this.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    keep_free: u64,

    /// End transfers that are slower than this, in bytes a second.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    min_rate: u64,

    #[command(flatten)]
    peer: PeerOptions,
}

/// A bar on stderr; nothing is drawn where stderr is not a terminal.
fn progress(name: &str, size: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::new(size);
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(Shown(name).to_string());
    bar.set_position(done);
    bar.reset_eta();
    bar
}
