//! Two people, two terminals: one waits, the other connects; lines go both ways.
//!
//! ```text
//! cargo run -p peer-examples --example chat -- BROKER_URL alice
//! cargo run -p peer-examples --example chat -- BROKER_URL bob alice
//! ```

use peer_net::Peer;
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(broker), Some(id)) = (args.next(), args.next()) else {
        return Err("usage: chat BROKER_URL ID [REMOTE_ID]".into());
    };
    let peer = Peer::builder().broker(broker).id(id).open().await?;
    let connection = match args.next() {
        Some(remote) => peer.connect(remote).reliable(true).await?,
        None => peer.accept().await.ok_or("the peer was destroyed")?,
    };
    println!("talking to {}", connection.peer());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => connection.send(&line).await?,
                None => break,
            },
            text = connection.recv_as::<String>() => match text? {
                Some(text) => println!("{}: {text}", connection.peer()),
                None => break,
            },
        }
    }
    println!("the end: {}", connection.close_flush().await);
    Ok(())
}
