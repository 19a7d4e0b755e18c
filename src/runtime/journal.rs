//! How reloads ended: the newest, and every refusal that still stands.
//!
//! Configuration, key list and certificates are read by themselves. What was refused of one stays a problem until that
//! one is read again and taken, whatever becomes of the others: a good key list does not hide a bad configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::key_ring::RingProblem;
use crate::clock::{Clock, UnixTime};
use crate::config::files::TooFewFiles;
use crate::config::problem::{MOST_LISTED, Report};
use crate::telemetry::metrics::Metrics;

/// What a reload changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key ring's new generation.
    pub generation: u64,
    /// Keys in it.
    pub keys: usize,
    /// Keys that were not there before.
    pub added: usize,
    /// Keys that are there no more.
    pub removed: usize,
    /// Listeners and upstreams with another certificate, key or authority.
    pub certificates: usize,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, keys, added, removed, certificates } = self;
        write!(f, "generation {generation}: {keys} keys ({added} added, {removed} removed)")?;
        match certificates {
            0 => Ok(()),
            1 => f.write_str(", 1 certificate changed"),
            more => write!(f, ", {more} certificates changed"),
        }
    }
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The configuration or the key list has problems.
    #[error("{0}")]
    Problems(Report),
    /// What changed cannot change while running.
    #[error("needs a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// The key list would lose over half of its ids.
    #[error("the key list would lose {lost} of its {before} keys; force the reload if that is wanted")]
    Shrunk {
        /// Keys before.
        before: usize,
        /// Keys that would be gone.
        lost: usize,
    },
    /// There would be more connections than open files allow.
    #[error("{0}")]
    TooFewFiles(TooFewFiles),
    /// Keys that cannot be in one ring.
    #[error("{}", listed(.0))]
    Ring(Vec<RingProblem>),
}

fn listed(problems: &[RingProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(MOST_LISTED).map(ToString::to_string).collect();
    if problems.len() > MOST_LISTED {
        lines.push(format!("and {} more", problems.len() - MOST_LISTED));
    }
    lines.join("\n")
}

/// What is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The configuration, with all files that it names.
    Configuration,
    /// The key list alone.
    KeyList,
    /// The certificates and keys of TLS alone.
    Certificates,
    /// The keys of the store alone.
    StoredKeys,
}

impl Part {
    /// Its name where operators see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::KeyList => "key_list",
            Self::Certificates => "certificates",
            Self::StoredKeys => "stored_keys",
        }
    }
}

/// How the newest reload ended.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When.
    pub at: UnixTime,
    /// What it changed, or why it did not.
    pub result: Result<Change, String>,
}

/// A refusal that still stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What was refused.
    pub part: Part,
    /// When.
    pub at: UnixTime,
    /// Why.
    pub message: String,
}

/// Where reloads are told.
pub(super) struct Journal {
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Held for a moment only: whoever asks does not wait for a reload that runs.
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<LastReload>,
    standing: BTreeMap<Part, Standing>,
}

impl Journal {
    /// Nothing is wrong yet.
    pub(super) fn new(metrics: Arc<Metrics>, clock: Clock) -> Self {
        metrics.last_reload_successful.set(1);
        Self { metrics, clock, told: Mutex::default() }
    }

    /// Tells how a reload of `part` ended: in the metrics, to whoever asks, and last in the log, so that who has read of
    /// it there finds it everywhere.
    pub(super) fn record(&self, part: Part, result: &Result<Change, Refusal>) {
        let at = self.clock.unix();
        let told_of = match result {
            Ok(change) => Ok(change.clone()),
            Err(refusal) => Err(refusal.to_string()),
        };
        let mut told = self.told();
        match (&told_of, part) {
            // Everything that it names was read anew with it.
            (Ok(_), Part::Configuration) => told.standing.clear(),
            (Ok(_), Part::KeyList | Part::Certificates | Part::StoredKeys) => {
                told.standing.remove(&part);
            }
            (Err(message), _) => {
                told.standing.insert(part, Standing { part, at, message: message.clone() });
            }
        }
        self.metrics.reloaded(told_of.as_ref().map(|_| ()).map_err(|_| ()));
        self.metrics.last_reload_successful.set(i64::from(told.standing.is_empty()));
        told.last = Some(LastReload { at, result: told_of });
        drop(told);
        match result {
            Ok(change) => tracing::info!("reloaded: {change}"),
            Err(refusal) => tracing::error!("reload refused, the last good policy stays: {refusal}"),
        }
    }

    /// How the newest reload ended; `None` before the first.
    pub(super) fn last(&self) -> Option<LastReload> {
        self.told().last.clone()
    }

    /// Every refusal that still stands, at most one a part.
    pub(super) fn standing(&self) -> Vec<Standing> {
        self.told().standing.values().cloned().collect()
    }

    /// True if what was last read of `part` was refused.
    pub(super) fn is_refused(&self, part: Part) -> bool {
        self.told().standing.contains_key(&part)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
