//! One JSON line a request, formatted off the request's thread.
//!
//! Finished requests wait in bounded queues, one for each worker; a thread of its own takes them out ten times a second
//! and writes them. When a queue is full, lines are dropped and counted: a slow disk must not slow a request.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::outcome::finished::Finished;
use crate::spread::Spread;
use crate::telemetry::access_line;
use crate::telemetry::metrics::counted::Counter;

/// Lines that wait, at most, in all queues together.
const WAITING: usize = 65_536;

/// How long a line waits, at most, unless many come.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long the last lines may take when the process ends.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Where finished requests are told. Clones tell the same log.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Option<Arc<Queues>>);

#[derive(Debug)]
struct Queues {
    lines: Spread<Mutex<Vec<Finished>>>,
    is_closed: Mutex<bool>,
    wake: Condvar,
    dropped: Counter,
}

/// The writer's thread; ends when it is [closed](AccessWriter::close).
#[derive(Debug)]
pub struct AccessWriter {
    queues: Arc<Queues>,
    written: Mutex<Receiver<()>>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// A log that forgets everything.
    pub fn off() -> Self {
        Self(None)
    }

    /// A log of so many workers that writes to `out`; what does not fit into a queue is counted by `dropped`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        out: impl Write + Send + 'static,
        workers: NonZeroUsize,
        dropped: Counter,
    ) -> std::io::Result<(Self, AccessWriter)> {
        let lines = Spread::new(workers);
        let queues = Arc::new(Queues { lines, is_closed: Mutex::new(false), wake: Condvar::new(), dropped });
        let writing = Arc::clone(&queues);
        let (done, written) = channel();
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            writing.write_all(out);
            // Nobody waits for it if the process is ending otherwise.
            let _ = done.send(());
        })?;
        Ok((Self(Some(Arc::clone(&queues))), AccessWriter { queues, written: Mutex::new(written), thread }))
    }

    /// Queues a request's line. `finished` is not called if the log is off or full.
    pub fn record(&self, finished: impl FnOnce() -> Finished) {
        let Some(queues) = &self.0 else { return };
        let (mine, most) = (queues.lines.mine(), queues.most());
        if lock(mine).len() >= most {
            queues.dropped.inc();
            return;
        }
        let line = finished();
        let mut lines = lock(mine);
        lines.push(line);
        let is_batch = lines.len() == queues.batch();
        drop(lines);
        if is_batch {
            queues.wake.notify_one();
        }
    }
}

impl AccessWriter {
    /// Writes what waits, and ends.
    pub fn close(self) {
        *lock(&self.queues.is_closed) = true;
        self.queues.wake.notify_one();
        // Over at once, unless whoever reads the log has stopped reading: an end is not held up by that.
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        if written.recv_timeout(LAST_WRITE) != Err(RecvTimeoutError::Timeout) {
            // A writer that panicked has nothing more to write.
            let _ = self.thread.join();
        }
    }
}

impl Queues {
    /// Lines in one queue, at most.
    fn most(&self) -> usize {
        WAITING / self.lines.count()
    }

    /// Lines in one queue after which the writer is woken before its interval is over.
    fn batch(&self) -> usize {
        self.most() / 8
    }

    fn write_all(&self, mut out: impl Write) {
        let mut text = Vec::new();
        let mut stamp = Stamp::default();
        let mut taken: Vec<Vec<Finished>> = self.lines.all().map(|_| Vec::new()).collect();
        loop {
            let is_closed = self.take(&mut taken);
            for line in taken.iter().flatten() {
                access_line::write(&mut text, line, stamp.of(line.at));
            }
            if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                self.dropped.inc_by(taken.iter().map(Vec::len).sum::<usize>() as u64);
            }
            text.clear();
            for lines in &mut taken {
                lines.clear();
                lines.shrink_to(self.batch());
            }
            if is_closed {
                return;
            }
        }
    }

    /// Waits for the interval's end or a batch, then takes all lines, each queue's into its place of `taken`; true if
    /// there will be no more. The requests that follow fill the memory that the last lines were in.
    fn take(&self, taken: &mut [Vec<Finished>]) -> bool {
        let is_batch = || self.lines.all().any(|queue| lock(queue).len() >= self.batch());
        let waits = |is_closed: &mut bool| !*is_closed && !is_batch();
        let waited = self.wake.wait_timeout_while(lock(&self.is_closed), INTERVAL, waits);
        let is_closed = *waited.unwrap_or_else(PoisonError::into_inner).0;
        self.lines.all().zip(taken).for_each(|(queue, lines)| std::mem::swap(&mut *lock(queue), lines));
        is_closed
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.text = at.rfc3339();
        }
        &self.text
    }
}
