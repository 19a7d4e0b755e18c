//! A completion written as a JSON answer, its members in OpenAI's order.

use crate::llm::translate::Untranslatable;
use crate::llm::translate::completion::{Choice, Completion, Logprobs};
use crate::llm::translate::message::{Call, Message, ToolCall};
use crate::llm::translate::object::Object;

/// The answer as compact JSON.
///
/// Errors: [`Untranslatable::NoUsage`] if the usage is not known, which every JSON answer tells.
pub(super) fn write(completion: &Completion) -> Result<String, Untranslatable> {
    let usage = completion.usage.this().ok_or(Untranslatable::NoUsage)?;
    let mut out = String::new();
    let mut answer = Object::open(&mut out);
    answer.whole("id", &completion.id);
    answer.raw("object", "\"chat.completion\"");
    answer.whole("created", &completion.created);
    answer.whole("model", &completion.model);
    answer.array("choices", completion.choices.iter().map(|(index, choice)| choice_text(*index, choice)));
    answer.raw("usage", usage);
    answer.whole("service_tier", &completion.service_tier);
    answer.whole("system_fingerprint", &completion.system_fingerprint);
    answer.whole("prompt_filter_results", &completion.prompt_filter_results);
    answer.nulls(&completion.nulls);
    answer.close();
    Ok(out)
}

fn choice_text(index: usize, choice: &Choice) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.raw("index", &index.to_string());
    write_message(&choice.message, object.object("message"));
    match choice.logprobs.told() {
        Some(Some(logprobs)) => write_logprobs(logprobs, object.object("logprobs")),
        Some(None) => object.raw("logprobs", "null"),
        None => {}
    }
    object.whole("finish_reason", &choice.finish_reason);
    object.whole("content_filter_results", &choice.content_filter_results);
    object.nulls(&choice.nulls);
    object.close();
    out
}

fn write_logprobs(logprobs: &Logprobs, mut object: Object<'_>) {
    object.list("content", &logprobs.content);
    object.list("refusal", &logprobs.refusal);
    object.close();
}

fn write_message(message: &Message, mut object: Object<'_>) {
    object.whole("role", &message.role);
    object.text("content", &message.content);
    object.text("reasoning_content", &message.reasoning_content);
    object.text("reasoning", &message.reasoning);
    object.text("refusal", &message.refusal);
    object.list("annotations", &message.annotations);
    match message.function_call.told() {
        Some(Some(call)) => write_call(call, object.object("function_call")),
        Some(None) => object.raw("function_call", "null"),
        None => {}
    }
    match message.tool_calls.told() {
        Some(Some(calls)) => object.array("tool_calls", calls.values().map(tool_call_text)),
        Some(None) => object.raw("tool_calls", "null"),
        None => {}
    }
    object.nulls(&message.nulls);
    object.close();
}

fn tool_call_text(call: &ToolCall) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.whole("id", &call.id);
    object.whole("type", &call.kind);
    if let Some(function) = call.function.this() {
        write_call(function, object.object("function"));
    }
    object.close();
    out
}

fn write_call(call: &Call, mut object: Object<'_>) {
    object.whole("name", &call.name);
    object.text("arguments", &call.arguments);
    object.close();
}
