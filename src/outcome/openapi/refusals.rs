//! The table of rejections, as responses. Which of them an operation can meet hangs on the steps (contract §3) that its
//! requests go through.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{RefOr, Response, Schema};

use crate::clock::UnixTime;
use crate::outcome::api_error::ApiError;
use crate::outcome::openapi::{JSON, json_body, schema_ref, with_headers};
use crate::outcome::rejection::{Rejection, RetryHint};
use crate::routing::route::ErrorShape;

/// The time in examples: 2027-01-15T08:00:00Z.
pub const EXAMPLE_TIME: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A refusal in its flat form.
#[derive(Debug, ToSchema)]
pub struct FlatError {
    /// What it is, in two or three words.
    pub error: &'static str,
    /// What to do about it.
    pub message: &'static str,
    /// The response's status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
}

/// A refusal because of a rate, in its flat form.
#[derive(Debug, ToSchema)]
pub struct FlatRateError {
    /// What it is, in two or three words.
    pub error: &'static str,
    /// What to do about it.
    pub message: &'static str,
    /// Seconds until a request would pass.
    #[schema(minimum = 1)]
    pub retry_after: u64,
    /// 429.
    #[schema(minimum = 429, maximum = 429)]
    pub status: u16,
}

/// A step on the way of a request, at which it may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The form of its head.
    Head,
    /// Its path and method: no described operation is refused here.
    Path,
    /// Its key, the address that it comes from, its rate.
    Key,
    /// Its body.
    Body,
    /// The model that it asks for.
    Model,
    /// Room in the gateway.
    Room,
    /// The upstream that it is for.
    Upstream,
}

impl Step {
    /// Where a request meets `rejection`.
    pub fn of(rejection: Rejection) -> Self {
        match rejection {
            Rejection::MissingHost
            | Rejection::BadHost
            | Rejection::AmbiguousLength
            | Rejection::BadLength
            | Rejection::UnknownCoding
            | Rejection::UnknownExpectation
            | Rejection::BadTarget
            | Rejection::AmbiguousPath
            | Rejection::HeadTooLarge => Self::Head,
            Rejection::MethodNotAllowed | Rejection::OtherMethods(_) | Rejection::NoRoute => Self::Path,
            Rejection::MissingKey
            | Rejection::MalformedKey
            | Rejection::InvalidKey
            | Rejection::TooManyFailures
            | Rejection::BadForwardedFor
            | Rejection::AddressDenied
            | Rejection::RateLimited(_) => Self::Key,
            Rejection::BodyTooLarge | Rejection::BodyTimeout | Rejection::BodyBroken => Self::Body,
            Rejection::ModelDenied => Self::Model,
            Rejection::Overloaded | Rejection::Internal => Self::Room,
            // On routes; the cache API has words of its own for the first.
            Rejection::DuplicateMember
            | Rejection::UpstreamBusy
            | Rejection::NotCached
            | Rejection::UpstreamUnreachable
            | Rejection::UpstreamConnectTimeout
            | Rejection::UpstreamFailed
            | Rejection::UpstreamTimeout => Self::Upstream,
        }
    }
}

/// What an operation may be refused with, by status.
#[derive(Clone, Default)]
pub struct Refusals(BTreeMap<u16, Refused>);

#[derive(Clone, Default)]
struct Refused {
    messages: Vec<String>,
    examples: Vec<(String, Value)>,
    schemas: Vec<&'static str>,
    headers: Vec<&'static str>,
}

/// Which words an operation's listener has for what is not flat everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Flat.
    Flat,
    /// The cache API's: nested.
    Nested,
}

impl Refusals {
    /// What a request that goes through `steps` may be refused with.
    pub fn at(steps: &[Step], words: Words) -> Self {
        Self::of(Rejection::ALL.into_iter().filter(|rejection| steps.contains(&Step::of(*rejection))), words)
    }

    /// `rejections`.
    pub fn of(rejections: impl IntoIterator<Item = Rejection>, words: Words) -> Self {
        let mut refusals = Self::default();
        rejections.into_iter().for_each(|rejection| refusals.add(rejection, words));
        refusals
    }

    /// With an error of the cache API's own; `name` is its example's.
    #[must_use]
    pub fn and(mut self, name: &str, error: &ApiError) -> Self {
        let refused = self.0.entry(error.status).or_default();
        let body = parsed(&error.body(EXAMPLE_TIME));
        refused.note(&error.message, (name.to_owned(), body), "NestedError");
        if error.status == 503 {
            refused.carry("Retry-After");
        }
        self
    }

    /// The responses, each with those of `headers` that its status has.
    pub fn responses(self, headers: impl Fn(u16) -> Vec<&'static str>) -> Vec<(String, Response)> {
        let response = |(status, mut refused): (u16, Refused)| {
            headers(status).into_iter().for_each(|name| refused.carry(name));
            (status.to_string(), refused.response(status))
        };
        self.0.into_iter().map(response).collect()
    }

    fn add(&mut self, rejection: Rejection, words: Words) {
        let row = rejection.row();
        let refused = self.0.entry(row.status).or_default();
        let is_flat = words == Words::Flat || matches!(row.status, 401 | 403 | 429);
        // A head that is not read to its end has no path that is known.
        let has_both = rejection == Rejection::HeadTooLarge && !is_flat;
        if is_flat || has_both {
            let name = if has_both { format!("{}_unread", row.code) } else { row.code.to_owned() };
            let schema = if row.status == 429 { "FlatRateError" } else { "FlatError" };
            refused.note(row.message, (name, parsed(&rejection.body(ErrorShape::Safecache))), schema);
        }
        if !is_flat {
            let body = parsed(&ApiError::of(rejection).body(EXAMPLE_TIME));
            refused.note(row.message, (row.code.to_owned(), body), "NestedError");
        }
        if rejection.challenge().is_some() {
            refused.carry("WWW-Authenticate");
        }
        if rejection.allowed_methods().is_some() {
            refused.carry("Allow");
        }
        let (says_when, says_whether) = match rejection.retry_hint() {
            RetryHint::Unsaid => (false, false),
            RetryHint::Never => (false, true),
            RetryHint::After(_) => (true, false),
            RetryHint::NeverSoon(_) => (true, true),
        };
        if says_when || matches!(rejection, Rejection::RateLimited(_)) {
            refused.carry("Retry-After");
        }
        if says_whether || matches!(rejection, Rejection::RateLimited(_)) {
            refused.carry("x-should-retry");
        }
        if matches!(rejection, Rejection::RateLimited(_)) {
            refused.carry("retry-after-ms");
        }
    }
}

impl Refused {
    fn note(&mut self, message: &str, (name, body): (String, Value), schema: &'static str) {
        if !self.messages.iter().any(|known| known == message) {
            self.messages.push(message.to_owned());
        }
        let is_taken = self.examples.iter().any(|(known, _)| *known == name);
        let name = if is_taken { format!("{name}_{}", self.examples.len() + 1) } else { name };
        self.examples.push((name, body));
        if !self.schemas.contains(&schema) {
            self.schemas.push(schema);
        }
    }

    fn carry(&mut self, header: &'static str) {
        if !self.headers.contains(&header) {
            self.headers.push(header);
        }
    }

    fn response(self, status: u16) -> Response {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let schema: RefOr<Schema> = match self.schemas.as_slice() {
            [one] => schema_ref(one),
            several => {
                let one_of = several.iter().fold(OneOfBuilder::new(), |any, name| any.item(schema_ref(name)));
                Schema::OneOf(one_of.build()).into()
            }
        };
        let description = match self.messages.as_slice() {
            [one] => one.clone(),
            several => format!("{}:\n\n- {}", reason.unwrap_or("Refused"), several.join("\n- ")),
        };
        let response =
            ResponseBuilder::new().description(description).content(JSON, json_body(schema, self.examples));
        with_headers(response, &self.headers).build()
    }
}

/// A body of ours as JSON.
fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}
