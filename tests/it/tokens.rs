//! What answers cost: told on every way through the gateway, as far as it was said, and never more than can be.

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

const ANSWER: &str =
    r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
const EVENT: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\
     \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
const PROMPT: &str = "safecache_tokens_total{direction=\"prompt\"}";
const COMPLETION: &str = "safecache_tokens_total{direction=\"completion\"}";

/// Caches under `/v1`, and nothing under `/plain`.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /plain/*, upstream: llm}}, {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n\
         keys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

/// The tokens of each access line in turn; null where there are none.
fn told(gateway: Gateway) -> Vec<serde_json::Value> {
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["tokens"].take();
    gateway.stop().lines().map(line).collect()
}

fn three() -> serde_json::Value {
    serde_json::json!({"prompt": 3, "completion": 1, "cached": 0})
}

/// Answers as long as the request says, in the form that it names.
fn upstream() -> Upstream {
    Upstream::start(|request, exchange| {
        let asked = String::from_utf8_lossy(&request.body).into_owned();
        let length = asked.split("pad").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        let pad = "x".repeat(length.unwrap_or(0));
        let json = format!("{{\"text\":\"{pad}\",{}", ANSWER.trim_start_matches('{'));
        if asked.contains("stream") {
            exchange.begin("text/event-stream");
            exchange.chunk(format!(": {pad}\n\n{EVENT}data: [DONE]\n\n"));
            exchange.chunk("");
        } else if asked.contains("pieces") {
            exchange.begin("application/json");
            json.as_bytes().chunks(1000).for_each(|piece| {
                exchange.chunk(piece);
            });
            exchange.chunk("");
        } else {
            exchange.json(&json);
        }
    })
}

#[test]
fn the_cost_of_an_uncached_answer_is_told() {
    let upstream = upstream();
    let gateway = gateway(&upstream, "");
    let mut client = gateway.connect();
    let cases = [
        ("POST /plain/chat/completions", r#"{"as":"json"}"#, 3.0),
        ("POST /plain/chat/completions", r#"{"as":"pieces","n":"pad5000"}"#, 3.0),
        ("POST /plain/chat/completions", r#"{"as":"stream"}"#, 3.0),
        ("POST /plain/embeddings", r#"{"as":"json"}"#, 3.0),
        ("PUT /v1/chat/completions", r#"{"as":"json"}"#, 0.0),
        ("POST /plain/files", r#"{"as":"json"}"#, 0.0),
        // Longer than is kept for this, so that it is not read: it passes all the same.
        ("POST /plain/chat/completions", r#"{"as":"json","n":"pad1100000"}"#, 0.0),
        ("POST /plain/chat/completions", r#"{"as":"stream","n":"pad1000000"}"#, 3.0),
    ];
    let mut counted = 0.0;
    for (line, body, tokens) in cases {
        let answer = client.request(line, &secret("one"), "", body.as_bytes()).answer();
        assert_eq!((answer.status, answer.is_whole), (200, true), "{line} {body}");
        counted += tokens;
        gateway.eventually(body, |g| g.metric(PROMPT) == counted);
    }
    gateway.eventually("nothing is held", |g| g.metric("safecache_buffer_bytes") == 0.0);
    let expected = cases.map(|(.., tokens)| if tokens > 0.0 { three() } else { serde_json::Value::Null });
    assert_eq!(told(gateway), expected);
}

/// What is kept for reading it counts as the key's; an answer is not refused for the sake of it.
#[test]
fn an_uncached_answer_passes_where_there_is_no_memory_to_read_it() {
    let upstream = upstream();
    let gateway = gateway(&upstream, "limits: {max_body: 64KiB, buffer_memory_per_key: 128KiB}\n");
    let mut client = gateway.connect();
    for (pad, tokens) in [(100_000, 3.0), (200_000, 3.0)] {
        let body = format!(r#"{{"as":"pieces","n":"pad{pad}"}}"#);
        let answer = client.post("/plain/chat/completions", &secret("one"), &body);
        assert_eq!((answer.status, answer.body.len() > pad), (200, true));
        gateway.eventually(&body, |g| g.metric(PROMPT) == tokens);
    }
    assert_eq!(told(gateway), [three(), serde_json::Value::Null]);
}

#[test]
fn a_stream_that_broke_off_has_told_what_it_cost() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(EVENT);
        exchange.close();
    });
    let gateway = gateway(&upstream, "");
    for path in ["/plain/chat/completions", "/v1/chat/completions"] {
        let answer = gateway.connect().post(path, &secret("one"), r#"{"stream":true}"#);
        assert!(answer.text().contains("error"), "{answer:?}");
    }
    gateway.eventually("both are counted", |g| g.metric(PROMPT) == 6.0);
    assert_eq!(told(gateway), [three(), three()]);
}

/// One token an event, or one in four bytes, whichever is more; and a quarter of the request's bytes.
#[test]
fn a_stream_that_tells_no_cost_is_estimated_and_marked_so() {
    let chat = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hello, world\"}\n\n\
         data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n";
    let messages = "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
         data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
         data: {\"type\":\"message_stop\"}\n\n";
    let texts = "data: {\"choices\":[{\"text\":\"Hello\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let cases = [
        ("/chat/completions", [chat("a"), chat("b"), chat("c"), stop.into()].concat(), 3),
        ("/chat/completions", [chat("nine byte"), chat(""), stop.into()].concat(), 3),
        ("/chat/completions", [chat("cut")].concat(), 1),
        ("/completions", texts.into(), 2),
        ("/responses", responses.into(), 3),
        ("/messages", messages.into(), 1),
    ];
    let answers: Vec<String> = cases.iter().map(|(_, stream, _)| stream.clone()).collect();
    let upstream = Upstream::start(move |request, exchange| {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let stream = &answers[asked["case"].as_u64().expect("a number") as usize];
        exchange.begin("text/event-stream");
        exchange.chunk(stream.as_str());
        if stream.contains("cut") {
            exchange.close();
        } else {
            exchange.chunk("");
        }
    });
    let gateway = gateway(&upstream, "");
    let (mut prompt, mut completion, mut expected) = (0, 0, Vec::new());
    for (case, (path, _, tokens)) in cases.iter().enumerate() {
        for root in ["/plain", "/v1"] {
            let body = format!(r#"{{"stream":true,"case":{case}}}"#);
            let answer = gateway.connect().post(&format!("{root}{path}"), &secret("one"), &body);
            assert_eq!(answer.status, 200);
            let question = body.len().div_ceil(4);
            (prompt, completion) = (prompt + question, completion + tokens);
            expected.push(serde_json::json!(
                {"prompt": question, "completion": tokens, "cached": 0, "estimated": true}
            ));
            gateway.eventually(path, |g| {
                let counted =
                    |direction| g.metric(&format!("safecache_tokens_total{{direction=\"{direction}\"}}"));
                (counted("estimated_prompt"), counted("estimated_completion"))
                    == (prompt as f64, completion as f64)
            });
        }
    }
    assert_eq!(gateway.metric(PROMPT) + gateway.metric(COMPLETION), 0.0);
    // Lines of two workers come in any order.
    let in_order = |mut told: Vec<serde_json::Value>| {
        told.sort_by_key(ToString::to_string);
        told
    };
    assert_eq!(in_order(told(gateway)), in_order(expected));
}

#[test]
fn a_client_that_leaves_a_stream_has_seen_what_it_cost() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk(EVENT);
        exchange.wait_for_close();
    });
    let gateway = gateway(&upstream, "");
    let mut client = gateway.connect();
    client.request("POST /plain/chat/completions", &secret("one"), "", br#"{"stream":true}"#);
    assert_eq!((client.head().status, client.chunk().as_deref()), (200, Some(EVENT.as_bytes())));
    drop(client);
    gateway.eventually("it is counted", |g| g.metric(PROMPT) == 3.0);
    assert_eq!(told(gateway), [three()]);
}

/// Counters are sums of 64 bits: one answer must not make them begin anew.
#[test]
fn a_count_that_no_answer_can_have_is_not_believed() {
    let upstream = Upstream::start(|request, exchange| {
        let counts: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let usage = &counts["usage"];
        let cut = ANSWER.split("\"usage\":").next().expect("a beginning");
        exchange.json(&format!("{cut}\"usage\":{usage}}}"));
    });
    let gateway = gateway(&upstream, "");
    let mut client = gateway.connect();
    for (usage, prompt, completion) in [
        (r#"{"prompt_tokens":18446744073709551611,"completion_tokens":7}"#, 0.0, 7.0),
        (r#"{"prompt_tokens":4294967297,"completion_tokens":4294967297}"#, 0.0, 7.0),
        (r#"{"prompt_tokens":4294967296,"completion_tokens":1}"#, 4_294_967_296.0, 8.0),
        (r#"{"input_tokens":1,"cache_read_input_tokens":18446744073709551615}"#, 4_294_967_297.0, 8.0),
    ] {
        for path in ["/plain/chat/completions", "/v1/chat/completions"] {
            let _ = client.post(path, &secret("one"), &format!(r#"{{"usage":{usage}}}"#));
        }
        gateway.eventually(usage, |g| {
            (g.metric(PROMPT), g.metric(COMPLETION)) == (2.0 * prompt, 2.0 * completion)
        });
    }
}
