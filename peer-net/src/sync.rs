//! Locks.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::Mutex;

/// Locks. A poisoned lock still guards plain data, valid after any panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
