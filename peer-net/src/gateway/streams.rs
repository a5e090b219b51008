//! Where leaves come from: TCP listeners, TCP servers that are called, serial ports.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_serial::SerialStream;

use super::Common;
use super::driver::serve;
use super::leaf::{End, Line};
use super::options::SerialPort;
use crate::listener::Listener;

/// The longest frame taken.
const FRAME: usize = 4096;
/// The same on a serial port, where one that was lost has to come again as a whole.
const SERIAL_FRAME: usize = 1024;
/// What a serial driver holds of bytes that were written.
const SERIAL_BUFFER: u64 = 4096;
/// What the system may hold of bytes for a leaf on a TCP stream. Its own default is megabytes, so
/// that one who reads nothing would be found out late.
const SEND_BUFFER: usize = 64 << 10;
/// How long a TCP server that is called may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a port or a server is tried again: the first, doubled until the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// Accepts streams until it is stopped.
pub(super) async fn listen(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    common: Arc<Common>,
) {
    let mut listener = Listener::new(listener, "a leaf's stream");
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stop) => return,
        };
        let common = common.clone();
        let stop = common.stop.subscribe();
        tokio::spawn(async move {
            let (name, from) = (format!("tcp {from}"), Some(from.ip()));
            let _ = tcp(stream, name, from, stop, &common).await;
        });
    }
}

async fn tcp(
    stream: TcpStream,
    name: String,
    from: Option<IpAddr>,
    stop: watch::Receiver<bool>,
    common: &Common,
) -> (End, bool) {
    common.registry.stream();
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let line = Line {
        name,
        from,
        timing: common.settings.borrow().timing,
        frame: FRAME,
        is_open_to_all: true,
    };
    match super::random() {
        Ok(random) => serve(stream, line, stop, random, common).await,
        Err(error) => (End::Stream(error.to_string()), false),
    }
}

/// Calls a TCP server again and again.
pub(super) async fn call(address: String, stop: watch::Receiver<bool>, common: Arc<Common>) {
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
    again_and_again(&name, stop.clone(), &common, open, |stream| {
        tcp(stream, name.clone(), None, stop.clone(), &common)
    })
    .await;
}

/// Opens a serial port again and again.
pub(super) async fn serial(port: SerialPort, stop: watch::Receiver<bool>, common: Arc<Common>) {
    let name = format!("serial {}", port.path);
    let open = || async {
        let builder = tokio_serial::new(&port.path, port.speed);
        SerialStream::open(&builder).map_err(io::Error::from)
    };
    again_and_again(&name, stop.clone(), &common, open, |stream| async {
        let line = Line {
            name: name.clone(),
            from: None,
            timing: serial_timing(&common, port.speed),
            frame: SERIAL_FRAME,
            is_open_to_all: false,
        };
        match super::random() {
            Ok(random) => serve(stream, line, stop.clone(), random, &common).await,
            Err(error) => (End::Stream(error.to_string()), false),
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

/// Opens a line and serves what is there until it is gone; then again, after a pause, until it is
/// stopped.
async fn again_and_again<T, O, S>(
    name: &str,
    mut stop: watch::Receiver<bool>,
    common: &Common,
    open: impl Fn() -> O,
    serve: impl Fn(T) -> S,
) where
    O: Future<Output = io::Result<T>>,
    S: Future<Output = (End, bool)>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = tokio::select! {
            opened = open() => opened,
            () = super::stopped(&mut stop) => break,
        };
        match opened {
            Ok(stream) => {
                common.registry.found(name);
                tracing::info!(target: "peer_net", "{name} is there");
                let since = tokio::time::Instant::now();
                let (end, leaf_came) = serve(stream).await;
                if leaf_came || since.elapsed() > LAST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                match end {
                    End::Stop => break,
                    End::Unwelcome => pause = LAST_PAUSE,
                    End::Stream(reason) => {
                        tracing::info!(target: "peer_net", "{name} is gone: {reason}");
                    }
                    _ => {}
                }
            }
            Err(error) => {
                // Once for each reason.
                if common.registry.absent(name, &error.to_string()) {
                    tracing::warn!(target: "peer_net", "{name} cannot be used, and is tried again: {error}");
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = super::stopped(&mut stop) => break,
        }
        pause = (2 * pause).min(LAST_PAUSE);
    }
    common.registry.found(name);
}
