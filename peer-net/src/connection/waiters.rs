//! Tasks that wait for the same thing, in the order in which they came.

use core::task::{Context, Waker};
use std::collections::VecDeque;

/// The tasks that wait. Each has a place until it has what it waited for, or gives up.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// One task's place among [`Waiters`], once it waits. Whoever drops it leaves first.
#[derive(Debug, Default)]
pub(super) struct Place(Option<u64>);

impl Waiters {
    /// Waits on: at the end of the line, or where it was.
    pub(super) fn wait(&mut self, place: &mut Place, context: &Context<'_>) {
        let waker = context.waker();
        let known = self.waiting.iter_mut().find(|(id, _)| Some(*id) == place.0);
        match known {
            Some((_, known)) => known.clone_from(waker),
            None => {
                self.next += 1;
                place.0 = Some(self.next);
                self.waiting.push_back((self.next, waker.clone()));
            }
        }
    }

    /// Gives the place up. Whether there was one.
    pub(super) fn leave(&mut self, place: &mut Place) -> bool {
        let Some(left) = place.0.take() else {
            return false;
        };
        self.waiting.retain(|(id, _)| *id != left);
        true
    }

    /// Whether nobody came before.
    pub(super) fn is_first(&self, place: &Place) -> bool {
        self.waiting
            .front()
            .is_none_or(|(id, _)| Some(*id) == place.0)
    }

    /// Who came first, to be woken once no lock is held.
    pub(super) fn first(&self) -> Option<Waker> {
        self.waiting.front().map(|(_, waker)| waker.clone())
    }

    /// All of them, to be woken once no lock is held.
    pub(super) fn all(&self) -> Vec<Waker> {
        self.waiting
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect()
    }
}

/// Wakes what [`Waiters`] gave.
pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
