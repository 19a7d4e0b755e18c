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
use serde::Serialize;

use crate::clock::UnixTime;
use crate::ids::KeyId;
use crate::outcome::finished::Finished;

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
        loop {
            let (lines, is_closed) = self.take();
            for line in &lines {
                // Plain values always serialise.
                let _ = serde_json::to_writer(&mut text, &Line::of(line, stamp.of(line.at)));
                text.push(b'\n');
            }
            if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                self.dropped.inc_by(lines.len() as u64);
            }
            text.clear();
            if is_closed {
                return;
            }
        }
    }

    /// Waits for the interval's end or a batch, then takes all lines.
    fn take(&self) -> (Vec<Finished>, bool) {
        let state = self.state();
        let waits = |state: &mut Waiting| state.lines.len() < BATCH && !state.is_closed;
        let waited = self.wake.wait_timeout_while(state, INTERVAL, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.lines), state.is_closed)
    }
}

/// A request's line. Absent values are left out.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    method: &'a str,
    outcome: &'a str,
    status: u16,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_first_byte_ms: Option<f64>,
    bytes_received: u64,
    bytes_sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens>,
}

#[derive(Serialize)]
struct Tokens {
    prompt: u64,
    completion: u64,
    cached: u64,
}

impl<'a> Line<'a> {
    fn of(finished: &'a Finished, time: &'a str) -> Self {
        Self {
            time,
            request_id: &finished.request_id,
            key: finished.key.as_ref().map(KeyId::as_str),
            route: finished.route.as_deref(),
            method: finished.method,
            outcome: finished.outcome.as_str(),
            status: finished.status,
            duration_ms: millis(finished.duration),
            upstream_first_byte_ms: finished.upstream_first_byte.map(millis),
            bytes_received: finished.bytes_received,
            bytes_sent: finished.bytes_sent,
            tokens: finished.tokens.map(|usage| Tokens {
                prompt: usage.prompt,
                completion: usage.completion,
                cached: usage.cached,
            }),
        }
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

/// Milliseconds with three decimals.
fn millis(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// `at` as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(at: UnixTime) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}
