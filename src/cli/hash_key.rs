//! `safecache hash-key`: a key to the line that the key list holds.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::auth::token;

/// A shorter key could be found by trying.
const LEAST_CHARACTERS: usize = 20;

/// More than any header carries.
const MOST_BYTES: usize = 4096;

/// Reads a key from `input`, without one newline at its end, and prints its SHA-256 in hexadecimal on `out`.
///
/// # Errors
/// A key that is short, not text, that no `Authorization` header could carry, or that has the form of a key made here
/// but not its checksum; a closed `out`.
pub fn run(input: &mut dyn Read, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(String::new());
    input.take(MOST_BYTES as u64 + 3).read_to_string(&mut text).context("cannot read a key from stdin")?;
    let key = text.strip_suffix('\n').unwrap_or(&text);
    let key = key.strip_suffix('\r').unwrap_or(key);
    if key.chars().count() < LEAST_CHARACTERS {
        bail!("the key is shorter than {LEAST_CHARACTERS} characters: it could be found by trying");
    }
    if key.len() > MOST_BYTES {
        bail!("the key is longer than {MOST_BYTES} bytes: no request could carry it");
    }
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("the key holds a space, a line break or a character beyond ASCII: no request could carry it");
    }
    if !token::looks_valid(key.as_bytes()) {
        bail!(
            "the key's checksum is wrong: one of its characters is not as it was made, and no request could use it"
        );
    }
    writeln!(out, "{}", HEXLOWER.encode(&token::digest(key.as_bytes())))?;
    Ok(())
}
