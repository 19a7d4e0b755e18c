//! The counts that reports of usage are made of.

use serde::Serialize;
use utoipa::ToSchema;

use crate::usage::summed::Summed;

/// Whether money is shown: only where prices are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Counts alone.
    Counts,
    /// Costs as well.
    Costs,
}

/// The counts that a report shows.
pub(super) fn shown(summed: &Summed, show: Show) -> Counts {
    let all = summed.all;
    Counts {
        requests: all.requests,
        cache_hits: summed.hits(),
        exact_hits: summed.exact,
        semantic_hits: summed.semantic,
        cache_misses: summed.misses,
        uncached: summed.uncached,
        stores: summed.stores,
        rate_limited: summed.rate_limited,
        errors: summed.errors,
        other: summed.other,
        hit_rate: summed.hit_rate(),
        prompt_tokens: all.prompt_tokens,
        completion_tokens: all.completion_tokens,
        tokens_saved: all.saved_tokens(),
        cost: (show == Show::Costs).then(|| all.cost.rounded()),
        cost_saved: (show == Show::Costs).then(|| all.cost_saved.rounded()),
    }
}

/// Counts of requests and tokens; see [`Totals`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    requests: u64,
    cache_hits: u64,
    exact_hits: u64,
    semantic_hits: u64,
    cache_misses: u64,
    uncached: u64,
    stores: u64,
    rate_limited: u64,
    errors: u64,
    other: u64,
    hit_rate: Option<f64>,
    prompt_tokens: u64,
    completion_tokens: u64,
    tokens_saved: u64,
    cost: Option<f64>,
    cost_saved: Option<f64>,
}

/// A part of a report: what it is about, and its counts, side by side in one object.
macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, ToSchema)]
        pub struct $name {
            $($(#[$about])* pub $field: $kind,)*
            /// All requests: the sum of hits, misses, uncached, stores, rate limited, errors and other.
            pub requests: u64,
            /// Answered from the cache, or by another request's upstream call.
            pub cache_hits: u64,
            /// Of these, from an entry with an equal key.
            pub exact_hits: u64,
            /// Of these, from an entry with a similar prompt.
            pub semantic_hits: u64,
            /// Looked up and not found.
            pub cache_misses: u64,
            /// Not looked up, by their nature or the client's wish.
            pub uncached: u64,
            /// Answers that were put into the store.
            pub stores: u64,
            /// Refused by the bucket.
            pub rate_limited: u64,
            /// Answered with 400 or above otherwise, or left by the client before an answer.
            pub errors: u64,
            /// Usage, listing, deleting.
            pub other: u64,
            /// Hits among hits and misses; null if there were none.
            #[schema(required = true)]
            pub hit_rate: Option<f64>,
            /// Tokens that models read.
            pub prompt_tokens: u64,
            /// Tokens that models wrote.
            pub completion_tokens: u64,
            /// Tokens that no model had to read or write.
            pub tokens_saved: u64,
            /// What models cost, at the prices of the time, to six digits; only where prices are configured.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(nullable = false)]
            pub cost: Option<f64>,
            /// What did not have to be paid; only where prices are configured.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(nullable = false)]
            pub cost_saved: Option<f64>,
        }

        impl $name {
            pub(super) fn new($($field: $kind,)* counts: Counts) -> Self {
                let Counts {
                    requests, cache_hits, exact_hits, semantic_hits, cache_misses, uncached, stores, rate_limited,
                    errors, other, hit_rate, prompt_tokens, completion_tokens, tokens_saved, cost, cost_saved,
                } = counts;
                Self {
                    $($field,)*
                    requests, cache_hits, exact_hits, semantic_hits, cache_misses, uncached, stores, rate_limited,
                    errors, other, hit_rate, prompt_tokens, completion_tokens, tokens_saved, cost, cost_saved,
                }
            }
        }
    };
}

counted! {
    /// The counts of all keys together.
    Totals {}
}
counted! {
    /// The counts of one step of time.
    SeriesPoint {
        /// When it begins.
        #[schema(format = DateTime)]
        start: String,
    }
}
counted! {
    /// The counts of one model.
    ModelUsage {
        /// Its name; null: none was named, or the body is not read on that path.
        #[schema(required = true)]
        model: Option<String>,
    }
}
counted! {
    /// The counts of one key.
    KeyUsage {
        /// Its id.
        id: String,
        /// Its name, if it has one.
        #[schema(required = true)]
        name: Option<String>,
        /// Its environment, if it has one.
        #[schema(required = true)]
        environment: Option<String>,
        /// When it was used last, in the period or not.
        #[schema(format = DateTime)]
        last_used_at: String,
    }
}
