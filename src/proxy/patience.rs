//! How long the gateway bears with a client that does not read, or does not send: `limits.min_send_rate`.
//!
//! Only time in which the client is waited for counts. Whenever such time adds up to the span, the client must have
//! moved the rate's bytes since the span began. What it "read" is what its connection accepted from us, so the kernel's
//! buffers come before it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::{Clock, Monotonic};

/// What is asked of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes; 0 asks nothing.
    pub bytes: u64,
    /// Over how much waiting time.
    pub span: Duration,
}

/// An account of waiting.
pub struct Patience {
    rate: Rate,
    clock: Clock,
    /// Since when the client is waited for.
    since: Option<Monotonic>,
    /// Waiting time of this span, but for the wait that goes on.
    waited: Duration,
    /// Bytes moved in this span.
    moved: u64,
    /// Wakes who waits; armed only once somebody does.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A new account.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self { rate, clock, since: None, waited: Duration::ZERO, moved: 0, timer: None }
    }

    /// Takes an attempt to move bytes into account.
    ///
    /// # Errors
    /// `TimedOut`: the client was too slow.
    pub fn note(&mut self, cx: &mut Context<'_>, attempt: &Poll<io::Result<usize>>) -> io::Result<()> {
        match attempt {
            Poll::Ready(Ok(bytes)) => {
                let is_waiting = self.since.is_some();
                if !is_waiting && self.waited.is_zero() {
                    return Ok(());
                }
                self.moved = self.moved.saturating_add(*bytes as u64);
                self.count_wait();
                self.since = None;
                self.judge()
            }
            Poll::Pending if self.rate.bytes > 0 => self.wait(cx),
            _ => Ok(()),
        }
    }

    /// Takes into account whether the client has taken what was written.
    ///
    /// # Errors
    /// As [`Patience::note`].
    pub fn note_flush(&mut self, cx: &mut Context<'_>, flush: &Poll<io::Result<()>>) -> io::Result<()> {
        self.note(cx, &if flush.is_ready() { Poll::Ready(Ok(0)) } else { Poll::Pending })
    }

    /// The client is not waited for any more, for now.
    pub fn pause(&mut self) {
        self.count_wait();
        self.since = None;
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
        if self.moved < self.rate.bytes {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.waited = Duration::ZERO;
        self.moved = 0;
        self.timer = None;
        Ok(())
    }
}
