//! A completion told as a stream, choice by choice.
//!
//! Of each choice, the first chunk has all that its message has, but texts and lists empty; the next ones fill these,
//! in pieces; the last one says why it ended. So a reader that adds up deltas has everything at the end, and one that
//! looks at the first chunk knows what will come.

use std::collections::BTreeMap;

use crate::llm::sse::parser::MAX_EVENT;
use crate::llm::translate::compact::{PIECE, pieces};
use crate::llm::translate::completion::{Choice, Completion, Logprobs};
use crate::llm::translate::message::{Call, Message, ToolCall};
use crate::llm::translate::object::Object;
use crate::llm::translate::said::{List, Text};
use crate::llm::translate::{StreamUsage, Untranslatable};

/// The event that ends a stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// The stream as bytes of events, each with one chunk.
///
/// Errors: [`Untranslatable::NoUsage`] if it is to be included and not known; [`Untranslatable::TooLarge`] for more
/// than `most` bytes, or an event that no reader of ours would take.
pub(super) fn write(
    completion: &Completion,
    usage: StreamUsage,
    most: usize,
) -> Result<String, Untranslatable> {
    let usage_chunk = match usage {
        StreamUsage::Included => Some(completion.usage.this().ok_or(Untranslatable::NoUsage)?),
        StreamUsage::Omitted => None,
    };
    let mut stream = Stream { completion, out: String::new(), usage, most };
    for (index, choice) in &completion.choices {
        ChoiceChunks { index: *index, choice, stream: &mut stream }.write()?;
    }
    if let Some(usage) = usage_chunk {
        stream.chunk(None, usage)?;
    }
    stream.out.push_str(DONE);
    Ok(stream.out)
}

/// A stream being written.
struct Stream<'c> {
    completion: &'c Completion,
    out: String,
    usage: StreamUsage,
    most: usize,
}

impl Stream<'_> {
    fn chunk(&mut self, choice: Option<String>, usage: &str) -> Result<(), Untranslatable> {
        let completion = self.completion;
        let start = self.out.len();
        self.out.push_str("data: ");
        let mut chunk = Object::open(&mut self.out);
        chunk.whole("id", &completion.id);
        chunk.raw("object", "\"chat.completion.chunk\"");
        chunk.whole("created", &completion.created);
        chunk.whole("model", &completion.model);
        chunk.whole("service_tier", &completion.service_tier);
        chunk.whole("system_fingerprint", &completion.system_fingerprint);
        if start == 0 {
            chunk.whole("prompt_filter_results", &completion.prompt_filter_results);
        }
        chunk.nulls(&completion.nulls);
        chunk.array("choices", choice);
        if self.usage == StreamUsage::Included {
            chunk.raw("usage", usage);
        }
        chunk.close();
        let is_too_long = MAX_EVENT < self.out.len() - start;
        self.out.push_str("\n\n");
        if is_too_long || self.most < self.out.len() { Err(Untranslatable::TooLarge) } else { Ok(()) }
    }
}

/// What one chunk says of its choice beside the delta.
#[derive(Clone, Copy)]
enum Beside<'c> {
    /// Everything that is said once.
    First,
    /// Tokens of `logprobs.content`.
    Content(&'c [String]),
    /// Tokens of `logprobs.refusal`.
    Refusal(&'c [String]),
    /// Nothing.
    Nothing,
    /// Why the choice ended.
    Last,
}

/// The chunks of one choice.
struct ChoiceChunks<'s, 'c> {
    index: usize,
    choice: &'c Choice,
    stream: &'s mut Stream<'c>,
}

impl<'c> ChoiceChunks<'_, 'c> {
    fn write(&mut self) -> Result<(), Untranslatable> {
        let message = &self.choice.message;
        let logprobs = self.choice.logprobs.this();
        self.chunk(|delta| first_delta(message, delta), Beside::First)?;
        self.text("reasoning_content", &message.reasoning_content)?;
        self.text("reasoning", &message.reasoning)?;
        let tokens = tokens_of(logprobs.map(|logprobs| &logprobs.content)).map(Beside::Content);
        self.text_beside("content", &message.content, tokens)?;
        let tokens = tokens_of(logprobs.map(|logprobs| &logprobs.refusal)).map(Beside::Refusal);
        self.text_beside("refusal", &message.refusal, tokens)?;
        if let Some(annotations) = message.annotations.this().filter(|annotations| !annotations.is_empty()) {
            self.chunk(|delta| delta.array("annotations", annotations), Beside::Nothing)?;
        }
        if let Some(call) = message.function_call.this() {
            self.function_call(call)?;
        }
        if let Some(calls) = message.tool_calls.this() {
            self.tool_calls(calls)?;
        }
        self.chunk(|_| (), Beside::Last)
    }

    fn text(&mut self, name: &str, text: &'c Text) -> Result<(), Untranslatable> {
        self.text_beside(name, text, std::iter::empty())
    }

    /// Writes the pieces of a text, each with tokens beside it as long as there are some.
    fn text_beside(
        &mut self,
        name: &str,
        text: &'c Text,
        mut tokens: impl Iterator<Item = Beside<'c>>,
    ) -> Result<(), Untranslatable> {
        let mut pieces = pieces(text.this().map_or("", String::as_str));
        loop {
            let (piece, beside) = (pieces.next(), tokens.next());
            if piece.is_none() && beside.is_none() {
                return Ok(());
            }
            let write = |delta: &mut Object<'_>| {
                if let Some(piece) = piece {
                    delta.string(name, piece);
                }
            };
            self.chunk(write, beside.unwrap_or(Beside::Nothing))?;
        }
    }

    fn function_call(&mut self, call: &'c Call) -> Result<(), Untranslatable> {
        self.chunk(|delta| first_call(call, delta.object("function_call")), Beside::Nothing)?;
        for piece in pieces(call.arguments.this().map_or("", String::as_str)) {
            self.chunk(|delta| more_arguments(piece, delta.object("function_call")), Beside::Nothing)?;
        }
        Ok(())
    }

    fn tool_calls(&mut self, calls: &'c BTreeMap<usize, ToolCall>) -> Result<(), Untranslatable> {
        for (index, call) in calls {
            let Some(function) = call.function.this() else { continue };
            let first = one_tool_call(*index, |object| {
                object.whole("id", &call.id);
                object.whole("type", &call.kind);
                first_call(function, object.object("function"));
            });
            self.chunk(|delta| delta.array("tool_calls", [first]), Beside::Nothing)?;
            for piece in pieces(function.arguments.this().map_or("", String::as_str)) {
                let more = one_tool_call(*index, |object| more_arguments(piece, object.object("function")));
                self.chunk(|delta| delta.array("tool_calls", [more]), Beside::Nothing)?;
            }
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        write_delta: impl FnOnce(&mut Object<'_>),
        beside: Beside<'_>,
    ) -> Result<(), Untranslatable> {
        let choice = self.choice;
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        object.raw("index", &self.index.to_string());
        let mut delta = object.object("delta");
        write_delta(&mut delta);
        delta.close();
        if let Some(told) = choice.logprobs.told() {
            write_logprobs(told, beside, &mut object);
        }
        match beside {
            Beside::Last => object.whole("finish_reason", &choice.finish_reason),
            _ => object.raw("finish_reason", "null"),
        }
        if let Beside::First = beside {
            object.whole("content_filter_results", &choice.content_filter_results);
        }
        object.nulls(&choice.nulls);
        object.close();
        self.stream.chunk(Some(out), "null")
    }
}

/// All that the message has, as far as it is not to come in pieces.
fn first_delta(message: &Message, delta: &mut Object<'_>) {
    delta.whole("role", &message.role);
    first_of_text("content", &message.content, delta);
    first_of_text("reasoning_content", &message.reasoning_content, delta);
    first_of_text("reasoning", &message.reasoning, delta);
    first_of_text("refusal", &message.refusal, delta);
    match message.annotations.told() {
        Some(None) => delta.raw("annotations", "null"),
        Some(Some(annotations)) if annotations.is_empty() => delta.raw("annotations", "[]"),
        _ => {}
    }
    if let Some(None) = message.function_call.told() {
        delta.raw("function_call", "null");
    }
    match message.tool_calls.told() {
        Some(None) => delta.raw("tool_calls", "null"),
        Some(Some(calls)) if calls.is_empty() => delta.raw("tool_calls", "[]"),
        _ => {}
    }
    delta.nulls(&message.nulls);
}

fn first_of_text(name: &str, text: &Text, delta: &mut Object<'_>) {
    if let Some(told) = text.told() {
        delta.raw(name, if told.is_some() { "\"\"" } else { "null" });
    }
}

fn first_call(call: &Call, mut object: Object<'_>) {
    object.whole("name", &call.name);
    object.string("arguments", "");
    object.close();
}

fn more_arguments(piece: &str, mut object: Object<'_>) {
    object.string("arguments", piece);
    object.close();
}

fn one_tool_call(index: usize, write: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.raw("index", &index.to_string());
    write(&mut object);
    object.close();
    out
}

/// The member `logprobs` of a choice's chunk: its lists empty in the first, then some tokens of one list, else null.
fn write_logprobs(told: Option<&Logprobs>, beside: Beside<'_>, object: &mut Object<'_>) {
    let (content, refusal) = match beside {
        Beside::First => (Some(&[][..]), Some(&[][..])),
        Beside::Content(tokens) => (Some(tokens), None),
        Beside::Refusal(tokens) => (None, Some(tokens)),
        Beside::Nothing | Beside::Last => return object.raw("logprobs", "null"),
    };
    let Some(logprobs) = told else { return object.raw("logprobs", "null") };
    let mut lists = object.object("logprobs");
    tokens_or_null("content", &logprobs.content, content, &mut lists);
    tokens_or_null("refusal", &logprobs.refusal, refusal, &mut lists);
    lists.close();
}

fn tokens_or_null(name: &str, list: &List, tokens: Option<&[String]>, object: &mut Object<'_>) {
    match (list.told(), tokens) {
        (None, _) => {}
        (Some(Some(_)), Some(tokens)) => object.array(name, tokens),
        _ => object.raw(name, "null"),
    }
}

/// The elements of a list in groups of [`PIECE`] bytes or one element.
fn tokens_of(list: Option<&List>) -> impl Iterator<Item = &[String]> {
    let mut rest = list.and_then(|list| list.this()).map_or(&[][..], Vec::as_slice);
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |token: &&String| {
            size += token.len();
            size <= PIECE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(group)
    })
}
