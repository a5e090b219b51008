//! The command as a process: its configuration, its lines, its page, its signals.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use peer_net::broker::Broker;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::surroundings::soon;

/// A folder for one test, gone at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder for a test");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file for a test");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `peer gateway`, which ends with this value.
pub(crate) struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    /// Where leaves are listened for.
    pub(crate) leaves: Vec<SocketAddr>,
    /// Where its page is.
    pub(crate) page: Option<SocketAddr>,
}

/// What a process says that ends by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    command
        .args(args)
        .env_remove("PEER_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command that ends by itself.
pub(crate) async fn run(args: &[&str]) -> Ended {
    let output = soon(command(args).output()).await.expect("it starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Process {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(config: &Path) -> Self {
        let config = config.to_str().expect("a path of ours");
        let mut child = command(&["gateway", "--config", config])
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let mut process = Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr: BufReader::new(stderr).lines(),
            leaves: Vec::new(),
            page: None,
        };
        assert_eq!(process.announced().await, "Ready.");
        process
    }

    /// Reads where everything is, and gives the line after that.
    async fn announced(&mut self) -> String {
        (self.leaves, self.page) = (Vec::new(), None);
        loop {
            let line = soon(self.stdout.next_line()).await.expect("it is text");
            let line = line.expect("it lives");
            if let Some(address) = line.strip_prefix("Listening for leaves on ") {
                self.leaves.push(address.parse().expect("an address"));
            } else if let Some(url) = line.strip_prefix("Status at http://") {
                self.page = url.strip_suffix('/').and_then(|page| page.parse().ok());
                assert!(self.page.is_some(), "{line}");
            } else {
                return line;
            }
        }
    }

    /// SIGHUP, and what it says to that on stdout.
    pub(crate) async fn reload(&mut self) -> String {
        self.signal("HUP").await;
        self.announced().await
    }

    /// SIGHUP, and what it says to that on stderr.
    pub(crate) async fn refuse(&mut self) -> String {
        self.signal("HUP").await;
        let line = soon(self.stderr.next_line()).await.expect("it is text");
        line.expect("it lives")
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it lives");
        let kill = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status();
        assert!(soon(kill).await.expect("there is a shell").success());
    }

    /// Waits for its end: the exit code, and what it said on stderr.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut said = Vec::new();
        while let Some(line) = soon(self.stderr.next_line()).await.expect("it is text") {
            said.push(line);
        }
        let status = soon(self.child.wait()).await.expect("it ends");
        (status.code(), said)
    }

    /// What is at a path of its page: status line and headers, body.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let page = self.page.expect("it has a page");
        self.get_as(path, &page.to_string()).await
    }

    /// The same, for one who thinks that the page is at `host`.
    pub(crate) async fn get_as(&self, path: &str, host: &str) -> (String, String) {
        let page = self.page.expect("it has a page");
        let mut stream = soon(TcpStream::connect(page)).await.expect("it is there");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        soon(stream.write_all(request.as_bytes()))
            .await
            .expect("it reads");
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer))
            .await
            .expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        (head.to_owned(), body.to_owned())
    }

    /// What it tells about itself.
    pub(crate) async fn status(&self) -> Value {
        let (head, body) = self.get("/status.json").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("application/json"), "{head}");
        serde_json::from_str(&body).expect("JSON")
    }
}

/// A configuration for tests on one machine. `rest`: more of it.
pub(crate) fn config(broker: &Broker, rest: &str) -> String {
    format!(
        "broker = '{}'\nlisten = ['127.0.0.1:0']\nstatus = '127.0.0.1:0'\n{rest}\n\
         [rtc]\ninclude_loopback = true\naddresses = ['127.0.0.1']\n",
        broker.url()
    )
}

/// A leaf that may use its name as its id.
pub(crate) fn leaf(name: &str, key: u8) -> String {
    let key = format!("{key:02x}").repeat(32);
    format!("[[leaf]]\nname = '{name}'\nkey = '{key}'\nids = ['{name}']\n")
}
