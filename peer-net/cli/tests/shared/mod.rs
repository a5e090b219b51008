//! What the tests of the command share: its process, files for it, and what it said.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use peer_net::Stack;
use serde_json::Value;
use tokio::process::{Child, Command};

/// A folder for one test, gone at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder for a test");
        Self(path)
    }

    /// Writes a file that only this user may read. Where it is.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file for a test");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        path
    }

    /// Where a file of that name is or would be; the folder itself without a name.
    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("a path of ours").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The stacks of the command and of the library's peers, by the variable `PEER_STACK`: `native`,
/// `webrtc-rs`, or `cross`, where the command's is the native one.
pub(crate) fn stacks() -> [Stack; 2] {
    match std::env::var("PEER_STACK") {
        Ok(name) if name == "cross" => [Stack::Native, Stack::WebrtcRs],
        Ok(name) => [name.parse().expect("PEER_STACK names a stack"); 2],
        Err(_) => [Stack::default(); 2],
    }
}

/// The command with its three streams piped, and without what the environment says.
pub(crate) fn command(args: &[&str], more: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    command.args(args).args(more);
    piped(command)
}

/// The same for another program that starts the command.
pub(crate) fn piped(mut command: Command) -> Command {
    command
        .env_remove("PEER_LOG")
        .env_remove("PEER_LOG_FORMAT")
        .env_remove("PEER_BROKER")
        .env_remove("PEER_TOKEN")
        .env("PEER_STACK", stacks()[0].name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The command with at most so many file descriptors.
pub(crate) fn limited(args: &[&str], descriptors: u32) -> Command {
    let line = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &line, env!("CARGO_BIN_EXE_peer")])
        .args(args);
    piped(command)
}

/// Processor time that a process has used, in steps of a hundredth of a second (Linux).
pub(crate) fn busy(child: &Child) -> Duration {
    let id = child.id().expect("it lives");
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it lives");
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field
    // after it.
    let (_, fields) = stat.rsplit_once(") ").expect("proc(5)");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks
        .map(|ticks| ticks.parse::<u64>().expect("proc(5)"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Sends a signal, by its name without SIG.
pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it lives");
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{name} {id}")])
        .status();
    assert!(kill.await.expect("there is a shell").success());
}

/// What a process said that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The events of `--json`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}
