//! Serial ports, which are pseudo-terminals here.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::path::{Path, PathBuf};

use peer_core::link::{LeafOutput, Timing};
use peer_core::peer::Event;
use peer_net::gateway::{Gateway, GatewayStatus, SerialPort};
use peer_net::{Serialization, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_serial::{SerialPort as _, SerialStream};

use crate::device::{Device, timing};
use crate::surroundings::{Outcome, bob, broker, from_bob, options, soon, talk, until_status};

fn port(path: &str) -> SerialPort {
    SerialPort {
        path: path.to_owned(),
        speed: 115_200,
    }
}

#[tokio::test]
async fn a_serial_port_is_opened_when_it_is_there() -> Outcome {
    let broker = broker().await;
    let (ours, theirs) = SerialStream::pair()?;
    let path = theirs.name().expect("a pseudo-terminal has a path");
    // A port has one user; the gateway is to be it.
    drop(theirs);
    let missing = format!("{path}-not-there");
    let mut options = options(&broker);
    options.serial = vec![port(&path), port(&missing)];
    let gateway = Gateway::bind(options).await?;
    // Both were tried, in their order; before, a pseudo-terminal is as one that failed.
    until_status(&gateway, |status| !status.absent.is_empty()).await;
    let bob = bob(&broker).await;
    let leaf = Device::start(ours, "one", 1, "one", timing());
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    let (remote, handle) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
    talk(&leaf, handle, &remote).await?;
    let long = Value::from("y".repeat(20_000));
    remote.send(&long).await?;
    assert_eq!(Value::from(leaf.recv(handle).await), long);

    let status = gateway.status();
    assert_eq!(status.leaves[0].line, format!("serial {path}"));
    assert_eq!(status.absent.len(), 1);
    assert_eq!(status.absent[0].line, format!("serial {missing}"));

    // Unplugged.
    drop(leaf);
    soon(remote.closed()).await;
    until_status(&gateway, |status| {
        status.absent.len() == 2 || status.present == 0
    })
    .await;
    gateway.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_unplugged_and_plugged_again_goes_on() -> Outcome {
    let broker = broker().await;
    let (end, cable) = Cable::new();
    let mut options = options(&broker);
    options.serial = vec![port(cable.name())];
    let gateway = Gateway::bind(options).await?;
    // It is not there yet, and tried again and again.
    let tried_again = |status: &GatewayStatus| status.absent.iter().any(|absent| absent.tries > 1);
    let status = until_status(&gateway, tried_again).await;
    assert_eq!(status.absent[0].line, format!("serial {}", cable.name()));

    let bob = bob(&broker).await;
    let good = Device::open(&gateway, "two", 2).await;
    let (to_good, of_good) = from_bob(&bob, &good, "two", Serialization::Json).await;
    // One device all the time: its cable is pulled, not its power.
    let talkative = Timing {
        keep_alive: Duration::from_millis(100),
        ..timing()
    };
    let leaf = Device::start(end, "one", 1, "one", talkative);
    for round in 1..=2 {
        cable.plug().await?;
        if round > 1 {
            leaf.down().await;
            leaf.until(&LeafOutput::Event(Event::Disconnected)).await;
            leaf.until(&LeafOutput::Up).await;
        }
        leaf.until(&LeafOutput::Event(Event::Open)).await;
        let status = until_status(&gateway, |status| status.absent.is_empty()).await;
        let of_leaf = &status.leaves[0];
        assert_eq!((of_leaf.present, of_leaf.arrivals), (true, round));
        let (theirs, ours) = from_bob(&bob, &leaf, "one", Serialization::Binary).await;
        talk(&leaf, ours, &theirs).await?;

        // Pulled while something is under way.
        theirs.send(&"y".repeat(20_000)).await?;
        leaf.forget();
        cable.unplug().await?;
        soon(theirs.closed()).await;
        let status = until_status(&gateway, tried_again).await;
        let of_leaf = &status.leaves[0];
        let why = of_leaf.last_end.as_deref().unwrap_or_default();
        assert!(
            !of_leaf.present && why.starts_with("its line is gone"),
            "{why}"
        );
        talk(&good, of_good, &to_good).await?;
    }
    gateway.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_reload_changes_serial_ports() -> Outcome {
    let broker = broker().await;
    let (end, cable) = Cable::new();
    cable.plug().await?;
    let mut options = options(&broker);
    options.serial = vec![port(cable.name())];
    let mut gateway = Gateway::bind(options.clone()).await?;
    let leaf = Device::start(end, "one", 1, "one", timing());
    leaf.until(&LeafOutput::Event(Event::Open)).await;
    leaf.forget();

    // Another speed: the port is closed, and opened again by nobody before that.
    options.serial[0].speed = 57_600;
    gateway.reload(options.clone()).await?;
    leaf.down().await;
    leaf.until(&LeafOutput::Up).await;
    let status = until_status(&gateway, |status| status.present == 1).await;
    assert_eq!(status.leaves[0].arrivals, 2);

    // Another port, which is not there.
    leaf.forget();
    options.serial = vec![port("/nowhere/tty")];
    gateway.reload(options.clone()).await?;
    leaf.down().await;
    let gone = |status: &GatewayStatus| status.present == 0 && status.absent.len() == 1;
    let status = until_status(&gateway, gone).await;
    assert_eq!(status.absent[0].line, "serial /nowhere/tty");
    options.serial.clear();
    gateway.reload(options).await?;
    until_status(&gateway, |status| status.absent.is_empty()).await;
    Ok(())
}

/// A cable from a device to wherever it is plugged, which is a new pseudo-terminal each time. While
/// it is nowhere what the device says is lost, as on a UART.
struct Cable {
    /// A link to the pseudo-terminal of now, as those below /dev/serial/by-id.
    link: PathBuf,
    plugs: mpsc::Sender<Option<SerialStream>>,
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.link);
    }
}

impl Cable {
    /// And its end for the device.
    fn new() -> (DuplexStream, Self) {
        static CABLES: AtomicU32 = AtomicU32::new(0);
        let number = CABLES.fetch_add(1, Ordering::Relaxed);
        let link = format!("port-{}-{number}", std::process::id());
        let (end, far) = tokio::io::duplex(4096);
        let (plugs, queue) = mpsc::channel(1);
        tokio::spawn(carry(far, queue));
        let link = Path::new(env!("CARGO_TARGET_TMPDIR")).join(link);
        (end, Self { link, plugs })
    }

    fn name(&self) -> &str {
        self.link.to_str().expect("a path of ours")
    }

    async fn plug(&self) -> Outcome {
        let (device, terminal) = SerialStream::pair()?;
        let path = terminal.name().expect("a pseudo-terminal has a path");
        // A port has one user; the gateway is to be it.
        drop(terminal);
        self.plugs.send(Some(device)).await?;
        std::os::unix::fs::symlink(path, &self.link)?;
        Ok(())
    }

    async fn unplug(&self) -> Outcome {
        std::fs::remove_file(&self.link)?;
        self.plugs.send(None).await?;
        Ok(())
    }
}

async fn carry(mut device: DuplexStream, mut plugs: mpsc::Receiver<Option<SerialStream>>) {
    let mut plug: Option<SerialStream> = None;
    let (mut from_device, mut from_plug) = ([0; 512], [0; 512]);
    loop {
        let reading = async {
            match &mut plug {
                Some(plug) => plug.read(&mut from_plug).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            next = plugs.recv() => match next {
                Some(next) => plug = next,
                None => return,
            },
            read = reading => match read {
                Ok(len) => {
                    let _ = device.write_all(&from_plug[..len]).await;
                }
                // Nobody has it open.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            read = device.read(&mut from_device) => match read {
                Ok(0) | Err(_) => return,
                Ok(len) => if let Some(plug) = &mut plug {
                    let _ = plug.write_all(&from_device[..len]).await;
                },
            },
        }
    }
}
