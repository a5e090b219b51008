//! An executor that polls nobody who was not woken.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

pub(crate) type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls woken tasks until the first one is done. The others may go on for ever. When all wait,
/// `idle` says whether time can pass; then all are polled.
pub(crate) fn run(mut tasks: Vec<Task<'_>>, mut idle: impl FnMut() -> bool) {
    let flags: Vec<Arc<Flag>> = tasks
        .iter()
        .map(|_| Arc::new(Flag(AtomicBool::new(true))))
        .collect();
    let mut done = vec![false; tasks.len()];
    for _ in 0..20_000 {
        let mut busy = false;
        for (n, task) in tasks.iter_mut().enumerate() {
            if done[n] || !flags[n].0.swap(false, Ordering::Relaxed) {
                continue;
            }
            busy = true;
            let waker = Waker::from(flags[n].clone());
            done[n] = task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready();
        }
        if done[0] {
            return;
        }
        if !busy {
            assert!(idle(), "everybody waits, nobody was woken");
            for flag in &flags {
                flag.0.store(true, Ordering::Relaxed);
            }
        }
    }
    panic!("they never come to rest");
}
