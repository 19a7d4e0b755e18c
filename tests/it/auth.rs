//! The laws of authentication: contract §2.1, §2.2 and §3 steps 3, 4 and 7.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::{prop_assert_eq, proptest};
use safecache::auth::authenticate::{AuthFailure, InvalidReason, allows_address, allows_model, authenticate};
use safecache::auth::key::{KeyEntry, KeyOptions};
use safecache::auth::key_record::KeyRecord;
use safecache::auth::key_ring::KeyRing;
use safecache::auth::model_glob::ModelGlob;
use safecache::auth::token::{PresentedFailure, digest, generate, looks_valid, presented};
use safecache::clock::UnixTime;
use safecache::ids::{AccountId, KeyId, PlanName};

use crate::support::plans::plans;

/// A key whose checksum and SHA-256 were computed elsewhere (Python's `zlib` and `hashlib`).
const KEY: &str = "sk-sc-0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef0JZIRK";
const KEY_SHA256: &str = "a87c3ebbf562fc309d165e83c73945e17f8179501a1f4efa01e0c1b839e085b8";
/// The same, with a checksum that needs its leading zeros.
const PADDED_KEY: &str = "sk-sc-0000000031_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz00QRvm";

fn header_map(fields: &[(&str, &[u8])]) -> HeaderMap {
    let pair = |(name, value): &(&str, &[u8])| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_bytes(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    header_map(&[("authorization", format!("Bearer {token}").as_bytes())])
}

/// The entry of a key whose text is `secret of ID`.
fn entry(id: &str) -> KeyEntry {
    KeyEntry {
        id: KeyId::new(id),
        account: AccountId::new("acme"),
        plan: PlanName::new("free"),
        digest: digest(token_of(id).as_bytes()),
        options: KeyOptions::default(),
    }
}

fn token_of(id: &str) -> String {
    format!("secret-of-{id}")
}

fn with_options(id: &str, options: KeyOptions) -> KeyEntry {
    KeyEntry { options, ..entry(id) }
}

fn record_with(options: KeyOptions) -> Arc<KeyRecord> {
    let ring = KeyRing::build([with_options("k", options)], &plans()).unwrap();
    Arc::clone(ring.find(&entry("k").digest).unwrap())
}

// === token ===

#[track_caller]
fn check_presented(fields: &[(&str, &[u8])], expected: Result<&str, PresentedFailure>) {
    let headers = header_map(fields);
    assert_eq!(presented(&headers), expected.map(str::as_bytes), "{fields:?}");
}

#[test]
fn a_key_is_taken_from_authorization_first() {
    check_presented(&[("authorization", b"Bearer abc")], Ok("abc"));
    check_presented(&[("authorization", b"bEARER a:b/c+d=~")], Ok("a:b/c+d=~"));
    check_presented(&[("authorization", b"Bearer abc"), ("x-api-key", b"other")], Ok("abc"));
    check_presented(&[("x-api-key", b"abc")], Ok("abc"));
    check_presented(&[("api-key", b"abc")], Ok("abc"));
    check_presented(&[("api-key", b"abc"), ("x-api-key", b"abc")], Ok("abc"));
    check_presented(&[("accept", b"*/*")], Err(PresentedFailure::Missing));
}

#[test]
fn what_has_not_the_one_form_is_malformed() {
    let authorizations: [&[u8]; 11] = [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  abc",
        b"Bearer abc def",
        b"Bearer\tabc",
        b"Bearer abc\t",
        b"Bearer ab\xffc",
        b"Basic abc",
        b"Bearerabc",
        b"abc",
    ];
    for value in authorizations {
        check_presented(
            &[("authorization", value), ("x-api-key", b"good")],
            Err(PresentedFailure::Malformed),
        );
    }
    let others: [&[(&str, &[u8])]; 6] = [
        &[("authorization", b"Bearer abc"), ("authorization", b"Bearer abc")],
        &[("x-api-key", b"abc"), ("x-api-key", b"abc")],
        &[("x-api-key", b"abc"), ("api-key", b"def")],
        &[("x-api-key", b"a bc")],
        &[("x-api-key", b"")],
        &[("api-key", b"\xc3\xa4")],
    ];
    for fields in others {
        check_presented(fields, Err(PresentedFailure::Malformed));
    }
}

#[test]
fn the_checksum_is_enforced_on_our_form_only() {
    assert!(looks_valid(KEY.as_bytes()) && looks_valid(PADDED_KEY.as_bytes()));
    for at in 6..KEY.len() {
        let mut mistyped = KEY.as_bytes().to_vec();
        mistyped[at] = if mistyped[at] == b'x' { b'y' } else { b'x' };
        // Without the underscore it is not our form, so it is opaque.
        assert_eq!(looks_valid(&mistyped), at == 16, "at {at}");
    }
    let opaque = [
        "".to_owned(),
        "sk-whatever".to_owned(),
        KEY.replace("sk-sc", "sk-xx"),
        format!("{KEY}x"),
        KEY.trim_end_matches('K').to_owned(),
        KEY.replace('K', "-"),
    ];
    assert!(opaque.iter().all(|token| looks_valid(token.as_bytes())));
}

#[test]
fn a_digest_is_sha_256_of_the_whole_key() {
    assert_eq!(data_encoding::HEXLOWER.encode(&digest(KEY.as_bytes())), KEY_SHA256);
}

#[test]
fn a_new_key_has_the_documented_form() {
    let key = generate(safecache::dice::fill).unwrap();
    let text = key.secret.expose();
    assert_eq!(text.len(), 55);
    let (shown, secret) = text.split_at(16);
    assert_eq!(shown, format!("sk-sc-{}", key.public_id));
    assert!(looks_valid(text.as_bytes()));
    let mut mistyped = text.to_owned();
    let last = if mistyped.pop() == Some('0') { '1' } else { '0' };
    mistyped.push(last);
    assert!(!looks_valid(mistyped.as_bytes()), "the form is ours: checked");
    assert_eq!(key.digest, digest(text.as_bytes()));
    assert!(!format!("{key:?}").contains(secret));
    assert_ne!(generate(safecache::dice::fill).unwrap().secret.expose(), text);
}

#[test]
fn a_new_key_is_made_of_fair_bytes_only() {
    let mut next = 255_u8;
    let counting = |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_add(1);
            *byte = next;
        });
        Ok::<(), Infallible>(())
    };
    // Bytes 0 to 9, then 64 to 95; none is thrown away yet.
    let key = generate(counting).unwrap();
    assert!(key.secret.expose().starts_with("sk-sc-0123456789_23456789ABCDEFGHIJKLMNOPQRSTUVWX"));
    // Only 248 and above, which would favour the first digits, then 61.
    let mut calls = 0;
    let unfair = |bytes: &mut [u8]| {
        calls += 1;
        bytes.fill(if calls % 2 == 1 { 248 } else { 61 });
        Ok::<(), Infallible>(())
    };
    assert_eq!(&*generate(unfair).unwrap().public_id, "zzzzzzzzzz");
    assert_eq!(generate(|_| Err("no entropy")).unwrap_err(), "no entropy");
}

// === model_glob ===

#[test]
fn a_glob_fits_whole_names() {
    let fits = |glob: &str, model: &str| ModelGlob::new(glob).unwrap().matches(model);
    assert!(fits("gpt-4o", "gpt-4o") && !fits("gpt-4o", "gpt-4o-mini") && !fits("gpt-4o", "GPT-4o"));
    assert!(fits("gpt-4o*", "gpt-4o") && fits("gpt-4o*", "gpt-4o-mini") && !fits("gpt-4o*", "x-gpt-4o"));
    assert!(fits("*", "") && fits("**", "anything") && !fits("?", "a") && !fits("[a]", "a"));
    assert!(fits("a*a", "aa") && !fits("a*a", "a") && !fits("ab*ba", "aba"));
    assert!(fits("*b*b*", "xbyb") && !fits("*b*b*", "xby") && fits("ä*ö", "äüö"));
    assert!(ModelGlob::new("").is_none() && ModelGlob::new(&"a".repeat(257)).is_none());
    assert_eq!(ModelGlob::new("gpt-*").unwrap().to_string(), "gpt-*");
}

/// The meaning of a glob, spelled out: slow, and plainly right.
fn fits_by_definition(glob: &[u8], model: &[u8]) -> bool {
    match (glob.split_first(), model.split_first()) {
        (None, _) => model.is_empty(),
        (Some((b'*', rest)), None) => fits_by_definition(rest, model),
        (Some((b'*', rest)), Some((_, shorter))) => {
            fits_by_definition(rest, model) || fits_by_definition(glob, shorter)
        }
        (Some((want, glob)), Some((have, model))) => want == have && fits_by_definition(glob, model),
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn a_glob_means_what_it_says(glob in "[ab*]{1,8}", model in "[ab]{0,12}") {
        let fits = ModelGlob::new(&glob).unwrap().matches(&model);
        prop_assert_eq!(fits, fits_by_definition(glob.as_bytes(), model.as_bytes()));
    }
}

// === authenticate ===

#[test]
fn each_refusal_has_its_reason() {
    let now = UnixTime::from_secs(1000);
    let expires = |at| KeyOptions { expires_at: Some(UnixTime::from_secs(at)), ..KeyOptions::default() };
    let mistyped = PADDED_KEY.replace("QRvm", "QRvn");
    let ring = KeyRing::build(
        [
            entry("good"),
            with_options("disabled", KeyOptions { disabled: true, ..KeyOptions::default() }),
            with_options("expired", expires(1000)),
            with_options("lasting", expires(1001)),
            KeyEntry { digest: digest(KEY.as_bytes()), ..entry("ours") },
            KeyEntry { digest: digest(mistyped.as_bytes()), ..entry("mistyped") },
        ],
        &plans(),
    )
    .unwrap();
    let answer = |token: &str| {
        authenticate(&ring, &bearer(token), now).map(|record| record.id().to_string()).map_err(|failure| {
            assert!(matches!(failure, AuthFailure::Invalid(_)));
            failure.as_str()
        })
    };
    assert_eq!(answer(&token_of("good")), Ok("good".to_owned()));
    assert_eq!(answer(&token_of("lasting")), Ok("lasting".to_owned()));
    assert_eq!(answer(KEY), Ok("ours".to_owned()));
    assert_eq!(answer("nobody's"), Err("unknown"));
    assert_eq!(answer(&token_of("disabled")), Err("disabled"));
    assert_eq!(answer(&token_of("expired")), Err("expired"));
    assert_eq!(answer(PADDED_KEY), Err("unknown"));
    assert_eq!(answer(&mistyped), Err("checksum"), "though its digest is known");
    let failure = |headers| authenticate(&ring, &headers, now).map(|_| ()).unwrap_err();
    assert_eq!(failure(HeaderMap::new()), AuthFailure::Missing);
    assert_eq!(failure(header_map(&[("authorization", b"Basic x")])), AuthFailure::Malformed);
    assert_eq!(failure(bearer("x")), AuthFailure::Invalid(InvalidReason::Unknown));
}

#[test]
fn addresses_are_compared_as_what_they_are() {
    let allowing = |nets: &[&str]| {
        let allowed_ips = nets.iter().map(|net| net.parse().unwrap()).collect();
        record_with(KeyOptions { allowed_ips, ..KeyOptions::default() })
    };
    let allows =
        |nets: &[&str], address: &str| allows_address(&allowing(nets), address.parse::<IpAddr>().unwrap());
    assert!(
        allows(&[], "192.0.2.1") && allows_address(&record_with(KeyOptions::default()), [1, 2, 3, 4].into())
    );
    let nets = ["10.0.0.0/8", "2001:db8::/32"];
    assert!(allows(&nets, "10.1.2.3") && allows(&nets, "::ffff:10.1.2.3") && allows(&nets, "2001:db8::1"));
    assert!(!allows(&nets, "11.0.0.1") && !allows(&nets, "::ffff:11.0.0.1") && !allows(&nets, "2001:db9::1"));
    assert!(allows(&["::ffff:10.0.0.0/104"], "10.1.2.3") && !allows(&["::ffff:10.0.0.0/104"], "11.1.2.3"));
    assert!(!allows(&["::/0"], "10.1.2.3"), "all of IPv6 is none of IPv4");
    assert!(allows(&["::/0"], "2001:db8::1") && !allows(&["0.0.0.0/0"], "2001:db8::1"));
}

#[test]
fn a_key_with_models_must_name_one_of_them() {
    let allowed_models = ["gpt-4o*", "o3"].iter().map(|glob| ModelGlob::new(glob).unwrap()).collect();
    let bound = record_with(KeyOptions { allowed_models, ..KeyOptions::default() });
    assert!(allows_model(&bound, Some("gpt-4o-mini")) && allows_model(&bound, Some("o3")));
    assert!(!allows_model(&bound, Some("o3-mini")) && !allows_model(&bound, None));
    let free = record_with(KeyOptions::default());
    assert!(allows_model(&free, Some("anything")) && allows_model(&free, None));
}
