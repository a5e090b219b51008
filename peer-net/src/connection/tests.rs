use bytes::Bytes;
use futures_util::FutureExt as _;

use super::queue::{Queue, Refused};
use crate::codec::Payload;

const BYTES_MAX: usize = 1 << 20;

fn queue() -> Queue<Payload> {
    Queue::new(BYTES_MAX)
}

fn message(len: usize) -> Payload {
    Payload::Binary(Bytes::from(vec![7; len]))
}

async fn push(queue: &Queue<Payload>, len: usize) {
    assert_eq!(queue.push(message(len), len).await, Ok(()));
}

#[tokio::test]
async fn a_full_queue_makes_the_writer_wait_and_keeps_order() {
    let queue = queue();
    push(&queue, BYTES_MAX + 1).await;
    let mut second = Box::pin(push(&queue, 1));
    assert!(second.as_mut().now_or_never().is_none(), "over the limit");
    assert_eq!(queue.try_push(message(2), 2), Err(Refused::Full));
    assert_eq!(queue.pop().await.map(|p| p.len()), Some(BYTES_MAX + 1));
    assert_eq!(
        queue.try_push(message(2), 2),
        Err(Refused::Full),
        "another one came before"
    );
    second.await;
    assert_eq!(queue.try_push(message(2), 2), Ok(()));
    assert_eq!(queue.pop().await, Some(message(1)));
    assert_eq!(queue.pop().await, Some(message(2)));
}

#[tokio::test]
async fn the_end_comes_after_what_was_there() {
    let queue = queue();
    push(&queue, 3).await;
    queue.end();
    assert!(queue.push(message(4), 4).await.is_err());
    assert_eq!(queue.pop().await, Some(message(3)));
    assert_eq!(queue.pop().await, None);
    assert_eq!(queue.pop().await, None);
}

#[tokio::test]
async fn every_waiting_reader_learns_of_the_end() {
    let queue = queue();
    let (a, b, ()) = tokio::join!(queue.pop(), queue.pop(), async { queue.end() });
    assert_eq!((a, b), (None, None));
}

#[tokio::test]
async fn what_is_lent_counts_until_it_is_released() {
    let queue = queue();
    push(&queue, BYTES_MAX).await;
    let (_, len) = queue.lend().await.unwrap();
    assert_eq!(queue.bytes(), BYTES_MAX);
    assert_eq!(queue.try_push(message(1), 1), Err(Refused::Full));
    assert!(queue.idle().now_or_never().is_none());
    queue.release(len);
    assert!(queue.idle().now_or_never().is_some());
    assert_eq!(queue.try_push(message(1), 1), Ok(()));
}

#[tokio::test]
async fn a_message_that_is_looked_at_stays() {
    let queue = queue();
    assert!(queue.next_size().now_or_never().is_none());
    push(&queue, 3).await;
    for _ in 0..2 {
        assert_eq!(queue.next_size().await, Some(3));
    }
    assert_eq!(queue.pop().await, Some(message(3)));
    queue.end();
    assert_eq!(queue.next_size().await, None);
    assert_eq!(queue.pop().await, None);
}
