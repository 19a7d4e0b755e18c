//! Which answers are stored: each rule broken once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ask, MISS, gateway, long, stream, told, whole};
use crate::support::upstream::{Exchange, Upstream};

/// How the bytes of an answer end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Length,
    Chunked,
    Close,
}

#[derive(Clone, Debug)]
struct Case {
    what: &'static str,
    status: &'static str,
    content_type: &'static str,
    headers: &'static str,
    body: String,
    end: End,
    /// The head alone tells that it will not be stored.
    by_head: bool,
}

impl Case {
    fn json(what: &'static str, body: impl Into<String>) -> Self {
        Self {
            what,
            status: "200 OK",
            content_type: "application/json",
            headers: "",
            body: body.into(),
            end: End::Length,
            by_head: false,
        }
    }

    fn sse(what: &'static str, body: impl Into<String>) -> Self {
        Self { content_type: "text/event-stream", end: End::Chunked, ..Self::json(what, body) }
    }

    /// An answer whose head forbids it.
    fn head(what: &'static str, content_type: &'static str, headers: &'static str) -> Self {
        Self { content_type, headers, by_head: true, ..Self::json(what, whole(1)) }
    }

    fn answer(&self, exchange: &mut Exchange) {
        let framing = match self.end {
            End::Length => format!("Content-Length: {}\r\n", self.body.len()),
            End::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            End::Close => "Connection: close\r\n".to_owned(),
        };
        let kind = match self.content_type {
            "" => String::new(),
            kind => format!("Content-Type: {kind}\r\n"),
        };
        exchange.send(format!("HTTP/1.1 {}\r\n{kind}{}{framing}\r\n", self.status, self.headers));
        match self.end {
            End::Length => drop(exchange.send(&self.body)),
            End::Chunked => {
                for piece in self.body.as_bytes().chunks(50) {
                    exchange.chunk(piece);
                }
                exchange.chunk("");
            }
            End::Close => {
                exchange.send(&self.body);
                exchange.close();
            }
        }
    }
}

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    Forgotten,
}

/// Asks for each case twice; a stored answer answers the second time.
#[track_caller]
fn check(cases: Vec<Case>, more: &str, fate: Fate) {
    let (second_says, calls) = match fate {
        Fate::Stored => ("HIT", 1),
        Fate::Forgotten => ("MISS", 2),
    };
    let turn = Arc::new(AtomicUsize::new(0));
    let (all, at) = (cases.clone(), Arc::clone(&turn));
    let upstream = Upstream::start(move |_, exchange| all[at.load(Ordering::SeqCst)].answer(exchange));
    let gateway = gateway(&upstream, "", more);
    for (index, case) in cases.iter().enumerate() {
        turn.store(index, Ordering::SeqCst);
        let ask = Ask {
            headers: format!("{}X-Tenant: a\r\nOrigin: https://a.example\r\n", super::JSON),
            ..Ask::body(format!(r#"{{"model":"m","case":{index}}}"#))
        };
        let before = upstream.count();
        let first = ask.send(&gateway);
        let promised = if case.by_head { "safecache; fwd=miss" } else { MISS };
        assert_eq!(told(&first).1, Some(promised), "{}: {case:?}", case.what);
        assert_eq!(
            (first.body.len(), first.body == case.body.as_bytes()),
            (case.body.len(), true),
            "{}: {case:?}",
            case.what
        );
        let second = ask.send(&gateway);
        assert_eq!(second.header("x-cache"), Some(second_says), "{}: {case:?}", case.what);
        assert_eq!(second.body, first.body, "{}: {case:?}", case.what);
        assert_eq!(upstream.count(), before + calls, "{}: {case:?}", case.what);
    }
}

#[test]
fn whole_answers_are_stored() {
    let close = Case {
        end: End::Close,
        ..Case::sse("a stream ended by the connection, after its terminal event", stream(1))
    };
    let head = |what, headers| Case { by_head: false, ..Case::head(what, "application/json", headers) };
    check(
        vec![
            Case::json("with a length", whole(1)),
            Case { end: End::Chunked, ..Case::json("in chunks", whole(1)) },
            Case {
                content_type: "application/json; charset=utf-8",
                ..Case::json("with a charset", whole(1))
            },
            Case { content_type: "application/vnd.api+json", ..Case::json("another JSON", whole(1)) },
            Case::json(
                "completed",
                r#"{"status":"completed","error":null,"choices":[{"finish_reason":"stop"}]}"#,
            ),
            Case::sse("a stream", stream(1)),
            Case { end: End::Length, ..Case::sse("a stream with a length", stream(1)) },
            close,
            head("identity", "Content-Encoding: identity\r\n"),
            head("other directives", "Cache-Control: no-cache, private, max-age=0\r\n"),
            head("vary within the key", "Vary: Accept, Accept-Encoding, Origin\r\nVary: Cookie\r\n"),
        ],
        "",
        Fate::Stored,
    );
}

#[test]
fn an_answer_whose_head_forbids_it_is_not_stored() {
    let mut cases: Vec<_> = [
        "201 Created",
        "203 Non-Authoritative",
        "206 Partial Content",
        "400 Bad Request",
        "429 Too Many",
        "500 Oops",
    ]
    .into_iter()
    .map(|status| Case { status, ..Case::head("status", "application/json", "") })
    .collect();
    for kind in ["", "text/plain", "text/html", "application/jsonl", "application/octet-stream"] {
        cases.push(Case::head("content type", kind, ""));
    }
    for headers in [
        "Content-Type: text/plain\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: identity, br\r\n",
        "Cache-Control: no-store\r\n",
        "Cache-Control: private, No-Store\r\n",
        "Vary: *\r\n",
        "Vary: Accept\r\nVary: x-tenant\r\n",
        "Vary: Accept, X-Not-Sent\r\n",
    ] {
        cases.push(Case::head("headers", "application/json", headers));
    }
    cases.push(Case { end: End::Close, ..Case::head("nothing proves the end", "application/json", "") });
    check(cases, "", Fate::Forgotten);
}

#[test]
fn an_answer_whose_body_is_no_whole_one_is_not_stored() {
    check(
        vec![
            Case::json("not JSON", "hello"),
            Case::json("nothing", ""),
            Case::json("half", r#"{"choices":[{"finish_reason":"stop"}]"#),
            Case::json("an error", r#"{"error":{"message":"no"}}"#),
            Case::json("an error of another type", r#"{"error":"no"}"#),
            Case::json("incomplete", r#"{"status":"incomplete"}"#),
            Case::json("queued", r#"{"status":"queued"}"#),
            Case::json("a status of another type", r#"{"status":429,"message":"slow down"}"#),
            Case::json("a null status", r#"{"status":null,"choices":[{"finish_reason":"stop"}]}"#),
            Case::json("empty", "{}"),
            Case::json("null", "null"),
            Case::json("a string", "\"overloaded\""),
            Case::json("no choices", r#"{"object":"list","data":[{}]}"#),
            Case::json("no choice", r#"{"choices":[]}"#),
            Case::json("no finish_reason", r#"{"choices":[{"index":0}]}"#),
            Case::json(
                "a null finish_reason",
                r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}"#,
            ),
            Case { end: End::Chunked, ..Case::json("in chunks", r#"{"choices":[{}]}"#) },
            Case::sse("no terminal event", stream(1).replace("data: [DONE]\n\n", "")),
            Case::sse("a terminal event without its end", stream(1).trim_end()),
            Case::sse("no finish_reason", stream(1).replace("stop", "").replace("\"\"", "null")),
            Case::sse("an error event", format!("data: {{\"error\":{{}}}}\n\n{}", stream(1))),
            Case::sse("a named error", format!("event: error\ndata: {{}}\n\n{}", stream(1))),
            Case::sse("an event that is no JSON", format!("data: what\n\n{}", stream(1))),
            Case::sse("nothing", ""),
            Case {
                end: End::Close,
                ..Case::sse("ended by the connection", stream(1).replace("[DONE]", "{}"))
            },
        ],
        "",
        Fate::Forgotten,
    );
}

/// An answer to one API may be a refusal by another's measure.
#[test]
fn each_api_is_asked_for_what_its_answers_are_made_of() {
    let upstream = Upstream::start(|request, exchange| {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        exchange.json(&asked["answer"].to_string());
    });
    let gateway = gateway(&upstream, "", "");
    let refusals = ["{}", "null", "[]", r#""overloaded""#, r#"{"message":"slow down"}"#, r#"{"results":[]}"#];
    for (path, made_of) in [
        ("/v1/chat/completions", r#"{"choices":[{"finish_reason":"stop"}]}"#),
        ("/v1/completions", r#"{"choices":[{"finish_reason":"stop"}]}"#),
        ("/v1/embeddings", r#"{"data":[{"embedding":[0.1]}]}"#),
        ("/v1/moderations", r#"{"results":[{"flagged":false}]}"#),
        ("/v1/rerank", r#"{"results":[{"index":0}]}"#),
        ("/v1/messages", r#"{"content":[],"stop_reason":"end_turn"}"#),
        ("/v1/responses", r#"{"output":[{}],"status":"completed"}"#),
    ] {
        for answer in refusals.iter().copied().chain([made_of]) {
            let ask = Ask::at(path, &format!("{{\"answer\":{answer}}}"));
            let told = [ask.send(&gateway), ask.send(&gateway)];
            let second = if answer == made_of { "HIT" } else { "MISS" };
            assert_eq!(told[1].header("x-cache"), Some(second), "{path} {answer}");
        }
    }
}

#[test]
fn an_answer_over_max_entry_is_not_stored() {
    let more = "cache: {memory: 1MiB, max_entry: 4KiB}\n";
    let of_size = |size: usize| long(size - long(0).len());
    let long_stream = |size: usize| format!(":{}\n\n{}", "x".repeat(size - 3 - stream(1).len()), stream(1));
    assert_eq!((of_size(4096).len(), long_stream(4096).len()), (4096, 4096));
    check(
        vec![
            Case::json("just fits", of_size(4096)),
            Case { end: End::Chunked, ..Case::json("just fits, in chunks", of_size(4096)) },
            Case::sse("a stream that just fits", long_stream(4096)),
        ],
        more,
        Fate::Stored,
    );
    check(
        vec![
            Case { by_head: true, ..Case::json("a byte too long", of_size(4097)) },
            Case { end: End::Chunked, ..Case::json("a byte too long, in chunks", of_size(4097)) },
            Case { end: End::Chunked, ..Case::json("far too long", of_size(300_000)) },
            Case::sse("a stream that is a byte too long", long_stream(4097)),
            Case::sse("a stream that is far too long", long_stream(300_000)),
        ],
        more,
        Fate::Forgotten,
    );
}
