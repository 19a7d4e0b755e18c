//! The demo LLM over a real socket, read byte by byte as any HTTP client would.

use std::future::Future;
use std::time::Duration;

use expect_test::{Expect, expect};
use safecache::clock::{Clock, UnixTime};
use safecache::demo::{self, DemoSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A running demo LLM; it ends when this is dropped.
struct Demo {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// An answer in full, its chunked framing undone.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Demo {
    async fn start(pace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (clock, _) = Clock::manual(UnixTime::from_secs(1_800_000_000));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let ended = tokio::spawn(demo::serve(listener, DemoSettings { pace, clock }, shutdown));
        Self { address, stop, ended }
    }

    async fn send(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("reads to the end");
        Answer::parse(&String::from_utf8(bytes).expect("text"))
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&format!("POST {path}"), &body.to_string()).await
    }
}

impl Answer {
    fn parse(raw: &str) -> Self {
        let (head, rest) = raw.split_once("\r\n\r\n").expect("a head");
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).expect("a status line").parse().expect("a status");
        let body = if head.contains("transfer-encoding: chunked") { unchunk(rest) } else { rest.to_owned() };
        Self { status, head, body }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The data of each server-sent event.
    fn events(&self) -> Vec<&str> {
        self.body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").expect("data")).collect()
    }

    /// Each event but `[DONE]`.
    fn chunks(&self) -> Vec<Value> {
        let events = self.events();
        let (last, chunks) = events.split_last().expect("events");
        assert_eq!(*last, "[DONE]");
        chunks.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        if size == 0 {
            return body;
        }
        let (chunk, after) = after.split_at(size);
        body.push_str(chunk);
        rest = after.strip_prefix("\r\n").expect("a chunk's end");
    }
}

fn hello() -> Value {
    json!({"model": "any-model", "messages": [{"role": "user", "content": "Hello"}]})
}

fn with(mut request: Value, member: &str, value: Value) -> Value {
    request[member] = value;
    request
}

fn spoken(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// Runs `test`, which must end within ten seconds.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), test).await.expect("ends in time");
    });
}

fn check(answer: &Answer, status: u16, body: &Expect) {
    assert_eq!(answer.status, status, "{}", answer.body);
    body.assert_eq(&answer.body);
}

#[test]
fn answers_a_chat_in_json() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let answer = demo.post("/v1/chat/completions", &hello()).await;
        let body = expect![[
            r#"{"id":"chatcmpl-3f523ac621e1f16de1d4785e","object":"chat.completion","created":1800000000,"model":"any-model","system_fingerprint":"fp_safecache_demo","choices":[{"index":0,"message":{"role":"assistant","content":"You asked: \"Hello\". There is a plain way to see it. Ask who waits for the result, for that settles most of the details. The same question always gets this same answer.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":32,"total_tokens":34}}"#
        ]];
        check(&answer, 200, &body);
        assert!(answer.head.contains("content-type: application/json"));
        let again = demo.post("/v1/chat/completions", &hello()).await;
        assert_eq!(answer.body, again.body, "the same question gets the same bytes");
    });
}

#[test]
fn a_stream_says_what_the_json_says() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let json = demo.post("/v1/chat/completions", &hello()).await.json();
        let stream = demo.post("/v1/chat/completions", &with(hello(), "stream", json!(true))).await;
        assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
        let chunks = stream.chunks();
        let (first, last) = (&chunks[0], &chunks[chunks.len() - 1]);
        assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert_eq!(spoken(&chunks), json["choices"][0]["message"]["content"].as_str().expect("text"));
        for chunk in &chunks {
            assert_eq!((&chunk["id"], &chunk["created"]), (&json["id"], &json["created"]));
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert!(chunk.get("usage").is_none(), "usage was not asked for: {chunk}");
        }
    });
}

#[test]
fn usage_ends_a_stream_that_asked_for_it() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let json = demo.post("/v1/chat/completions", &hello()).await.json();
        let request = with(hello(), "stream", json!(true));
        let request = with(request, "stream_options", json!({"include_usage": true}));
        let chunks = demo.post("/v1/chat/completions", &request).await.chunks();
        let (last, others) = chunks.split_last().expect("chunks");
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &json["usage"]));
        for chunk in others {
            assert_eq!(chunk.get("usage"), Some(&Value::Null), "{chunk}");
        }
    });
}

#[test]
fn a_token_limit_ends_an_answer_early() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let answer = demo.post("/v1/chat/completions", &with(hello(), "max_tokens", json!(2))).await.json();
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["choices"][0]["message"]["content"], "You asked: ");
        assert_eq!(answer["usage"], json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}));
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the runtime's paused clock is the one that is measured")]
fn words_wait_for_the_pace() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // The clock is paused and jumps to the next timer, so a year takes no time and is still waited for.
        let year = Duration::from_secs(365 * 24 * 3600);
        let demo = Demo::start(year).await;
        let begun = tokio::time::Instant::now();
        let request = with(with(hello(), "stream", json!(true)), "max_tokens", json!(3));
        let chunks = demo.post("/v1/chat/completions", &request).await.chunks();
        assert_eq!(spoken(&chunks), "You asked: \"Hello\". ");
        assert_eq!(begun.elapsed().as_secs() / year.as_secs(), 3, "one wait a word");
    });
}

#[test]
fn refusals_have_the_shape_of_openai() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let chat = "/v1/chat/completions";
        let no_model = demo.post(chat, &json!({"messages": []})).await;
        check(
            &no_model,
            400,
            &expect![[
                r#"{"error":{"message":"you must provide a model parameter","type":"invalid_request_error","param":"model","code":null}}"#
            ]],
        );
        let no_messages = demo.post(chat, &json!({"model": "m", "messages": []})).await;
        check(
            &no_messages,
            400,
            &expect![[
                r#"{"error":{"message":"[] is too short - 'messages'","type":"invalid_request_error","param":"messages","code":null}}"#
            ]],
        );
        let not_json = demo.send("POST /v1/chat/completions", "hello").await;
        check(
            &not_json,
            400,
            &expect![[
                r#"{"error":{"message":"We could not parse the body of your request: expected value at line 1 column 1","type":"invalid_request_error","param":null,"code":null}}"#
            ]],
        );
        let elsewhere = demo.send("GET /v1/files?a=b", "").await;
        check(
            &elsewhere,
            404,
            &expect![[
                r#"{"error":{"message":"Unknown request URL: GET /v1/files","type":"invalid_request_error","param":null,"code":"unknown_url"}}"#
            ]],
        );
        let wrong_method = demo.send("DELETE /v1/models", "").await;
        check(
            &wrong_method,
            405,
            &expect![[
                r#"{"error":{"message":"Not allowed to DELETE on /v1/models","type":"invalid_request_error","param":null,"code":"method_not_supported"}}"#
            ]],
        );
        let unknown_model = demo.send("GET /v1/models/gpt-unknown", "").await;
        check(
            &unknown_model,
            404,
            &expect![[
                r#"{"error":{"message":"The model 'gpt-unknown' does not exist","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
            ]],
        );
        let no_input = demo.post("/v1/embeddings", &json!({"model": "m", "input": []})).await;
        check(
            &no_input,
            400,
            &expect![[
                r#"{"error":{"message":"'input' takes 1 to 2048 inputs","type":"invalid_request_error","param":"input","code":null}}"#
            ]],
        );
    });
}

#[test]
fn a_body_over_the_bound_is_refused() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let body = "x".repeat((32 << 20) + 1);
        let answer = demo.send("POST /v1/embeddings", &body).await;
        check(
            &answer,
            413,
            &expect![[
                r#"{"error":{"message":"Failed to buffer the request body: length limit exceeded","type":"invalid_request_error","param":null,"code":null}}"#
            ]],
        );
    });
}

#[test]
fn lists_its_models() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let list = demo.send("GET /v1/models", "").await.json();
        let names = list["data"].as_array().expect("a list").iter().map(|model| model["id"].as_str());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [Some("demo"), Some("demo-large"), Some("demo-small"), Some("demo-embedding")]
        );
        let one = demo.send("GET /v1/models/demo-small", "").await.json();
        assert_eq!(one, list["data"][2]);
    });
}

#[test]
fn embeds_texts() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        let request = json!({"model": "demo-embedding", "input": ["one two", "three"], "dimensions": 4});
        let answer = demo.post("/v1/embeddings", &request).await;
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!(json["data"][1]["embedding"].as_array().expect("numbers").len(), 4);
        assert_eq!(json["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
        let again = demo.post("/v1/embeddings", &request).await;
        assert_eq!(answer.body, again.body);
    });
}

#[test]
fn ends_when_told_to_with_nothing_in_flight() {
    run(async {
        let demo = Demo::start(Duration::ZERO).await;
        assert_eq!(demo.send("GET /v1/models", "").await.status, 200);
        demo.stop.send(()).expect("still running");
        demo.ended.await.expect("no panic").expect("no error");
    });
}
