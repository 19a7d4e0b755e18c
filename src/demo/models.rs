//! The models that the demo LLM lists. The names matter to nobody: chat and embeddings take any.

use std::future::{Ready, ready};

use axum::Json;
use axum::extract::Path;
use serde::Serialize;

use crate::demo::failure::Failure;

/// The names, in the order in which they are listed.
const NAMES: [&str; 4] = ["demo", "demo-large", "demo-small", "demo-embedding"];

/// A fixed date (2025-01-01), so that two lists are equal.
const CREATED: u64 = 1_735_689_600;

/// `{"object": "list", "data": […]}`.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// One model as OpenAI describes it.
#[derive(Serialize)]
pub(super) struct Model {
    id: &'static str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// `GET /v1/models`.
pub(super) fn list() -> Ready<Json<List>> {
    ready(Json(List { object: "list", data: NAMES.into_iter().map(Model::named).collect() }))
}

/// `GET /v1/models/{id}`; 404 for a name that is not listed.
pub(super) fn show(Path(id): Path<String>) -> Ready<Result<Json<Model>, Failure>> {
    let listed = NAMES.into_iter().find(|name| *name == id);
    ready(listed.map(|name| Json(Model::named(name))).ok_or_else(|| Failure::unknown_model(&id)))
}

impl Model {
    fn named(id: &'static str) -> Self {
        Self { id, object: "model", created: CREATED, owned_by: "safecache" }
    }
}
