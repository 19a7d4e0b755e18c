//! One chat completion in its two forms: a JSON answer told as a stream, a stream gathered into a JSON answer.
//!
//! Both ways lead through a `Completion`, which holds what has been said of each member as raw JSON: numbers keep
//! their digits and strings their escapes. Whatever it has no place for makes the answer untranslatable; nothing is
//! dropped but `obfuscation`, which is padding, and nothing is guessed. Chat completions only: other APIs stream
//! events of their own, and are kept apart by form.
//!
//! - `said`: what is known of one member, and the rules by which chunks add to it
//! - `completion`, `message`: the members that are known, and how they are read
//! - `answer`, `chunks`: the two forms, written by means of `object`
//! - `events`: a stream's chunks one by one; `usage`: the same stream with and without its usage chunk
//! - `compact`: raw JSON without white space, and in pieces

mod answer;
mod chunks;
mod compact;
mod completion;
mod events;
mod message;
mod object;
mod said;
mod usage;

use std::borrow::Cow;

use crate::llm::json::{JsonFault, Tape};
use crate::llm::translate::completion::{Completion, Source};

/// The forms in which clients ask for chat completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerForm {
    /// One JSON text.
    Json,
    /// Server-sent events.
    Stream(StreamUsage),
}

impl AnswerForm {
    /// Every form, in the order in which an answer to translate is looked for: a stream becomes another by as little
    /// as possible.
    pub const ALL: [Self; 3] =
        [Self::Stream(StreamUsage::Included), Self::Stream(StreamUsage::Omitted), Self::Json];
}

/// What a request's `stream_options.include_usage` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamUsage {
    /// The last chunk, without choices, has the usage; all others say `"usage":null`.
    Included,
    /// No chunk has a member `usage`.
    Omitted,
}

/// Why an answer cannot be given in another form. It stays good in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Untranslatable {
    /// It, or the data of an event, is no JSON text or has no sure reading.
    Json(JsonFault),
    /// A member or a named event that has no place in the other form.
    Unknown,
    /// A member is of another type than it should be.
    Shape,
    /// A member that the other form must have is not there.
    Missing,
    /// Chunks contradict each other, or go on where nothing more should come.
    Conflict,
    /// The choices or tool calls are not numbered from 0 on.
    Order,
    /// The stream's last event is not `[DONE]`.
    Unended,
    /// The usage is wanted and not known.
    NoUsage,
    /// It, or one event of it, would be larger than allowed.
    TooLarge,
}

impl Untranslatable {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json(fault) => fault.as_str(),
            Self::Unknown => "unknown_member",
            Self::Shape => "unexpected_type",
            Self::Missing => "missing_member",
            Self::Conflict => "chunks_conflict",
            Self::Order => "not_in_order",
            Self::Unended => "not_ended",
            Self::NoUsage => "no_usage",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<JsonFault> for Untranslatable {
    fn from(fault: JsonFault) -> Self {
        Self::Json(fault)
    }
}

/// Gives `body`, a whole chat completion in the form `from`, in the form `to`, in at most `most` bytes; the same form
/// is `body` itself, of any size. Equal bodies give equal bytes. Takes time and memory in proportion to `body` and
/// the result.
///
/// Errors: [`Untranslatable`]; a stream without usage is not given as JSON ([`Untranslatable::NoUsage`]).
pub fn translate(
    body: &[u8],
    from: AnswerForm,
    to: AnswerForm,
    most: usize,
) -> Result<Cow<'_, [u8]>, Untranslatable> {
    if from == to {
        return Ok(Cow::Borrowed(body));
    }
    let translated = match (from, to) {
        (AnswerForm::Json, AnswerForm::Stream(usage)) => chunks::write(&read(body)?, usage, most)?,
        (AnswerForm::Stream(_), AnswerForm::Stream(usage)) => usage::write(body, usage)?,
        (_, AnswerForm::Json) => answer::write(&events::read(body)?)?,
    };
    if most < translated.len() {
        return Err(Untranslatable::TooLarge);
    }
    Ok(Cow::Owned(translated.into_bytes()))
}

fn read(answer: &[u8]) -> Result<Completion, Untranslatable> {
    let mut tape = Tape::default();
    let document = tape.read(answer)?;
    document.fault().map_or(Ok(()), Err)?;
    let mut completion = Completion::default();
    completion.take(document.root(), Source::Answer)?;
    completion.check()?;
    Ok(completion)
}
