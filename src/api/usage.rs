//! `GET /api/v1/usage`: what an account's keys have asked for, and what that cost and spared.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::counts::{KeyUsage, ModelUsage, SeriesPoint, Show, Totals, shown};
use crate::api::failed::failed;
use crate::api::period::Asking;
use crate::api::query::Query;
use crate::api::{allowed_models, told};
use crate::auth::model_glob::ModelGlob;
use crate::runtime::answerer::{Asked, Refusal, Told};
use crate::store::Store;
use crate::store::answer::may_see;
use crate::store::failure::StoreError;
use crate::store::usage::{self, Period, Settle, Step, UsageOf, UsageSums};
use crate::usage::record::Hour;
use crate::usage::summed::Summed;

/// What is said where the store fails.
pub(super) const UNREADABLE: &str = "Usage could not be read";

/// The members of the query.
pub(super) const MEMBERS: [&str; 5] = ["from", "to", "granularity", "page", "per_page"];

/// Keys on a page where the query does not say.
pub(super) const PER_PAGE: u64 = 20;

/// Keys on a page, at most.
pub(super) const MOST_PER_PAGE: u64 = 100;

/// The last page that can be asked for.
pub(super) const MOST_PAGES: u64 = 1_000_000_000;

/// What the call needs.
pub(super) struct UsageCall<'a> {
    /// Where sums are kept.
    pub(super) store: &'a dyn Store,
    /// Brings them up to date.
    pub(super) settle: &'a Settle,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageReport {
    /// The calling key's.
    pub account: String,
    /// The calling key's.
    pub plan: String,
    /// Whole hours of UTC; the end is no part of it.
    pub period: Span,
    /// All keys together.
    pub totals: Totals,
    /// The calling key's bucket.
    pub rate_limit: RateLimit,
    /// By time, in its order and without holes.
    pub series: Vec<SeriesPoint>,
    /// By model, in the order of names: those that the calling key may use.
    pub models: Vec<ModelUsage>,
    /// By key.
    pub keys: KeyPage,
}

/// From when to when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Period)]
pub struct Span {
    /// The first moment.
    #[schema(format = DateTime)]
    pub start: String,
    /// The first moment behind it.
    #[schema(format = DateTime)]
    pub end: String,
}

/// How fast the calling key may go.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimit {
    /// Once its burst is spent.
    pub requests_per_minute: u32,
    /// What a rested key may ask at once.
    pub burst: u32,
    /// What it may ask now, at most the requests of a minute.
    pub remaining: u64,
}

/// Some of the account's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyPage {
    /// Which page, from 1.
    pub page: u64,
    /// Keys on a page.
    pub per_page: u64,
    /// Keys that were used within `usage.keep`.
    pub total: u64,
    /// Those of this page, in the order of their ids.
    pub items: Vec<KeyUsage>,
}

impl UsageCall<'_> {
    /// Answers the call.
    ///
    /// # Errors
    /// The query is not understood, or the sums cannot be had at the moment.
    pub(super) async fn answer(&self, asked: &Asked) -> Result<Told, Refusal> {
        let query = Query::read(asked.query.as_deref(), &MEMBERS)?;
        let asking = Asking::read(&query, asked.now.unix)?;
        let page = query.whole("page", 1..=MOST_PAGES)?.unwrap_or(1);
        let per_page = query.whole("per_page", 1..=MOST_PER_PAGE)?.unwrap_or(PER_PAGE);
        (self.settle)().await.map_err(|error| unavailable(&error))?;
        let report =
            self.report(asked, asking, (page, per_page)).await.map_err(|error| unavailable(&error))?;
        told(&report)
    }

    async fn report(
        &self,
        asked: &Asked,
        Asking { period, step }: Asking,
        (page, per_page): (u64, u64),
    ) -> Result<UsageReport, StoreError> {
        let (account, plan) = (asked.key.account(), asked.key.plan());
        let of = UsageOf {
            account: account.clone(),
            period,
            step,
            offset: page.saturating_sub(1) * per_page,
            limit: u32::try_from(per_page).unwrap_or(u32::MAX),
        };
        let sums = self.store.usage(of).await?;
        let show = if asked.config.prices.is_empty() { Show::Counts } else { Show::Costs };
        Ok(UsageReport {
            account: account.to_string(),
            plan: plan.name().to_string(),
            period: Span { start: period.from.start().rfc3339(), end: period.to.start().rfc3339() },
            totals: Totals::new(shown(&sums.total(), show)),
            rate_limit: RateLimit {
                requests_per_minute: plan.requests_per_minute().get(),
                burst: plan.burst().get(),
                remaining: asked.remaining,
            },
            series: series(&sums, (period, step), show),
            models: models(&sums, &allowed_models(&asked.key), show),
            keys: KeyPage {
                page,
                per_page,
                total: sums.keys,
                items: sums.by_key.iter().map(|key| of_key(key, show)).collect(),
            },
        })
    }
}

/// Each step of the period, whether or not something happened in it.
fn series(sums: &UsageSums, (period, step): (Period, Step), show: Show) -> Vec<SeriesPoint> {
    let point = |(start, summed): (Hour, Summed)| {
        // The first step may have begun before the period.
        SeriesPoint::new(start.max(period.from).start().rfc3339(), shown(&summed, show))
    };
    sums.series(period, step).into_iter().map(point).collect()
}

/// The models that a key may see, `allowed` being what it may use; empty: all.
fn models(sums: &UsageSums, allowed: &[ModelGlob], show: Show) -> Vec<ModelUsage> {
    let named = |(model, summed): (&str, Summed)| {
        let name = (!model.is_empty()).then(|| model.to_owned());
        may_see(allowed, name.as_deref()).then(|| ModelUsage::new(name, shown(&summed, show)))
    };
    sums.models().into_iter().filter_map(named).collect()
}

fn of_key(key: &usage::KeyUsage, show: Show) -> KeyUsage {
    let (id, last_used_at) = (key.key.to_string(), key.last_used_at.rfc3339());
    let label = key.label.clone();
    let (name, environment) = (label.name.map(String::from), label.environment.map(String::from));
    KeyUsage::new(id, name, environment, last_used_at, shown(&key.total(), show))
}

fn unavailable(error: &StoreError) -> Refusal {
    failed(error, UNREADABLE)
}
