//! A sensor that anybody may watch: each connection gets a reading a second, and may say how often.
//!
//! ```text
//! cargo run -p peer-examples --example sensor -- BROKER_URL ID
//! ```

use core::time::Duration;

use peer_net::{DataConnection, Peer};
use serde::Serialize;

#[derive(Serialize)]
struct Reading {
    celsius: f64,
    n: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(broker), Some(id)) = (args.next(), args.next()) else {
        return Err("usage: sensor BROKER_URL ID".into());
    };
    let peer = Peer::builder()
        .broker(broker)
        .id(id)
        .reconnect(true)
        .open()
        .await?;
    while let Some(connection) = peer.accept().await {
        tokio::spawn(async move {
            if let Err(error) = report(connection).await {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

/// Sends readings until the watcher leaves. What it sends is the interval in seconds.
async fn report(watcher: DataConnection) -> Result<(), Box<dyn core::error::Error + Send + Sync>> {
    let mut interval = Duration::from_secs(1);
    for n in 0.. {
        let celsius = 21.0 + f64::from(n % 60).sin();
        watcher.send(&Reading { celsius, n }).await?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            seconds = watcher.recv_as::<f64>() => match seconds? {
                Some(seconds) => interval = Duration::from_secs_f64(seconds.clamp(0.1, 3600.0)),
                None => break,
            },
        }
    }
    Ok(())
}
