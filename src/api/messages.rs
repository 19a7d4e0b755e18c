//! What may stand in `messages`: OpenAI's chat format, as leniently as OpenAI reads it. Members that are not named here
//! may be there, hold anything, and are a part of the prompt's hash like all others.
//!
//! - An item has a `role`, one of [`ROLES`].
//! - `content` is a string or a non-empty array of parts, each an object with a `type`.
//! - It may be null or absent where something else is said: by an assistant with one of [`INSTEAD`], and by a function.

use serde::Serialize;
use serde_json::Value as Json;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, SchemaType};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::body::MESSAGES;
use crate::api::wrong::{UNDEFINED, said, type_of, word_or_type, wrong};
use crate::llm::json::{Kind, Value};
use crate::outcome::api_error::ApiError;

/// Who may speak.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// What an assistant may say instead of `content`.
const INSTEAD: [&str; 4] = ["tool_calls", "function_call", "refusal", "audio"];

/// One item of `messages`, for its description: [`require`] checks it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Message(pub Json);

impl PartialSchema for Message {
    fn schema() -> RefOr<Schema> {
        let role = |roles: &[&'static str]| {
            ObjectBuilder::new().schema_type(Type::String).enum_values(Some(roles.iter().copied()))
        };
        let of = |roles: &[&'static str]| ObjectBuilder::new().property("role", role(roles)).required("role");
        let part = ObjectBuilder::new().property("type", Object::with_type(Type::String)).required("type");
        let text_or_parts = AnyOfBuilder::new()
            .item(Object::with_type(Type::String))
            .item(ArrayBuilder::new().items(part).min_items(Some(1)));
        let said = of(&ROLES).property("content", text_or_parts).required("content");
        let nothing = || ObjectBuilder::new().schema_type(Type::Null);
        let mut kinds = AnyOfBuilder::new()
            .description(Some(
                "A message in OpenAI's chat format. All of its members are a part of the prompt.",
            ))
            .item(said)
            .item(of(&["function"]).property("content", nothing()));
        for instead in INSTEAD {
            let called = of(&["assistant"]).property("content", nothing());
            kinds = kinds.item(called.property(instead, anything_but_null()).required(instead));
        }
        Schema::AnyOf(kinds.build()).into()
    }
}

impl ToSchema for Message {}

fn anything_but_null() -> ObjectBuilder {
    let types = [Type::Array, Type::Object, Type::String, Type::Number, Type::Boolean];
    ObjectBuilder::new().schema_type(SchemaType::Array(types.to_vec()))
}

/// Checks the `messages` of a request.
///
/// # Errors
/// A 400 about the first one that is wrong.
pub(super) fn require(messages: Option<Value<'_>>) -> Result<(), ApiError> {
    let Some(messages) = messages else {
        return Err(said("The messages array is required", MESSAGES, "array", UNDEFINED));
    };
    if messages.kind() != Kind::Array {
        return Err(wrong(MESSAGES, "array", type_of(Some(messages))));
    }
    let mut is_empty = true;
    for (index, item) in messages.elements().enumerate() {
        is_empty = false;
        message(index, item)?;
    }
    if is_empty {
        return Err(said("The messages array must not be empty", MESSAGES, "non-empty array", "empty array"));
    }
    Ok(())
}

fn message(index: usize, message: Value<'_>) -> Result<(), ApiError> {
    let at = |member: &str| format!("{MESSAGES}[{index}]{member}");
    if message.kind() != Kind::Object {
        return Err(wrong(at(""), "object", type_of(Some(message))));
    }
    let role = message.member("role");
    let known = role.and_then(|role| ROLES.into_iter().find(|known| role.is_str(known)));
    let Some(known) = known else {
        return Err(wrong(at(".role"), format!("one of {}", ROLES.join(", ")), word_or_type(role)));
    };
    let content = message.member("content");
    match content.map(Value::kind) {
        Some(Kind::Plain | Kind::Escaped | Kind::Respelled) => Ok(()),
        Some(Kind::Array) => content.map_or(Ok(()), |parts| content_parts(&at(".content"), parts)),
        None | Some(Kind::Null) if may_lack_content(known, message) => Ok(()),
        _ => Err(wrong(at(".content"), "string or array of content parts", type_of(content))),
    }
}

fn may_lack_content(role: &str, message: Value<'_>) -> bool {
    let says = |name: &&str| message.member(name).is_some_and(|value| !value.is_null());
    role == "function" || (role == "assistant" && INSTEAD.iter().any(says))
}

fn content_parts(field: &str, parts: Value<'_>) -> Result<(), ApiError> {
    let mut is_empty = true;
    for (index, part) in parts.elements().enumerate() {
        is_empty = false;
        if part.kind() != Kind::Object {
            return Err(wrong(format!("{field}[{index}]"), "object", type_of(Some(part))));
        }
        let kind = part.member("type");
        if kind.and_then(Value::string_bytes).is_none() {
            return Err(wrong(format!("{field}[{index}].type"), "string", type_of(kind)));
        }
    }
    if is_empty {
        return Err(wrong(field.to_owned(), "string or non-empty array of content parts", "empty array"));
    }
    Ok(())
}
