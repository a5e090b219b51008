//! Tasks that share engines, on an executor that polls nobody who was not woken.
#![allow(clippy::std_instead_of_core, reason = "a test has std")]

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, Waker},
};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use peer_core::{
    PeerId,
    connection::{ReceiveError, SendError},
    peer::{
        BrokerInput, Config, ConnectError, ConnectOptions, ConnectionError, Event, Input, Peer,
        PeerResources, PeerState, Room,
    },
    serialization::MessageKind,
    sync::{EVENTS_MAX, Shared},
    time::{Duration, Instant},
};

#[path = "support/executor.rs"]
mod executor;
#[path = "../examples/support/network.rs"]
mod network;

use executor::Task;
use network::Network;

type SharedPeer = Shared<'static, NoopRawMutex>;

/// Polls a future once, with nobody to wake.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

thread_local! {
    static NOW: RefCell<Instant> = const { RefCell::new(Instant::from_millis(1_000)) };
}

fn clock() -> Instant {
    NOW.with_borrow(|now| *now)
}

fn share(id: &str) -> &'static SharedPeer {
    let mut config = Config::new([id.len() as u8; 32]);
    config.id = Some(PeerId::new(id).unwrap());
    let memory: &'static mut PeerResources<3> = Box::leak(Box::new(PeerResources::new()));
    Box::leak(Box::new(Shared::new(Peer::new(config, memory), clock)))
}

/// One driver for each engine, as there would be one at each machine.
fn drivers(peers: [&'static SharedPeer; 2]) -> Vec<Task<'static>> {
    let network: &'static RefCell<Network> = Box::leak(Box::default());
    let driver = move |side: usize| async move {
        let (own, other) = (peers[side], peers[1 - side]);
        loop {
            let mut spoke = false;
            loop {
                let mut network = network.borrow_mut();
                let busy = network.deliver(side, |input| own.handle_input(input));
                own.poll(|output| {
                    spoke = true;
                    network.carry_out(side, output);
                });
                if !busy {
                    break;
                }
            }
            if spoke {
                other.notify();
                own.notify();
            }
            own.wanted().await;
        }
    };
    vec![Box::pin(driver(0)), Box::pin(driver(1))]
}

fn run_all(tasks: Vec<Task<'_>>) {
    executor::run(tasks, || false);
}

fn with_drivers<'t>(
    peers: [&'static SharedPeer; 2],
    tasks: impl IntoIterator<Item = Task<'t>>,
) -> Vec<Task<'t>> {
    tasks.into_iter().chain(drivers(peers)).collect()
}

fn reliable() -> ConnectOptions<'static> {
    ConnectOptions {
        reliable: true,
        ..ConnectOptions::default()
    }
}

async fn incoming(peer: &SharedPeer) -> peer_core::peer::ConnectionHandle {
    loop {
        if let Event::Connection(handle) = peer.event().await {
            return handle;
        }
    }
}

#[test]
fn tasks_send_and_receive() {
    let (alice, bob) = (share("alice"), share("bob"));
    let here = Box::pin(async move {
        alice.open().await.unwrap();
        assert_eq!(alice.id().unwrap().as_str(), "alice");
        let to = PeerId::new("bob").unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        // More than both rings hold: it waits for the reader.
        for n in 0..200_u32 {
            connection.send(&(n, "x".repeat(100))).await.unwrap();
        }
        assert_eq!(connection.recv::<u32>().await.unwrap(), 200);
        connection.close();
        assert_eq!(connection.send("late").await, Err(SendError::Closed));
        connection.closed().await;
    });
    let there = Box::pin(async move {
        let connection = bob.connection(incoming(bob).await);
        for expected in 0..200_u32 {
            let (n, text) = connection.recv::<(u32, String)>().await.unwrap();
            assert_eq!((n, text.len()), (expected, 100));
        }
        connection.send(&200_u32).await.unwrap();
        assert_eq!(connection.recv::<u32>().await, Err(ReceiveError::Empty));
    });
    run_all(with_drivers([alice, bob], [here as Task<'_>, there]));
    assert_eq!(alice.missed_events(), 0);
}

#[test]
fn several_tasks_use_one_connection() {
    let (alice, bob) = (share("alice"), share("bob"));
    let left = AtomicU32::new(6);
    let sum = AtomicU32::new(0);
    let end = Box::pin(async {
        let to = PeerId::new("bob").unwrap();
        alice.open().await.unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        let sender = |n: u32| async move {
            for _ in 0..20 {
                connection.send(&n).await.unwrap();
            }
        };
        let mut senders: Vec<_> = (1..=6).map(|n| Box::pin(sender(n))).collect();
        std::future::poll_fn(|context| {
            senders.retain_mut(|sender| {
                let pending = sender.as_mut().poll(context).is_pending();
                if !pending {
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                pending
            });
            if senders.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        connection.closed().await;
    });
    let reader = Box::pin(async {
        let connection = bob.connection(incoming(bob).await);
        for _ in 0..120 {
            sum.fetch_add(connection.recv::<u32>().await.unwrap(), Ordering::Relaxed);
        }
        connection.close();
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>, reader]));
    assert_eq!(left.load(Ordering::Relaxed), 0);
    assert_eq!(sum.load(Ordering::Relaxed), 20 * 21);
}

#[test]
fn messages_are_copied_out_or_looked_at() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        let connection = bob.connection(incoming(bob).await);
        let mut memory = [0; 4];
        let copied = connection.recv_into(&mut memory).await.unwrap();
        assert_eq!(copied.kind, MessageKind::Binary);
        assert_eq!(copied.bytes, b"\xb2hi");
        let too_long = connection.recv_into(&mut memory).await;
        assert_eq!(too_long, Err(ReceiveError::TooLarge));
        let first = connection.recv_with(|message| message.bytes[0]).await;
        assert_eq!(first, Ok(7));
        assert!(matches!(
            connection.recv::<u32>().await,
            Err(ReceiveError::Decode(_))
        ));
    });
    let sender = Box::pin(async move {
        alice.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        connection.send("hi").await.unwrap();
        connection.send("too long!").await.unwrap();
        connection.send(&7_u8).await.unwrap();
        connection.send("no number").await.unwrap();
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>, sender]));
}

#[test]
fn a_connect_fails_with_its_reason() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        let own = alice
            .connect(&PeerId::new("alice").unwrap(), reliable())
            .await;
        assert_eq!(own.err(), Some(ConnectError::OwnId));
        let nobody = PeerId::new("nobody").unwrap();
        let mut connect = Box::pin(alice.connect(&nobody, reliable()));
        assert!(poll_once(connect.as_mut()).is_pending());
        NOW.with_borrow_mut(|now| *now = *now + Duration::from_secs(31));
        alice.handle_input(Input::Timeout).unwrap();
        alice.notify();
        let Err(ConnectError::Failed(failure)) = connect.await else {
            panic!("it cannot open")
        };
        assert_eq!(failure.reason, ConnectionError::TimedOut);
        alice.destroy();
        assert_eq!(alice.open().await, Err(ConnectError::Destroyed));
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>]));
}

#[test]
fn what_is_dropped_half_way_leaves_nothing_behind() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        // More often than there are slots: each is given back.
        for _ in 0..10 {
            let mut connect = Box::pin(alice.connect(&to, reliable()));
            assert!(poll_once(connect.as_mut()).is_pending());
            drop(connect);
            alice.poll(|_| {});
        }
        let connection = alice.connect(&to, reliable()).await.unwrap();
        // A receive that is dropped takes nothing.
        {
            let mut receive = Box::pin(connection.recv::<u32>());
            assert!(poll_once(receive.as_mut()).is_pending());
        }
        connection.send("go on").await.unwrap();
        for n in 0..3_u32 {
            assert_eq!(connection.recv::<u32>().await.unwrap(), n);
        }
        // A send that waits for room and is dropped sends nothing.
        let mut queued = 0_u32;
        loop {
            let value = (queued, "x".repeat(300));
            let mut send = Box::pin(connection.send(&value));
            if poll_once(send.as_mut()).is_pending() {
                break;
            }
            queued += 1;
        }
        assert!(queued > 0);
        connection
            .send(&(u32::MAX, "end".to_owned()))
            .await
            .unwrap();
        assert_eq!(connection.recv::<u32>().await.unwrap(), queued);
    });
    let there = Box::pin(async move {
        // Attempts that were given up come before the one that opens.
        let connection = loop {
            let connection = bob.connection(incoming(bob).await);
            if connection.recv::<String>().await.as_deref() == Ok("go on") {
                break connection;
            }
        };
        for n in 0..3_u32 {
            connection.send(&n).await.unwrap();
        }
        let mut expected = 0;
        loop {
            match connection.recv::<(u32, String)>().await.unwrap() {
                (u32::MAX, _) => break,
                (n, _) => assert_eq!(n, expected),
            }
            expected += 1;
        }
        connection.send(&expected).await.unwrap();
        std::future::pending::<()>().await;
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>, there]));
}

#[test]
fn events_that_nobody_takes_are_counted() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        for _ in 0..EVENTS_MAX {
            alice.disconnect();
            alice.poll(|_| {});
            alice.reconnect().unwrap();
            alice.open().await.unwrap();
        }
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>]));
    assert!(alice.missed_events() > 0);
}

/// No other task does anything that would wake the drivers.
#[test]
fn what_is_done_in_a_look_wakes_the_driver() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        let sent = connection.look(|connection| connection.send("sent in a look"));
        assert_eq!(sent, Some(Ok(())));
        assert_eq!(connection.recv::<u32>().await, Ok(7));
        connection.look(|connection| connection.close());
        connection.closed().await;
    });
    let there = Box::pin(async move {
        let connection = bob.connection(incoming(bob).await);
        let text = connection.recv::<String>().await.unwrap();
        assert_eq!(text, "sent in a look");
        connection.look(|connection| connection.send(&7_u32).unwrap());
        connection.closed().await;
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>, there]));
}

#[test]
fn an_input_of_another_task_wakes_the_driver() {
    let alice = share("alice");
    let polled = AtomicU32::new(0);
    let mut driver = pin!(async {
        loop {
            alice.poll(|_| {});
            polled.fetch_add(1, Ordering::Relaxed);
            alice.wanted().await;
        }
    });
    let mut poll = || {
        assert!(poll_once(driver.as_mut()).is_pending());
        polled.load(Ordering::Relaxed)
    };
    let before = poll();
    assert_eq!(poll(), before, "nobody wants anything");
    alice
        .handle_input(Input::Broker(BrokerInput::Opened))
        .unwrap();
    assert_eq!(poll(), before + 1);
    // An input before a poll asks for no other.
    alice.handle_input(Input::Timeout).unwrap();
    alice.poll(|_| {});
    assert_eq!(poll(), before + 1);
}

/// As an executor may that holds the last waker of a task, when another replaces it.
#[test]
fn a_future_may_be_dropped_while_the_engine_is_lent() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        // More than there are slots: each is given back.
        for _ in 0..10 {
            let mut connect = Box::pin(alice.connect(&to, reliable()));
            assert!(poll_once(connect.as_mut()).is_pending());
            let lent = connection.look(|connection| {
                drop(connect);
                connection.is_open()
            });
            assert_eq!(lent, Some(true));
            assert_eq!(alice.connections().count(), 2);
            alice.poll(|_| {});
            assert_eq!(alice.connections().count(), 1);
        }
        // From within the driver's turn too.
        let mut connect = Some(Box::pin(alice.connect(&to, reliable())));
        assert!(poll_once(connect.as_mut().unwrap().as_mut()).is_pending());
        alice.poll(|_| drop(connect.take()));
        assert!(connect.is_none());
        alice.poll(|_| {});
        assert_eq!(alice.connections().count(), 1);
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>]));
}

#[test]
fn a_clock_may_capture() {
    let now = Cell::new(Instant::from_millis(1_000));
    let mut memory: PeerResources<1> = PeerResources::new();
    let mut config = Config::new([1; 32]);
    config.id = Some(PeerId::new("alice").unwrap());
    let peer = Peer::new(config, &mut memory);
    let shared: Shared<'_, NoopRawMutex, 1, _> = Shared::with_clock(peer, || now.get());
    assert!(shared.poll(|_| {}) > Some(now.get()));
    assert_eq!(shared.state(), PeerState::Connecting);
    now.set(now.get() + Duration::from_secs(60));
    shared.poll(|_| {});
    assert_ne!(shared.state(), PeerState::Connecting);
}

#[test]
fn no_connection_is_missed_with_its_event() {
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        alice.open().await.unwrap();
        bob.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let first = alice.connect(&to, reliable()).await.unwrap();
        let second = alice.connect(&to, reliable()).await.unwrap();
        first.send("first").await.unwrap();
        second.send("second").await.unwrap();
        for _ in 0..EVENTS_MAX {
            bob.disconnect();
            bob.poll(|_| {});
            bob.reconnect().unwrap();
            bob.open().await.unwrap();
        }
        assert!(bob.missed_events() >= 2);
        // Both, and each of them once.
        for expected in ["first", "second"] {
            let connection = bob.accept().await;
            assert_eq!(connection.recv::<String>().await.unwrap(), expected);
            connection.close();
            connection.closed().await;
        }
        let mut third = pin!(bob.accept());
        assert!(poll_once(third.as_mut()).is_pending());
        alice
            .connect(&to, reliable())
            .await
            .unwrap()
            .send("third")
            .await
            .unwrap();
        assert_eq!(third.await.recv::<String>().await.unwrap(), "third");
        // Own ones are none.
        assert!(poll_once(pin!(alice.accept())).is_pending());
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>]));
}

#[test]
fn a_driver_without_room_gets_events_only() {
    let alice = share("alice");
    let mut outputs = 0;
    let mut poll = |room| {
        alice.poll_within(room, |_| {
            outputs += 1;
            Room::NONE
        });
        outputs
    };
    assert_eq!(poll(Room::NONE), 0);
    // The command to open the broker's socket.
    assert_eq!(poll(Room::UNLIMITED), 1);
    assert_eq!(poll(Room::UNLIMITED), 1);
}

/// A message of ten times the memory of both ends.
#[test]
fn a_long_message_is_streamed_through() {
    const LEN: usize = 20_000;
    let (alice, bob) = (share("alice"), share("bob"));
    let end = Box::pin(async move {
        let connection = bob.accept().await;
        connection.look(|connection| connection.set_streaming(true));
        let (mut received, mut last) = (Vec::new(), false);
        while !last {
            let piece = connection.recv_piece(|piece| {
                received.extend_from_slice(piece.bytes);
                piece.last
            });
            last = piece.await.unwrap();
        }
        // BinaryPack's string of 16 bits of length.
        assert_eq!(received.len(), LEN + 3);
        assert!(received[3..].iter().all(|byte| *byte == b'x'));
        connection.close();
        assert_eq!(
            connection.recv_piece(|_| ()).await,
            Err(ReceiveError::Empty)
        );
    });
    let sender = Box::pin(async move {
        alice.open().await.unwrap();
        let to = PeerId::new("bob").unwrap();
        let connection = alice.connect(&to, reliable()).await.unwrap();
        let announced = connection.look(|connection| connection.stream(LEN + 3, 700));
        assert_eq!(announced, Some(Ok(())));
        let [high, low] = (LEN as u16).to_be_bytes();
        let message = [&[0xd8, high, low][..], &[b'x'; LEN]].concat();
        let mut rest = &message[..];
        while !rest.is_empty() {
            let taken = connection.stream_write(rest).await.unwrap();
            rest = &rest[taken..];
        }
    });
    run_all(with_drivers([alice, bob], [end as Task<'_>, sender]));
}
