//! What an account used, as pages show it: read once, over a span that the reader has chosen.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::console::Console;
use crate::console::answers::told;
use crate::console::asked::Asked;
use crate::ids::AccountId;
use crate::store::usage::{Period, Step, UsageOf, UsageSums};
use crate::usage::record::Hour;

/// A span up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// How addresses say it.
    pub(super) name: &'static str,
    /// How people do.
    pub(super) text: &'static str,
    hours: u32,
    pub(super) step: Step,
}

/// All spans. Those of more than a week go by days, of UTC as all days of usage are.
pub(super) const RANGES: [Range; 4] = [
    Range { name: "24h", text: "24 hours", hours: 24, step: Step::Hour },
    Range { name: "7d", text: "7 days", hours: 7 * Hour::A_DAY, step: Step::Hour },
    Range { name: "30d", text: "30 days", hours: 30 * Hour::A_DAY, step: Step::Day },
    Range { name: "90d", text: "90 days", hours: 90 * Hour::A_DAY, step: Step::Day },
];

/// Reads reports, a few at a time: one over many keys takes long, and the store has others to answer.
pub struct Reading(Semaphore);

/// Reports that are read at the same time.
const MOST_READING: usize = 2;

/// How long a report is waited for until it is begun.
const PATIENCE: Duration = Duration::from_secs(5);

impl Default for Reading {
    fn default() -> Self {
        Self(Semaphore::new(MOST_READING))
    }
}

/// What an account used.
pub(super) struct Report {
    pub(super) account: AccountId,
    pub(super) range: Range,
    pub(super) period: Period,
    pub(super) sums: UsageSums,
    /// There are prices, so that costs say something.
    pub(super) has_prices: bool,
}

impl Range {
    /// The one that the address names; the first one if it names none of them.
    fn of(asked: &Asked) -> Self {
        let [first, ..] = RANGES;
        RANGES.into_iter().find(|range| range.name == asked.in_query("range")).unwrap_or(first)
    }

    /// Its hours, that of now included. Days are whole.
    fn until(self, now: Hour) -> Period {
        let to = now.plus(1);
        match self.step {
            Step::Hour => Period { from: to.minus(self.hours), to },
            Step::Day => Period { from: now.day().plus(Hour::A_DAY).minus(self.hours), to },
        }
    }
}

/// What `account` used in the span that the address names, with `keys` of its keys behind the first `offset`.
pub(super) async fn report(
    console: &Console,
    asked: &Asked,
    account: AccountId,
    (offset, keys): (u64, u32),
) -> Result<Report, Response> {
    let range = Range::of(asked);
    let period = range.until(Hour::of(console.accounts.now()));
    let busy =
        |_| told(StatusCode::SERVICE_UNAVAILABLE, "Many look at their usage at this moment. Try again.");
    let place = tokio::time::timeout(PATIENCE, console.reading.0.acquire()).await.map_err(busy)?;
    let of = UsageOf { account: account.clone(), period, step: range.step, offset, limit: keys };
    let read = async {
        (console.settle)().await?;
        console.store.usage(of).await
    };
    let sums = read.await.map_err(|error| {
        tracing::error!(%error, "the console could not read usage");
        told(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Usage could not be read. Try again; the gateway's log says why.",
        )
    })?;
    drop(place);
    let has_prices = !console.accounts.config().prices.is_empty();
    Ok(Report { account, range, period, sums, has_prices })
}
