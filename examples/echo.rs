//! Sends back whatever any peer sends, in whatever serialization.
//!
//! ```text
//! cargo run -p peer-examples --example echo -- BROKER_URL ID
//! ```

use peer_net::Peer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(broker), Some(id)) = (args.next(), args.next()) else {
        return Err("usage: echo BROKER_URL ID".into());
    };
    // Comes back by itself when the broker was away.
    let peer = Peer::builder()
        .broker(broker)
        .id(id)
        .reconnect(true)
        .open()
        .await?;
    println!("connect to {}", peer.id().expect("an open peer has an id"));
    while let Some(connection) = peer.accept().await {
        tokio::spawn(async move {
            loop {
                match connection.recv().await {
                    Ok(Some(value)) => {
                        if let Err(error) = connection.send(&value).await {
                            eprintln!("{}: {error}", connection.peer());
                        }
                    }
                    Ok(None) => break,
                    // This one message could not be read; the next may be fine.
                    Err(error) => eprintln!("{}: {error}", connection.peer()),
                }
            }
        });
    }
    Ok(())
}
