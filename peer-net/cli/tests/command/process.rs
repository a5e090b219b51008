//! The command, its surroundings, and waiting for both.

use core::future::Future;
use core::time::Duration;

use peer_net::broker::{Broker, BrokerOptions};
use peer_net::{Peer, PeerBuilder, RtcConfig};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use crate::shared::{Ended, Folder, command, stacks};

pub(crate) type Outcome = Result<(), Box<dyn core::error::Error>>;

/// No test decides by this time; it only ends one that hangs.
const HANG: Duration = Duration::from_secs(300);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(HANG, future).await.expect("it hangs")
}

pub(crate) async fn broker() -> Broker {
    broker_at(0).await
}

pub(crate) async fn broker_at(port: u16) -> Broker {
    Broker::bind(("127.0.0.1", port), BrokerOptions::default())
        .await
        .expect("a port on 127.0.0.1")
}

/// A peer of the library at the broker.
pub(crate) fn peer(broker: &Broker) -> PeerBuilder {
    Peer::builder().broker(broker.url()).rtc(RtcConfig {
        stack: stacks()[1],
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    })
}

/// The command's options for a broker and paths on this machine.
pub(crate) fn at(broker: &Broker) -> Vec<String> {
    let url = broker.url();
    [
        "--broker",
        &url,
        "--ice-server",
        "none",
        "--include-loopback",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The command, while it runs.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) fn start(args: &[&str], more: &[String]) -> Self {
        Self::spawn(command(args, more))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().map(|out| BufReader::new(out).lines());
        let stderr = child.stderr.take().expect("it is piped");
        Self {
            stdin: child.stdin.take(),
            stdout,
            stderr: BufReader::new(stderr).lines(),
            child,
        }
    }

    pub(crate) async fn write(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        soon(stdin.write_all(text.as_ref()))
            .await
            .expect("it reads");
    }

    /// Writes, while something else is waited for, and leaves stdin open.
    pub(crate) fn writing(&mut self, text: String) -> JoinHandle<ChildStdin> {
        let mut stdin = self.stdin.take().expect("stdin is open");
        tokio::spawn(async move {
            soon(stdin.write_all(text.as_bytes()))
                .await
                .expect("it reads");
            stdin
        })
    }

    /// Ends stdin.
    pub(crate) fn end(&mut self) {
        self.stdin = None;
    }

    /// Nobody reads stdout any more.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// The next line of stdout.
    pub(crate) async fn line(&mut self) -> String {
        let stdout = self.stdout.as_mut().expect("stdout is open");
        let line = soon(stdout.next_line()).await.expect("it is text");
        match line {
            Some(line) => line,
            None => panic!("it has ended: {}", self.rest_of_stderr().await),
        }
    }

    /// The next event of that name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line().await).expect("JSON");
            if event["event"] == name {
                return event;
            }
        }
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

    async fn rest_of_stderr(&mut self) -> String {
        let mut text = String::new();
        while let Ok(Ok(Some(line))) =
            timeout(Duration::from_secs(5), self.stderr.next_line()).await
        {
            text += &line;
            text.push('\n');
        }
        text
    }

    pub(crate) async fn signal(&self, name: &str) {
        soon(crate::shared::signal(&self.child, name)).await;
    }

    /// Ends stdin and waits for the end.
    pub(crate) async fn ended(mut self) -> Ended {
        self.end();
        let stdout = async {
            let mut text = String::new();
            if let Some(stdout) = &mut self.stdout {
                let read = stdout.get_mut().read_to_string(&mut text).await;
                read.expect("it is text");
            }
            text
        };
        let stderr = async {
            let mut text = String::new();
            let read = self.stderr.get_mut().read_to_string(&mut text).await;
            read.expect("it is text");
            text
        };
        let (stdout, stderr) = soon(async { tokio::join!(stdout, stderr) }).await;
        let status = soon(self.child.wait()).await.expect("it ends");
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }
}

/// Runs a command that ends by itself. `stdin`: what it reads.
pub(crate) async fn run(args: &[&str], more: &[String], stdin: &str) -> Ended {
    let mut process = Process::start(args, more);
    process.write(stdin).await;
    process.ended().await
}
