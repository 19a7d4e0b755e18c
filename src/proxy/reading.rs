//! An answer read while it passes: what it cost, and whether it becomes an entry.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::cache::admit::{Form, readable_form, storable_body};
use crate::cache::entries::{Entry, Epoch, Origin, Slot};
use crate::cache::policy::{RoutePolicy, Scope};
use crate::cache::recording::{AnswerHead, Destiny, complete};
use crate::clock::Monotonic;
use crate::llm::answer::AnswerSummary;
use crate::llm::request::Api;
use crate::llm::sse::SseWatch;
use crate::llm::translate::AnswerForm;
use crate::llm::usage::Tokens;
use crate::memory::Permit;

/// A JSON answer that is not stored is held to its end for what it cost, up to this many bytes.
const LARGEST_BILL: u64 = 1024 * 1024;

/// How the permit of such an answer grows, in bytes.
const GROWTH: u64 = 64 * 1024;

/// Where and how an answer is stored.
#[derive(Clone, Debug)]
pub(super) struct Storing {
    pub(super) slot: Slot,
    /// The forms in which there is an answer that cannot be given in this one: they stay.
    pub(super) apart: Vec<AnswerForm>,
    pub(super) policy: Arc<RoutePolicy>,
    pub(super) max_entry: u64,
    /// When the call was begun.
    pub(super) begun: Monotonic,
    pub(super) epoch: Epoch,
    pub(super) origin: Origin,
}

/// The same, once its head has come, with what is kept of that.
pub(super) struct Kept {
    pub(super) storing: Storing,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) form: Form,
    /// The length that it announced.
    pub(super) length: Option<u64>,
}

/// What is read of an answer.
pub(super) struct Reading {
    kept: Option<Kept>,
    text: Text,
    /// Bytes up to which all of the body is kept; 0: none of it.
    bound: u64,
}

/// How the answer's text is read.
enum Text {
    /// As a whole, once it is there.
    Json(Api),
    /// As it comes.
    Sse(Box<SseWatch>),
    /// Not at all.
    Unread,
}

impl Text {
    /// How an answer of this form to a request of `api` is read; `None`: of one that cannot be.
    fn of(form: Option<Form>, api: Api) -> Self {
        match form {
            Some(Form::Json) => Self::Json(api),
            Some(Form::Sse) => Self::Sse(Box::new(SseWatch::new(api))),
            None => Self::Unread,
        }
    }

    /// What a stream has cost so far, as the answer to a request of `question` bytes.
    fn tokens(&self, question: u64) -> Option<Tokens> {
        let Self::Sse(watch) = self else { return None };
        let told = watch.summary().usage.map(Tokens::Told);
        told.or_else(|| watch.estimate(question).map(Tokens::Estimated))
    }
}

impl Reading {
    /// Of an answer to a request of `api`, that is stored as `kept` says.
    pub(super) fn of(head: &ResponseHeader, kept: Option<Kept>, api: Api) -> Self {
        let form = match &kept {
            Some(kept) => Some(kept.form),
            None => readable_form(head.status, &head.headers),
        };
        let text = Text::of(form, api);
        let entry = kept.as_ref().map_or(0, |kept| kept.storing.max_entry);
        let bill = if matches!(text, Text::Json(_)) { LARGEST_BILL } else { 0 };
        let bound = entry.max(bill);
        Self { kept, text, bound }
    }

    /// True while all of the body is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.bound > 0
    }

    /// True if a body of `size` bytes so far is kept. One that is too long for an entry will be none.
    pub(super) fn keeps(&mut self, size: u64) -> bool {
        self.kept.take_if(|kept| size > kept.storing.max_entry);
        size <= self.bound
    }

    /// What becomes of the answer.
    pub(super) fn destiny(&self) -> Destiny {
        if self.kept.is_some() { Destiny::Stored } else { Destiny::Forgotten }
    }

    /// The body is kept no more.
    pub(super) fn let_go(&mut self) {
        self.kept = None;
        self.bound = 0;
    }

    /// Takes the next piece into account.
    pub(super) fn note(&mut self, piece: &[u8]) {
        if let Text::Sse(watch) = &mut self.text {
            watch.feed(piece);
        }
    }

    /// What an answer to a request of `question` bytes has cost so far, whole or broken off; of JSON nothing is known
    /// before its [`summary`](Reading::summary).
    pub(super) fn tokens(&self, question: u64) -> Option<Tokens> {
        self.text.tokens(question)
    }

    /// What the whole answer, whose `body` was kept or not, says of itself; `None` if it was not read.
    pub(super) fn summary(&self, body: Option<&Bytes>) -> Option<AnswerSummary> {
        match &self.text {
            Text::Json(api) => Some(AnswerSummary::of_json(body?, *api)),
            Text::Sse(watch) => Some(watch.summary()),
            _ => None,
        }
    }

    /// The entry that a whole and clean answer with that body becomes, `now`.
    pub(super) fn into_entry(
        self,
        body: Bytes,
        summary: &AnswerSummary,
        now: Monotonic,
    ) -> Option<(Storing, Entry)> {
        let Kept { storing, fields, form, length } = self.kept?;
        storable_body(summary).ok()?;
        let length = match storing.policy.scope {
            Scope::Account => (form == Form::Json).then_some(body.len() as u64),
            // Framed otherwise than when it came, it would tell that somebody else had asked.
            Scope::Global => length,
        };
        let head = AnswerHead { status: StatusCode::OK, fields, length, destiny: Destiny::Forgotten };
        let entry = Entry {
            recording: complete(head, body),
            stored: now,
            aged: Duration::ZERO,
            ttl: storing.policy.ttl,
            usage: summary.usage,
            epoch: storing.epoch,
            origin: storing.origin.clone(),
        };
        Some((storing, entry))
    }
}

/// An answer that is passed on as it comes, read for what it cost alone.
pub(super) struct Bill {
    text: Text,
    /// Of JSON, what has come of it.
    body: BytesMut,
    permit: Permit,
}

impl Bill {
    /// Of the answer with `head` to `request`; only a POST to an API that is known is read. What has to be kept is
    /// counted in `permit`.
    pub(super) fn of(head: &ResponseHeader, request: &RequestHeader, permit: Permit) -> Self {
        let api = Api::of(request.uri.path());
        let is_billed = request.method == Method::POST && api != Api::Other;
        let form = if is_billed { readable_form(head.status, &head.headers) } else { None };
        let text = Text::of(form, api);
        Self { text, body: BytesMut::new(), permit }
    }

    /// Takes the next piece into account. JSON that is too long, or that there is no memory for, is read no more.
    pub(super) fn note(&mut self, piece: &[u8]) {
        match &mut self.text {
            Text::Sse(watch) => watch.feed(piece),
            Text::Json(_) => {
                let size = (self.body.len() + piece.len()) as u64;
                if size <= LARGEST_BILL && self.permit.try_grow_to(size.next_multiple_of(GROWTH)) {
                    self.body.extend_from_slice(piece);
                } else {
                    self.text = Text::Unread;
                    self.body = BytesMut::new();
                    self.permit.shrink_to(0);
                }
            }
            Text::Unread => {}
        }
    }

    /// What the answer to a request of `question` bytes has cost, and which model it says has written it: JSON tells only
    /// as a whole.
    pub(super) fn told(&self, question: u64) -> (Option<Tokens>, Option<Arc<str>>) {
        match &self.text {
            Text::Json(api) => {
                let (summary, model) = AnswerSummary::with_model(&self.body, *api);
                (summary.usage.map(Tokens::Told), model)
            }
            Text::Sse(watch) => (self.text.tokens(question), watch.model().cloned()),
            Text::Unread => (None, None),
        }
    }
}
