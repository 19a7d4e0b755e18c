//! `POST /api/v1/store`: keeps an answer to the messages, in place of what was kept for them under the same model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::body::{Body, MESSAGES};
use crate::api::check::CacheType;
use crate::api::failed::failed;
use crate::api::members::LARGEST_WHOLE;
use crate::api::messages::Message;
use crate::api::query::Query;
use crate::api::{Api, json, members, messages};
use crate::auth::authenticate::allows_model;
use crate::llm::json::Tape;
use crate::outcome::api_error::{ApiError, Details};
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::runtime::answerer::{Asked, Refusal, Told};
use crate::store::answer::{NewAnswer, Put};
use crate::units::ByteSize;
use crate::usage::record::Class;

/// How long an answer is kept where its client does not say, in seconds: 30 days.
const DEFAULT_TTL: u64 = 30 * 24 * 3600;

/// The longest time that an answer is kept, in seconds: 365 days.
const LONGEST_TTL: u64 = 365 * 24 * 3600;

/// The most bytes of a client's metadata, as it is sent.
const MOST_METADATA: usize = 4096;

/// What is said where the store fails.
pub(super) const UNWRITABLE: &str = "The answer could not be stored";

/// What is to be kept. An optional member that is null counts as absent; members that are not named are ignored.
// For the description alone: `read` reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoreRequest {
    /// What the model was asked, in the format of OpenAI's chat completions.
    #[schema(min_items = 1)]
    pub messages: Vec<Message>,
    /// What it answered.
    #[schema(min_length = 1)]
    pub answer: String,
    /// Which model it was, at most 256 bytes in UTF-8. Answers of different models are kept side by side.
    #[schema(min_length = 1, max_length = 256)]
    pub model: Option<String>,
    /// What the answer cost, and a hit saves.
    #[schema(maximum = 9007199254740991_u64)]
    pub tokens: Option<u64>,
    /// How long it is kept, in seconds; 30 days if it is not said.
    #[schema(minimum = 1, maximum = 31536000, default = 2592000)]
    pub ttl: Option<u64>,
    /// What is wanted back with a hit: an object of at most 4096 bytes of JSON, as it is sent.
    pub metadata: Option<BTreeMap<String, Value>>,
}

/// An answer was kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// True.
    pub stored: bool,
    /// SHA-256 of the canonical messages, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub prompt_hash: String,
    /// How it can be found.
    pub cache_types: Vec<CacheType>,
    /// Now: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From when on it is not found any more: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

fn read(asked: &Asked) -> Result<NewAnswer, Refusal> {
    Query::read(asked.query.as_deref(), &[])?;
    let mut tape = Tape::default();
    let body = Body::read(&mut tape, asked.content_type.as_ref(), &asked.body)?;
    messages::require(body.member(MESSAGES))?;
    let answer = members::required_text(body, "answer")?;
    let model = members::model(body)?;
    let tokens = members::whole(body, "tokens", 0..=LARGEST_WHOLE, "")?;
    let ttl = members::whole(body, "ttl", 1..=LONGEST_TTL, " of seconds")?.unwrap_or(DEFAULT_TTL);
    let metadata = members::object(body, "metadata", MOST_METADATA)?;
    if !allows_model(&asked.key, model.as_deref()) {
        return Err(Rejection::ModelDenied.into());
    }
    let created_at = asked.now.unix;
    Ok(NewAnswer {
        account: asked.key.account().clone(),
        prompt_hash: body.prompt_hash,
        model,
        answer,
        tokens,
        metadata,
        created_at,
        expires_at: created_at.saturating_add(Duration::from_secs(ttl)),
        quota: asked.key.plan().stored_bytes(),
    })
}

/// Answers the call.
pub(super) async fn store(api: &Api, asked: Asked) -> Result<Told, Refusal> {
    let answer = read(&asked)?;
    // All that is kept of it was copied.
    drop(asked);
    let document = Stored {
        stored: true,
        prompt_hash: answer.prompt_hash.hex(),
        cache_types: vec![CacheType::Exact],
        created_at: answer.created_at.rfc3339(),
        expires_at: answer.expires_at.rfc3339(),
    };
    let (model, counted, quota) = (answer.model.clone(), answer.counted(), answer.quota);
    let put = api.store.put_answer(answer).await;
    match put.map_err(|error| failed(&error, UNWRITABLE))? {
        Put::OverQuota { used } => Err(over_quota(used, counted, quota).into()),
        Put::Kept => Ok(Told {
            body: json(&document)?,
            outcome: Outcome::Stored,
            class: Class::Stored,
            model: model.map(Into::into),
            tokens_saved: 0,
        }),
    }
}

pub(super) fn over_quota(used: ByteSize, counted: ByteSize, quota: ByteSize) -> ApiError {
    let (used, counted, quota) = (used.as_u64(), counted.as_u64(), quota.as_u64());
    let message = format!(
        "The stored answers of this account may take {quota} bytes and take {used}; this one would add {counted}. \
         Delete some, or wait until some have expired."
    );
    let details = Details {
        field: "answer".into(),
        expected: format!("at most {} bytes", quota.saturating_sub(used)).into(),
        received: format!("{counted} bytes").into(),
    };
    ApiError::new(413, message).about(details)
}
