//! Sums of usage, as they are added and asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::clock::{UnixTime, nanos};
use crate::dice;
use crate::ids::{AccountId, KeyId};
use crate::store::failure::StoreError;
use crate::usage::record::{Class, Hour, KeyLabel, Sums, UsageRow};
use crate::usage::summed::Summed;

/// Has all usage written that was counted before.
pub type Settle = Arc<dyn Fn() -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// The most models of an account that are told apart; any further one counts as [`crate::usage::ledger::OTHER_MODEL`].
pub const MOST_MODELS: u32 = 100;

/// How long it is known that a batch was added. One that comes again later is added again.
pub const BATCH_KNOWN: Duration = Duration::from_secs(2 * 24 * 3600);

/// The most ids of batches that are forgotten with each that is added.
pub const MOST_FORGOTTEN: u32 = 64;

/// The id of a batch: no other has it, of whichever gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchId(Uuid);

impl BatchId {
    /// A new one.
    pub fn new(now: UnixTime) -> Self {
        Self(dice::uuid_v7(now))
    }

    /// As it is kept.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// Rows that are added together, and once: whoever does not know whether they were sends them again as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageBatch {
    /// What it is known by.
    pub id: BatchId,
    /// When it was made.
    pub at: UnixTime,
    /// The rows.
    pub rows: Vec<UsageRow>,
}

impl UsageBatch {
    /// A new one of these rows.
    pub fn new(rows: Vec<UsageRow>, now: UnixTime) -> Self {
        Self { id: BatchId::new(now), at: now, rows }
    }

    /// Those that were made before need not be known any more when this one is added.
    pub(in crate::store) fn forgets_before(&self) -> UnixTime {
        UnixTime::from_nanos(self.at.as_nanos().saturating_sub(nanos(BATCH_KNOWN)))
    }
}

/// A span of whole hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first.
    pub from: Hour,
    /// The first that is no part of it.
    pub to: Hour,
}

impl Period {
    /// The first hour of each of its steps; that of the first may lie before it.
    pub fn steps(self, step: Step) -> impl Iterator<Item = Hour> {
        let (first, each) = match step {
            Step::Hour => (self.from, 1),
            Step::Day => (self.from.day(), Hour::A_DAY),
        };
        (first.number()..self.to.number()).step_by(each as usize).map(Hour::from_number)
    }
}

/// What a series goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hours.
    Hour,
    /// Days of UTC.
    Day,
}

/// The sum of one class in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSum {
    /// The step's first hour.
    pub start: Hour,
    /// Of which requests.
    pub class: Class,
    /// How much.
    pub sums: Sums,
}

/// The sum of one class with one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSum {
    /// Which model; empty: none was named.
    pub model: Box<str>,
    /// Of which requests.
    pub class: Class,
    /// How much.
    pub sums: Sums,
}

/// What a report of usage is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOf {
    /// Whose.
    pub account: AccountId,
    /// Of when.
    pub period: Period,
    /// What its series goes by.
    pub step: Step,
    /// How many keys come before those that are wanted.
    pub offset: u64,
    /// The most keys wanted.
    pub limit: u32,
}

/// An account's sums in a period, all as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// By time and class, in the order of time; steps in which nothing happened are left out.
    pub by_time: Vec<TimeSum>,
    /// By model and class, in the order of names.
    pub by_model: Vec<ModelSum>,
    /// Of each key that the account has used, in the order of their ids: those that were wanted.
    pub by_key: Vec<KeyUsage>,
    /// How many keys there are.
    pub keys: u64,
}

impl UsageSums {
    /// All of them together.
    pub fn total(&self) -> Summed {
        let mut total = Summed::default();
        self.by_time.iter().for_each(|sum| total.add(sum.class, sum.sums));
        total
    }

    /// Each step of the period, whether or not something happened in it. The first may begin before it.
    pub fn series(&self, period: Period, step: Step) -> BTreeMap<Hour, Summed> {
        let mut points: BTreeMap<Hour, Summed> =
            period.steps(step).map(|start| (start, Summed::default())).collect();
        for sum in &self.by_time {
            points.entry(sum.start).or_default().add(sum.class, sum.sums);
        }
        points
    }

    /// Each model; an empty name: none was named.
    pub fn models(&self) -> BTreeMap<&str, Summed> {
        let mut models: BTreeMap<&str, Summed> = BTreeMap::new();
        for sum in &self.by_model {
            models.entry(&sum.model).or_default().add(sum.class, sum.sums);
        }
        models
    }
}

/// What one key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// Which key; it need not be there any more.
    pub key: KeyId,
    /// How people know it, as of its last use.
    pub label: KeyLabel,
    /// When it was used last, whether or not that is in the period; to the millisecond.
    pub last_used_at: UnixTime,
    /// By class, in the period; none if it was not used then.
    pub sums: Vec<(Class, Sums)>,
}

impl KeyUsage {
    /// All that it did in the period.
    pub fn total(&self) -> Summed {
        let mut total = Summed::default();
        self.sums.iter().for_each(|(class, sums)| total.add(*class, *sums));
        total
    }
}
