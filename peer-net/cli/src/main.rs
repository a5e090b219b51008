//! The command `peer`: PeerJS from a terminal or a script.

mod broker;
mod demo;
mod failure;
mod file;
mod gateway;
mod http;
mod peer_options;
mod signals;
mod talk;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use failure::Failure;

/// PeerJS without a browser: take an id at a broker, open data connections to other peers and to web pages.
///
/// Try it:   peer demo
/// Two terminals and a broker of your own:
///           peer broker
///           peer listen  --id alice --echo --broker http://localhost:9000
///           peer connect alice             --broker http://localhost:9000
///
/// Exit codes: 0 all well, 1 something else failed, 2 wrong usage, 3 the broker could not be
/// reached or refused, 4 no such peer, 5 the connection failed or was lost, 6 a file could not be
/// read, written or verified.
#[derive(Parser)]
#[command(name = "peer", version, verbatim_doc_comment, propagate_version = true)]
struct Cli {
    /// How much to tell on stderr.
    #[arg(long, global = true, value_enum, default_value_t = Level::Warn, env = "PEER_LOG")]
    log: Level,

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

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The crates below are chatty: they are heard only when asked for with `trace`.
    const fn directives(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "off,peer=error,peer_net=error",
            Self::Warn => "off,peer=warn,peer_net=warn",
            Self::Info => "off,peer=info,peer_net=info",
            Self::Debug => "off,peer=debug,peer_net=debug",
            Self::Trace => "trace",
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(cli.log.directives())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
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
