//! The command `peer`: PeerJS from a terminal or a script.
#![forbid(unsafe_code)]
// They panic when stdout or stderr is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod broker;
mod demo;
mod failure;
mod file;
mod gateway;
mod http;
mod logs;
mod online;
mod peer_options;
mod shown;
mod signals;
mod state;
mod stdout;
mod talk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::Failure;
use logs::{LogFormat, LogLevel};

/// PeerJS without a browser: take an id at a broker, open data connections to other peers and to
/// web pages.
///
/// Try it:   peer demo
/// Two terminals and a broker of your own:
///           peer broker
///           peer listen  --id alice --echo --broker http://localhost:9000
///           peer connect alice             --broker http://localhost:9000
///
/// Exit codes: 0 all well, 1 something else failed, 2 wrong usage, 3 the broker could not be
/// reached or refused, or was lost with --no-reconnect, 4 no such peer, 5 the connection failed or
/// was lost, 6 a file could not be read, written or verified.
#[derive(Parser)]
#[command(name = "peer", version, verbatim_doc_comment, propagate_version = true)]
struct Cli {
    /// How much to log on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Warn, env = "PEER_LOG")]
    log: LogLevel,

    /// How log lines look.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    #[arg(default_value_t = LogFormat::Text, env = "PEER_LOG_FORMAT")]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show everything at once: a broker, a sensor, a receiver and a page for the browser.
    Demo(demo::Args),
    /// Run a broker that browsers and every PeerJS client can use (PeerServer's flags).
    Broker(broker::Args),
    /// Lend the broker and WebRTC to microcontrollers over TCP and serial ports.
    Gateway(gateway::Args),
    /// Wait for connections; lines on stdin go to every peer, what arrives is printed.
    Listen(talk::ListenArgs),
    /// Connect to a peer, then talk to it like netcat.
    Connect(talk::ConnectArgs),
    /// Send a file to a `peer receive`.
    Send(file::SendArgs),
    /// Receive files into a folder.
    Receive(file::ReceiveArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    logs::start(cli.log, cli.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::other(format!("the runtime could not start: {error}")).report();
        }
    };
    let outcome = runtime.block_on(run(cli.command));
    // stdin is read on a thread that cannot be interrupted; it must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Broker(args) => broker::run(args).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Listen(args) => talk::listen(args).await,
        Command::Connect(args) => talk::connect(args).await,
        Command::Send(args) => file::send(args).await,
        Command::Receive(args) => file::receive(args).await,
    }
}
