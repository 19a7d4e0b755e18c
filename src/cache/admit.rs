//! Which requests are looked up and which answers are stored.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::cache::control::directives;
use crate::cache::key::header_names;
use crate::cache::policy::{RoutePolicy, Scope};
use crate::llm::answer::{AnswerSummary, Flaw};
use crate::llm::request::{BypassReason, RequestFields};

/// The headers that every entry keeps.
static KEPT: [HeaderName; 4] = [
    CONTENT_TYPE,
    CONTENT_LANGUAGE,
    HeaderName::from_static("openai-version"),
    HeaderName::from_static("openai-model"),
];

/// The two forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One JSON text.
    Json,
    /// Server-sent events.
    Sse,
}

/// How the end of an upstream's answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its Content-Length.
    Length,
    /// By a last chunk, or HTTP/2's end of stream.
    Chunked,
    /// By the connection's end, which a crash looks like too.
    CloseDelimited,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// Not a 200.
    Status,
    /// Neither JSON nor an event stream.
    ContentType,
    /// Compressed, or otherwise encoded.
    Encoding,
    /// Nothing would prove that it came whole.
    Framing,
    /// The upstream said `no-store`.
    NoStore,
    /// The upstream said `private`, and entries are shared by all accounts.
    Private,
    /// It varies by something that the key does not have.
    Vary,
    /// It is not a whole, good answer.
    Flawed(Flaw),
}

impl NotStored {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::ContentType => "content_type",
            Self::Encoding => "encoding",
            Self::Framing => "framing",
            Self::NoStore => "no_store",
            Self::Private => "private",
            Self::Vary => "vary",
            Self::Flawed(flaw) => flaw.as_str(),
        }
    }
}

/// Ok if a request with these fields is looked up, stored and collapsed.
pub fn lookable(policy: &RoutePolicy, fields: &RequestFields) -> Result<(), BypassReason> {
    if let Some(reason) = fields.unlookable {
        return Err(reason);
    }
    match fields.temperature {
        Some(temperature) if policy.max_temperature < temperature => Err(BypassReason::Temperature),
        _ => Ok(()),
    }
}

/// The form in which an answer may be stored, as far as its head tells.
pub fn storable_head(
    status: StatusCode,
    answer: &HeaderMap,
    policy: &RoutePolicy,
    framing: Framing,
) -> Result<Form, NotStored> {
    if status != StatusCode::OK {
        return Err(NotStored::Status);
    }
    let form = form_of(answer).ok_or(NotStored::ContentType)?;
    if !is_identity(answer) {
        return Err(NotStored::Encoding);
    }
    // A stream shows its end by its terminal event; that it has come is asked of the body.
    if form == Form::Json && framing == Framing::CloseDelimited {
        return Err(NotStored::Framing);
    }
    forbidden(answer, policy).map_or(Ok(form), Err)
}

/// True if an answer with this head may be read by others who asked the same, stored or not: it is about the question
/// alone, not about a range, a condition, a coding or a header in which they may differ (RFC 9111 §4).
pub fn is_for_others(status: StatusCode, answer: &HeaderMap, policy: &RoutePolicy) -> bool {
    const OF_THE_REQUEST: [StatusCode; 4] = [
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NOT_MODIFIED,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::RANGE_NOT_SATISFIABLE,
    ];
    !OF_THE_REQUEST.contains(&status) && is_identity(answer) && forbidden(answer, policy).is_none()
}

/// What the answer's fields say against another's use.
fn forbidden(answer: &HeaderMap, policy: &RoutePolicy) -> Option<NotStored> {
    for (name, _) in directives(answer) {
        if name.eq_ignore_ascii_case(b"no-store") {
            return Some(NotStored::NoStore);
        }
        if name.eq_ignore_ascii_case(b"private") && policy.scope == Scope::Global {
            return Some(NotStored::Private);
        }
    }
    varies_beyond_key(answer, policy).then_some(NotStored::Vary)
}

/// The form in which a good answer can be read for what it cost, stored or not; `None` if it cannot.
pub fn readable_form(status: StatusCode, answer: &HeaderMap) -> Option<Form> {
    form_of(answer).filter(|_| status == StatusCode::OK && is_identity(answer))
}

/// Ok if an answer that has come to its end, by its framing, is a whole one.
pub fn storable_body(summary: &AnswerSummary) -> Result<(), NotStored> {
    summary.flaw.map_or(Ok(()), |flaw| Err(NotStored::Flawed(flaw)))
}

/// The headers that an entry keeps, each with all its values: Content-Type, Content-Language, openai-version,
/// openai-model and the route's, but never Set-Cookie, nor one that belongs to a connection or a framing, nor one that
/// the gateway says itself. Values are copies: one that came is a slice of the buffer that the whole head was read into,
/// and would hold all of it for as long as the entry lives.
pub fn kept_headers(policy: &RoutePolicy, answer: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut kept = Vec::with_capacity(KEPT.len());
    let fields = answer.iter().filter(|(name, _)| is_kept(policy, name));
    kept.extend(fields.filter_map(|(name, value)| Some((name.clone(), copied(value.as_bytes())?))));
    // Most answers have one of them, and entries are many.
    kept.shrink_to_fit();
    kept
}

/// True for a header that an entry keeps, and that those are sent who read another's call.
pub fn is_kept(policy: &RoutePolicy, name: &HeaderName) -> bool {
    KEPT.contains(name) || policy.keep_headers.contains(name) && !is_never_kept(name)
}

/// The value in memory of its own, or in nobody's; `None` if it cannot be one.
pub(super) fn copied(value: &[u8]) -> Option<HeaderValue> {
    match value {
        b"application/json" => Some(HeaderValue::from_static("application/json")),
        bytes => HeaderValue::from_bytes(bytes).ok(),
    }
}

fn is_never_kept(name: &HeaderName) -> bool {
    let is_named = [
        SET_COOKIE,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        VARY,
    ]
    .contains(name);
    let text = name.as_str();
    let is_said_by_us = matches!(text, "age" | "cache-status" | "x-cache" | "x-request-id")
        || text.starts_with("x-ratelimit")
        || text.starts_with("ratelimit");
    is_named || is_said_by_us || matches!(text, "keep-alive" | "proxy-connection")
}

/// The form that the one Content-Type names; `None` if there is none, several, or another.
fn form_of(answer: &HeaderMap) -> Option<Form> {
    let mut values = answer.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let essence = value.as_bytes().split(|&byte| byte == b';').next()?.trim_ascii();
    let ends_in_json = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Some(Form::Json);
    }
    if essence.eq_ignore_ascii_case(b"text/event-stream") {
        return Some(Form::Sse);
    }
    ends_in_json.is_some_and(|end| end.eq_ignore_ascii_case(b"+json")).then_some(Form::Json)
}

fn is_identity(answer: &HeaderMap) -> bool {
    let mut values = answer.get_all(CONTENT_ENCODING).iter();
    values.all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// True if Vary names `*`, or a header that the key does not have, whether or not this request had it: another may, and
/// would be given this one's answer (RFC 9111 §4.1).
fn varies_beyond_key(answer: &HeaderMap, policy: &RoutePolicy) -> bool {
    let names = answer.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()).any(|name| {
        let name = HeaderName::from_bytes(name);
        !name.is_ok_and(|name| changes_nothing(&name) || header_names(policy).any(|own| *own == name))
    })
}

/// True for headers that servers name in Vary as a matter of course, and that no stored answer depends on: what the
/// gateway itself says on cached paths, what of a client never reaches an upstream, and what a browser tells of the
/// page that asks.
fn changes_nothing(name: &HeaderName) -> bool {
    const SAID_BY_US: [&str; 1] = ["accept-encoding"];
    const NOT_SENT_ON: [&str; 5] = ["authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"];
    const OF_THE_PAGE: [&str; 5] = [
        "origin",
        "access-control-request-method",
        "access-control-request-headers",
        // Google's servers name these two beside Origin.
        "x-origin",
        "referer",
    ];
    [&SAID_BY_US[..], &NOT_SENT_ON, &OF_THE_PAGE].iter().any(|names| names.contains(&name.as_str()))
}
