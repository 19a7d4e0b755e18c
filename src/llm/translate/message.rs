//! What a choice's model has said: the members of `message` and of `delta`, which are the same.

use std::collections::BTreeMap;

use crate::llm::json::{Kind, Value};
use crate::llm::translate::Untranslatable;
use crate::llm::translate::completion::Source;
use crate::llm::translate::said::{List, Nulls, Said, Text, Whole, members};

/// The most tool calls of one choice.
pub(super) const MAX_TOOL_CALLS: usize = 1024;

/// A message, or as much of it as has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) role: Whole,
    pub(super) content: Text,
    /// The model's thoughts, as DeepSeek and vLLM name them.
    pub(super) reasoning_content: Text,
    /// The same, as Ollama, OpenRouter and newer vLLMs name them.
    pub(super) reasoning: Text,
    pub(super) refusal: Text,
    pub(super) annotations: List,
    /// OpenAI's older form of a tool call.
    pub(super) function_call: Said<Call>,
    /// By their place.
    pub(super) tool_calls: Said<BTreeMap<usize, ToolCall>>,
    pub(super) nulls: Nulls,
}

/// One tool call.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolCall {
    pub(super) id: Whole,
    pub(super) kind: Whole,
    pub(super) function: Said<Call>,
}

/// A function's name and arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) name: Whole,
    pub(super) arguments: Text,
}

impl Message {
    /// Adds what `message`, a whole one or a delta, says.
    pub(super) fn take(&mut self, message: Value<'_>, source: Source) -> Result<(), Untranslatable> {
        for (name, key, value) in members(message)? {
            match name.as_ref() {
                "role" => self.role.same(value)?,
                "content" => self.content.append(value)?,
                "reasoning_content" => self.reasoning_content.append(value)?,
                "reasoning" => self.reasoning.append(value)?,
                "refusal" => self.refusal.append(value)?,
                "annotations" => self.annotations.once(value)?,
                "function_call" => take_call(&mut self.function_call, value)?,
                "tool_calls" => self.take_tool_calls(value, source)?,
                _ => self.nulls.take(key, value)?,
            }
        }
        Ok(())
    }

    fn take_tool_calls(&mut self, value: Value<'_>, source: Source) -> Result<(), Untranslatable> {
        let Some(calls) = self.tool_calls.place(value, Kind::Array)? else { return Ok(()) };
        for (place, call) in value.elements().enumerate() {
            let index = source.index(call.member("index"), place)?;
            if MAX_TOOL_CALLS <= index {
                return Err(Untranslatable::TooLarge);
            }
            calls.entry(index).or_default().take(call)?;
        }
        Ok(())
    }

    /// Ok if it is a whole one.
    pub(super) fn check(&self) -> Result<(), Untranslatable> {
        self.role.required()?;
        if let Some(call) = self.function_call.this() {
            call.check()?;
        }
        for (place, (index, call)) in self.tool_calls.this().into_iter().flatten().enumerate() {
            if *index != place {
                return Err(Untranslatable::Order);
            }
            call.check()?;
        }
        Ok(())
    }
}

impl ToolCall {
    fn take(&mut self, call: Value<'_>) -> Result<(), Untranslatable> {
        for (name, _, value) in members(call)? {
            match name.as_ref() {
                "index" => {}
                "id" => self.id.once(value)?,
                "type" => self.kind.same(value)?,
                "function" => take_call(&mut self.function, value)?,
                _ => return Err(Untranslatable::Unknown),
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Untranslatable> {
        self.id.required()?;
        // Of other kinds it is not told how they are streamed.
        if self.kind.required()? != "\"function\"" {
            return Err(Untranslatable::Unknown);
        }
        self.function.required()?.check()
    }
}

impl Call {
    fn check(&self) -> Result<(), Untranslatable> {
        self.name.required()?;
        self.arguments.required()?;
        Ok(())
    }
}

fn take_call(said: &mut Said<Call>, value: Value<'_>) -> Result<(), Untranslatable> {
    let Some(call) = said.place(value, Kind::Object)? else { return Ok(()) };
    for (name, _, value) in members(value)? {
        match name.as_ref() {
            "name" => call.name.once(value)?,
            "arguments" => call.arguments.append(value)?,
            _ => return Err(Untranslatable::Unknown),
        }
    }
    Ok(())
}
