//! Thousands of orders in which tasks may run around a queue, chosen by shuttle: none waits for
//! ever, nothing is lost or changes its place. An order that fails is printed, to be run again.

mod sync {
    pub(super) use shuttle::sync::Mutex;

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> shuttle::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}
#[path = "queue.rs"]
#[allow(
    dead_code,
    clippy::duplicate_mod,
    reason = "the same, with shuttle's lock"
)]
mod queue;
#[path = "waiters.rs"]
#[allow(clippy::duplicate_mod, reason = "the same, with shuttle's lock")]
mod waiters;

use core::future::poll_fn;
use core::task::Poll;
use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread;

use queue::{Ended, Queue, Reader, Writer};

/// Orders tried of each model.
const ORDERS: usize = 3000;
/// Points at which a task may lose its turn to another, in one order.
const CHANGES: usize = 4;

fn model(run: impl Fn() + Sync + Send + 'static) {
    shuttle::check_pct(run, ORDERS, CHANGES);
}

/// A queue that one message fills.
fn narrow() -> Arc<Queue<u8>> {
    Arc::new(Queue::new(1))
}

#[test]
fn messages_of_two_senders_all_arrive_in_their_order() {
    model(|| {
        let queue = narrow();
        let [one, other] = [[1, 2], [11, 12]].map(|messages| {
            let queue = queue.clone();
            thread::spawn(move || {
                for message in messages {
                    assert_eq!(block_on(queue.push(message, 1)), Ok(()));
                }
            })
        });
        let received: Vec<_> = (0..4).filter_map(|_| block_on(queue.pop())).collect();
        one.join().unwrap();
        other.join().unwrap();
        let of = |from: u8| received.iter().filter(move |n| **n / 10 == from);
        assert!(of(0).eq(&[1, 2]) && of(1).eq(&[11, 12]), "{received:?}");
    });
}

#[test]
fn a_cancelled_push_leaves_its_turn_to_the_next() {
    model(|| {
        let queue = narrow();
        assert_eq!(queue.push_now(1, 1), Ok(()));
        let cancelled = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut item = Some(2);
                let mut writer = Writer::new(&*queue);
                block_on(poll_fn(|context| {
                    let _ = writer.poll_push(context, &mut item, 1);
                    Poll::Ready(())
                }));
                drop(writer);
                item.is_none()
            })
        };
        let next = {
            let queue = queue.clone();
            thread::spawn(move || assert_eq!(block_on(queue.push(3, 1)), Ok(())))
        };
        assert_eq!(block_on(queue.pop()), Some(1));
        let mut rest = vec![block_on(queue.pop())];
        next.join().unwrap();
        if cancelled.join().unwrap() {
            rest.push(block_on(queue.pop()));
        }
        queue.end();
        assert_eq!(block_on(queue.pop()), None);
        assert!(rest.contains(&Some(3)) && !rest.contains(&None));
    });
}

#[test]
fn a_cancelled_pop_leaves_its_message_to_the_next() {
    model(|| {
        let queue = narrow();
        let cancelled = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut reader = Reader::new(&*queue);
                block_on(poll_fn(|context| {
                    Poll::Ready(match reader.poll_pop(context) {
                        Poll::Ready(item) => item,
                        Poll::Pending => None,
                    })
                }))
            })
        };
        let next = {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.pop()))
        };
        assert_eq!(block_on(queue.push(1, 1)), Ok(()));
        if cancelled.join().unwrap().is_some() {
            queue.end();
            assert_eq!(next.join().unwrap(), None);
        } else {
            assert_eq!(next.join().unwrap(), Some(1));
        }
    });
}

#[test]
fn the_end_wakes_everybody() {
    model(|| {
        let queue = narrow();
        assert_eq!(queue.push_now(1, 1), Ok(()));
        let sender = {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.push(2, 1)))
        };
        let idler = {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.idle()))
        };
        queue.abandon();
        assert_eq!(sender.join().unwrap(), Err(Ended));
        idler.join().unwrap();
        assert_eq!(block_on(queue.pop()), None);
    });
}

#[test]
fn whoever_waits_for_the_last_byte_is_told() {
    model(|| {
        let queue = narrow();
        assert_eq!(queue.push_now(1, 1), Ok(()));
        let writer = {
            let queue = queue.clone();
            thread::spawn(move || {
                while let Some((_, len)) = block_on(queue.lend()) {
                    queue.release(len);
                }
            })
        };
        assert_eq!(block_on(queue.push(2, 1)), Ok(()));
        queue.end();
        block_on(queue.idle());
        assert_eq!(queue.bytes(), 0);
        writer.join().unwrap();
    });
}
