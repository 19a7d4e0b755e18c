//! What the calls take and answer, by the very structs that are read and written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::check::{CacheType, CheckHit, CheckMiss, CheckRequest, HitMetadata, MISS, SearchResults};
use crate::api::counts::{Counts, KeyUsage, ModelUsage, SeriesPoint, Show, Totals, shown};
use crate::api::delete::Deleted;
use crate::api::entries::{Entry, EntryList, Kind};
use crate::api::messages::Message;
use crate::api::store::{StoreRequest, Stored};
use crate::api::usage::{KeyPage, RateLimit, Span, UsageReport};
use crate::outcome::openapi::json_of;
use crate::outcome::openapi::refusals::EXAMPLE_TIME;
use crate::usage::record::{Class, Sums};
use crate::usage::summed::Summed;

/// Of `[{"content":"What is a token bucket?","role":"user"}]`; a test holds it to that.
pub(super) const HASH: &str = "fd3078fe871f2ec084adb4584c849614c48690fb68220e9e48863ebb94b58a86";

const MODEL: &str = "gpt-4o-mini";
const ANSWER: &str = "A bucket of tokens that refills at a steady rate; each request takes one.";

fn messages() -> Vec<Message> {
    vec![Message(json!({"role": "user", "content": "What is a token bucket?"}))]
}

fn days_later(days: u64) -> String {
    EXAMPLE_TIME.saturating_add(Duration::from_secs(days * 24 * 3600)).rfc3339()
}

pub(super) fn check_request() -> Value {
    json_of(&CheckRequest {
        messages: messages(),
        similarity_threshold: Some(0.9),
        cache_types: Some(CacheType::ALL.to_vec()),
        model: Some(MODEL.to_owned()),
    })
}

pub(super) fn store_request() -> Value {
    json_of(&StoreRequest {
        messages: messages(),
        answer: ANSWER.to_owned(),
        model: Some(MODEL.to_owned()),
        tokens: Some(42),
        ttl: Some(86_400),
        metadata: Some(BTreeMap::from([("ticket".to_owned(), json!("T-1000"))])),
    })
}

pub(super) fn hit() -> Value {
    json_of(&CheckHit {
        cache_hit: true,
        answer: ANSWER.to_owned(),
        cache_type: CacheType::Exact,
        lookup_time_ms: 0.214,
        tokens_saved: 42,
        created_at: EXAMPLE_TIME.rfc3339(),
        similarity_score: None,
        metadata: HitMetadata {
            model: Some(MODEL.into()),
            original_tokens: Some(42),
            usage_count: 3,
            own: BTreeMap::new(),
        },
    })
}

pub(super) fn miss() -> Value {
    json_of(&CheckMiss {
        cache_hit: false,
        lookup_time_ms: 0.187,
        message: MISS,
        prompt_hash: HASH.to_owned(),
        suggested_action: "call_llm_and_store",
        search_results: SearchResults {
            exact_checked: true,
            semantic_checked: false,
            closest_match_score: None,
        },
    })
}

pub(super) fn stored() -> Value {
    json_of(&Stored {
        stored: true,
        prompt_hash: HASH.to_owned(),
        cache_types: vec![CacheType::Exact],
        created_at: EXAMPLE_TIME.rfc3339(),
        expires_at: days_later(1),
    })
}

pub(super) fn page() -> Value {
    json_of(&EntryList {
        account: "acme".to_owned(),
        entries: vec![Entry {
            kind: Kind::Stored,
            prompt_hash: HASH.to_owned(),
            model: Some(MODEL.into()),
            bytes: 300,
            created_at: EXAMPLE_TIME.rfc3339(),
            expires_at: days_later(30),
        }],
        next: None,
    })
}

pub(super) fn deleted() -> Value {
    json_of(&Deleted { deleted: 1 })
}

pub(super) fn report() -> Value {
    let name = || Some("production backend".to_owned());
    let key = KeyUsage::new(
        "acme-prod".to_owned(),
        name(),
        Some("production".to_owned()),
        EXAMPLE_TIME.rfc3339(),
        counts(),
    );
    json_of(&UsageReport {
        account: "acme".to_owned(),
        plan: "pro".to_owned(),
        period: Span { start: EXAMPLE_TIME.rfc3339(), end: days_later(1) },
        totals: Totals::new(counts()),
        rate_limit: RateLimit { requests_per_minute: 600, burst: 1000, remaining: 599 },
        series: vec![SeriesPoint::new(EXAMPLE_TIME.rfc3339(), counts())],
        models: vec![ModelUsage::new(Some(MODEL.to_owned()), counts())],
        keys: KeyPage { page: 1, per_page: 20, total: 1, items: vec![key] },
    })
}

/// Three hits and a miss, an answer stored, a report read.
fn counts() -> Counts {
    let mut summed = Summed::default();
    let one = Sums { requests: 1, ..Sums::default() };
    summed.add(Class::ExactHit, Sums { requests: 3, saved_completion_tokens: 126, ..Sums::default() });
    [Class::Miss, Class::Stored, Class::Other].into_iter().for_each(|class| summed.add(class, one));
    shown(&summed, Show::Counts)
}
