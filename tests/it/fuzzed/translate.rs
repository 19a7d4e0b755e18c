//! What holds of every text that is taken for a chat completion, in either form.

use safecache::llm::json::{Kind, Tape, Value};
use safecache::llm::request::Api;
use safecache::llm::sse::SseWatch;
use safecache::llm::translate::AnswerForm::{Json, Stream};
use safecache::llm::translate::StreamUsage::{Included, Omitted};
use safecache::llm::translate::{Untranslatable, translate};

/// More than anything that a fuzzer makes up becomes.
const MOST: usize = 1 << 26;

/// Holds `text` against the laws of both forms.
pub(crate) fn check(text: &[u8]) {
    check_answer(text);
    check_stream(text);
}

/// An answer that becomes a stream comes back as it was. True if it does.
pub(crate) fn check_answer(answer: &[u8]) -> bool {
    let plain = translate(answer, Json, Stream(Omitted), MOST);
    if let Ok(plain) = &plain {
        check_bytes(plain);
        assert_eq!(translate(plain, Stream(Omitted), Json, MOST), Err(Untranslatable::NoUsage));
    }
    let Ok(stream) = translate(answer, Json, Stream(Included), MOST) else { return false };
    check_bytes(&stream);
    let back = translate(&stream, Stream(Included), Json, MOST).expect("the way back");
    let (mut left, mut right) = (Tape::default(), Tape::default());
    let (left, right) = (left.read(answer).expect("JSON"), right.read(&back).expect("JSON"));
    assert!(same(left.root(), right.root(), ""), "{}", right.text());
    assert_eq!(translate(&back, Json, Stream(Included), MOST), Ok(stream.clone()));
    assert_eq!(translate(&stream, Stream(Included), Stream(Omitted), MOST), plain);
    true
}

/// A stream that becomes an answer becomes the same one with other options. True if it does.
pub(crate) fn check_stream(stream: &[u8]) -> bool {
    let plain = translate(stream, Stream(Included), Stream(Omitted), MOST);
    let included = translate(stream, Stream(Omitted), Stream(Included), MOST);
    let Ok(answer) = translate(stream, Stream(Included), Json, MOST) else { return false };
    check_bytes(&plain.expect("without usage"));
    let included = included.expect("with usage");
    check_bytes(&included);
    assert_eq!(translate(&included, Stream(Included), Json, MOST), Ok(answer.clone()));
    assert!(check_answer(&answer), "the way back");
    true
}

/// A stream that we write is one that we would store.
fn check_bytes(stream: &[u8]) {
    assert!(stream.ends_with(b"\n\ndata: [DONE]\n\n"), "it ends with [DONE]");
    let mut watch = SseWatch::new(Api::ChatCompletions);
    watch.feed(stream);
    assert_eq!(watch.summary().flaw, None);
}

/// True if both say the same in the same spelling, in any order of members. The index of a tool call does not count:
/// where it is allowed, it says no more than the order.
fn same(left: Value<'_>, right: Value<'_>, place: &str) -> bool {
    match (left.kind(), right.kind()) {
        (Kind::Array, Kind::Array) => {
            let lengths = (left.elements().count(), right.elements().count());
            lengths.0 == lengths.1 && left.elements().zip(right.elements()).all(|(l, r)| same(l, r, place))
        }
        (Kind::Object, Kind::Object) => {
            let (left, right) = (sorted(left, place), sorted(right, place));
            left.len() == right.len()
                && left.iter().zip(&right).all(|(l, r)| l.0 == r.0 && same(l.1, r.1, &l.0))
        }
        _ => left.raw() == right.raw(),
    }
}

fn sorted<'t>(object: Value<'t>, place: &str) -> Vec<(String, Value<'t>)> {
    let name = |name: Value<'_>| name.as_str().expect("a whole name").into_owned();
    let mut members: Vec<_> = object.members().map(|(key, value)| (name(key), value)).collect();
    members.retain(|(name, _)| !(place == "tool_calls" && name == "index"));
    members.sort_by(|left, right| left.0.cmp(&right.0));
    members
}
