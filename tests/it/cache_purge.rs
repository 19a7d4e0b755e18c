//! What a purge forgets: every answer of before, in whatever form, and what is still on its way.

use crate::support::admin::{TOKEN, ask};
use crate::support::client::Answer;
use crate::support::front::{CACHED, CHAT, House, JSON, Plans};
use crate::support::upstream::{Upstream, gate};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

fn house(upstream: &Upstream) -> House {
    let more = format!("admin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}");
    House::planned(&[upstream.url()], Plans { more: &more, ..Plans::default() })
}

fn purge(house: &House) -> Answer {
    ask(&house.gateway, "DELETE /admin/v1/cache", Some(TOKEN))
}

fn x_cache(answer: &Answer) -> &str {
    answer.header("x-cache").unwrap_or_default()
}

#[test]
fn nothing_of_before_is_a_hit_in_any_form() {
    let upstream = Upstream::json(ANSWER);
    let house = house(&upstream);
    let stream = CHAT.replace("{\"model\"", "{\"stream\":true,\"model\"");
    assert_eq!(x_cache(&house.h1().chat(CACHED)), "MISS");
    for body in [CHAT, &stream] {
        assert_eq!(x_cache(&house.h1().ask(&format!("POST {CACHED}"), JSON, body.as_bytes())), "HIT");
    }
    let told = purge(&house);
    assert_eq!((told.status, told.json()["purged"].as_u64()), (200, Some(2)));
    assert_eq!(house.gateway.metric("safecache_cache_entries"), 0.0);
    for body in [&stream, CHAT] {
        let answer = house.h1().ask(&format!("POST {CACHED}"), JSON, body.as_bytes());
        assert_eq!(x_cache(&answer), "MISS", "{body}");
    }
    assert_eq!(x_cache(&house.h1().chat(CACHED)), "HIT", "the answer of after it");
    assert_eq!(upstream.count(), 3);
}

#[test]
fn a_call_that_began_before_is_neither_joined_nor_stored() {
    let (gate, opener) = gate();
    let upstream = Upstream::start(move |_, exchange| {
        gate.wait();
        exchange.json(ANSWER);
    });
    let house = house(&upstream);
    let begin = || {
        let mut client = house.h1();
        client.send(&format!("POST {CACHED}"), JSON, CHAT.as_bytes());
        client
    };
    let mut old = begin();
    upstream.wait_for(1);
    assert_eq!(purge(&house).json()["purged"].as_u64(), Some(0));
    let mut new = begin();
    upstream.wait_for(2);
    assert_eq!(purge(&house).status, 200);
    (0..2).for_each(|_| opener.open());
    for client in [&mut old, &mut new] {
        let answer = client.head_and_body();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, ANSWER),
            "who asked before it has its answer"
        );
    }
    opener.open();
    assert_eq!(x_cache(&house.h1().chat(CACHED)), "MISS", "neither was stored");
    assert_eq!(x_cache(&house.h1().chat(CACHED)), "HIT");
    assert_eq!(upstream.count(), 3);
}
