//! What the cache may take on the disk, and what it takes where it may take nothing.

use std::time::Duration;

use safecache::ids::AccountId;
use safecache::runtime::reload::Shrinking;
use safecache::store::Store;
use safecache::store::answer::{NewAnswer, PromptHash, Put, Question};
use safecache::store::folder::FolderLock;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use safecache::units::ByteSize;
use tempfile::TempDir;

use crate::support::disk::{Held, keys, run, written};
use crate::support::gateway::{Gateway, START, key, secret};
use crate::support::upstream::Upstream;

fn yaml(upstream: &Upstream, disk: &str) -> String {
    format!(
        "cache: {{disk: {disk}}}\nupstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    )
}

/// An upstream whose answers are of so many bytes and more that no compressor makes less of.
fn upstream(bytes: usize) -> Upstream {
    Upstream::start(move |request, exchange| {
        let mut state =
            request.body.iter().fold(7_u64, |state, byte| state.wrapping_mul(31) + u64::from(*byte));
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(state >> 58) as usize]
        };
        let text: Vec<u8> = (0..bytes).map(|_| noise()).collect();
        let text = String::from_utf8(text).expect("letters");
        exchange
            .json(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#));
    })
}

fn ask(gateway: &Gateway, number: usize, more: &str) -> u16 {
    let more = format!("content-type: application/json\r\n{more}");
    let body = format!("{{\"model\":\"m\",\"messages\":[],\"seed\":{number}}}");
    gateway
        .connect()
        .request("POST /v1/chat/completions", &secret("one"), &more, body.as_bytes())
        .answer()
        .status
}

fn known(gateway: &Gateway, count: usize) -> Vec<bool> {
    (0..count).map(|number| ask(gateway, number, "cache-control: only-if-cached\r\n") == 200).collect()
}

fn restarted(gateway: Gateway, yaml: &str) -> Gateway {
    Gateway::start_in(gateway.into_folder(), yaml)
}

fn reload(gateway: &Gateway, yaml: &str) {
    gateway.rewrite(yaml);
    gateway.running().reload(Shrinking::Guarded).unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[test]
fn without_a_bound_nothing_is_written_and_nothing_read() {
    let upstream = upstream(10);
    let gateway = Gateway::start(&yaml(&upstream, "0"));
    assert_eq!(ask(&gateway, 0, ""), 200);
    assert_eq!(known(&gateway, 1), [true]);
    let gateway = restarted(gateway, &yaml(&upstream, "0"));
    assert_eq!(known(&gateway, 1), [false]);
    let metrics = gateway.metrics();
    for line in metrics.lines().filter(|line| line.starts_with("safecache_disk_")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    assert_eq!(keys(gateway.folder.path()).len(), 0);
}

#[test]
fn the_oldest_make_room() {
    let upstream = upstream(2000);
    let gateway = Gateway::start(&yaml(&upstream, "16KiB"));
    for number in 0..20 {
        assert_eq!(ask(&gateway, number, ""), 200);
        written(&gateway, number + 1);
    }
    let bytes = gateway.metric("safecache_disk_bytes");
    assert!((10_000.0..=16.0 * 1024.0).contains(&bytes), "{bytes}");
    let kept = gateway.metric("safecache_disk_entries") as usize;
    let gateway = restarted(gateway, &yaml(&upstream, "16KiB"));
    let known = known(&gateway, 20);
    let oldest = known.iter().position(|is_known| *is_known).expect("some are known");
    assert_eq!(20 - oldest, kept);
    assert!(known[oldest..].iter().all(|is_known| *is_known), "{known:?}");
}

#[test]
fn an_answer_that_is_larger_than_all_pushes_out_nobody() {
    let upstream = Upstream::start(|request, exchange| {
        let is_large = String::from_utf8_lossy(&request.body).contains("\"seed\":1}");
        let text = if is_large {
            (0..4000).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string()).collect()
        } else {
            String::new()
        };
        exchange
            .json(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#));
    });
    let gateway = Gateway::start(&yaml(&upstream, "8KiB"));
    for number in 0..3 {
        assert_eq!(ask(&gateway, number, ""), 200);
    }
    written(&gateway, 2);
    assert_eq!(gateway.metric("safecache_disk_writes_total{result=\"dropped\"}"), 1.0);
    let gateway = restarted(gateway, &yaml(&upstream, "8KiB"));
    assert_eq!(known(&gateway, 3), [true, false, true]);
}

#[test]
fn what_a_larger_answer_was_to_replace_is_found_no_more() {
    let upstream = Upstream::start(|request, exchange| {
        let length = if request.header("x-large").is_some() { 4000 } else { 1 };
        let text: String = (0..length).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string()).collect();
        exchange
            .json(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#));
    });
    let gateway = Gateway::start(&yaml(&upstream, "8KiB"));
    assert_eq!(ask(&gateway, 0, ""), 200);
    written(&gateway, 1);
    assert_eq!(ask(&gateway, 0, "x-large: 1\r\ncache-control: no-cache\r\n"), 200);
    let gateway = restarted(gateway, &yaml(&upstream, "8KiB"));
    assert_eq!(known(&gateway, 1), [false]);
}

#[test]
fn a_reload_lowers_the_bound_and_takes_it_away() {
    let upstream = upstream(2000);
    let gateway = Gateway::start(&yaml(&upstream, "1GiB"));
    (0..20).for_each(|number| assert_eq!(ask(&gateway, number, ""), 200));
    written(&gateway, 20);
    reload(&gateway, &yaml(&upstream, "16KiB"));
    gateway.eventually("the older ones are deleted", |gateway| {
        gateway.metric("safecache_disk_bytes") <= 16.0 * 1024.0
    });
    assert!((4.0..=8.0).contains(&gateway.metric("safecache_disk_entries")));
    reload(&gateway, &yaml(&upstream, "0"));
    gateway.eventually("all are deleted", |gateway| gateway.metric("safecache_disk_bytes") == 0.0);
    assert_eq!(keys(gateway.folder.path()).len(), 0);
    assert_eq!(gateway.metric("safecache_disk_entries"), 0.0);
    assert_eq!(known(&gateway, 20), [true; 20], "in memory");
    reload(&gateway, &yaml(&upstream, "1GiB"));
    let mut number = 20;
    gateway.eventually("they are written again", |gateway| {
        assert_eq!(ask(gateway, number, ""), 200);
        number += 1;
        gateway.metric("safecache_disk_entries") > 0.0
    });
}

#[test]
fn what_has_expired_is_deleted_and_asked_for_no_more() {
    let upstream = upstream(10);
    let gateway = Gateway::start(&yaml(&upstream, "1GiB"));
    assert_eq!(ask(&gateway, 0, ""), 200);
    let folder = gateway.into_folder();
    crate::support::disk::sql(
        folder.path(),
        format!("UPDATE proxied_answers SET expires_at = {}", START.as_millis()),
    );
    let gateway = Gateway::start_in(folder, &yaml(&upstream, "1GiB"));
    gateway.eventually("it is deleted", |gateway| keys(gateway.folder.path()).is_empty());
    gateway.eventually("nothing is shown", |gateway| gateway.metric("safecache_disk_bytes") == 0.0);
    let asked = gateway.metric("safecache_disk_reads_total{result=\"miss\"}");
    assert_eq!(known(&gateway, 1), [false]);
    assert_eq!(gateway.metric("safecache_disk_reads_total{result=\"miss\"}"), asked, "the filter knows");
}

#[test]
fn more_than_may_wait_is_dropped_and_no_request_waits() {
    const LARGE: usize = 7 * 1024 * 1024;
    let text: &'static str = "x".repeat(LARGE).leak();
    let upstream = Upstream::start(move |_, exchange| {
        exchange
            .json(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#));
    });
    let gateway = Gateway::start(&yaml(&upstream, "1GiB"));
    let held = Held::take(gateway.folder.path());
    (0..7).for_each(|number| assert_eq!(ask(&gateway, number, ""), 200));
    let dropped = gateway.metric("safecache_disk_writes_total{result=\"dropped\"}");
    assert!((1.0..=3.0).contains(&dropped), "{dropped}");
    assert_eq!(known(&gateway, 7), [true; 7], "memory has them all");
    held.release();
    let finished = |gateway: &Gateway| {
        let results = ["stored", "dropped", "failed"];
        results
            .iter()
            .map(|result| gateway.metric(&format!("safecache_disk_writes_total{{result=\"{result}\"}}")))
            .sum()
    };
    gateway.eventually("each is accounted for", |gateway| {
        let finished: f64 = finished(gateway);
        finished == 7.0
    });
    let kept = gateway.metric("safecache_disk_entries");
    assert!((1.0..=6.0).contains(&kept), "{kept}");
}

#[test]
fn stored_answers_are_never_evicted_for_proxied_ones() {
    let store = async |folder: &TempDir| {
        let lock = FolderLock::take(&folder.path().join("data")).expect("the folder");
        SqliteStore::open(lock, Bounds::default()).await.expect("the store")
    };
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    let hash = PromptHash([7; 32]);
    let account = AccountId::new("acme");
    run(async {
        let store = store(&folder).await;
        let put = store.put_answer(NewAnswer {
            account: account.clone(),
            prompt_hash: hash,
            model: None,
            answer: "x".repeat(50_000),
            tokens: None,
            metadata: None,
            created_at: START,
            expires_at: START.saturating_add(Duration::from_secs(3600)),
            quota: ByteSize::mib(1),
        });
        assert!(matches!(put.await, Ok(Put::Kept)));
        store.close().await;
    });
    let upstream = upstream(2000);
    let gateway = Gateway::start_in(folder, &yaml(&upstream, "8KiB"));
    (0..10).for_each(|number| assert_eq!(ask(&gateway, number, ""), 200));
    written(&gateway, 10);
    reload(&gateway, &yaml(&upstream, "0"));
    gateway.eventually("all are deleted", |gateway| gateway.metric("safecache_disk_bytes") == 0.0);
    let folder = gateway.into_folder();
    run(async {
        let store = store(&folder).await;
        let question = Question { account, prompt_hash: hash, model: None, allowed_models: [].into() };
        assert!(store.find_answer(question, START).await.expect("it is read").answer.is_some());
        store.close().await;
    });
}
