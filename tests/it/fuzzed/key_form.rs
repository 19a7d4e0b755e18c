//! What holds of every string that is taken for a key, and of every header that carries one.

use http::{HeaderMap, HeaderName, HeaderValue};
use safecache::auth::token::{PresentedFailure, digest, generate, looks_valid, presented};
use sha2::{Digest, Sha256};

/// Longer than any key made here, by much.
const MOST: usize = 4096;

/// Reads `data` as a key, as what keys are made of, and as headers that carry them.
pub(crate) fn check(data: &[u8]) {
    let data = &data[..data.len().min(MOST)];
    assert_eq!(looks_valid(data), by_the_book(data), "as it is");
    assert_eq!(digest(data)[..], Sha256::digest(data)[..]);
    check_made(data);
    check_changed(data);
    check_headers(data);
}

/// A key that is made from `data` is one, whole and round.
fn check_made(data: &[u8]) {
    let mut rest = data;
    let made: Result<_, &str> = generate(|room| {
        let (random, left) = rest.split_at_checked(room.len()).ok_or("no more")?;
        room.copy_from_slice(random);
        rest = left;
        Ok(())
    });
    let fair = |from: &[u8]| from.iter().filter(|byte| **byte < 248).count();
    let Ok(key) = made else { return assert!(fair(data) < 64 + 64 + 10 + 32, "there was enough: {data:?}") };
    let text = key.secret.expose().as_bytes();
    assert_eq!(text.len(), 55);
    assert!(is_ours(text) && by_the_book(text) && looks_valid(text), "{text:?}");
    assert_eq!(&text[6..16], key.public_id.as_bytes());
    assert_eq!(key.digest, digest(text));
    assert!(!format!("{key:?}").contains(key.secret.expose()), "a key in a Debug");
    assert_eq!(carried("authorization", &[b"Bearer ", text].concat()), Ok(text.to_vec()));
}

/// Of a key with the right checksum, no byte can be another without that it is seen.
fn check_changed(data: &[u8]) {
    let [at, with, rest @ ..] = data else { return };
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |place: usize| digits[usize::from(rest.get(place).copied().unwrap_or(0)) % digits.len()];
    let mut key = b"sk-sc-".to_vec();
    key.extend((0..10).map(digit));
    key.push(b'_');
    key.extend((10..42).map(digit));
    let checksum = checksum(&key);
    key.extend(checksum);
    assert!(looks_valid(&key), "{key:?}");
    let at = usize::from(*at) % key.len();
    if key[at] != *with {
        key[at] = *with;
        assert_eq!(
            looks_valid(&key),
            !is_ours(&key),
            "{key:?}: a typing error is refused, another form opaque"
        );
    }
}

/// A header carries a key or it does not, as its rules say.
fn check_headers(data: &[u8]) {
    let is_word = |text: &[u8]| !text.is_empty() && text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let told = |text: &[u8]| if is_word(text) { Ok(text.to_vec()) } else { Err(PresentedFailure::Malformed) };
    for name in ["x-api-key", "api-key"] {
        if HeaderValue::from_bytes(data).is_ok() {
            assert_eq!(carried(name, data), told(data), "{name}");
        }
    }
    if HeaderValue::from_bytes(data).is_err() {
        return;
    }
    let expected = match data.split_first_chunk::<7>() {
        Some((scheme, token)) if scheme.to_ascii_lowercase() == *b"bearer " => told(token),
        _ => Err(PresentedFailure::Malformed),
    };
    assert_eq!(carried("authorization", data), expected);
    let mut both = HeaderMap::new();
    let value = HeaderValue::from_bytes(data).expect("a value");
    both.insert("x-api-key", value.clone());
    both.insert("api-key", value);
    assert_eq!(presented(&both).map(<[u8]>::to_vec), told(data), "both agree");
    both.insert("api-key", HeaderValue::from_bytes(&[data, b"x"].concat()).expect("a value"));
    assert_eq!(presented(&both), Err(PresentedFailure::Malformed), "both differ");
    both.insert("authorization", HeaderValue::from_static("Bearer k"));
    assert_eq!(presented(&both), Ok(&b"k"[..]), "Authorization comes first");
    both.append("authorization", HeaderValue::from_static("Bearer k"));
    assert_eq!(presented(&both), Err(PresentedFailure::Malformed), "and alone");
}

fn carried(name: &'static str, value: &[u8]) -> Result<Vec<u8>, PresentedFailure> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(value).expect("a value");
    headers.insert(HeaderName::from_static(name), value);
    presented(&headers).map(<[u8]>::to_vec)
}

/// True unless `token` has our form without our checksum: in the words of the contract, and slowly.
fn by_the_book(token: &[u8]) -> bool {
    !is_ours(token) || token[49..] == checksum(&token[..49])
}

/// True for 55 bytes of `sk-sc-`, 10 digits, `_` and 38 digits.
fn is_ours(token: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        0..6 => *byte == b"sk-sc-"[at],
        16 => *byte == b'_',
        _ => matches!(*byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'),
    };
    token.len() == 55 && token.iter().enumerate().all(fits)
}

/// CRC-32/ISO-HDLC bit by bit, in six digits of base 62.
fn checksum(body: &[u8]) -> [u8; 6] {
    let mut register = u32::MAX;
    for byte in body {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            let low = register & 1;
            register >>= 1;
            if low == 1 {
                register ^= 0xedb8_8320;
            }
        }
    }
    let mut left = !register;
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(left % 62).expect("below 62");
        *digit = match value {
            0..10 => b'0' + value,
            10..36 => b'A' + value - 10,
            _ => b'a' + value - 36,
        };
        left /= 62;
    }
    digits
}
