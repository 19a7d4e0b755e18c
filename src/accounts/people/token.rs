//! What is random: tokens that let somebody in, and ids that do not.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::accounts::people::refusal::{Broken, Refusal};
use crate::dice;
use crate::ids::{AccountId, PersonId};
use crate::secret::Secret;
use crate::store::people::TokenDigest;

/// Digits of base 62, in the order of their values.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many of them an id has: 95 bits.
const ID_DIGITS: usize = 16;

/// What a session's browser or a link shows: 256 random bits, as 43 characters of base64url.
pub(super) fn token() -> Result<Secret, Refusal> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    dice::fill(bytes.as_mut_slice()).map_err(|_| Refusal::Broken(Broken::Randomness))?;
    Ok(Secret::new(BASE64URL_NOPAD.encode(bytes.as_slice())))
}

/// What is kept of a token. Tokens are looked up by it, so that how far one agrees with another takes no time that
/// could be measured.
pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// A new account's id.
pub(super) fn account_id() -> Result<AccountId, Refusal> {
    id("acct_").map(|id| AccountId::new(&id))
}

/// A new person's id.
pub(super) fn person_id() -> Result<PersonId, Refusal> {
    id("prsn_").map(|id| PersonId::new(&id))
}

/// A new id that begins with `prefix`. Each digit is as likely as any other: bytes beyond the last whole multiple of 62
/// are thrown away.
pub(super) fn id(prefix: &str) -> Result<String, Refusal> {
    let mut text = String::with_capacity(prefix.len() + ID_DIGITS);
    text.push_str(prefix);
    let whole = prefix.len() + ID_DIGITS;
    let mut random = [0_u8; 32];
    while text.len() < whole {
        dice::fill(&mut random).map_err(|_| Refusal::Broken(Broken::Randomness))?;
        let fair = random.iter().filter(|byte| **byte < 248).take(whole - text.len());
        text.extend(fair.filter_map(|byte| BASE62.get(usize::from(*byte % 62))).copied().map(char::from));
    }
    Ok(text)
}
