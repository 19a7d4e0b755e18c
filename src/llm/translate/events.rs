//! The chunks of a stream, one by one, and what they say together.

use crate::llm::json::{Tape, Value};
use crate::llm::sse::parser::{Event, EventParser};
use crate::llm::translate::Untranslatable;
use crate::llm::translate::completion::{Completion, Source};

/// The completion that a whole stream tells.
pub(super) fn read(stream: &[u8]) -> Result<Completion, Untranslatable> {
    let mut completion = Completion::default();
    each_chunk(stream, |chunk| completion.take(chunk, Source::Chunk))?;
    completion.check()?;
    Ok(completion)
}

/// Hands on the JSON of each event before `[DONE]`, which must be the last one.
pub(super) fn each_chunk(
    stream: &[u8],
    mut take: impl FnMut(Value<'_>) -> Result<(), Untranslatable>,
) -> Result<(), Untranslatable> {
    let mut tape = Tape::default();
    let mut has_ended = false;
    let mut verdict = Ok(());
    let mut on_event = |event: Event<'_>| {
        if has_ended {
            return Err(Untranslatable::Conflict);
        }
        let data = event.data.filter(|_| event.name.is_empty()).ok_or(Untranslatable::Unknown)?.trim_ascii();
        if data == b"[DONE]" {
            has_ended = true;
            return Ok(());
        }
        let document = tape.read(data)?;
        document.fault().map_or(Ok(()), Err)?;
        take(document.root())
    };
    let on_each = |event: Event<'_>| {
        if verdict.is_ok() {
            verdict = on_event(event);
        }
    };
    EventParser::default().feed(stream, on_each).map_err(|_| Untranslatable::TooLarge)?;
    verdict?;
    if has_ended { Ok(()) } else { Err(Untranslatable::Unended) }
}
