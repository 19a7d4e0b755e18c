//! What holds of every stream of bytes, however it is cut.

use safecache::llm::request::Api;
use safecache::llm::sse::SseWatch;
use safecache::llm::sse::parser::EventParser;

type Events = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Reads `data`, whose first byte says how long the pieces are that the rest is cut into.
pub(crate) fn check(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let size = usize::from(size).max(1);
    let expected = by_the_book(stream);
    for size in [stream.len().max(1), size, 1] {
        assert_eq!(events(stream, size), expected, "in pieces of {size}");
    }
    for api in [Api::ChatCompletions, Api::Embeddings, Api::Responses, Api::Messages] {
        let whole = watch(api, stream, stream.len().max(1));
        let pieces = watch(api, stream, size);
        assert_eq!(pieces.summary(), whole.summary(), "{api:?} in pieces of {size}");
        assert_eq!(pieces.has_ended(), whole.has_ended(), "{api:?} in pieces of {size}");
    }
}

fn events(stream: &[u8], size: usize) -> Events {
    let mut parser = EventParser::default();
    let mut events = Vec::new();
    for piece in stream.chunks(size) {
        let on_event = |event: safecache::llm::sse::parser::Event<'_>| {
            events.push((event.name.to_vec(), event.data.map(<[u8]>::to_vec)));
        };
        parser.feed(piece, on_event).expect("shorter than the bound");
    }
    events
}

fn watch(api: Api, stream: &[u8], size: usize) -> SseWatch {
    let mut watch = SseWatch::new(api);
    stream.chunks(size).for_each(|piece| watch.feed(piece));
    watch
}

/// The events as the standard's steps say, on the whole stream at once and without a thought for speed.
fn by_the_book(stream: &[u8]) -> Events {
    let mut events = Vec::new();
    let (mut name, mut data) = (Vec::new(), None::<Vec<u8>>);
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    for line in lines(stream) {
        if line.is_empty() {
            if data.is_some() || !name.is_empty() {
                events.push((std::mem::take(&mut name), data.take()));
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (field, &mut data) {
            (b"event", _) => name = value.to_vec(),
            (b"data", None) => data = Some(value.to_vec()),
            (b"data", Some(data)) => data.extend([b"\n", value].concat()),
            _ => {}
        }
    }
    events
}

/// The lines that have an end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = stream;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let (line, end) = rest.split_at(at);
        lines.push(line);
        rest = end.strip_prefix(b"\r\n").unwrap_or(&end[1..]);
    }
    lines
}
