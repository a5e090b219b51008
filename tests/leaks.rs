//! What is left of connections that end while dead ICE servers are still waited for: nothing.
#![cfg(target_os = "linux")]

use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use peer_net::IceServer;
use peer_tests::{HANG, Outcome, broker, builder, soon};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

const CONNECTIONS: usize = 50;

/// Tasks of this runtime and open files of this process.
fn census() -> std::io::Result<(usize, usize)> {
    let files = std::fs::read_dir("/proc/self/fd")?.count();
    Ok((Handle::current().metrics().num_alive_tasks(), files))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_while_dead_servers_are_waited_for() -> Outcome {
    // Bound and silent.
    let dead = UdpSocket::bind("127.0.0.1:0")?;
    let port = dead.local_addr()?.port();
    let servers = [
        IceServer::new(format!("stun:127.0.0.1:{port}")),
        IceServer::turn(format!("turn:127.0.0.1:{port}"), "peer", "secret"),
    ];
    let (broker, stack) = (broker().await, peer_tests::stack());
    let peer = soon(builder(&broker, stack).ice_servers(servers).open()).await?;
    let (tasks, files) = census()?;

    for round in 0..CONNECTIONS {
        let (_, files_before) = census()?;
        // Nobody has that name.
        let connection = peer.connect(format!("nobody-{round}")).start().await?;
        assert_eq!(connection.info().stack(), stack);
        // The host's socket and one a server; if others end at the same moment it is not waited for
        // long.
        let begun = Instant::now();
        while census()?.1 < files_before + 3 && begun.elapsed() < Duration::from_secs(1) {
            sleep(Duration::from_millis(1)).await;
        }
        connection.close();
        soon(connection.closed()).await;
    }
    println!(
        "at the end of the last: {:?}, before: {:?}",
        census()?,
        (tasks, files)
    );
    let begun = Instant::now();
    let settled = timeout(HANG, async {
        loop {
            let (tasks_now, files_now) = census()?;
            if tasks_now <= tasks && files_now <= files {
                return std::io::Result::Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    if settled.await.is_err() {
        panic!(
            "{:?} tasks and files are left of {:?}",
            census()?,
            (tasks, files)
        );
    }
    println!("gone after {:?}", begun.elapsed());
    Ok(())
}
