//! Usage between rows and sums, as both databases need it: what is added, in which order, what is deleted, and what a
//! report's rows mean.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::ids::KeyId;
use crate::money::Money;
use crate::store::number::{kept_time, read, read_time};
use crate::store::usage::{KeyUsage, Period, Step};
use crate::usage::ledger::OTHER_MODEL;
use crate::usage::record::{Cell, Class, Hour, KeyLabel, Line, Sums, UsageRow};

/// What the first part of a sum is counted in.
const PART: u64 = 1 << 20;

// === what is added ===

/// The models among `rows` that have names of their own, by account, with the last hour of each; in an order of its own, so
/// that the same rows always take the same places.
pub(in crate::store) fn named(rows: &[UsageRow]) -> BTreeMap<(&str, &str), u32> {
    let mut named: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for UsageRow { cell, .. } in rows.iter().filter(|row| !matches!(&*row.cell.model, "" | OTHER_MODEL)) {
        let hour = named.entry((cell.account.as_str(), &*cell.model)).or_default();
        *hour = cell.hour.number().max(*hour);
    }
    named
}

/// The name that a cell's model counts under: its own, if that is one of its account's in `models`.
pub(in crate::store) fn counted_as<'a>(cell: &'a Cell, models: &HashSet<(&str, &str)>) -> &'a str {
    let model = &*cell.model;
    let has_place = model.is_empty() || models.contains(&(cell.account.as_str(), model));
    if has_place { model } else { OTHER_MODEL }
}

/// The last use of each key among `rows`, by account and key, in their order.
pub(in crate::store) fn last_uses(rows: &[UsageRow]) -> Vec<(&str, &str, &Line)> {
    let mut last: BTreeMap<(&str, &str), &Line> = BTreeMap::new();
    for UsageRow { cell, line } in rows {
        let known = last.entry((cell.account.as_str(), cell.key.as_str())).or_insert(line);
        if known.last_at < line.last_at {
            *known = line;
        }
    }
    last.into_iter().map(|((account, key), line)| (account, key, line)).collect()
}

// === what is deleted ===

/// The most rows that are deleted at once: others wait meanwhile.
pub(in crate::store) const MOST_DELETED: u32 = 5000;

/// Rows that only the usage of an hour keeps, or of later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kept {
    /// Sums of hours.
    Hours,
    /// Sums of whole days.
    Days,
    /// Models by their last hour.
    Models,
    /// Keys by their last use.
    Keys,
    /// Ids of batches.
    Batches,
}

impl Kept {
    /// All of it.
    pub(in crate::store) const ALL: [Self; 5] =
        [Self::Hours, Self::Days, Self::Models, Self::Keys, Self::Batches];

    /// Deletes $2 of those before $1.
    pub(in crate::store) fn deletion(self) -> &'static str {
        match self {
            Self::Hours => {
                "DELETE FROM usage_hours WHERE (account, hour, key, model, class) IN \
                 (SELECT account, hour, key, model, class FROM usage_hours WHERE hour < $1 LIMIT $2)"
            }
            Self::Days => {
                "DELETE FROM usage_days WHERE (account, day, key, model, class) IN \
                 (SELECT account, day, key, model, class FROM usage_days WHERE day < $1 LIMIT $2)"
            }
            Self::Models => {
                "DELETE FROM usage_models WHERE (account, model) IN \
                 (SELECT account, model FROM usage_models WHERE last_hour < $1 LIMIT $2)"
            }
            Self::Keys => {
                "DELETE FROM key_uses WHERE (account, key) IN \
                 (SELECT account, key FROM key_uses WHERE last_at < $1 LIMIT $2)"
            }
            Self::Batches => {
                "DELETE FROM usage_batches WHERE id IN (SELECT id FROM usage_batches WHERE at < $1 LIMIT $2)"
            }
        }
    }
}

/// Deletes some of what was used last before an hour.
pub(in crate::store) struct DeleteUsage {
    /// The first that stays.
    pub(in crate::store) first: Hour,
    /// What of.
    pub(in crate::store) of: Kept,
}

impl DeleteUsage {
    /// What stands for the beginning of the first where it is kept.
    pub(in crate::store) fn before(&self) -> i64 {
        match self.of {
            Kept::Hours | Kept::Models => i64::from(self.first.number()),
            Kept::Days => i64::from(self.first.number() / Hour::A_DAY),
            Kept::Keys | Kept::Batches => kept_time(self.first.start()),
        }
    }
}

// === what is asked ===

/// A period as the rows of its hours and of its whole days make it up.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Span {
    before: (u32, u32),
    behind: (u32, u32),
    days: (u32, u32),
}

impl Span {
    /// By whole days, and the hours before and behind them.
    pub(in crate::store) fn of(period: Period) -> Self {
        let (from, to) = (period.from.number(), period.to.number());
        let (first, end) = (from.div_ceil(Hour::A_DAY), to / Hour::A_DAY);
        if end <= first {
            return Self { before: (from, to), behind: (0, 0), days: (0, 0) };
        }
        Self { before: (from, first * Hour::A_DAY), behind: (end * Hour::A_DAY, to), days: (first, end) }
    }

    /// What a series by `step` is made of, and how many hours a step has.
    pub(in crate::store) fn of_steps(period: Period, step: Step) -> (Self, u32) {
        let hours = (period.from.number(), period.to.number());
        match step {
            Step::Hour => (Self { before: hours, behind: (0, 0), days: (0, 0) }, 1),
            Step::Day => (Self::of(period), Hour::A_DAY),
        }
    }

    /// The hours before, the hours behind, and the days, each from its first to the one behind its last.
    pub(in crate::store) fn parts(self) -> [(u32, u32); 3] {
        [self.before, self.behind, self.days]
    }
}

/// A class and its sums, from column `first` on, each sum in two columns: [`PART`]s, and the rest. `None` for a class of
/// another version's.
pub(in crate::store) fn sums<R: Row>(row: &R, first: usize) -> Result<Option<(Class, Sums)>, sqlx::Error>
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
{
    let Some(class) = Class::of_name(row.try_get(first)?) else { return Ok(None) };
    let whole = |place: usize| {
        let column = first + 1 + 2 * place;
        let (parts, rest) = (read(row.try_get(column)?), read(row.try_get(column + 1)?));
        Ok::<_, sqlx::Error>(u128::from(parts) * u128::from(PART) + u128::from(rest))
    };
    let sum = |place| whole(place).map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    let sums = Sums {
        requests: sum(0)?,
        prompt_tokens: sum(1)?,
        cached_tokens: sum(2)?,
        completion_tokens: sum(3)?,
        saved_prompt_tokens: sum(4)?,
        saved_cached_tokens: sum(5)?,
        saved_completion_tokens: sum(6)?,
        cost: Money::from_units(whole(7)?),
        cost_saved: Money::from_units(whole(8)?),
    };
    Ok(Some((class, sums)))
}

/// A key that was used: its id, when last, its name and its environment.
pub(in crate::store) type KeyRow = (String, i64, Option<String>, Option<String>);

/// Keys in their order, each with what it did.
pub(in crate::store) fn keys_used(
    keys: Vec<KeyRow>,
    sums: Vec<(String, Option<(Class, Sums)>)>,
) -> Vec<KeyUsage> {
    let mut of_keys: HashMap<String, Vec<(Class, Sums)>> = HashMap::new();
    for (key, sums) in sums {
        of_keys.entry(key).or_default().extend(sums);
    }
    let usage = |(key, last_at, name, environment): KeyRow| KeyUsage {
        sums: of_keys.remove(&key).unwrap_or_default(),
        key: KeyId::new(&key),
        label: KeyLabel { name: name.map(Into::into), environment: environment.map(Into::into) },
        last_used_at: read_time(last_at),
    };
    keys.into_iter().map(usage).collect()
}
