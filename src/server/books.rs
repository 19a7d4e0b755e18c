//! Usage on its way to where it lasts: once a second, when somebody asks for it, and at the end.
//!
//! What cannot be written waits here and is tried again, so that a full disk costs nothing once there is room. A batch that
//! was sent keeps its id and its rows until it is known to be written: the store adds it once, however often it is sent,
//! and what has come since waits behind it. What waits has a bound; beyond it requests are counted as lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::clock::{Clock, UnixTime};
use crate::config::Config;
use crate::store::Store;
use crate::store::failure::{StoreError, Trouble};
use crate::store::usage::{Settle, UsageBatch};
use crate::telemetry::metrics::Metrics;
use crate::usage::ledger::{Ledger, MOST_SUMS, OTHER_MODEL};
use crate::usage::record::{Cell, Hour, Line, UsageRow};

/// Between two times that usage is written.
const EVERY: Duration = Duration::from_secs(1);

/// Rows that are written in one transaction, so that others come between.
const MOST_ROWS: usize = 4096;

/// Who may wait for usage to be written, at most.
const MOST_WAITING: usize = 1024;

/// How long that may take for somebody who waits.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Who is told when all usage of before is written, or that it is not.
type Waiting = oneshot::Sender<Result<(), StoreError>>;

/// What the books are kept with.
pub(super) struct Books {
    /// What is to be written.
    pub(super) ledger: Ledger,
    /// Where.
    pub(super) store: Arc<dyn Store>,
    /// For how long it is kept.
    pub(super) clock: Clock,
    /// Where what could not be written is counted.
    pub(super) metrics: Arc<Metrics>,
    /// The policy of the moment.
    pub(super) config: Box<dyn Fn() -> Arc<Config> + Send + Sync>,
}

/// Keeps the books, until it is closed.
pub(super) struct Bookkeeper {
    asking: mpsc::Sender<Waiting>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Bookkeeper {
    /// Begins to keep `books`, by a task of `runtime`.
    pub(super) fn start(books: Books, runtime: &Handle) -> Self {
        let (asking, asked) = mpsc::channel(MOST_WAITING);
        let (end, ended) = oneshot::channel();
        Self { asking, end, task: runtime.spawn(books.keep(asked, ended)) }
    }

    /// Has all usage of before written.
    pub(super) fn settle(&self) -> Settle {
        let asking = self.asking.clone();
        Arc::new(move || settled(asking.clone()).boxed())
    }

    /// Writes what is left, and ends.
    pub(super) async fn close(self) {
        // An error means that it has ended already.
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

async fn settled(asking: mpsc::Sender<Waiting>) -> Result<(), StoreError> {
    let failed = |trouble| StoreError::new(std::path::Path::new("usage"), trouble);
    let settling = async {
        let (reply, told) = oneshot::channel();
        asking.send(reply).await.map_err(|_| failed(Trouble::Closed))?;
        told.await.map_err(|_| failed(Trouble::Closed))?
    };
    tokio::time::timeout(LONGEST_WAIT, settling).await.unwrap_or_else(|_| Err(failed(Trouble::Busy)))
}

impl Books {
    /// Writes usage until told to end, and then what is left.
    async fn keep(self, mut asked: mpsc::Receiver<Waiting>, mut ended: oneshot::Receiver<()>) {
        let mut writing =
            Writing { books: self, pending: HashMap::new(), sent: None, state: State::Well, lost: 0 };
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut waiting, mut forgotten) = (Vec::new(), None);
        loop {
            let is_last = tokio::select! {
                biased;
                // Told to end, or nobody is left who could tell.
                _ = &mut ended => true,
                _ = asked.recv_many(&mut waiting, MOST_WAITING) => false,
                _ = ticks.tick() => false,
            };
            let written = writing.write().await;
            for reply in waiting.drain(..) {
                // Who has stopped waiting is not told.
                let _ = reply.send(written.clone());
            }
            if is_last {
                return writing.tell_unwritten();
            }
            writing.forget(&mut forgotten).await;
        }
    }
}

/// Whether the last write succeeded: a change is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Failing,
}

struct Writing {
    books: Books,
    /// What is to be written.
    pending: HashMap<Cell, Line>,
    /// What was sent, and may or may not have been written: sent again as it is, before anything else, until it is known.
    sent: Option<UsageBatch>,
    state: State,
    lost: u64,
}

impl Writing {
    /// Writes all that has been counted so far.
    async fn write(&mut self) -> Result<(), StoreError> {
        let config = (self.books.config)();
        for row in self.books.ledger.take() {
            self.add(priced(row, &config));
        }
        self.tell_lost();
        while let Some(batch) = self.next() {
            if let Err(error) = self.books.store.add_usage(batch).await {
                self.note_failure(&error);
                return Err(error);
            }
            self.sent = None;
        }
        if self.state == State::Failing {
            tracing::info!("usage is written again; none was lost that waited");
            self.state = State::Well;
        }
        Ok(())
    }

    /// What is to be sent next: first what it is not known of whether it was written.
    fn next(&mut self) -> Option<UsageBatch> {
        if self.sent.is_none() && !self.pending.is_empty() {
            let rows = self.pending.extract_if(|_, _| true).take(MOST_ROWS);
            let rows = rows.map(|(cell, line)| UsageRow { cell, line }).collect();
            self.sent = Some(UsageBatch::new(rows, self.books.clock.unix()));
        }
        self.sent.clone()
    }

    fn note_failure(&mut self, error: &StoreError) {
        if self.state == State::Well {
            tracing::error!(%error, "usage cannot be written; it waits, and is tried again each second");
            self.state = State::Failing;
        }
    }

    /// Adds a row to what waits.
    fn add(&mut self, row: UsageRow) {
        if let Some(known) = self.pending.get_mut(&row.cell) {
            *known += row.line;
            return;
        }
        let sent = self.sent.as_ref().map_or(0, |batch| batch.rows.len());
        if self.pending.len() + sent >= MOST_SUMS {
            self.lost = self.lost.saturating_add(row.line.sums.requests);
            return;
        }
        self.pending.insert(row.cell, row.line);
    }

    fn tell_lost(&mut self) {
        let lost = self.books.ledger.take_lost().saturating_add(std::mem::take(&mut self.lost));
        self.books.metrics.usage_lost.inc_by(lost);
        if lost > 0 {
            tracing::error!(lost, "there was no room to count the usage of requests");
        }
    }

    /// Tells of what will never be written.
    fn tell_unwritten(&self) {
        let sent = self.sent.iter().flat_map(|batch| &batch.rows).map(|row| &row.line);
        let lost = self.pending.values().chain(sent).map(|line| line.sums.requests).sum::<u64>();
        self.books.metrics.usage_lost.inc_by(lost);
        if lost > 0 {
            tracing::error!(lost, "the gateway ends before the usage of requests could be written");
        }
    }

    /// Deletes the days that are older than `usage.keep`, once in each day.
    async fn forget(&self, forgotten: &mut Option<Hour>) {
        let keep = (self.books.config)().usage.keep;
        let now = self.books.clock.unix();
        let first = Hour::of(UnixTime::from_secs(now.as_secs().saturating_sub(keep.as_secs()))).day();
        if *forgotten == Some(first) {
            return;
        }
        match self.books.store.delete_usage(first).await {
            Ok(_) => *forgotten = Some(first),
            Err(error) if self.state == State::Well => {
                tracing::warn!(%error, "old usage was not deleted");
                *forgotten = Some(first);
            }
            // It is told already that nothing can be written.
            Err(_) => {}
        }
    }
}

/// A row with what it cost and spared at the prices of now, under the name that its model counts under.
fn priced(mut row: UsageRow, config: &Config) -> UsageRow {
    let model = &row.cell.model;
    if let Some(price) = config.prices.of(model) {
        let sums = &mut row.line.sums;
        sums.cost = price.cost(sums.prompt_tokens, sums.cached_tokens, sums.completion_tokens);
        sums.cost_saved =
            price.cost(sums.saved_prompt_tokens, sums.saved_cached_tokens, sums.saved_completion_tokens);
    }
    if !model.is_empty() && !config.usage.models.iter().any(|glob| glob.matches(model)) {
        row.cell.model = OTHER_MODEL.into();
    }
    row
}
