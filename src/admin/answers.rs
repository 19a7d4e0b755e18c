//! What the admin listener answers in JSON.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::runtime::journal::{Change, LastReload, Standing};
use crate::runtime::state::PolicyState;

/// The policy that is in force, and how its reloads went.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigState {
    /// The key ring's generation: one more with each reload that is taken.
    pub generation: u64,
    /// Keys in the ring.
    pub keys: usize,
    /// Plans.
    pub plans: usize,
    /// Routes.
    pub routes: usize,
    /// Upstreams.
    pub upstreams: usize,
    /// How the newest reload ended; null before the first.
    #[schema(required = true, inline)]
    pub last_reload: Option<ReloadEnd>,
    /// Refusals that still stand, at most one a source.
    pub problems: Vec<Problem>,
}

/// How a reload ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReloadEnd {
    /// When: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Whether it was taken.
    pub applied: bool,
    /// What it changed, or why it was refused, one line a problem.
    pub message: String,
}

/// A refusal that still stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What was refused.
    #[schema(value_type = ProblemSource)]
    pub source: &'static str,
    /// When: ISO 8601, UTC.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why, one line a problem.
    pub message: String,
}

/// What is read by itself.
// For the description alone: `Part` names them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemSource {
    /// The configuration, with all files that it names.
    Configuration,
    /// The key list alone.
    KeyList,
    /// The certificates and keys of TLS alone.
    Certificates,
    /// The keys of the store alone.
    StoredKeys,
}

/// A reload was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// True.
    pub applied: bool,
    /// What changed, for people.
    pub message: String,
    /// The key ring's new generation.
    pub generation: u64,
    /// Keys in it.
    pub keys: usize,
    /// Keys that were not there before.
    pub added: usize,
    /// Keys that are there no more.
    pub removed: usize,
}

/// Cached answers were forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purged {
    /// True.
    pub applied: bool,
    /// The same for people.
    pub message: String,
    /// About how many there were.
    pub purged: u64,
}

/// Nothing was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotApplied {
    /// False.
    pub applied: bool,
    /// Why.
    pub message: String,
}

/// There is nothing at a path, or nothing for a method.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nowhere {
    /// What it is, in two or three words.
    pub error: &'static str,
    /// What to do about it.
    pub message: &'static str,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
}

impl ConfigState {
    pub(super) fn of(state: &PolicyState) -> Self {
        Self {
            generation: state.generation,
            keys: state.keys,
            plans: state.plans,
            routes: state.routes,
            upstreams: state.upstreams,
            last_reload: state.last.as_ref().map(ReloadEnd::of),
            problems: state.standing.iter().map(Problem::of).collect(),
        }
    }
}

impl ReloadEnd {
    fn of(last: &LastReload) -> Self {
        let (applied, message) = match &last.result {
            Ok(change) => (true, change.to_string()),
            Err(why) => (false, why.clone()),
        };
        Self { at: last.at.rfc3339(), applied, message }
    }
}

impl Problem {
    fn of(standing: &Standing) -> Self {
        let Standing { part, at, message } = standing;
        Self { source: part.as_str(), at: at.rfc3339(), message: message.clone() }
    }
}

impl Reloaded {
    pub(super) fn of(change: &Change) -> Self {
        Self {
            applied: true,
            message: change.to_string(),
            generation: change.generation,
            keys: change.keys,
            added: change.added,
            removed: change.removed,
        }
    }
}

impl Purged {
    pub(super) fn of(purged: u64) -> Self {
        Self { applied: true, message: format!("{purged} answers forgotten"), purged }
    }
}

impl NotApplied {
    pub(super) fn because(message: impl Into<String>) -> Self {
        Self { applied: false, message: message.into() }
    }
}

impl Nowhere {
    pub(super) const PATH: Self = Self {
        error: "Not found",
        message: "There is nothing at this path of the admin listener",
        status: 404,
    };

    pub(super) const METHOD: Self = Self {
        error: "Method not allowed",
        message: "This path takes the methods that Allow names",
        status: 405,
    };
}

impl IntoResponse for Nowhere {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::NOT_FOUND);
        (status, Json(self)).into_response()
    }
}

/// Why nothing was done.
pub(super) fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(NotApplied::because(message))).into_response()
}
