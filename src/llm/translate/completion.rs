//! A chat completion, gathered from a whole answer or from chunk after chunk.

use std::collections::BTreeMap;

use crate::llm::json::{Kind, Value};
use crate::llm::translate::Untranslatable;
use crate::llm::translate::message::Message;
use crate::llm::translate::said::{List, Nulls, Said, Whole, members};

/// The most choices of one answer.
pub(super) const MAX_CHOICES: usize = 128;

/// What an object of a chat completion comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A JSON answer: each object is whole.
    Answer,
    /// A stream: each object says a part.
    Chunk,
}

/// A chat completion, or as much of it as has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Completion {
    pub(super) id: Whole,
    pub(super) created: Whole,
    pub(super) model: Whole,
    pub(super) service_tier: Whole,
    pub(super) system_fingerprint: Whole,
    /// What Azure found in the prompt.
    pub(super) prompt_filter_results: Whole,
    /// By their index.
    pub(super) choices: BTreeMap<usize, Choice>,
    pub(super) usage: Whole,
    pub(super) nulls: Nulls,
}

/// A choice, or as much of it as has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) message: Message,
    pub(super) logprobs: Said<Logprobs>,
    pub(super) finish_reason: Whole,
    /// What Azure found in the answer.
    pub(super) content_filter_results: Whole,
    pub(super) nulls: Nulls,
}

/// The tokens of a choice and their probabilities.
#[derive(Clone, Debug, Default)]
pub(super) struct Logprobs {
    pub(super) content: List,
    pub(super) refusal: List,
}

// === impl Source ===

impl Source {
    /// The number of an element at `place`: a chunk says it, an answer can say nothing else than the place.
    pub(super) fn index(self, said: Option<Value<'_>>, place: usize) -> Result<usize, Untranslatable> {
        let index = said.map(|value| value.as_u64().and_then(|index| usize::try_from(index).ok()));
        match (self, index) {
            (_, Some(None)) => Err(Untranslatable::Shape),
            (Self::Chunk, Some(Some(index))) => Ok(index),
            (Self::Chunk, None) => Err(Untranslatable::Missing),
            (Self::Answer, Some(Some(index))) if index != place => Err(Untranslatable::Order),
            (Self::Answer, _) => Ok(place),
        }
    }

    fn object(self) -> &'static str {
        match self {
            Self::Answer => "chat.completion",
            Self::Chunk => "chat.completion.chunk",
        }
    }
}

// === impl Completion ===

impl Completion {
    /// Adds what `root`, an answer or a chunk, says.
    pub(super) fn take(&mut self, root: Value<'_>, source: Source) -> Result<(), Untranslatable> {
        let (mut has_object, mut has_choices) = (false, false);
        for (name, key, value) in members(root)? {
            match (name.as_ref(), source) {
                ("id", _) => self.id.same(value)?,
                ("object", _) if value.is_str(source.object()) => has_object = true,
                ("object", _) => return Err(Untranslatable::Shape),
                // Some servers stamp each chunk; the first is from when the answer was created.
                ("created", _) => self.created.first(value),
                ("model", _) => self.model.same(value)?,
                ("service_tier", _) => self.service_tier.same(value)?,
                ("system_fingerprint", _) => self.system_fingerprint.same(value)?,
                ("prompt_filter_results", _) => self.prompt_filter_results.once(value)?,
                ("choices", _) => {
                    has_choices = true;
                    self.take_choices(value, source)?;
                }
                ("usage", _) => self.take_usage(value)?,
                // Padding, of random length.
                ("obfuscation", Source::Chunk) => {}
                ("obfuscation", Source::Answer) => return Err(Untranslatable::Unknown),
                _ => self.nulls.take(key, value)?,
            }
        }
        if has_object && has_choices { Ok(()) } else { Err(Untranslatable::Missing) }
    }

    fn take_choices(&mut self, choices: Value<'_>, source: Source) -> Result<(), Untranslatable> {
        if choices.kind() != Kind::Array {
            return Err(Untranslatable::Shape);
        }
        for (place, choice) in choices.elements().enumerate() {
            let index = choice.member("index").ok_or(Untranslatable::Missing)?;
            let index = source.index(Some(index), place)?;
            if MAX_CHOICES <= index {
                return Err(Untranslatable::TooLarge);
            }
            self.choices.entry(index).or_default().take(choice, source)?;
        }
        Ok(())
    }

    fn take_usage(&mut self, usage: Value<'_>) -> Result<(), Untranslatable> {
        if !matches!(usage.kind(), Kind::Object | Kind::Null) {
            return Err(Untranslatable::Shape);
        }
        self.usage.once(usage)
    }

    /// Ok if it is a whole one, which has a place in both forms.
    pub(super) fn check(&self) -> Result<(), Untranslatable> {
        if self.choices.is_empty() {
            return Err(Untranslatable::Missing);
        }
        for (place, (index, choice)) in self.choices.iter().enumerate() {
            if *index != place {
                return Err(Untranslatable::Order);
            }
            choice.finish_reason.required()?;
            choice.message.check()?;
        }
        Ok(())
    }
}

// === impl Choice ===

impl Choice {
    fn take(&mut self, choice: Value<'_>, source: Source) -> Result<(), Untranslatable> {
        if self.finish_reason.this().is_some() {
            return Err(Untranslatable::Conflict);
        }
        for (name, key, value) in members(choice)? {
            match (name.as_ref(), source) {
                ("index", _) => {}
                ("message", Source::Answer) | ("delta", Source::Chunk) => self.message.take(value, source)?,
                ("message", Source::Chunk) | ("delta", Source::Answer) => {
                    return Err(Untranslatable::Unknown);
                }
                ("logprobs", _) => self.take_logprobs(value)?,
                ("finish_reason", _) => self.finish_reason.once(value)?,
                ("content_filter_results", _) => self.content_filter_results.once(value)?,
                _ => self.nulls.take(key, value)?,
            }
        }
        Ok(())
    }

    fn take_logprobs(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        let Some(logprobs) = self.logprobs.place(value, Kind::Object)? else { return Ok(()) };
        for (name, _, value) in members(value)? {
            match name.as_ref() {
                "content" => logprobs.content.extend(value)?,
                "refusal" => logprobs.refusal.extend(value)?,
                _ => return Err(Untranslatable::Unknown),
            }
        }
        Ok(())
    }
}
