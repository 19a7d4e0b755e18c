//! The word to a revoked key's requests in flight that they may stop.
//!
//! The pure layer knows no runtime, so this is a future over plain wakers; any runtime can wait for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Said once, heard by everyone who waits and by everyone who asks later.
#[derive(Debug, Default)]
pub struct Cancellation {
    is_cancelled: AtomicBool,
    /// A std mutex: held for one map operation, nothing waits under it.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_ticket: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// Ends when its [`Cancellation`] is said; until then one waker is kept, and let go when this is dropped.
#[derive(Debug)]
pub struct Cancelled {
    cancellation: Arc<Cancellation>,
    ticket: Option<u64>,
}

impl Cancellation {
    /// Says it, and wakes all who wait. Saying it again does nothing.
    pub fn cancel(&self) {
        let wakers = {
            let mut waiting = self.lock();
            self.is_cancelled.store(true, Ordering::Release);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// True from the first [`Cancellation::cancel`] on.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// A future that ends when it is said, at once if it has been.
    pub fn cancelled(self: &Arc<Self>) -> Cancelled {
        Cancelled { cancellation: Arc::clone(self), ticket: None }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waiting = this.cancellation.lock();
        // Asked under the lock: whoever says it after this finds the waker.
        if this.cancellation.is_cancelled() {
            return Poll::Ready(());
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            waiting.next_ticket += 1;
            waiting.next_ticket
        });
        waiting.wakers.insert(ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.cancellation.lock().wakers.remove(&ticket);
        }
    }
}
