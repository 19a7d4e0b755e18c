//! The end of all requests at once, so that each is told in the access log.
//!
//! A runtime that ends drops its tasks where they stand, and with them what they would have told. So before it ends
//! every request is given up where it waits, and comes to the end that every request comes to. All that a request does
//! stands [behind](Cut::unless_told) one flag, which its task must be woken to look at: a connection's task is
//! [registered](Cut::waking) for that once. Requests over HTTP/2 are tasks of their own; their connection ends, and
//! that wakes them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use crate::spread::Spread;

/// Whether all requests are to end at once, and how many there are.
#[derive(Debug, Default)]
pub struct Cut {
    is_told: AtomicBool,
    wake: Notify,
    open: Spread<Arc<Count>>,
}

/// What a worker's open requests hold. On a cache line of its own: every request writes how many hold it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count {
    is_draining: AtomicBool,
}

/// Ready once `watch` is told, or nobody is left who could tell. To be polled by one task alone, whose waker stays the same:
/// it is left with the watch once, behind a lock that all connections share, and later looks take none.
pub(super) async fn told(mut watch: ShutdownWatch) {
    let look = watch.clone();
    let mut telling = pin!(async { drop(watch.wait_for(|told| *told).await) });
    let mut has_waker = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut has_waker, true) {
            return telling.as_mut().poll(cx);
        }
        if look.has_changed().unwrap_or(true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A request from its head to its access line; counted until dropped.
pub(super) struct Open(Arc<Count>);

impl Open {
    /// True once every answer is to close its connection.
    pub(super) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }
}

impl Cut {
    /// From now on every answer closes its connection.
    pub fn drain(&self) {
        self.open.all().for_each(|count| count.is_draining.store(true, Ordering::Relaxed));
    }

    /// Ends all requests, from now on.
    pub fn tell(&self) {
        self.is_told.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    /// Requests whose head has been read, and which have not been told in the access log.
    pub fn open_requests(&self) -> usize {
        self.open.all().map(|count| Arc::strong_count(count) - 1).sum()
    }

    /// A head has been read.
    pub(super) fn open(&self) -> Open {
        Open(Arc::clone(self.open.mine()))
    }

    /// Drives a connection's own task, which looks again at all that it waits for when the requests are to end. Costs
    /// the connection one registration and its requests nothing: a task's waker stays the same.
    pub(super) async fn waking<T>(&self, serving: impl Future<Output = T>) -> T {
        let mut told = pin!(self.wake.notified());
        // Told before this, the connection sees it by itself.
        poll_fn(|cx| Poll::Ready(told.as_mut().poll(cx).is_ready())).await;
        serving.await
    }

    /// What comes of `work`, within a task that is woken; `None` if the requests are to end first: nothing more is
    /// done of it then.
    pub(super) async fn unless_told<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|cx| {
            if self.is_told.load(Ordering::Relaxed) {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}
