//! The command in a network that fails: the path is gone for a while, addresses change, the broker
//! is lost with it.
//!
//! Each test has a network of its own, in network namespaces: as root, or where users may make
//! them. The outages take `PEER_TEST_OUTAGE` seconds, by default few; `tests/run long outages` runs
//! longer ones.
#![cfg(target_os = "linux")]

mod net;
#[allow(dead_code)]
#[path = "../command/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../shared/mod.rs"]
mod shared;
mod transfer;

use core::time::Duration;

use tokio::time::sleep;

use crate::net::{Net, alone};
use crate::process::Outcome;
use crate::transfer::Transfer;

/// How long the network is gone. The default is less than what ends a connection.
fn outage() -> Duration {
    let seconds = std::env::var("PEER_TEST_OUTAGE");
    let seconds = seconds.map_or(4, |text| text.parse().expect("PEER_TEST_OUTAGE: seconds"));
    Duration::from_secs(seconds)
}

#[test]
fn send_goes_on_after_the_network_was_gone() -> Outcome {
    alone("send_goes_on_after_the_network_was_gone", async |net| {
        let transfer = Transfer::begin(&net, &[]).await?;
        net.cut("sender").await;
        sleep(outage()).await;
        net.mend("sender").await;
        transfer.arrives().await
    })
}

#[test]
fn send_goes_on_after_broker_and_path_were_gone_together() -> Outcome {
    let name = "send_goes_on_after_broker_and_path_were_gone_together";
    alone(name, async |net| {
        let mut transfer = Transfer::begin(&net, &[]).await?;
        net.cut("receiver").await;
        transfer.lose_broker().await;
        sleep(outage()).await;
        net.mend("receiver").await;
        transfer.find_broker().await;
        transfer.arrives().await
    })
}

#[test]
fn send_goes_on_from_a_new_address() -> Outcome {
    alone("send_goes_on_from_a_new_address", async |net| {
        let transfer = Transfer::begin(&net, &[]).await?;
        net.readdress("sender").await;
        transfer.arrives().await
    })
}

#[test]
fn receive_is_found_at_a_new_address() -> Outcome {
    alone("receive_is_found_at_a_new_address", async |net| {
        let transfer = Transfer::begin(&net, &[]).await?;
        net.cut("receiver").await;
        net.readdress("receiver").await;
        net.mend("receiver").await;
        transfer.arrives().await
    })
}

#[test]
fn send_gives_up_when_its_patience_is_over() -> Outcome {
    alone("send_gives_up_when_its_patience_is_over", async |net| {
        let mut transfer = Transfer::begin(&net, &["--timeout", "3"]).await?;
        net.cut("sender").await;
        transfer.lose_broker().await;
        let ended = transfer.sender.ended().await;
        assert!(matches!(ended.code, Some(3 | 5)), "{ended:#?}");
        assert!(
            ended.stderr.contains("nothing got on for 3 s"),
            "{ended:#?}"
        );
        Ok(())
    })
}

/// The start of a machine whose network comes up later.
#[test]
fn listen_waits_for_the_network() -> Outcome {
    alone("listen_waits_for_the_network", async |net: Net| {
        net.host("sender").await;
        net.down("sender").await;
        let broker = net.broker(0).await;
        let options = net.at(&broker);
        let mut listening = net.start("sender", &["listen", "--id", "early"], &options);
        listening.told("trying again").await;
        net.up("sender").await;
        listening.told("Listening as early").await;
        Ok(())
    })
}
