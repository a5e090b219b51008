//! Something that borrows memory, together with that memory.

use core::cell::Cell;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

/// A type that borrows memory.
pub(crate) trait Tenant: 'static {
    /// It, with memory that lives so long.
    type With<'m>;
}

type Job<T> = Box<dyn for<'a, 'm> FnOnce(&'a mut <T as Tenant>::With<'m>)>;

/// What a [`House`] is asked to do.
pub(crate) struct Jobs<T: Tenant>(Rc<Cell<Option<Job<T>>>>);

impl<T: Tenant> Jobs<T> {
    /// Does the jobs that come, for good.
    pub(crate) async fn serve(self, tenant: &mut T::With<'_>) {
        core::future::poll_fn(|_| {
            if let Some(job) = self.0.take() {
                job(tenant);
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

/// A tenant and the memory it borrows.
///
/// A struct cannot hold both. An async block can: this is one that makes the memory, then does
/// whatever job is handed to it, as the task of a real driver does. Nobody ever awaits it.
pub(crate) struct House<T: Tenant> {
    task: Pin<Box<dyn Future<Output = ()>>>,
    jobs: Rc<Cell<Option<Job<T>>>>,
}

impl<T: Tenant> House<T> {
    /// `build` makes memory and tenant, then [serves](Jobs::serve).
    pub(crate) fn new<F: Future<Output = ()> + 'static>(build: impl FnOnce(Jobs<T>) -> F) -> Self {
        let jobs = Rc::new(Cell::new(None));
        Self {
            task: Box::pin(build(Jobs(Rc::clone(&jobs)))),
            jobs,
        }
    }

    /// Has the tenant do something.
    pub(crate) fn with<R: 'static>(
        &mut self,
        job: impl for<'a, 'm> FnOnce(&'a mut T::With<'m>) -> R + 'static,
    ) -> R {
        let result = Rc::new(Cell::new(None));
        let place = Rc::clone(&result);
        self.jobs
            .set(Some(Box::new(move |tenant: &mut T::With<'_>| {
                place.set(Some(job(tenant)));
            })));
        let mut context = Context::from_waker(Waker::noop());
        let _never_ready = self.task.as_mut().poll(&mut context);
        result.take().expect("the task does the job it is given")
    }
}
