//! What is asked of the cache API, and what it says. The data port hands over requests that were admitted, and writes what
//! comes back; what they mean is the answerer's affair.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::auth::key_record::KeyRecord;
use crate::clock::Now;
use crate::config::Config;
use crate::outcome::api_error::ApiError;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::usage::record::Class;

/// What the paths of the cache API begin with.
pub const PREFIX: &str = "/api/v1/";

/// The description of the API, which needs no key.
pub const OPENAPI_PATH: &str = "/api/v1/openapi.json";

/// A call of the cache API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `POST /api/v1/check`
    Check,
    /// `POST /api/v1/store`
    Store,
    /// `GET /api/v1/usage`
    Usage,
    /// `GET /api/v1/cache`
    List,
    /// `DELETE /api/v1/cache/{prompt_hash}`, and what stands there for the hash.
    Delete(Box<str>),
    /// `DELETE /api/v1/cache`
    DeleteAll,
}

/// Why a request is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCall {
    /// There is nothing at its path.
    NotFound,
    /// Its path takes other methods: these, as `Allow` names them.
    Method(&'static str),
}

impl Call {
    /// The call of a method and a path without query.
    ///
    /// # Errors
    /// It is none.
    pub fn of(method: &Method, path: &str) -> Result<Self, NoCall> {
        let is_get = matches!(*method, Method::GET | Method::HEAD);
        let is_post = *method == Method::POST;
        let is_delete = *method == Method::DELETE;
        let rest = path.strip_prefix(PREFIX).ok_or(NoCall::NotFound)?;
        let taken =
            |is_taken: bool, call, allowed| if is_taken { Ok(call) } else { Err(NoCall::Method(allowed)) };
        match rest {
            "check" => taken(is_post, Self::Check, "POST"),
            "store" => taken(is_post, Self::Store, "POST"),
            "usage" => taken(is_get, Self::Usage, "GET, HEAD"),
            "openapi.json" => Err(NoCall::Method("GET, HEAD")),
            "cache" if is_get => Ok(Self::List),
            "cache" => taken(is_delete, Self::DeleteAll, "GET, HEAD, DELETE"),
            _ => match rest.strip_prefix("cache/").filter(|hash| !hash.is_empty() && !hash.contains('/')) {
                Some(hash) => taken(is_delete, Self::Delete(hash.into()), "DELETE"),
                None => Err(NoCall::NotFound),
            },
        }
    }

    /// True if its body is read.
    pub fn has_body(&self) -> bool {
        matches!(self, Self::Check | Self::Store)
    }
}

/// An admitted call.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked.
    pub call: Call,
    /// By which key.
    pub key: Arc<KeyRecord>,
    /// Behind the `?`.
    pub query: Option<Box<str>>,
    /// What the body is said to be.
    pub content_type: Option<HeaderValue>,
    /// All of the body; empty where the call has none.
    pub body: Bytes,
    /// `X-RateLimit-Remaining` of the answer.
    pub remaining: u64,
    /// Policy of this moment.
    pub config: Arc<Config>,
    /// This moment.
    pub now: Now,
}

/// The answer to a call: a 200 with JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Told {
    /// The JSON.
    pub body: String,
    /// How the request ended.
    pub outcome: Outcome,
    /// How it counts.
    pub class: Class,
    /// Which model it was about, if one was named.
    pub model: Option<Arc<str>>,
    /// Tokens that no model had to write, because an answer was there.
    pub tokens_saved: u64,
}

/// Why a call is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For a reason that other requests are refused for, too.
    Rejection(Rejection),
    /// For one of the API's own.
    Error(ApiError),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejection(rejection)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// Answers calls of the cache API.
#[async_trait]
pub trait Answerer: Send + Sync {
    /// Answers a call, or says why not.
    async fn answer(&self, asked: Asked) -> Result<Told, Refusal>;

    /// The OpenAPI document of the data port.
    fn openapi(&self) -> &'static str;
}
