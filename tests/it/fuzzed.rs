//! The properties that the fuzzers of `fuzz/` look for, held against the corpus they have found and random inputs.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::proptest;

mod admission;
mod canonical;
mod configuration;
mod head;
mod key_form;
mod key_list;
mod sse;
pub(crate) mod translate;

/// Replays every file of a fuzzer's corpus; a file that fails is the last that is named.
fn replay(fuzzer: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(fuzzer);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(20 < paths.len(), "only {} inputs in {}", paths.len(), folder.display());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input"));
    }
}

#[test]
fn the_corpus_of_heads() {
    let door = admission::Door::open();
    replay("admission", |head| door.check(head));
}

#[test]
fn the_corpus_of_bodies() {
    replay("canonical", canonical::check);
}

#[test]
fn the_corpus_of_configurations() {
    replay("configuration", configuration::check);
}

#[test]
fn the_corpus_of_keys() {
    replay("key_form", key_form::check);
}

#[test]
fn the_corpus_of_key_lists() {
    replay("key_list", key_list::check);
}

#[test]
fn the_corpus_of_streams() {
    replay("sse", sse::check);
}

#[test]
fn the_corpus_of_completions() {
    replay("translate", translate::check);
}

/// Everything that a stream can be made of, whole and broken, so that cuts fall into each of it.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(data|event|id|retry|dat|)(:|: |:  |)(a|[DONE]|\\{\\}|é|😀|)".prop_map(String::into_bytes),
        "data: \\{\"(type|choices|usage|error)\":(null|\"error\"|\\[\\]|\\{\"input_tokens\":1\\})\\}"
            .prop_map(String::into_bytes),
        Just("\u{feff}".as_bytes().to_vec()),
        vec(any::<u8>(), 0..8),
    ];
    let end = "(\n|\r|\r\n|\n\n|\r\n\r\n)".prop_map(String::into_bytes);
    vec((line, end), 0..20)
        .prop_map(|lines| lines.into_iter().flat_map(<[Vec<u8>; 2]>::from).flatten().collect())
}

proptest! {
    #[test]
    fn any_stream_has_the_same_events_however_it_is_cut(size in 1..40u8, stream in stream()) {
        sse::check(&[&[size], stream.as_slice()].concat());
    }
}
