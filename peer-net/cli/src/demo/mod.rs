//! `peer demo`: a broker, a sensor, a receiver and a page, to see everything work at once.

mod page;
mod receiver;
mod sensor;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use peer_net::broker::{Broker, BrokerOptions};
use peer_net::{Peer, PeerBuilder};
use tokio::sync::mpsc;

use crate::failure::{Failure, sentence};
use crate::peer_options::end;
use crate::signals::interrupted;
use crate::stdout::print;

/// The page's port when nothing else is asked for and it is free.
const PAGE_PORT: u16 = 8080;
/// The sensor's id at the demo's own broker.
const SENSOR_ID: &str = "sensor";

/// Words of pages that wait to be printed. More are not.
const SAID_MAX: usize = 16;

/// What `peer demo` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The page's port; 0 takes any. By default 8080, or any when that is in use.
    #[arg(long)]
    port: Option<u16>,

    /// The address to listen at; 0.0.0.0 lets a phone in the same network look at the page.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// PeerJS's script for the page, `peerjs.min.js`. By default the one that `npm install` put
    /// into examples/browser, else the page takes it from PeerJS's public address.
    #[arg(long, value_name = "FILE", env = "PEERJS_FILE")]
    peerjs: Option<PathBuf>,
}

/// `peer demo`.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let interrupted = interrupted();
    let broker = Broker::bind(SocketAddr::new(args.host, 0), BrokerOptions::default())
        .await
        .map_err(|error| {
            Failure::other(format!("the broker could not start: {}", sentence(&error)))
        })?;
    print(&format!("broker    {}", broker.url()))?;
    let outcome = show(&args, &broker, interrupted).await;
    broker.shutdown().await;
    outcome
}

async fn show(
    args: &Args,
    broker: &Broker,
    interrupted: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let sensor = open(builder(broker).id(SENSOR_ID), "sensor").await?;
    print(&format!("sensor    open as `{SENSOR_ID}`"))?;
    let receiver = open(builder(broker), "receiver").await?;
    let outcome = tokio::select! {
        outcome = watch(args, broker, &sensor, &receiver) => outcome,
        () = interrupted => Ok(()),
    };
    // Nobody may be there to read it.
    drop(print("").and_then(|()| print("Good bye.")));
    // Every page that is connected notices.
    end(&receiver).await;
    end(&sensor).await;
    outcome
}

async fn watch(
    args: &Args,
    broker: &Broker,
    sensor: &Peer,
    receiver: &Peer,
) -> Result<(), Failure> {
    let (say, mut said) = mpsc::channel(SAID_MAX);
    let serving = sensor::serve(sensor, say);
    let watching = async {
        let readings = receiver::connect(receiver, SENSOR_ID).await?;
        for url in serve_page(args, broker).await? {
            print(&format!("page      {url}"))?;
        }
        for line in [
            "",
            "Open the page in a browser. Ctrl-C ends everything.",
            "",
        ] {
            print(line)?;
        }
        readings.print(&mut said).await
    };
    tokio::select! {
        () = serving => Err(Failure::broker("the sensor's peer was ended by its broker")),
        outcome = watching => outcome,
    }
}

/// Both peers are at the demo's own broker and on this machine.
fn builder(broker: &Broker) -> PeerBuilder {
    let loopback = reachable(broker.local_addr());
    Peer::builder()
        .broker(format!("ws://{loopback}/"))
        .ice_servers([])
}

async fn open(builder: PeerBuilder, what: &str) -> Result<Peer, Failure> {
    builder.open().await.map_err(|error| {
        Failure::broker(format!("the {what} could not open: {}", sentence(&error)))
    })
}

/// Serves the page. The addresses it is at: from here, and from other machines.
async fn serve_page(args: &Args, broker: &Broker) -> Result<Vec<String>, Failure> {
    let config = serde_json::json!({
        "peer": SENSOR_ID,
        "port": broker.local_addr().port(),
        "path": "/",
        "key": "peerjs",
    });
    let page = page::Page::new(config.to_string(), args.peerjs.as_deref())
        .map_err(|error| Failure::file(format!("PeerJS's script cannot be read: {error}")))?;
    if page.needs_internet() {
        print(
            "          (the page takes PeerJS from the internet; `npm install` in examples/browser avoids it)",
        )?;
    }
    let page = std::sync::Arc::new(page);
    let wanted = SocketAddr::new(args.host, args.port.unwrap_or(PAGE_PORT));
    let served = match page::serve(std::sync::Arc::clone(&page), wanted).await {
        Err(_) if args.port.is_none() => page::serve(page, SocketAddr::new(args.host, 0)).await,
        outcome => outcome,
    };
    let address = served.map_err(|error| {
        Failure::other(format!("the page cannot be served at {wanted}: {error}"))
    })?;
    let mut hosts = vec![reachable(address)];
    if address.ip().is_unspecified() {
        let others = own_addresses(address.ip());
        hosts.extend(others.map(|ip| SocketAddr::new(ip, address.port())));
    }
    Ok(hosts
        .into_iter()
        .map(|host| format!("http://{host}/"))
        .collect())
}

/// Addresses under which other machines of this network reach this one: those that it would send
/// from. Nothing is sent.
fn own_addresses(listening: IpAddr) -> impl Iterator<Item = IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): any that is not here takes the way to all
    // others.
    let all = [
        (
            IpAddr::from([0, 0, 0, 0]),
            SocketAddr::from(([192, 0, 2, 1], 9)),
        ),
        (
            IpAddr::from([0_u16; 8]),
            SocketAddr::from(([0x2001, 0xDB8, 0, 0, 0, 0, 0, 1], 9)),
        ),
    ];
    let ways = all
        .into_iter()
        .filter(move |(from, _)| from.is_ipv4() || listening.is_ipv6());
    let own = ways.filter_map(|(from, to)| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    own.filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// An address that listens everywhere is reached through loopback from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    address
}
