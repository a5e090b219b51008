//! Where leaves come from: TCP listeners, TCP servers that are called, serial ports.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_serial::SerialStream;

use super::Common;
use super::leaf::{End, Line, serve};
use super::options::SerialPort;

/// The longest frame taken.
const FRAME: usize = 4096;
/// The same on a serial port, where one that was lost has to come again as a whole.
const SERIAL_FRAME: usize = 1024;
/// What a serial driver holds of bytes that were written.
const SERIAL_BUFFER: u64 = 4096;
/// How long a leaf on a TCP stream may take to prove its key. More than a leaf that was refused waits.
const PROVE_WITHIN: Duration = Duration::from_secs(30);
/// How long a TCP server that is called may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a port or a server is tried again: the first, doubled until the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);
/// A pause when the system lends no more sockets, and before a leaf that is one too many is looked at again.
const SHORT_OF_SOMETHING: Duration = Duration::from_secs(1);

/// Accepts streams until the gateway ends.
pub(super) async fn listen(listener: TcpListener, common: Arc<Common>) {
    let mut stop = common.stop.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let common = common.clone();
                tokio::spawn(async move {
                    let _ = tcp(stream, format!("tcp {from}"), &common).await;
                });
            }
            Err(error) => {
                tracing::warn!(target: "peer_net", "a leaf's stream was not accepted: {error}");
                sleep(SHORT_OF_SOMETHING).await;
            }
        }
    }
}

async fn tcp(stream: TcpStream, name: String, common: &Common) -> End {
    let _ = stream.set_nodelay(true);
    let line = Line {
        name,
        timing: common.settings.borrow().timing,
        frame: FRAME,
        prove_within: Some(PROVE_WITHIN),
    };
    match super::random() {
        Ok(random) => serve(stream, line, random, common).await,
        Err(error) => End::Stream(error.to_string()),
    }
}

/// Calls a TCP server again and again.
pub(super) async fn call(address: String, common: Arc<Common>) {
    let name = format!("tcp {address}");
    let open = || async {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await {
            Ok(stream) => stream,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not answer",
            )),
        }
    };
    again_and_again(&name, &common, open, |stream| {
        tcp(stream, name.clone(), &common)
    })
    .await;
}

/// Opens a serial port again and again.
pub(super) async fn serial(port: SerialPort, common: Arc<Common>) {
    let name = format!("serial {}", port.path);
    let open = || async {
        let builder = tokio_serial::new(&port.path, port.speed);
        SerialStream::open(&builder).map_err(io::Error::from)
    };
    again_and_again(&name, &common, open, |stream| async {
        let line = Line {
            name: name.clone(),
            timing: serial_timing(&common, port.speed),
            frame: SERIAL_FRAME,
            prove_within: None,
        };
        match super::random() {
            Ok(random) => serve(stream, line, random, &common).await,
            Err(error) => End::Stream(error.to_string()),
        }
    })
    .await;
}

/// A slow port takes its time: what the driver holds goes out before a frame is acknowledged.
fn serial_timing(common: &Common, speed: u32) -> peer_core::link::Timing {
    let mut timing = common.settings.borrow().timing;
    // Ten bits a byte, both ways.
    let bytes = 2 * (SERIAL_BUFFER + SERIAL_FRAME as u64);
    let micros = bytes * 10_000_000 / u64::from(speed.max(1));
    timing.resend = timing.resend.max(Duration::from_micros(micros));
    timing.dead_after = timing.dead_after.max(Duration::from_micros(4 * micros));
    timing
}

/// Opens a line and serves what is there until it is gone; then again, after a pause, until the gateway ends.
async fn again_and_again<T, O, S>(
    name: &str,
    common: &Common,
    open: impl Fn() -> O,
    serve: impl Fn(T) -> S,
) where
    O: Future<Output = io::Result<T>>,
    S: Future<Output = End>,
{
    let mut stop = common.stop.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = super::stopped(&mut stop) => return,
        };
        match opened {
            Ok(stream) => {
                common.registry.found(name);
                tracing::info!(target: "peer_net", "{name} is there");
                let since = tokio::time::Instant::now();
                match serve(stream).await {
                    End::Stop => return,
                    End::Full => pause = LAST_PAUSE,
                    end => {
                        if since.elapsed() > LAST_PAUSE {
                            pause = FIRST_PAUSE;
                        }
                        if let End::Stream(reason) = end {
                            tracing::info!(target: "peer_net", "{name} is gone: {reason}");
                        }
                    }
                }
            }
            Err(error) => {
                // Once for each reason.
                if common.registry.absent(name, error.to_string()) {
                    tracing::warn!(target: "peer_net", "{name} cannot be used, and is tried again: {error}");
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = super::stopped(&mut stop) => return,
        }
        pause = (2 * pause).min(LAST_PAUSE);
    }
}
