//! The command `peer`.

use std::process::ExitCode;

use clap::Parser;

mod broker;

/// PeerJS for machines without a browser.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    Broker(broker::BrokerArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Broker(args) = Command::parse();
    match broker::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
