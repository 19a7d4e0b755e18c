//! What the members of a key must be, however they were read.

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::auth::key::Digest;

/// Longest id, account and name, in bytes.
const MOST_BYTES: usize = 128;

/// Accounts made in the console begin with this; none in a list may.
pub const GENERATED_ACCOUNT: &str = "acct_";

/// True for 1 to 128 visible ASCII characters: an id or an account.
pub fn is_visible(text: &str) -> bool {
    (1..=MOST_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for 1 to 128 bytes without control characters: what is shown to people.
pub fn is_name(text: &str) -> bool {
    (1..=MOST_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The digest that 64 hexadecimal digits spell.
pub(super) fn digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let is_whole = HEXLOWER_PERMISSIVE.decode_len(text.len()) == Ok(digest.len());
    let read = is_whole.then(|| HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut digest))?;
    read.is_ok().then_some(digest)
}
