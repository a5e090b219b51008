//! A network of a bridge and hosts, each in a network namespace.

use std::process::Stdio;

use peer_net::broker::{Broker, BrokerOptions};
use tokio::process::Command;

use crate::process::{Outcome, Process, soon};
use crate::shared::piped;

/// Says to a run of this program that it has the network to itself.
const INSIDE: &str = "PEER_TEST_NET";
/// Where the test itself and the broker are.
const HOME: &str = "10.7.0.1";

/// The hosts are on one bridge, and the test is its first host.
pub(crate) struct Net(());

/// Runs a test in namespaces of its own, which are gone at its end however it ends. `name`: the
/// test's.
pub(crate) fn alone(name: &str, test: impl AsyncFnOnce(Net) -> Outcome) -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Runtime::new()?.block_on(async {
            run("mount -t tmpfs tmpfs /run && ip link set lo up").await;
            run("ip link add bridge type bridge && ip link set bridge up").await;
            run(&format!("ip address add {HOME}/24 dev bridge")).await;
            test(Net(())).await
        });
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let ended = command
        .arg(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    print!("{said}");
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{name} failed in its namespaces; it needs root or namespaces for users, and iproute2"
    );
    Ok(())
}

impl Net {
    /// Adds a host at its first address.
    pub(crate) async fn host(&self, name: &str) {
        let number = number(name);
        run(&format!(
            "ip netns add {name} && ip -n {name} link set lo up &&
             ip link add to-{name} type veth peer name eth0 netns {name} &&
             ip link set to-{name} master bridge up && ip -n {name} link set eth0 up &&
             ip -n {name} address add 10.7.0.{number}/24 dev eth0"
        ))
        .await;
    }

    /// Nothing comes through any more, and nobody is told.
    pub(crate) async fn cut(&self, name: &str) {
        run(&format!("ip link set to-{name} nomaster")).await;
    }

    pub(crate) async fn mend(&self, name: &str) {
        run(&format!("ip link set to-{name} master bridge")).await;
    }

    /// The host has another address, and its old one no more.
    pub(crate) async fn readdress(&self, name: &str) {
        let number = number(name);
        run(&format!(
            "ip -n {name} address del 10.7.0.{number}/24 dev eth0 &&
             ip -n {name} address add 10.7.0.{}/24 dev eth0",
            100 + number
        ))
        .await;
    }

    /// The host has no network, and knows it.
    pub(crate) async fn down(&self, name: &str) {
        run(&format!("ip -n {name} link set eth0 down")).await;
    }

    pub(crate) async fn up(&self, name: &str) {
        run(&format!("ip -n {name} link set eth0 up")).await;
    }

    /// Starts the command on a host.
    pub(crate) fn start(&self, host: &str, args: &[&str], more: &[String]) -> Process {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", host, env!("CARGO_BIN_EXE_peer")])
            .args(args)
            .args(more);
        Process::spawn(piped(command))
    }

    /// A broker at the test's own address.
    pub(crate) async fn broker(&self, port: u16) -> Broker {
        let broker = Broker::bind((HOME, port), BrokerOptions::default()).await;
        broker.expect("the address is there")
    }

    /// The command's options for that broker.
    pub(crate) fn at(&self, broker: &Broker) -> Vec<String> {
        let url = broker.url();
        ["--broker", &url, "--ice-server", "none"]
            .map(str::to_owned)
            .to_vec()
    }
}

fn number(host: &str) -> u8 {
    match host {
        "sender" => 2,
        "receiver" => 3,
        other => panic!("there is no host {other}"),
    }
}

async fn run(script: &str) {
    let mut command = Command::new("sh");
    let output = soon(command.args(["-ec", script]).output()).await;
    let output = output.expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}
