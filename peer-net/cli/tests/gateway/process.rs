//! The command as a process: its configuration, its lines, its page, its signals.

use core::net::SocketAddr;
use core::time::Duration;

use peer_net::broker::Broker;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout};

pub(crate) use crate::shared::{Ended, Folder};
use crate::shared::{busy, command, limited, signal};
use crate::surroundings::soon;

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

/// Runs a command that ends by itself.
pub(crate) async fn run(args: &[&str]) -> Ended {
    let output = soon(command(args, &[]).output()).await.expect("it starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Process {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same with more options.
    pub(crate) async fn start_with(config: &str, more: &[&str]) -> Self {
        let args = [&["gateway", "--config", config], more].concat();
        Self::ready(command(&args, &[])).await
    }

    /// Starts it with at most so many file descriptors.
    pub(crate) async fn limited(config: &str, descriptors: u32) -> Self {
        Self::ready(limited(&["gateway", "--config", config], descriptors)).await
    }

    async fn ready(mut command: tokio::process::Command) -> Self {
        let mut child = command.spawn().expect("it starts");
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
        soon(signal(&self.child, name)).await;
    }

    /// The next line of stderr that has these words.
    pub(crate) async fn told(&mut self, words: &str) -> String {
        loop {
            let line = soon(self.stderr.next_line()).await.expect("it is text");
            let line = line.unwrap_or_else(|| panic!("it ended without saying: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Processor time that it has used.
    pub(crate) fn busy(&self) -> Duration {
        busy(&self.child)
    }

    /// Waits for its end. What it said since it was ready.
    pub(crate) async fn ended(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let read = async {
            tokio::join!(
                self.stdout.get_mut().read_to_string(&mut stdout),
                self.stderr.get_mut().read_to_string(&mut stderr)
            )
        };
        let (out, err) = soon(read).await;
        out.and(err).expect("it is text");
        let status = soon(self.child.wait()).await.expect("it ends");
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
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
