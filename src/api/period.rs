//! The span that a report of usage is asked for.

use crate::api::query::{Query, When};
use crate::api::wrong::said;
use crate::clock::UnixTime;
use crate::outcome::api_error::ApiError;
use crate::store::usage::{Period, Step};
use crate::usage::record::Hour;

/// Days of a report whose beginning is not said, the last one included.
const DAYS: u32 = 30;

/// The most points of a series.
const MOST_STEPS: usize = 10_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// Whole hours: those that the span touches.
    pub(super) period: Period,
    /// What its series goes by.
    pub(super) step: Step,
}

impl Asking {
    /// Reads `from`, `to` and `granularity`. Of a date as `to`, all of the day is meant; a time is the first that is not.
    ///
    /// # Errors
    /// One of them is nothing of the kind, the span is empty, or its series too long.
    pub(super) fn read(query: &Query, now: UnixTime) -> Result<Self, ApiError> {
        let step = query.one_of("granularity", &[("hour", Step::Hour), ("day", Step::Day)])?;
        let step = step.unwrap_or(Step::Day);
        let to = match query.when("to")? {
            None => Hour::of(now).plus(1),
            Some(When::Day(midnight)) => Hour::of(midnight).plus(Hour::A_DAY),
            Some(When::At(time)) if Hour::of(time).start() == time => Hour::of(time),
            Some(When::At(time)) => Hour::of(time).plus(1),
        };
        let from = match query.when("from")? {
            None => to.minus(1).day().minus((DAYS - 1) * Hour::A_DAY),
            Some(When::Day(time) | When::At(time)) => Hour::of(time),
        };
        let period = Period { from, to };
        if to <= from {
            return Err(said(
                "The span is empty: from must be before to",
                "from",
                "a time before to",
                "a later time",
            ));
        }
        let count = period.steps(step).count();
        if count > MOST_STEPS {
            let expected = format!("at most {MOST_STEPS} steps of the granularity up to to");
            return Err(said("The series is too long", "from", expected, format!("{count} steps")));
        }
        Ok(Self { period, step })
    }
}
