//! What holds of every text that is taken for a request's JSON: the canonical form is that of a second, slow way, which
//! is written from the contract's words.

use std::fmt;

use safecache::cache::key::ScannedBody;
use safecache::llm::canonical;
use safecache::llm::json::{JsonFault, Tape};
use safecache::llm::request::Api;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The deepest nesting that the contract lets be.
const DEEPEST: usize = 128;

/// Members that are left out here, beside what an API leaves out.
const IGNORED: [&str; 2] = ["user", "é"];

/// Holds `body` against the laws of the canonical form.
pub(crate) fn check(body: &[u8]) {
    let found = canonical_of(body);
    match by_the_book(body) {
        Read::Nothing => {
            assert!(matches!(found, Err(JsonFault::NotJson | JsonFault::TooDeep)), "not JSON: {found:?}");
            assert!(ScannedBody::read(body, Api::Other, &[]).is_err());
        }
        Read::TooDeep => assert_eq!(found, Err(JsonFault::TooDeep)),
        Read::Value(value) => {
            let fault = value.fault();
            let expected = fault.map_or_else(|| Ok(value.text(&[])), Err);
            assert_eq!(found, expected);
            check_digests(body, &value, fault);
            if let Ok(form) = &found {
                assert_eq!(canonical_of(form.as_bytes()).as_ref(), Ok(form), "the form of the form");
            }
            let turned = value.turned();
            assert_eq!(canonical_of(turned.as_bytes()).is_ok(), fault.is_none(), "{turned}");
            if fault.is_none() {
                assert_eq!(canonical_of(turned.as_bytes()), found, "the members in another order: {turned}");
            }
        }
    }
}

/// A digest is that of the form, so that equal forms have equal ones, and of nothing else.
fn check_digests(body: &[u8], value: &Reference<'_>, fault: Option<JsonFault>) {
    let ignored: Vec<Box<str>> = IGNORED.map(Into::into).into();
    for (api, left_out) in [
        (Api::Other, &[][..]),
        (Api::ChatCompletions, &["stream", "stream_options", "prompt_cache_key", "safety_identifier"][..]),
    ] {
        let scanned = ScannedBody::read(body, api, &ignored);
        let expected = match fault {
            Some(JsonFault::Duplicate) => {
                assert_eq!(scanned, Err(JsonFault::Duplicate));
                continue;
            }
            Some(fault) => Err(fault),
            None => {
                let form = value.text(&[left_out, &IGNORED].concat());
                let digest = Sha256::digest(form.as_bytes());
                Ok(format!("BodyDigest({})", data_encoding::HEXLOWER.encode(&digest)))
            }
        };
        let scanned = scanned.expect("JSON without duplicates");
        assert_eq!(scanned.digest.map(|digest| format!("{digest:?}")), expected, "{api:?}");
    }
}

fn canonical_of(body: &[u8]) -> Result<String, JsonFault> {
    let mut tape = Tape::default();
    let document = tape.read(body)?;
    let mut form = Vec::new();
    canonical::write(document, &|_| false, &mut |piece| form.extend_from_slice(piece))?;
    Ok(String::from_utf8(form).expect("UTF-8"))
}

/// What the slow way makes of a text.
enum Read<'a> {
    Nothing,
    TooDeep,
    Value(Reference<'a>),
}

/// A value as `serde_json` reads it, with the text of each scalar.
enum Reference<'a> {
    Word(&'a str),
    Number(&'a str),
    Text(Text<'a>),
    Array(Vec<Reference<'a>>),
    Object(Vec<(Text<'a>, Reference<'a>)>),
}

/// A string: as it is written, and its bytes; a lone surrogate has three.
struct Text<'a> {
    raw: &'a str,
    bytes: Vec<u8>,
}

fn by_the_book(body: &[u8]) -> Read<'_> {
    let Ok(text) = std::str::from_utf8(body) else { return Read::Nothing };
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return Read::Nothing };
    read(raw.get(), 0).map_or(Read::TooDeep, Read::Value)
}

/// `None`: it is nested too deep.
fn read(raw: &str, depth: usize) -> Option<Reference<'_>> {
    Some(match raw.as_bytes()[0] {
        b'{' | b'[' if depth == DEEPEST => return None,
        b'{' => {
            let members: Pairs<'_> = serde_json::from_str(raw).expect("an object");
            let members = members.0.into_iter();
            Reference::Object(
                members
                    .map(|(name, value)| Some((text(name), read(value, depth + 1)?)))
                    .collect::<Option<_>>()?,
            )
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw).expect("an array");
            Reference::Array(
                elements.into_iter().map(|value| read(value.get(), depth + 1)).collect::<Option<_>>()?,
            )
        }
        b'"' => Reference::Text(text(raw)),
        b't' | b'f' | b'n' => Reference::Word(raw),
        _ => Reference::Number(raw),
    })
}

fn text(raw: &str) -> Text<'_> {
    let bytes: Bytes = serde_json::from_str(raw).expect("a string");
    Text { raw, bytes: bytes.0 }
}

impl Reference<'_> {
    /// Why there is no form: a name that stands twice before all else, else what comes first.
    fn fault(&self) -> Option<JsonFault> {
        if self.has_duplicate() { Some(JsonFault::Duplicate) } else { self.first_fault() }
    }

    fn has_duplicate(&self) -> bool {
        match self {
            Self::Array(elements) => elements.iter().any(Self::has_duplicate),
            Self::Object(members) => {
                let twice =
                    |at: usize| members[..at].iter().any(|(name, _)| name.bytes == members[at].0.bytes);
                (0..members.len()).any(twice) || members.iter().any(|(_, value)| value.has_duplicate())
            }
            _ => false,
        }
    }

    fn first_fault(&self) -> Option<JsonFault> {
        match self {
            Self::Word(_) => None,
            Self::Number(raw) => {
                let is_beyond = !is_whole(raw) && !raw.parse::<f64>().expect("a number").is_finite();
                is_beyond.then_some(JsonFault::NonFinite)
            }
            Self::Text(text) => text.fault(),
            Self::Array(elements) => elements.iter().find_map(Self::first_fault),
            Self::Object(members) => {
                members.iter().find_map(|(name, value)| name.fault().or_else(|| value.first_fault()))
            }
        }
    }

    /// The canonical form, without the members of the outermost object that are `left_out`.
    fn text(&self, left_out: &[&str]) -> String {
        match self {
            Self::Word(raw) => (*raw).to_owned(),
            Self::Number("-0") => "0".to_owned(),
            Self::Number(raw) if is_whole(raw) => (*raw).to_owned(),
            Self::Number(raw) => double(raw.parse().expect("a number")),
            Self::Text(text) => spelled(&text.decoded()),
            Self::Array(elements) => {
                format!("[{}]", elements.iter().map(|value| value.text(&[])).collect::<Vec<_>>().join(","))
            }
            Self::Object(members) => {
                let mut members: Vec<_> =
                    members.iter().map(|(name, value)| (name.decoded(), value)).collect();
                members.retain(|(name, _)| !left_out.contains(&name.as_str()));
                members.sort_by_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
                let texts =
                    members.iter().map(|(name, value)| format!("{}:{}", spelled(name), value.text(&[])));
                format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The same value with the members of each object the other way round, and white space in between.
    fn turned(&self) -> String {
        match self {
            Self::Word(raw) | Self::Number(raw) => (*raw).to_owned(),
            Self::Text(text) => text.raw.to_owned(),
            Self::Array(elements) => {
                format!("[ {} ]", elements.iter().map(Self::turned).collect::<Vec<_>>().join("\t,\n"))
            }
            Self::Object(members) => {
                let texts =
                    members.iter().rev().map(|(name, value)| format!("{} :\r{}", name.raw, value.turned()));
                format!("{{ {} }}", texts.collect::<Vec<_>>().join(" , "))
            }
        }
    }
}

impl Text<'_> {
    fn fault(&self) -> Option<JsonFault> {
        std::str::from_utf8(&self.bytes).is_err().then_some(JsonFault::LoneSurrogate)
    }

    fn decoded(&self) -> String {
        String::from_utf8(self.bytes.clone()).expect("no lone surrogate")
    }
}

/// True for a number without fraction and exponent.
fn is_whole(raw: &str) -> bool {
    raw.strip_prefix('-').unwrap_or(raw).bytes().all(|byte| byte.is_ascii_digit())
}

/// A double in the fewest digits that read back as the same, and the nearest of those (ECMA-262 §6.1.6.1.20).
fn double(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let (digits, exponent) = shortest(value.abs());
    let sign = if value < 0.0 { "-" } else { "" };
    let count = i32::try_from(digits.len()).expect("a few");
    let zeros = |count: i32| "0".repeat(usize::try_from(count).expect("not below 0"));
    match exponent {
        21.. | ..-6 => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let plus = if exponent > 0 { "+" } else { "" };
            format!("{sign}{first}{point}{rest}e{plus}{exponent}")
        }
        0.. if count <= exponent + 1 => format!("{sign}{digits}{}", zeros(exponent + 1 - count)),
        0.. => {
            let (whole, fraction) = digits.split_at(usize::try_from(exponent + 1).expect("not below 0"));
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}0.{}{digits}", zeros(-exponent - 1)),
    }
}

/// The digits, and the exponent of the first of them. Below a power of two doubles lie closer than above it, so that the
/// nearest number of so few digits may be another double's where the next one is its own.
fn shortest(size: f64) -> (String, i32) {
    for after in 0..17 {
        let text = format!("{size:.after$e}");
        let (mantissa, exponent) = text.split_once('e').expect("an exponent");
        let nearest: u64 = mantissa.replace('.', "").parse().expect("digits");
        let power = exponent.parse::<i32>().expect("a number") - i32::try_from(after).expect("a few");
        for digits in [nearest, nearest + 1, nearest - 1].map(|digits| digits.to_string()) {
            if format!("{digits}e{power}").parse() == Ok(size) {
                let exponent = power + i32::try_from(digits.len()).expect("a few") - 1;
                return (digits, exponent);
            }
        }
    }
    panic!("17 digits are enough for {size:e}")
}

/// A string as RFC 8785 §3.2.2.2 spells it.
fn spelled(text: &str) -> String {
    let mut out = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\0'..' ' => out += &format!("\\u{:04x}", u32::from(character)),
            _ => out.push(character),
        }
    }
    out + "\""
}

// === How serde_json is asked ===

/// The bytes of a string.
struct Bytes(Vec<u8>);

/// The members of an object as they are written.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = access.next_entry::<&RawValue, &RawValue>()? {
            pairs.push((name.get(), value.get()));
        }
        Ok(Pairs(pairs))
    }
}
