//! A bound on a wait that comes again and again: its timer stays armed from one wait to the next, as setting one up
//! costs more than moving its deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Runs while a wait goes on.
#[derive(Default)]
pub(super) struct Bound {
    /// Armed only once somebody waits.
    timer: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Bound {
    /// The wait is over: the next one has a bound of its own.
    pub(super) fn lift(&mut self) {
        self.is_running = false;
    }

    /// Ready when the wait, which begins with the first of these calls, has lasted for `longest`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, longest: Duration) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => {
                if !self.is_running {
                    timer.as_mut().reset(sleep(longest).deadline());
                }
                timer
            }
            none => none.insert(Box::pin(sleep(longest))),
        };
        self.is_running = true;
        timer.as_mut().poll(cx)
    }
}
