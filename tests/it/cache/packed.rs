//! An answer that is packed comes out as it went in, and what is no packed answer comes out as none.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::{collection, option, prop_oneof};
use safecache::cache::packed::{Content, Fault, pack, unpack, unpacked_size};
use safecache::cache::recording::{AnswerHead, Destiny};
use safecache::llm::usage::Usage;

const MOST: u64 = 64 * 1024;

fn field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let name = prop_oneof![Just("content-type".to_owned()), "[a-z][a-z0-9-]{0,30}"];
    let value = prop_oneof![
        Just(b"application/json".to_vec()),
        collection::vec(prop_oneof![32..127_u8, 128..=255_u8], 0..100)
    ];
    (name, value).prop_map(|(name, value)| {
        (name.parse().expect("a name"), HeaderValue::from_bytes(&value).expect("a value"))
    })
}

fn content() -> impl Strategy<Value = Content> {
    let usage = (any::<u64>(), any::<u64>(), any::<u64>());
    let usage = usage.prop_map(|(prompt, completion, cached)| Usage { prompt, completion, cached });
    (
        100..1000_u16,
        collection::vec(field(), 0..8),
        option::of(any::<u64>()),
        collection::vec(any::<u8>(), 0..4096),
        any::<u64>(),
        (option::of(usage), option::of(".{0,40}")),
    )
        .prop_map(|(status, fields, length, body, ttl, (usage, model))| Content {
            head: AnswerHead {
                status: StatusCode::from_u16(status).expect("a status"),
                fields,
                length,
                destiny: Destiny::Forgotten,
            },
            body: Bytes::from(body),
            ttl: Duration::from_nanos(ttl),
            usage,
            model: model.map(Into::into),
        })
}

fn example() -> Content {
    Content {
        head: AnswerHead {
            status: StatusCode::OK,
            fields: vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            length: Some(4096),
            destiny: Destiny::Forgotten,
        },
        body: Bytes::from_static(&[b'x'; 4096]),
        ttl: Duration::from_secs(3600),
        usage: Some(Usage { prompt: 1, completion: 2, cached: 0 }),
        model: Some("m".into()),
    }
}

proptest! {
    #[test]
    fn an_answer_comes_out_as_it_went_in(content in content()) {
        let packed = pack(&content).unwrap();
        prop_assert!(unpacked_size(&packed).unwrap() >= content.body.len() as u64);
        prop_assert_eq!(unpack(&packed, MOST), Ok(content));
    }

    #[test]
    fn any_bytes_are_an_answer_or_a_fault(bytes in collection::vec(any::<u8>(), 0..300)) {
        let _ = unpack(&bytes, MOST);
        let _ = unpacked_size(&bytes);
    }

    #[test]
    fn any_head_is_an_answer_or_a_fault(plain in collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..300)) {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&zstd::bulk::compress(&plain, 1).unwrap());
        if let Ok(content) = unpack(&bytes, MOST) {
            prop_assert!(content.body.len() <= plain.len());
        }
    }

    #[test]
    fn a_changed_byte_is_no_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut packed = pack(&example()).unwrap();
        let at = at.index(packed.len());
        packed[at] = byte;
        let _ = unpack(&packed, MOST);
    }
}

#[test]
fn a_part_of_an_answer_is_none() {
    let packed = pack(&example()).unwrap();
    for length in 0..packed.len() {
        assert_eq!(unpack(&packed[..length], MOST), Err(Fault::Damaged), "{length}");
    }
}

#[test]
fn what_is_repeated_takes_little() {
    assert!(pack(&example()).unwrap().len() < 200);
}

#[test]
fn an_answer_of_a_newer_version_is_told_from_a_damaged_one() {
    let mut packed = pack(&example()).unwrap();
    packed[0] = 2;
    assert_eq!(unpack(&packed, MOST), Err(Fault::Newer));
    packed[0] = 0;
    assert_eq!(unpack(&packed, MOST), Err(Fault::Damaged));
}

#[test]
fn no_more_is_unpacked_than_may_be() {
    let packed = pack(&example()).unwrap();
    assert!(unpack(&packed, 4096).is_ok());
    assert_eq!(unpack(&packed, 4095), Err(Fault::TooLarge));
    let mut lying = packed.clone();
    lying[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(unpack(&lying, MOST), Err(Fault::TooLarge), "before anything is");
    lying[1..5].copy_from_slice(&100_u32.to_le_bytes());
    assert_eq!(unpack(&lying, MOST), Err(Fault::Damaged), "it is more than it says");
}
