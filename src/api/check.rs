//! `POST /api/v1/check`: whether there is a stored answer to the messages.
//!
//! The client's own metadata comes back within `metadata`; where a name of it is one of ours, ours is what is there.
//! Nothing is compared by meaning yet: `cache_types` may ask for it, and the answer says that it was not done.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::body::{Body, MESSAGES};
use crate::api::failed::failed;
use crate::api::messages::Message;
use crate::api::query::Query;
use crate::api::wrong::{type_of, word_or_type, wrong};
use crate::api::{Api, allowed_models, json, members, messages};
use crate::auth::authenticate::allows_model;
use crate::llm::json::{Kind, Tape, Value};
use crate::outcome::api_error::ApiError;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::runtime::answerer::{Asked, Refusal, Told};
use crate::store::answer::{Answer, PromptHash, Question};
use crate::usage::record::Class;

/// What is said where the store fails.
pub(super) const UNREADABLE: &str = "The cache could not be read";

/// What a miss says to people.
pub(super) const MISS: &str = "There is no stored answer to these messages. Call the model, then store its answer with POST /api/v1/store.";

/// Bytes of an answer that count as a token, where its tokens were not said.
const BYTES_A_TOKEN: u64 = 4;

/// The names of [`HitMetadata`] that are ours.
const OWN_METADATA: [&str; 3] = ["model", "original_tokens", "usage_count"];

/// A stored answer to the messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckHit {
    /// True.
    pub cache_hit: bool,
    /// The answer as it was stored.
    pub answer: String,
    /// How it was found.
    pub cache_type: CacheType,
    /// How long the look-up took, in milliseconds.
    pub lookup_time_ms: f64,
    /// The tokens that were stored with it, or else a quarter of its bytes in UTF-8, rounded up.
    pub tokens_saved: u64,
    /// When it was stored: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// How similar the prompts are; null for equal ones.
    #[schema(required = true)]
    pub similarity_score: Option<f64>,
    /// What is known of the answer, and what its client wanted back with it.
    pub metadata: HitMetadata,
}

/// What is known of a stored answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct HitMetadata {
    /// Which model wrote it; null if that was not said.
    #[schema(required = true, value_type = Option<String>)]
    pub model: Option<Box<str>>,
    /// The tokens that were stored with it; null if none were.
    #[schema(required = true)]
    pub original_tokens: Option<u64>,
    /// How often it was found, this time included.
    pub usage_count: u64,
    /// The members that were stored with it, but for those named like one of the above.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub own: BTreeMap<String, Box<RawValue>>,
}

/// No stored answer to the messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckMiss {
    /// False.
    pub cache_hit: bool,
    /// How long the look-up took, in milliseconds.
    pub lookup_time_ms: f64,
    /// What to do next, for people.
    pub message: &'static str,
    /// SHA-256 of the canonical messages, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub prompt_hash: String,
    /// What to do next, for programs: `call_llm_and_store`.
    pub suggested_action: &'static str,
    /// What was looked at.
    pub search_results: SearchResults,
}

/// What a look-up has looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResults {
    /// Whether equal messages were looked for.
    pub exact_checked: bool,
    /// Whether similar messages were looked for.
    pub semantic_checked: bool,
    /// The score of the most similar messages; null if nothing was compared.
    #[schema(required = true)]
    pub closest_match_score: Option<f64>,
}

/// How answers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// By equal messages.
    Exact,
    /// By similar messages.
    Semantic,
}

impl CacheType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Semantic];

    /// As clients write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Semantic => "semantic",
        }
    }
}

/// What is asked about. An optional member that is null counts as absent; members that are not named are ignored.
// For the description alone: `Request` reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckRequest {
    /// What the model would be asked, in the format of OpenAI's chat completions.
    #[schema(min_items = 1)]
    pub messages: Vec<Message>,
    /// How similar a prompt must be, from 0.0 to 1.0; 0.85 if it is not said. Of no effect on equal prompts.
    #[schema(minimum = 0.0, maximum = 1.0, default = 0.85)]
    pub similarity_threshold: Option<f64>,
    /// How an answer may be found, each way once; both if it is not said.
    #[schema(min_items = 1, value_type = Option<HashSet<CacheType>>)]
    pub cache_types: Option<Vec<CacheType>>,
    /// Which model's answer is wanted, at most 256 bytes in UTF-8; if it is not said, the newest answer of any.
    #[schema(min_length = 1, max_length = 256)]
    pub model: Option<String>,
}

/// What is asked.
struct Request {
    prompt_hash: PromptHash,
    model: Option<Box<str>>,
    cache_types: Vec<CacheType>,
}

impl Request {
    fn read(asked: &Asked) -> Result<Self, Refusal> {
        Query::read(asked.query.as_deref(), &[])?;
        let mut tape = Tape::default();
        let body = Body::read(&mut tape, asked.content_type.as_ref(), &asked.body)?;
        messages::require(body.member(MESSAGES))?;
        let model = members::model(body)?;
        // It decides nothing as long as nothing is compared.
        members::number(body, "similarity_threshold", 0.0..=1.0)?;
        let cache_types = cache_types(body)?;
        if model.is_some() && !allows_model(&asked.key, model.as_deref()) {
            return Err(Rejection::ModelDenied.into());
        }
        Ok(Self { prompt_hash: body.prompt_hash, model, cache_types })
    }
}

/// `cache_types`: a non-empty array of different ones; both, if it is not there.
fn cache_types(body: Body<'_>) -> Result<Vec<CacheType>, ApiError> {
    const FIELD: &str = "cache_types";
    let Some(array) = body.optional(FIELD) else { return Ok(CacheType::ALL.to_vec()) };
    if array.kind() != Kind::Array {
        return Err(wrong(FIELD, "array", type_of(Some(array))));
    }
    let mut found = Vec::new();
    for (index, element) in array.elements().enumerate() {
        let Some(known) = CacheType::ALL.into_iter().find(|known| element.is_str(known.as_str())) else {
            let received = word_or_type(Some(element));
            return Err(wrong(format!("{FIELD}[{index}]"), "exact or semantic", received));
        };
        if found.contains(&known) {
            let received = format!("{} twice", known.as_str());
            return Err(wrong(format!("{FIELD}[{index}]"), "each type once", received));
        }
        found.push(known);
    }
    if found.is_empty() {
        return Err(wrong(FIELD, "non-empty array of exact and semantic", "empty array"));
    }
    Ok(found)
}

/// Answers the call.
pub(super) async fn check(api: &Api, asked: Asked) -> Result<Told, Refusal> {
    let Request { prompt_hash, model, cache_types } = Request::read(&asked)?;
    let Asked { key, now, body, .. } = asked;
    drop(body);
    let is_exact = cache_types.contains(&CacheType::Exact);
    let begun = api.clock.monotonic();
    let found = if is_exact {
        let question = Question {
            account: key.account().clone(),
            prompt_hash,
            model: model.clone(),
            allowed_models: allowed_models(&key),
        };
        let found = api.store.find_answer(question, now.unix).await;
        let found = found.map_err(|error| failed(&error, UNREADABLE))?;
        api.damaged.inc_by(found.damaged);
        found.answer
    } else {
        None
    };
    let took = api.clock.monotonic().saturating_since(begun);
    // To the microsecond: more digits would say nothing.
    let lookup_time_ms = took.as_micros() as f64 / 1000.0;
    match found {
        Some(answer) => hit(answer, lookup_time_ms),
        None => {
            let search_results =
                SearchResults { exact_checked: is_exact, semantic_checked: false, closest_match_score: None };
            miss(&prompt_hash, model, search_results, lookup_time_ms)
        }
    }
}

fn hit(found: Answer, lookup_time_ms: f64) -> Result<Told, Refusal> {
    let Answer { answer, model, tokens, metadata, created_at, expires_at: _, usage_count } = found;
    let tokens_saved = tokens.unwrap_or_else(|| (answer.len() as u64).div_ceil(BYTES_A_TOKEN));
    let document = CheckHit {
        cache_hit: true,
        answer,
        cache_type: CacheType::Exact,
        lookup_time_ms,
        tokens_saved,
        created_at: created_at.rfc3339(),
        similarity_score: None,
        metadata: HitMetadata {
            model: model.clone(),
            original_tokens: tokens,
            usage_count,
            own: clients_metadata(metadata.as_deref())?,
        },
    };
    Ok(Told {
        body: json(&document)?,
        outcome: Outcome::ExactHit,
        class: Class::ExactHit,
        model: model.map(Into::into),
        tokens_saved,
    })
}

/// The members of a stored text, each value as it was written.
fn clients_metadata(text: Option<&str>) -> Result<BTreeMap<String, Box<RawValue>>, Refusal> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    let mut tape = Tape::default();
    let document = tape.read(text.as_bytes()).map_err(|fault| damaged(fault.as_str()))?;
    let members = document.root().members();
    let raw = |value: Value<'_>| RawValue::from_string(value.raw().to_owned());
    members
        .filter_map(|(name, value)| Some((name.as_str()?.into_owned(), value)))
        .filter(|(name, _)| !OWN_METADATA.contains(&name.as_str()))
        .map(|(name, value)| Ok((name, raw(value).map_err(|error| damaged(&error.to_string()))?)))
        .collect()
}

/// What was stored was checked then, so that what is found is something else.
fn damaged(fault: &str) -> Refusal {
    tracing::error!(fault, "the metadata of a stored answer is no JSON");
    Rejection::Internal.into()
}

fn miss(
    prompt_hash: &PromptHash,
    model: Option<Box<str>>,
    search_results: SearchResults,
    lookup_time_ms: f64,
) -> Result<Told, Refusal> {
    let is_looked_up = search_results.exact_checked;
    let document = CheckMiss {
        cache_hit: false,
        lookup_time_ms,
        message: if is_looked_up {
            MISS
        } else {
            "Nothing was looked for: this version finds answers to equal messages only (cache_types: exact)."
        },
        prompt_hash: prompt_hash.hex(),
        suggested_action: "call_llm_and_store",
        search_results,
    };
    Ok(Told {
        body: json(&document)?,
        outcome: Outcome::Forwarded,
        class: if is_looked_up { Class::Miss } else { Class::Uncached },
        model: model.map(Into::into),
        tokens_saved: 0,
    })
}
