//! One case of the comparison of the WebRTC stacks, both ends in this process over 127.0.0.1;
//! `tests/run long stacks` runs them all.
//!
//! ```text
//! stacks STACK bulk MEBIBYTES    MiB a second, CPU seconds a GiB (messages of 16 KiB)
//! stacks STACK rtt COUNT         microseconds of a round trip of 64 bytes: median, 99th percentile
//! stacks STACK load COUNT        the same while another connection of the same peers is full
//! stacks STACK open COUNT        milliseconds from the call to the open channel: median
//! stacks STACK idle COUNT        KiB that an end of an idle connection has resident
//! ```
//! STACK is `native` or `webrtc-rs`. Linux only: reads /proc.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peer_net::broker::{Broker, BrokerOptions};
use peer_net::{DataConnection, Peer, RtcConfig, Serialization, Stack};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const FRAME: usize = 16 << 10;
const USAGE: &str = "usage: stacks STACK bulk|rtt|load|open|idle NUMBER";

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [stack, case, number] = args.as_slice() else {
        return Err(USAGE.into());
    };
    let (stack, number): (Stack, usize) = (stack.parse()?, number.parse()?);
    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default()).await?;
    let ends = Ends {
        server: peer(&broker, stack, "server").await?,
        client: peer(&broker, stack, "client").await?,
        stack,
    };
    match case.as_str() {
        "bulk" => bulk(&ends, number).await,
        "rtt" => rtt(&ends, number, false).await,
        "load" => rtt(&ends, number, true).await,
        "open" => open(&ends, number).await,
        "idle" => idle(&ends, number).await,
        _ => Err(USAGE.into()),
    }
}

struct Ends {
    server: Peer,
    client: Peer,
    stack: Stack,
}

impl Ends {
    async fn connect(&self) -> Outcome<(DataConnection, DataConnection)> {
        let connect = self.client.connect("server").reliable(true);
        let connect = connect.serialization(Serialization::Raw);
        let (ours, theirs) = tokio::join!(connect.into_future(), self.server.accept());
        let (ours, theirs) = (ours?, theirs.ok_or("the server ended")?);
        for end in [&ours, &theirs] {
            if end.info().stack() != self.stack {
                return Err("another stack ran".into());
            }
        }
        Ok((ours, theirs))
    }
}

async fn peer(broker: &Broker, stack: Stack, id: &str) -> Outcome<Peer> {
    let rtc = RtcConfig {
        stack,
        include_loopback: true,
        ip_filter: vec![[127, 0, 0, 1].into()],
        ..RtcConfig::default()
    };
    let peer = Peer::builder().broker(broker.url()).id(id).rtc(rtc);
    // All of them come from one remote.
    let peer = peer.offer_rate(10_000).remote_offer_rate(10_000);
    Ok(peer.remote_share(usize::MAX).ice_servers([]).open().await?)
}

/// Sends and receives so many bytes, numbered messages.
async fn transfer(from: &DataConnection, to: &DataConnection, total: usize) -> Outcome<()> {
    let sending = async {
        for number in 0..total / FRAME {
            from.send_bytes(vec![number as u8; FRAME]).await?;
        }
        Outcome::Ok(())
    };
    let receiving = async {
        for number in 0..total / FRAME {
            let value = to.recv().await?.ok_or("it ended early")?;
            let bytes = value.as_bytes().ok_or("no bytes came")?;
            if bytes.len() != FRAME || bytes.first() != Some(&(number as u8)) {
                return Err("something else came".into());
            }
        }
        Outcome::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}

async fn bulk(ends: &Ends, mebibytes: usize) -> Outcome<()> {
    let (ours, theirs) = ends.connect().await?;
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    transfer(&ours, &theirs, mebibytes << 20).await?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let sent = mebibytes as f64;
    println!("{:.1} {:.1}", sent / seconds, cpu / (sent / 1024.0));
    Ok(())
}

async fn rtt(ends: &Ends, count: usize, under_load: bool) -> Outcome<()> {
    let (ours, theirs) = ends.connect().await?;
    let over = Arc::new(AtomicBool::new(false));
    let load = if under_load {
        let (from, to) = ends.connect().await?;
        let over = Arc::clone(&over);
        Some(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                transfer(&from, &to, 1 << 20).await?;
            }
            Outcome::Ok(())
        }))
    } else {
        None
    };
    let echo = tokio::spawn(async move {
        while let Some(value) = theirs.recv().await? {
            theirs.send(&value).await?;
        }
        Outcome::Ok(())
    });
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        ours.send_bytes(vec![7; 64]).await?;
        ours.recv().await?.ok_or("it ended early")?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    over.store(true, Ordering::Relaxed);
    if let Some(load) = load {
        load.await??;
    }
    ours.close_flush().await;
    echo.await??;
    times.sort_unstable_by(f64::total_cmp);
    println!("{:.0} {:.0}", part(&times, 50)?, part(&times, 99)?);
    Ok(())
}

async fn open(ends: &Ends, count: usize) -> Outcome<()> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let (ours, _theirs) = ends.connect().await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ours.close();
    }
    times.sort_unstable_by(f64::total_cmp);
    println!("{:.1}", part(&times, 50)?);
    Ok(())
}

async fn idle(ends: &Ends, count: usize) -> Outcome<()> {
    // What is made once is not counted.
    let warm = ends.connect().await?;
    settle().await;
    let before = resident_kib()?;
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(ends.connect().await?);
    }
    settle().await;
    let after = resident_kib()?;
    println!("{}", after.saturating_sub(before) / (2 * count.max(1)));
    drop((warm, connections));
    Ok(())
}

fn part(sorted: &[f64], percent: usize) -> Outcome<f64> {
    let value = sorted.get(sorted.len() * percent / 100);
    Ok(*value.ok_or("nothing was measured")?)
}

/// Lets what only opening needs go.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// What this process has used, in both modes. The kernel counts in hundredths.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.map(str::parse::<f64>).sum::<Result<_, _>>()?;
    Ok(ticks / 100.0)
}

fn resident_kib() -> Outcome<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.ok_or("no VmRSS")?.parse()?)
}
