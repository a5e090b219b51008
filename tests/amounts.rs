//! Much over the native stack, or that of `PEER_STACK`: many messages, many connections, many
//! ends; and the memory of it is given back.
//!
//! With `PEER_TEST_LONG` it is as much as `tests/run long amounts` asks for.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::time::Instant;

use peer_net::broker::Broker;
use peer_net::{DataConnection, Peer, Serialization, Stack, Value};
use peer_tests::{HANG, Outcome, broker, builder, soon};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// The system's allocator, which counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// The most that was in use.
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(size: usize) {
    let before = IN_USE.fetch_add(size, Ordering::Relaxed);
    PEAK.fetch_max(before + size, Ordering::Relaxed);
}

// SAFETY: all of it is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is done by default, or in a long run.
fn amount<T>(usual: T, long: T) -> T {
    match std::env::var_os("PEER_TEST_LONG") {
        Some(_) => long,
        None => usual,
    }
}

fn stack() -> Stack {
    match std::env::var_os("PEER_STACK") {
        Some(_) => peer_tests::stacks()[0],
        None => Stack::Native,
    }
}

/// KiB that this process has resident.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// One test at a time, so that each counts its own.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn peers() -> (Broker, Peer, Peer) {
    let broker = broker().await;
    let open = |id| {
        let peer = builder(&broker, stack()).id(id);
        peer.offer_rate(1000).remote_offer_rate(1000).open()
    };
    let (alice, bob) = (open("alice"), open("bob"));
    let (alice, bob) = (soon(alice).await, soon(bob).await);
    (broker, alice.expect("it opens"), bob.expect("it opens"))
}

async fn connected(from: &Peer, to: &Peer, reliable: bool) -> (DataConnection, DataConnection) {
    let (ours, theirs) = peer_tests::connected(from, to, Serialization::Raw, reliable).await;
    for end in [&ours, &theirs] {
        assert_eq!(end.info().stack(), stack());
    }
    (ours, theirs)
}

/// Sends numbered lines from one end and expects them, in order, at the other.
async fn lines(from: &DataConnection, to: &DataConnection, count: usize) -> Outcome {
    let sending = async {
        for number in 0..count {
            from.send_text(format!("{number:06}")).await?;
        }
        Outcome::Ok(())
    };
    let receiving = async {
        for number in 0..count {
            let line = to.recv().await?.expect("a line");
            assert_eq!(line.as_str(), Some(&*format!("{number:06}")));
        }
        Outcome::Ok(())
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent.and(received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lines_both_ways_and_messages_of_one_byte() -> Outcome {
    let _alone = ALONE.lock().await;
    let (_broker, alice, bob) = peers().await;
    let (ours, theirs) = connected(&alice, &bob, true).await;
    let both = async {
        let (there, back) =
            tokio::join!(lines(&ours, &theirs, 70_000), lines(&theirs, &ours, 70_000));
        there.and(back)
    };
    soon(both).await?;

    const MESSAGES: usize = 250_000;
    let sending = async {
        for number in 0..MESSAGES {
            ours.send_bytes(vec![number as u8]).await?;
        }
        Outcome::Ok(())
    };
    let receiving = async {
        for number in 0..MESSAGES {
            let expected = Value::Bytes(vec![number as u8].into());
            assert_eq!(theirs.recv().await?, Some(expected), "message {number}");
        }
        Outcome::Ok(())
    };
    let (sent, received) = soon(async { tokio::join!(sending, receiving) }).await;
    sent.and(received)
}

/// What was under way is freed while the connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_given_back() -> Outcome {
    const CONNECTIONS: usize = 64;
    const LEN: usize = 64 << 10;
    // Each way; in a long run 64 MiB through each connection.
    let messages = amount(4, 512);
    let idle = Duration::from_secs(amount(3, 60));
    // With its full memory each of the 128 ends has 1.9 MiB more. webrtc-rs's ICE does not give
    // back what it keeps of its own, up to 1 MiB after a burst.
    let spare = match stack() {
        Stack::Native => 64 << 10,
        _ => 640 << 10,
    };
    let spare = CONNECTIONS * 2 * spare;
    let _alone = ALONE.lock().await;
    let (_broker, alice, bob) = peers().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (ours, theirs) = connected(&alice, &bob, true).await;
        connections.push((Arc::new(ours), Arc::new(theirs)));
    }
    let exchange =
        |from: Arc<DataConnection>, to: Arc<DataConnection>, count: usize, len: usize| async move {
            let sending = async {
                for number in 0..count {
                    from.send_bytes(vec![number as u8; len]).await?;
                }
                Outcome::Ok(())
            };
            let receiving = async {
                for number in 0..count {
                    let expected = Value::Bytes(vec![number as u8; len].into());
                    assert!(to.recv().await? == Some(expected), "message {number}");
                }
                Outcome::Ok(())
            };
            let (sent, received) = tokio::join!(sending, receiving);
            sent.and(received)
        };
    let all = |count: usize, len: usize| {
        let connections = &connections;
        async move {
            let mut tasks = Vec::new();
            for (ours, theirs) in connections {
                for (from, to) in [(ours, theirs), (theirs, ours)] {
                    tasks.push(tokio::spawn(exchange(from.clone(), to.clone(), count, len)));
                }
            }
            for task in tasks {
                timeout(HANG * 4, task)
                    .await
                    .expect("it hangs")
                    .expect("no panic")?;
            }
            Outcome::Ok(())
        }
    };
    all(1, 100).await?;
    sleep(Duration::from_secs(3)).await;
    let (before, resident_before) = (IN_USE.load(Ordering::Relaxed), resident());
    PEAK.store(before, Ordering::Relaxed);
    let started = Instant::now();
    all(messages, LEN).await?;
    let took = started.elapsed();
    let resident_then = resident();
    let peak = PEAK.load(Ordering::Relaxed);
    let settled = async {
        while IN_USE.load(Ordering::Relaxed) > before + spare {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let settled = timeout(HANG, settled).await;
    sleep(idle).await;
    // What is resident is told, not judged: the system's allocator keeps what it likes.
    let (now, resident_now) = (IN_USE.load(Ordering::Relaxed), resident());
    println!(
        "{} MiB in {} s",
        (messages * LEN * CONNECTIONS * 2) >> 20,
        took.as_secs()
    );
    println!(
        "resident KiB: {resident_before} before, {resident_then} then, {resident_now} after {} s",
        idle.as_secs()
    );
    println!(
        "{} KiB an end before, {} at most during the transfers, {} after",
        before / CONNECTIONS / 2048,
        peak / CONNECTIONS / 2048,
        now / CONNECTIONS / 2048,
    );
    assert!(peak > before + spare, "it was never more");
    assert!(settled.is_ok(), "{before} bytes before, {now} after");
    assert!(now <= before + spare, "{before} bytes before, {now} after");
    // The connections still carry something.
    all(1, LEN).await
}

/// Everything before a close arrives, however busy the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_flush_on_a_busy_machine() -> Outcome {
    let rounds_max = amount(50, 500);
    let _alone = ALONE.lock().await;
    let (_broker, alice, bob) = peers().await;
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    core::hint::spin_loop();
                }
            })
        })
        .collect();
    let rounds = async {
        for round in 0..rounds_max {
            let (ours, theirs) = connected(&alice, &bob, round % 2 == 0).await;
            for number in 0..20 {
                ours.send_bytes(vec![number; 10_000]).await?;
            }
            let ((), mut received) = tokio::join!(
                async {
                    soon(ours.close_flush()).await;
                },
                async {
                    let mut received = Vec::new();
                    while let Ok(Some(Value::Bytes(bytes))) = soon(theirs.recv()).await {
                        assert!(
                            bytes.len() == 10_000 && bytes.iter().all(|byte| *byte == bytes[0])
                        );
                        received.push(bytes[0]);
                    }
                    received
                }
            );
            received.sort_unstable();
            assert_eq!(received, (0..20).collect::<Vec<u8>>(), "round {round}");
        }
        Outcome::Ok(())
    };
    let outcome = rounds.await;
    over.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().expect("it only spins");
    }
    outcome
}
