//! One JSON line a request, formatted off the request's thread.
//!
//! Finished requests wait in a bounded queue; a thread of its own takes them out ten times a second and writes them.
//! When the queue is full, lines are dropped and counted: a slow disk must not slow a request.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;

use crate::clock::UnixTime;
use crate::outcome::finished::Finished;
use crate::telemetry::access_line;

/// Lines that wait, at most.
const QUEUE: usize = 65_536;

/// How long a line waits, at most, unless many come.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long the last lines may take when the process ends.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Lines after which the writer is woken before its interval is over.
const BATCH: usize = 8192;

/// Where finished requests are told. Clones tell the same log.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    state: Mutex<Waiting>,
    wake: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<Finished>,
    is_closed: bool,
}

/// The writer's thread; ends when it is [closed](AccessWriter::close).
#[derive(Debug)]
pub struct AccessWriter {
    queue: Arc<Queue>,
    written: Mutex<Receiver<()>>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// A log that forgets everything.
    pub fn off() -> Self {
        Self(None)
    }

    /// A log that writes to `out`; what does not fit into the queue is counted by `dropped`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        out: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> std::io::Result<(Self, AccessWriter)> {
        let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new(), dropped });
        let writing = Arc::clone(&queue);
        let (done, written) = channel();
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writing.write_all(out);
            // Nobody waits for it if the process is ending otherwise.
            let _ = done.send(());
        })?;
        Ok((Self(Some(Arc::clone(&queue))), AccessWriter { queue, written: Mutex::new(written), thread }))
    }

    /// Queues a request's line. `finished` is not called if the log is off or full.
    pub fn record(&self, finished: impl FnOnce() -> Finished) {
        let Some(queue) = &self.0 else { return };
        let is_full = queue.state().lines.len() >= QUEUE;
        if is_full {
            queue.dropped.inc();
            return;
        }
        let line = finished();
        let mut state = queue.state();
        state.lines.push(line);
        let is_batch = state.lines.len() == BATCH;
        drop(state);
        if is_batch {
            queue.wake.notify_one();
        }
    }
}

impl AccessWriter {
    /// Writes what waits, and ends.
    pub fn close(self) {
        self.queue.state().is_closed = true;
        self.queue.wake.notify_one();
        // Over at once, unless whoever reads the log has stopped reading: an end is not held up by that.
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        if written.recv_timeout(LAST_WRITE) != Err(RecvTimeoutError::Timeout) {
            // A writer that panicked has nothing more to write.
            let _ = self.thread.join();
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut out: impl Write) {
        let mut text = Vec::new();
        let mut stamp = Stamp::default();
        let mut lines = Vec::new();
        loop {
            let is_closed = self.take(&mut lines);
            for line in &lines {
                access_line::write(&mut text, line, stamp.of(line.at));
            }
            if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                self.dropped.inc_by(lines.len() as u64);
            }
            text.clear();
            lines.clear();
            lines.shrink_to(BATCH);
            if is_closed {
                return;
            }
        }
    }

    /// Waits for the interval's end or a batch, then takes all lines; true if there will be no more. The requests
    /// that follow fill the memory that the last lines were in.
    fn take(&self, lines: &mut Vec<Finished>) -> bool {
        let state = self.state();
        let waits = |state: &mut Waiting| state.lines.len() < BATCH && !state.is_closed;
        let waited = self.wake.wait_timeout_while(state, INTERVAL, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.lines, lines);
        state.is_closed
    }
}

/// The text of a time, made anew only when the millisecond has changed: many requests end in one.
#[derive(Default)]
struct Stamp {
    millis: u64,
    text: String,
}

impl Stamp {
    fn of(&mut self, at: UnixTime) -> &str {
        if self.text.is_empty() || self.millis != at.as_millis() {
            self.millis = at.as_millis();
            self.text = rfc3339(at);
        }
        &self.text
    }
}

/// `at` as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(at: UnixTime) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}
