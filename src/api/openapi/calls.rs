//! The operations of the data port.

use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{AnyOfBuilder, OneOfBuilder};
use utoipa::openapi::{
    Content, ContentBuilder, KnownFormat, Object, ObjectBuilder, RefOr, Required, Schema, SchemaFormat, Type,
};

use crate::api::openapi::{Asker, Described, examples};
use crate::api::usage::{MOST_PAGES, MOST_PER_PAGE, PER_PAGE};
use crate::api::{check, content_type, delete, entries, failed, messages, query, store, usage};
use crate::outcome::api_error::ApiError;
use crate::outcome::openapi::refusals::{Step, Words};
use crate::outcome::openapi::schemas::{one_of, pattern, whole};
use crate::outcome::openapi::{JSON, json_body, schema_ref};
use crate::units::ByteSize;

const WITHOUT_BODY: &[Step] = &[Step::Head, Step::Key, Step::Room];
const WITH_BODY: &[Step] = &[Step::Head, Step::Key, Step::Body, Step::Model, Step::Room];

pub(super) fn check() -> Operation {
    let either = OneOfBuilder::new().item(schema_ref("CheckHit")).item(schema_ref("CheckMiss")).build();
    Described {
        id: "check",
        summary: "Look for a stored answer",
        about: "Whether an answer to these messages was stored by the key's account. Always a 200: `cache_hit` says which.",
        asker: Asker::Key,
        steps: WITH_BODY,
        words: Words::Nested,
        answer: (
            JSON,
            json_body(
                Schema::OneOf(either).into(),
                vec![("hit".to_owned(), examples::hit()), ("miss".to_owned(), examples::miss())],
            ),
        ),
        own: [of_bodies(), of_store(check::UNREADABLE)].concat(),
        next: None,
    }
    .operation()
    .request_body(Some(takes("CheckRequest", examples::check_request())))
    .build()
}

pub(super) fn store() -> Operation {
    let (used, counted, quota) = (ByteSize::mib(256), ByteSize::bytes(900), ByteSize::mib(256));
    let over_quota = vec![("over_quota", store::over_quota(used, counted, quota))];
    Described {
        id: "store",
        summary: "Store an answer",
        about: "Keeps an answer to the messages for the key's account, in place of what was kept for them under the same \
                model. What was acknowledged is there after a crash.",
        asker: Asker::Key,
        steps: WITH_BODY,
        words: Words::Nested,
        answer: (JSON, json_body(schema_ref("Stored"), vec![("stored".to_owned(), examples::stored())])),
        own: [of_bodies(), over_quota, of_store(store::UNWRITABLE)].concat(),
        next: Some(("delete", "$response.body#/prompt_hash")),
    }
    .operation()
    .request_body(Some(takes("StoreRequest", examples::store_request())))
    .build()
}

pub(super) fn usage() -> Operation {
    let operation = Described {
        id: "usage",
        summary: "See what was asked",
        about: "What the account's keys have asked in a span of time: the whole hours that it touches.",
        asker: Asker::Key,
        steps: WITHOUT_BODY,
        words: Words::Nested,
        answer: (JSON, json_body(schema_ref("UsageReport"), vec![("report".to_owned(), examples::report())])),
        own: [of_queries(&usage::MEMBERS), of_store(usage::UNREADABLE)].concat(),
        next: None,
    }
    .operation();
    [
        ("from", time(), "The first moment; if it is not said, 29 days before the last day."),
        (
            "to",
            time(),
            "The first moment behind it, or its last day; if it is not said, the end of this hour.",
        ),
        (
            "granularity",
            one_of(&["hour", "day"]).into(),
            "The steps of `series`, at most 10,000 of them; `day` if it is not said.",
        ),
        ("page", within(1, MOST_PAGES, 1), "The page of `keys`."),
        ("per_page", within(1, MOST_PER_PAGE, PER_PAGE), "Keys on a page."),
    ]
    .into_iter()
    .fold(operation, |operation, (name, schema, about)| operation.parameter(in_query(name, schema, about)))
    .build()
}

pub(super) fn list() -> Operation {
    let operation = Described {
        id: "list",
        summary: "List what is cached",
        about: "What is kept for the account, stored and proxied answers, the newest first.",
        asker: Asker::Key,
        steps: WITHOUT_BODY,
        words: Words::Nested,
        answer: (JSON, json_body(schema_ref("EntryList"), vec![("page".to_owned(), examples::page())])),
        own: [of_queries(&["limit", "after", "kind"]), of_store(entries::UNREADABLE)].concat(),
        next: None,
    }
    .operation();
    [
        ("limit", within(1, entries::MOST, entries::DEFAULT_LIMIT), "Entries on a page, at most."),
        ("after", Object::with_type(Type::String).into(), "`next` of the page before."),
        ("kind", one_of(&["stored", "proxied"]).into(), "Those of one kind; both if it is not said."),
    ]
    .into_iter()
    .fold(operation, |operation, (name, schema, about)| operation.parameter(in_query(name, schema, about)))
    .build()
}

pub(super) fn delete() -> Operation {
    let own = vec![("no_hash", delete::no_hash("latest")), ("nothing_there", delete::nothing_there())];
    let hash = ParameterBuilder::new()
        .name("prompt_hash")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("64 hexadecimal digits, as `check`, `store` and the list have them."))
        .schema(Some(pattern("^[0-9a-fA-F]{64}$")))
        .example(Some(examples::HASH.into()));
    deleting("delete", "Delete the answers to a prompt", own)
        .description(Some("Deletes the account's stored answers to a prompt, of every model, or the proxied answer of that hash."))
        .parameter(hash)
        .build()
}

pub(super) fn delete_all() -> Operation {
    deleting("delete_all", "Delete all that is cached", Vec::new())
        .description(Some("Deletes all that is kept for the account, stored and proxied. With a key that is bound to models, of these."))
        .build()
}

fn deleting(id: &'static str, summary: &'static str, own: Vec<(&'static str, ApiError)>) -> OperationBuilder {
    Described {
        id,
        summary,
        about: "",
        asker: Asker::Key,
        steps: WITHOUT_BODY,
        words: Words::Nested,
        answer: (JSON, json_body(schema_ref("Deleted"), vec![("deleted".to_owned(), examples::deleted())])),
        own: [own, of_queries(&[]), of_store(delete::UNDELETABLE)].concat(),
        next: None,
    }
    .operation()
}

pub(super) fn description() -> Operation {
    let any = ContentBuilder::new().schema(Some(Object::with_type(Type::Object))).build();
    open("describe", "This document", Words::Nested, (JSON, any))
}

pub(super) fn health() -> Operation {
    let ok = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["ok\n"]));
    let text = ContentBuilder::new().schema(Some(ok)).build();
    open("health", "Whether the gateway is alive", Words::Flat, ("text/plain", text))
}

fn open(id: &'static str, summary: &'static str, words: Words, answer: (&'static str, Content)) -> Operation {
    Described {
        id,
        summary,
        about: "Needs no key.",
        asker: Asker::Anybody,
        steps: &[Step::Head],
        words,
        answer,
        own: Vec::new(),
        next: None,
    }
    .operation()
    .build()
}

/// What the readers of bodies refuse.
fn of_bodies() -> Vec<(&'static str, ApiError)> {
    let missing = messages::require(None).err();
    let no_json = content_type::require_json(None).err();
    let query = query::Query::read(Some("ttl=60"), &[]).err();
    [("missing_messages", missing), ("not_json", no_json), ("unknown_parameter", query)]
        .into_iter()
        .filter_map(|(name, error)| Some((name, error?)))
        .collect()
}

/// What the reader of queries refuses.
fn of_queries(known: &[&'static str]) -> Vec<(&'static str, ApiError)> {
    let unknown = query::Query::read(Some("sort=up"), known).err();
    unknown.into_iter().map(|error| ("unknown_parameter", error)).collect()
}

/// What is told where the store fails.
fn of_store(what: &'static str) -> Vec<(&'static str, ApiError)> {
    vec![("store_busy", failed::passing(what)), ("store_failed", failed::lasting(what))]
}

fn takes(schema: &str, example: serde_json::Value) -> RequestBody {
    let content = json_body(schema_ref(schema), vec![("request".to_owned(), example)]);
    RequestBodyBuilder::new().content(JSON, content).required(Some(Required::True)).build()
}

fn in_query(name: &str, schema: RefOr<Schema>, about: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn within(least: u64, most: u64, default: u64) -> RefOr<Schema> {
    let mut number = whole(least, Some(most));
    number.default = Some(default.into());
    number.into()
}

/// A date or a time, as [`query::Query::when`] reads them.
fn time() -> RefOr<Schema> {
    let of = |format| {
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
    };
    let either = AnyOfBuilder::new().item(of(KnownFormat::Date)).item(of(KnownFormat::DateTime));
    Schema::AnyOf(either.build()).into()
}
