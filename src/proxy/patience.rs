//! How long a connection bears with a client that does not read: `limits.min_send_rate`.
//!
//! Only time in which data waits for the client counts. Whenever such time adds up to the span, the client must have
//! taken the rate's share of bytes since the span began; what it "took" is what its connection accepted from us, so
//! the kernel's buffers come before it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::{Clock, Monotonic};

/// What is asked of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRate {
    /// Bytes a second; 0 asks nothing.
    pub bytes_per_second: u64,
    /// Over how much waiting time.
    pub span: Duration,
}

/// A connection's account of waiting.
pub struct Patience {
    rate: SendRate,
    clock: Clock,
    /// Since when a write has been waiting.
    since: Option<Monotonic>,
    /// Waiting time of this span, but for the wait that goes on.
    waited: Duration,
    /// Bytes accepted in this span.
    taken: u64,
    /// Wakes a write that waits; armed only once one does.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A new account.
    pub fn new(rate: SendRate, clock: Clock) -> Self {
        Self { rate, clock, since: None, waited: Duration::ZERO, taken: 0, timer: None }
    }

    /// Takes an attempt to write into account.
    ///
    /// # Errors
    /// `TimedOut`: the client was too slow.
    pub fn note(&mut self, cx: &mut Context<'_>, written: &Poll<io::Result<usize>>) -> io::Result<()> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let is_waiting = self.since.is_some();
                if !is_waiting && self.waited.is_zero() {
                    return Ok(());
                }
                self.taken = self.taken.saturating_add(*bytes as u64);
                self.count_wait();
                self.since = None;
                self.judge()
            }
            Poll::Pending if self.rate.bytes_per_second > 0 => self.wait(cx),
            _ => Ok(()),
        }
    }

    /// Waits on, until the span's time has been waited.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.since.is_none() {
            self.since = Some(self.clock.monotonic());
        }
        loop {
            let left = self.rate.span.saturating_sub(self.waited);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.timer = None;
            self.count_wait();
            self.judge()?;
        }
    }

    /// Adds what has been waited so far.
    fn count_wait(&mut self) {
        if let Some(since) = &mut self.since {
            let now = self.clock.monotonic();
            self.waited += now.saturating_since(*since);
            *since = now;
        }
    }

    fn judge(&mut self) -> io::Result<()> {
        if self.waited < self.rate.span {
            return Ok(());
        }
        let asked = u128::from(self.rate.bytes_per_second).saturating_mul(self.rate.span.as_millis()) / 1000;
        if u128::from(self.taken) < asked {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.waited = Duration::ZERO;
        self.taken = 0;
        self.timer = None;
        Ok(())
    }
}
