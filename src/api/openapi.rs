//! The data port's own calls, as OpenAPI 3.1: `docs/openapi/data.json`.
//!
//! - `calls`: each operation, with what it takes.
//! - `examples`: what it answers, made by the code that answers.

use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, SecurityRequirement};

use crate::api::check::{CheckHit, CheckMiss, CheckRequest};
use crate::api::delete::Deleted;
use crate::api::entries::EntryList;
use crate::api::store::{StoreRequest, Stored};
use crate::api::usage::UsageReport;
use crate::outcome::api_error::{ApiError, NestedError};
use crate::outcome::openapi::refusals::{FlatError, FlatRateError, Refusals, Step, Words};
use crate::outcome::openapi::schemas::Schemas;
use crate::outcome::openapi::{self, number_header, text_header, with_headers};
use crate::outcome::rejection::Rejection;

mod calls;
mod examples;

/// The document as it is committed, and served.
pub const COMMITTED: &str = include_str!("../../docs/openapi/data.json");

const DESCRIPTION: &str = "The cache API of a safecache gateway: look for a stored answer, store one, and see what was \
    asked. The routes to language models are whatever the operator has configured, and are not described here.\n\n\
    A key stands in `Authorization: Bearer KEY`, or else in `X-Api-Key` or `api-key`. Every GET answers HEAD as well, \
    without a body. A path asked with another method answers with the response `MethodNotAllowed`. A head that is no HTTP \
    is answered with a 400 without a body.";

/// Names of the headers that every answer to a key has.
const OF_A_KEY: [&str; 5] =
    ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"];

/// The document as the code has it.
pub fn document() -> OpenApi {
    let calls = [
        ("/api/v1/check", HttpMethod::Post, calls::check()),
        ("/api/v1/store", HttpMethod::Post, calls::store()),
        ("/api/v1/usage", HttpMethod::Get, calls::usage()),
        ("/api/v1/cache", HttpMethod::Get, calls::list()),
        ("/api/v1/cache", HttpMethod::Delete, calls::delete_all()),
        ("/api/v1/cache/{prompt_hash}", HttpMethod::Delete, calls::delete()),
        ("/api/v1/openapi.json", HttpMethod::Get, calls::description()),
        ("/healthz", HttpMethod::Get, calls::health()),
    ];
    openapi::document("safecache", DESCRIPTION, calls, components())
}

fn components() -> Components {
    let mut components = Components::new();
    components.schemas = Schemas::default()
        .read::<CheckRequest>()
        .read::<StoreRequest>()
        .written::<CheckHit>()
        .written::<CheckMiss>()
        .written::<Stored>()
        .written::<UsageReport>()
        .written::<EntryList>()
        .written::<Deleted>()
        .written::<NestedError<'_>>()
        .written::<FlatError>()
        .written::<FlatRateError>()
        .always("CheckHit", "cache_hit", true)
        .always("CheckMiss", "cache_hit", false)
        .always("CheckMiss", "suggested_action", "call_llm_and_store")
        .always("Stored", "stored", true)
        .into_map();
    let other_methods =
        Refusals::of([Rejection::OtherMethods("POST")], Words::Nested).responses(|_| OF_A_KEY.to_vec());
    components.responses.extend(
        other_methods.into_iter().map(|(_, response)| ("MethodNotAllowed".to_owned(), response.into())),
    );
    for (name, header) in headers() {
        components.headers.insert(name.to_owned(), header.into());
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("sk-sc-…").build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (scheme, header) in [("x_api_key", "X-Api-Key"), ("api_key", "api-key")] {
        let about = "Read where there is no Authorization header.";
        let key = ApiKey::Header(ApiKeyValue::with_description(header, about));
        components.add_security_scheme(scheme, SecurityScheme::ApiKey(key));
    }
    components
}

fn headers() -> [(&'static str, utoipa::openapi::Header); 12] {
    [
        (
            "X-Request-Id",
            text_header("The request's own, or a new UUIDv7.", "01a20764-f321-76ed-9cbc-421d989b292b"),
        ),
        ("X-RateLimit-Limit", number_header("Requests per minute.")),
        ("X-RateLimit-Remaining", number_header("Requests that would pass now, at most those of a minute.")),
        ("X-RateLimit-Reset", number_header("Unix seconds at which the remaining are all back.")),
        (
            "RateLimit-Policy",
            text_header("The plan, its burst, and the seconds to fill it.", "\"pro\";q=1000;w=100"),
        ),
        (
            "RateLimit",
            text_header("The plan, what is left, and the seconds to one more.", "\"pro\";r=999;t=1"),
        ),
        ("Retry-After", number_header("Seconds after which trying again may help.")),
        ("retry-after-ms", number_header("The same in milliseconds.")),
        (
            "x-should-retry",
            text_header("`false`: OpenAI's libraries do not try again by themselves.", "false"),
        ),
        ("WWW-Authenticate", text_header("How to say who is asking.", "Bearer realm=\"safecache\"")),
        ("Allow", text_header("The methods that the path takes.", "GET, HEAD, DELETE")),
        ("Cache-Control", text_header("`no-store`.", "no-store")),
    ]
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// Anybody.
    Anybody,
    /// Who has a key.
    Key,
}

/// One operation: what it is called, who may ask, what it answers, and by what of its own it refuses.
struct Described {
    id: &'static str,
    summary: &'static str,
    about: &'static str,
    asker: Asker,
    steps: &'static [Step],
    words: Words,
    answer: (&'static str, Content),
    own: Vec<(&'static str, ApiError)>,
    /// What can be asked next, and from where in the answer its `prompt_hash` is taken.
    next: Option<(&'static str, &'static str)>,
}

impl Described {
    fn operation(self) -> OperationBuilder {
        let Self { id, summary, about, asker, steps, words, answer, own, next } = self;
        let (media_type, content) = answer;
        let mut refusals = Refusals::at(steps, words);
        for (name, error) in &own {
            refusals = refusals.and(name, error);
        }
        let mut ok = ResponseBuilder::new().description("Done.").content(media_type, content);
        if let Some((next, hash)) = next {
            let link = LinkBuilder::new().operation_id(next).parameter("prompt_hash", hash).build();
            ok = ok.link(next, link);
        }
        let mut names = headers_of(asker, 200);
        if words == Words::Nested {
            names.push("Cache-Control");
        }
        let mut operation = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(summary))
            .description(Some(about))
            .response("200", with_headers(ok, &names));
        for (status, response) in refusals.responses(|status| headers_of(asker, status)) {
            operation = operation.response(status, response);
        }
        let schemes: &[&str] = match asker {
            Asker::Anybody => &[],
            Asker::Key => &["bearer", "x_api_key", "api_key"],
        };
        schemes.iter().fold(operation, |operation, scheme| {
            operation.security(SecurityRequirement::new(*scheme, [""; 0]))
        })
    }
}

/// The headers that an answer of this status has, whatever it says. Heads are refused before a key is known.
fn headers_of(asker: Asker, status: u16) -> Vec<&'static str> {
    let is_of_a_key = asker == Asker::Key && !matches!(status, 401 | 417 | 431 | 501);
    let of_a_key = if is_of_a_key { OF_A_KEY.as_slice() } else { &[] };
    [&["X-Request-Id"], of_a_key].concat()
}
