//! The canonical form: golden vectors, and the laws that make it fit for a key.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use safecache::cache::key::{BodyDigest, ScannedBody};
use safecache::llm::canonical;
use safecache::llm::json::{JsonFault, MAX_DEPTH, MAX_NODES, Tape};
use safecache::llm::request::Api;
use serde_json::{Map, Value};

fn canonical_without(body: &[u8], left_out: &[&str]) -> Result<String, JsonFault> {
    let mut tape = Tape::default();
    let document = tape.read(body)?;
    let mut out = Vec::new();
    let is_left_out = |name: &[u8]| left_out.iter().any(|other| other.as_bytes() == name);
    canonical::write(document, &is_left_out, &mut |piece| out.extend_from_slice(piece))?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn canonical(body: &str) -> Result<String, JsonFault> {
    canonical_without(body.as_bytes(), &[])
}

fn digest(api: Api, ignore: &[&str], body: &str) -> BodyDigest {
    let ignore: Vec<Box<str>> = ignore.iter().map(|&name| name.into()).collect();
    ScannedBody::read(body.as_bytes(), api, &ignore).expect("JSON").digest.expect("a canonical form")
}

#[test]
fn golden_vectors() {
    let golden = include_str!("../data/canonical/golden.txt");
    let cases = golden.split('\n').filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut count = 0;
    for case in cases {
        let (input, expected) = case.split_once('\t').expect("a tab");
        let found = canonical(input).unwrap_or_else(|fault| format!("!{fault:?}"));
        assert_eq!(found, expected, "{input}");
        count += 1;
    }
    assert!(90 < count, "all cases ran: {count}");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for body in [
        &b"\"\xff\""[..],
        b"\"\xed\xa0\x80\"",
        b"\xef\xbb\xbf{}",
        b"\"a\nb\"",
        b"\"\x00\"",
        b"[1]\x00",
        b"{}\x0b",
    ] {
        assert_eq!(canonical_without(body, &[]), Err(JsonFault::NotJson), "{body:?}");
    }
}

/// Strings are read in words, then in vectors: each place in each is tried.
#[test]
fn every_place_in_a_string_is_looked_at() {
    for length in (0..40).chain(120..180).chain([300]) {
        for at in 0..=length {
            let with = |middle: &str| format!("\"{}{middle}{}\"", "a".repeat(at), "ö".repeat(length - at));
            for good in ["", "\\n", "\\\"", "\\\\", " ", "!", "\u{7f}", "\u{80}", "😀"] {
                assert_eq!(canonical(&with(good)), Ok(with(good)));
            }
            assert_eq!(canonical(&with("\\/")), Ok(with("/")));
            for bad in ["\"", "\u{1f}", "\0", "\n", "\\x"] {
                assert_eq!(canonical(&with(bad)), Err(JsonFault::NotJson), "{bad:?} at {at} of {length}");
            }
        }
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let in_objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    assert_eq!(canonical(&nested(MAX_DEPTH)), Ok(nested(MAX_DEPTH)));
    assert_eq!(canonical(&nested(MAX_DEPTH + 1)), Err(JsonFault::TooDeep));
    assert_eq!(canonical(&in_objects(MAX_DEPTH)), Ok(in_objects(MAX_DEPTH)));
    assert_eq!(canonical(&in_objects(MAX_DEPTH + 1)), Err(JsonFault::TooDeep));
    assert_eq!(canonical(&"[".repeat(1 << 20)), Err(JsonFault::TooDeep));
    let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
    assert!(canonical(&zeros(MAX_NODES - 1)).is_ok());
    assert_eq!(canonical(&zeros(MAX_NODES)), Err(JsonFault::TooLarge));
}

#[test]
fn left_out_members_leave_no_trace() {
    for body in
        [r#"{"a":1}"#, r#"{"a":1,"x":{"b":2}}"#, r#"{"x":0,"a":1}"#, r#"{"y":1,"x":[],"a":1,"\u0078y":3}"#]
    {
        let expected = if body.contains("0078") { r#"{"a":1,"xy":3}"# } else { r#"{"a":1}"# };
        assert_eq!(canonical_without(body.as_bytes(), &["x", "y"]).as_deref(), Ok(expected), "{body}");
    }
    assert_eq!(canonical_without(br#"{"\u0078":1}"#, &["x"]).as_deref(), Ok("{}"));
    let inner = br#"{"a":{"x":1},"b":[{"x":2}]}"#;
    assert_eq!(canonical_without(inner, &["x"]).as_deref(), Ok(r#"{"a":{"x":1},"b":[{"x":2}]}"#));
    assert_eq!(canonical_without(br#"{"x":{"b":1,"b":1}}"#, &["x"]), Err(JsonFault::Duplicate));
    assert_eq!(canonical_without(br#"{"x":1,"x":2}"#, &["x"]), Err(JsonFault::Duplicate));
}

#[test]
fn chat_completions_leave_out_how_the_answer_is_sent() {
    let plain = r#"{"model":"m","messages":[]}"#;
    let streamed = r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true},
        "prompt_cache_key":"k","safety_identifier":"s"}"#;
    assert_eq!(digest(Api::ChatCompletions, &[], plain), digest(Api::ChatCompletions, &[], streamed));
    for name in ["stream", "stream_options", "prompt_cache_key", "safety_identifier"] {
        let with = format!(r#"{{"model":"m","messages":[],"{name}":1}}"#);
        assert_eq!(
            digest(Api::ChatCompletions, &[], plain),
            digest(Api::ChatCompletions, &[], &with),
            "{name}"
        );
        for api in [Api::Completions, Api::Embeddings, Api::Moderations, Api::Rerank] {
            assert_ne!(digest(api, &[], plain), digest(api, &[], &with), "{api:?} {name}");
        }
        for api in [Api::Messages, Api::Responses, Api::Other] {
            assert_ne!(digest(api, &[], plain), digest(api, &[], &with), "{api:?} {name}");
        }
    }
    for name in ["user", "metadata", "seed", "n", "service_tier", "unheard_of"] {
        let with = format!(r#"{{"model":"m","messages":[],"{name}":1}}"#);
        assert_ne!(
            digest(Api::ChatCompletions, &[], plain),
            digest(Api::ChatCompletions, &[], &with),
            "{name}"
        );
        assert_eq!(
            digest(Api::Messages, &[], plain),
            digest(Api::Messages, &[name], &with),
            "{name} ignored"
        );
    }
}

#[test]
fn a_body_without_canonical_form_still_tells_its_fields() {
    let body = r#"{"model":"gpt-4o","stream":true,"messages":[{"content":"\ud83d"}]}"#;
    let scanned = ScannedBody::read(body.as_bytes(), Api::ChatCompletions, &[]).expect("JSON");
    assert_eq!(scanned.digest, Err(JsonFault::LoneSurrogate));
    assert_eq!(scanned.fields.model.as_deref(), Some("gpt-4o"));
    assert!(scanned.fields.stream);
    let twice = br#"{"model":"gpt-4o","x":1e999,"model":"o3"}"#;
    assert_eq!(ScannedBody::read(twice, Api::ChatCompletions, &[]), Err(JsonFault::Duplicate));
}

// === Laws ===

/// The canonical form made the plain way, for numbers that serde_json holds exactly.
fn naive(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() => naive_double(double),
            _ => number.to_string(),
        },
        Value::String(text) => naive_string(text),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(naive).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            let texts =
                members.iter().map(|(name, value)| format!("{}:{}", naive_string(name), naive(value)));
            format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
        }
    }
}

/// Rust's own shortest form, but of two forms that are equally near the even one.
fn naive_double(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    let size = double.abs();
    let is_plain = (1e-6..1e21).contains(&size);
    let shortest = if is_plain { format!("{double}") } else { format!("{double:e}") };
    let form = match shortest.split_once('.') {
        None => shortest,
        Some((_, fraction)) => {
            let places = fraction.split('e').next().map_or(0, str::len);
            let nearest = if is_plain { format!("{double:.places$}") } else { format!("{double:.places$e}") };
            if nearest.parse() == Ok(double) { nearest } else { shortest }
        }
    };
    form.replace('e', if size < 1.0 { "e" } else { "e+" })
}

fn naive_string(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        '\0'..' ' => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// Writes `value` in one of its many spellings: members shuffled, white space strewn in, characters escaped.
fn spell(value: &Value, dice: &mut fastrand::Rng) -> String {
    let text = match value {
        Value::Array(elements) => {
            let texts: Vec<_> = elements.iter().map(|element| spell(element, dice)).collect();
            format!("[{}{}]", space(dice), texts.join(","))
        }
        Value::Object(members) => {
            let mut texts: Vec<_> = members
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", spell(&Value::from(name.as_str()), dice), spell(value, dice))
                })
                .collect();
            dice.shuffle(&mut texts);
            format!("{{{}{}}}", space(dice), texts.join(","))
        }
        Value::String(text) => {
            let spelled = text.chars().map(|character| spell_character(character, dice));
            format!("\"{}\"", spelled.collect::<String>())
        }
        other => other.to_string(),
    };
    format!("{}{text}{}", space(dice), space(dice))
}

fn space(dice: &mut fastrand::Rng) -> String {
    (0..dice.usize(..3)).map(|_| *dice.choice(&[' ', '\n', '\r', '\t']).expect("one of four")).collect()
}

fn spell_character(character: char, dice: &mut fastrand::Rng) -> String {
    let must_escape = character < ' ' || matches!(character, '"' | '\\');
    if character == '/' && dice.bool() {
        "\\/".to_owned()
    } else if dice.u8(..4) == 0 {
        let units = character.encode_utf16(&mut [0; 2]).to_vec();
        let texts = units
            .iter()
            .map(|unit| if dice.bool() { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
        texts.collect()
    } else if must_escape {
        let quoted = Value::from(character.to_string()).to_string();
        quoted.trim_start_matches('"').strip_suffix('"').map_or("\\\"".to_owned(), str::to_owned)
    } else {
        character.to_string()
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "\\PC{0,8}",
        vec(
            prop_oneof![
                any::<char>(),
                Just('"'),
                Just('\\'),
                Just('/'),
                Just('\u{1f}'),
                Just('\u{e000}'),
                Just('😀')
            ],
            0..6
        )
        .prop_map(|characters| characters.into_iter().collect()),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e3..1e3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(texts(), inner, 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_the_plain_way(value in values()) {
        prop_assert_eq!(canonical(&value.to_string()), Ok(naive(&value)));
    }

    #[test]
    fn every_spelling_has_one_form(value in values(), seed in any::<u64>()) {
        let mut dice = fastrand::Rng::with_seed(seed);
        let spelled = spell(&value, &mut dice);
        prop_assert_eq!(canonical(&spelled), Ok(naive(&value)), "{}", spelled);
    }

    #[test]
    fn canonical_text_is_its_own_form(value in values()) {
        let once = canonical(&value.to_string()).expect("JSON");
        prop_assert_eq!(canonical(&once), Ok(once));
    }

    #[test]
    fn another_value_has_another_form(one in values(), other in values()) {
        let is_same = naive(&one) == naive(&other);
        prop_assert_eq!(canonical(&one.to_string()) == canonical(&other.to_string()), is_same);
    }

    #[test]
    fn whole_numbers_keep_their_digits(digits in "[1-9][0-9]{0,60}") {
        prop_assert_eq!(canonical(&digits), Ok(digits.clone()));
        let negative = format!("-{digits}");
        prop_assert_eq!(canonical(&negative), Ok(negative.clone()));
    }

    #[test]
    fn any_bytes_are_read_as_serde_json_reads_them(body in vec(any::<u8>(), 0..24)) {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() && std::str::from_utf8(&body).is_ok();
        let is_read = Tape::default().read(&body).is_ok();
        prop_assert_eq!(is_read, is_json);
    }

    #[test]
    fn json_with_one_byte_changed_is_read_as_serde_json_reads_it(value in values(), at in any::<usize>(), byte in any::<u8>()) {
        let mut body = value.to_string().into_bytes();
        let at = at % body.len();
        body[at] = byte;
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() && std::str::from_utf8(&body).is_ok();
        let mut tape = Tape::default();
        let read = tape.read(&body);
        prop_assert!(read.is_ok() == is_json, "{}", String::from_utf8_lossy(&body));
    }
}
