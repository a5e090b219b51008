//! A file on its way from a host to another.

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use peer_net::broker::Broker;
use tokio::time::sleep;

use crate::net::Net;
use crate::process::{Folder, Outcome, Process, soon};

const SIZE: u32 = 16_000_000;
/// When it is under way, in bytes.
const UNDER_WAY: u64 = 500_000;

pub(crate) struct Transfer<'n> {
    net: &'n Net,
    folder: Folder,
    content: Vec<u8>,
    broker: Option<Broker>,
    port: u16,
    pub(crate) sender: Process,
    receiver: Process,
}

impl<'n> Transfer<'n> {
    /// Begins it, and waits until it is under way. `more`: of the sender's options.
    pub(crate) async fn begin(net: &'n Net, more: &[&str]) -> Result<Self, std::io::Error> {
        let folder = Folder::new();
        let content: Vec<u8> = (0..SIZE)
            .map(|n| n.wrapping_mul(2_654_435_761) as u8)
            .collect();
        let (into, file) = (folder.path("in"), folder.file("large.bin", &content));
        net.host("sender").await;
        net.host("receiver").await;
        let broker = net.broker(0).await;
        let options = net.at(&broker);
        let receive = ["receive", "--id", "files", "--into", &into];
        let mut receiver = net.start("receiver", &receive, &options);
        receiver.told("Ready").await;
        let send = [&["send", "files", &file], more].concat();
        let sender = net.start("sender", &send, &options);
        let transfer = Self {
            net,
            folder,
            content,
            port: broker.local_addr().port(),
            broker: Some(broker),
            sender,
            receiver,
        };
        soon(async {
            while transfer.arrived()? < UNDER_WAY {
                sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, std::io::Error>(())
        })
        .await?;
        Ok(transfer)
    }

    /// Bytes that the receiver has.
    fn arrived(&self) -> Result<u64, std::io::Error> {
        let partials = Path::new(&self.folder.path("in")).join(".peer-receive");
        let mut most = 0;
        for entry in std::fs::read_dir(partials)? {
            most = most.max(entry?.metadata()?.len());
        }
        Ok(most)
    }

    pub(crate) async fn lose_broker(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.shutdown().await;
        }
    }

    pub(crate) async fn find_broker(&mut self) {
        self.broker = Some(self.net.broker(self.port).await);
    }

    /// Waits until all of it is there, right, and both commands know it.
    pub(crate) async fn arrives(mut self) -> Outcome {
        let (mended, before) = (Instant::now(), self.arrived()?);
        assert!(before < u64::from(SIZE), "it was under way");
        let line = self.receiver.line().await;
        assert!(line.contains("large.bin"), "{line}");
        println!("arrived after {:.1} s", mended.elapsed().as_secs_f32());
        self.sender.ended().await.assert_code(0);
        assert!(std::fs::read(self.folder.path("in/large.bin"))? == self.content);
        self.receiver.signal("TERM").await;
        self.receiver.ended().await.assert_code(0);
        Ok(())
    }
}
