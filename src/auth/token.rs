//! The form of a key, and where a request carries it.
//!
//! `sk-sc-` + 10 characters public id + `_` + 32 characters secret + 6 characters checksum, all base62: 55 bytes, one
//! block of SHA-256. The prefix and checksum let scanners tell a leaked key from noise, and refuse a typing error.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::auth::key::Digest;
use crate::secret::Secret;

/// `X-Api-Key`, asked where there is no `Authorization`.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// `api-key`, asked beside `X-Api-Key`.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

const PREFIX: &[u8] = b"sk-sc-";
const PUBLIC_ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;
/// What the checksum is over.
const BODY_LENGTH: usize = PREFIX.len() + PUBLIC_ID_LENGTH + 1 + SECRET_LENGTH;
const TOKEN_LENGTH: usize = BODY_LENGTH + CHECKSUM_LENGTH;

/// Digits of base 62, in the order of their values.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a request carries no key that could be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedFailure {
    /// No header for one.
    Missing,
    /// Another scheme, no token, white space or control characters in it, or two keys.
    Malformed,
}

/// A key just made: the only moment at which its text is known here.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The whole key, for its owner's eyes.
    pub secret: Secret,
    /// The part of it that may be shown again.
    pub public_id: Box<str>,
    /// What is kept of it.
    pub digest: Digest,
}

/// The key that a request carries: in `Authorization: Bearer KEY` (RFC 6750 §2.1; the scheme in any case, one
/// space), or, without that header, in `X-Api-Key: KEY` or `api-key: KEY`.
///
/// # Errors
/// There is none, or it is malformed; both headers of the second kind may be there if they agree.
pub fn presented(headers: &HeaderMap) -> Result<&[u8], PresentedFailure> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    if let Some(first) = authorizations.next() {
        let is_only = authorizations.next().is_none();
        let token = bearer(first.as_bytes()).filter(|token| is_only && is_word(token));
        return token.ok_or(PresentedFailure::Malformed);
    }
    match (only(headers, &X_API_KEY)?, only(headers, &API_KEY)?) {
        (None, None) => Err(PresentedFailure::Missing),
        (Some(one), Some(other)) if one != other => Err(PresentedFailure::Malformed),
        (Some(token), _) | (None, Some(token)) if is_word(token.as_bytes()) => Ok(token.as_bytes()),
        _ => Err(PresentedFailure::Malformed),
    }
}

/// False if `token` has the form of a key made here, yet not its checksum. Any other form is opaque: true.
pub fn looks_valid(token: &[u8]) -> bool {
    let Some((body, checksum)) = token.split_at_checked(BODY_LENGTH) else { return true };
    if !has_form(token) {
        return true;
    }
    checksum == base62(crc32fast::hash(body))
}

/// SHA-256 of a whole key, of whatever form.
pub fn digest(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

/// Makes a key from what `fill` writes, which must be unpredictable: 190 bits of it are the secret.
///
/// # Errors
/// Whatever `fill` fails with; nothing is made then.
pub fn generate<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<NewKey, E> {
    let public_id = random_text(PUBLIC_ID_LENGTH, &mut fill)?;
    let secret = random_text(SECRET_LENGTH, &mut fill)?;
    // Reserved in full, so that no copy of the secret is left behind where the text had been shorter.
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_LENGTH));
    text.extend(PREFIX.iter().copied().map(char::from));
    text.push_str(&public_id);
    text.push('_');
    text.push_str(&secret);
    let checksum = base62(crc32fast::hash(text.as_bytes()));
    text.extend(checksum.into_iter().map(char::from));
    let digest = digest(text.as_bytes());
    let public_id = public_id.as_str().into();
    Ok(NewKey { secret: Secret::new(std::mem::take(&mut text)), public_id, digest })
}

/// What follows `Bearer` and exactly one space; more white space is left in it, to be refused.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
}

/// True for one or more visible ASCII characters.
fn is_word(token: &[u8]) -> bool {
    !token.is_empty() && token.iter().all(u8::is_ascii_graphic)
}

/// The one value of the header `name`, if it is there.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, PresentedFailure> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(PresentedFailure::Malformed) } else { Ok(first) }
}

/// True if `token` is as long as a key made here and has the right kind of character in each place.
fn has_form(token: &[u8]) -> bool {
    let is_digit = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    token.len() == TOKEN_LENGTH
        && token.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(PUBLIC_ID_LENGTH)).is_some_and(
            |(public_id, rest)| is_digit(public_id) && rest.strip_prefix(b"_").is_some_and(is_digit),
        )
}

/// `number` in base 62, most significant digit first; six digits hold every 32-bit number.
fn base62(mut number: u32) -> [u8; CHECKSUM_LENGTH] {
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = digit_of(number % 62);
        number /= 62;
    }
    digits
}

/// The digit of a value below 62; larger ones wrap around.
fn digit_of(value: u32) -> u8 {
    BASE62.get(value as usize % BASE62.len()).copied().unwrap_or(b'0')
}

/// `length` digits, each as likely as any other: bytes beyond the last whole multiple of 62 are thrown away.
fn random_text<E>(
    length: usize,
    fill: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Zeroizing<String>, E> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut random = Zeroizing::new([0_u8; 64]);
    while text.len() < length {
        fill(random.as_mut_slice())?;
        let missing = length - text.len();
        let fair = random.iter().filter(|byte| **byte < 248).take(missing);
        text.extend(fair.map(|byte| char::from(digit_of(u32::from(*byte) % 62))));
    }
    Ok(text)
}
