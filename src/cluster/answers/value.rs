//! An answer as it is kept in Redis: its version, the number of its call, and behind them what only gateways read.
//!
//! ```text
//! major u8 | number of the call, 16 hexadecimal digits | minor u8 | CRC-32 of all that follows u32
//!          | length of the head u32 | head | payload
//! head: log u128 | number of the purge u64 | when it came u64 | account 0, or 1 and a text | …
//! ```
//!
//! Numbers are little-endian; a text begins with its length in four bytes. A higher minor version may add to the head, which
//! is passed over. The script that keeps an answer puts major version and number before the rest.

use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::shelf::shared::{Fence, Found, Mark, NewShared, SharedAnswer, Tag};

/// What other versions cannot read is written under another one.
pub(super) const MAJOR: u8 = 1;

/// Rises with each field that is added to the head.
const MINOR: u8 = 0;

/// The length of the number of a call.
const FENCE: usize = 16;

/// All behind the number of its call; `None`: it has more than can be told in four bytes.
pub(super) fn written(new: &NewShared) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(&new.mark.log.0.to_le_bytes());
    head.extend_from_slice(&new.mark.number.to_le_bytes());
    head.extend_from_slice(&new.created_at.as_nanos().to_le_bytes());
    head.push(u8::from(new.account.is_some()));
    if let Some(account) = &new.account {
        head.extend_from_slice(&u32::try_from(account.as_str().len()).ok()?.to_le_bytes());
        head.extend_from_slice(account.as_str().as_bytes());
    }
    let length = u32::try_from(head.len()).ok()?.to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    [&length[..], &head, &new.payload].into_iter().for_each(|part| crc.update(part));
    let crc = crc.finalize().to_le_bytes();
    Some([&[MINOR][..], &crc, &length, &head, &new.payload].concat())
}

/// What a value is.
pub(super) fn read(value: &[u8]) -> Found {
    match value.first() {
        Some(major) if *major > MAJOR => Found::Newer,
        Some(major) if *major == MAJOR => {
            Reader(value).answer().map_or(Found::Damaged, |answer| Found::Answer(Box::new(answer)))
        }
        _ => Found::Damaged,
    }
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn answer(mut self) -> Option<SharedAnswer> {
        self.take(1)?;
        let fence = Fence(self.take(FENCE)?.into());
        self.take(1)?;
        let crc = u32::from_le_bytes(self.number()?);
        if crc32fast::hash(self.0) != crc {
            return None;
        }
        let mut head = Reader(self.text()?);
        let log = Tag(u128::from_le_bytes(head.number()?));
        let number = u64::from_le_bytes(head.number()?);
        let created_at = UnixTime::from_nanos(u64::from_le_bytes(head.number()?));
        let account = match head.number()? {
            [0] => None,
            [1] => Some(AccountId::new(std::str::from_utf8(head.text()?).ok()?)),
            _ => return None,
        };
        Some(SharedAnswer {
            fence,
            mark: Mark { log, number },
            account,
            created_at,
            payload: self.0.to_vec(),
        })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.number()?);
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FENCE, MAJOR, read, written};
    use crate::cache::entries::Slot;
    use crate::cache::key::EntryKey;
    use crate::clock::UnixTime;
    use crate::ids::AccountId;
    use crate::llm::translate::AnswerForm;
    use crate::shelf::shared::{Found, Mark, NewShared, Tag};

    fn value(account: Option<&str>) -> Vec<u8> {
        let rest = written(&NewShared {
            slot: Slot { key: EntryKey::from_bytes([1; 32]), form: AnswerForm::Json },
            replaced: Vec::new(),
            account: account.map(AccountId::new),
            mark: Mark { log: Tag(u128::MAX - 1), number: 77 },
            created_at: UnixTime::from_secs(1_800_000_000),
            ttl: Duration::from_secs(60),
            lock: None,
            payload: b"what was said".to_vec(),
        });
        [&[MAJOR][..], &[b'7'; FENCE], &rest.unwrap()].concat()
    }

    #[test]
    fn what_was_written_is_read() {
        for account in [None, Some("acme"), Some("")] {
            let Found::Answer(read) = read(&value(account)) else { panic!("an answer") };
            assert_eq!(read.account.as_ref().map(AccountId::as_str), account);
            assert_eq!(read.mark, Mark { log: Tag(u128::MAX - 1), number: 77 });
            assert_eq!(read.created_at, UnixTime::from_secs(1_800_000_000));
            assert_eq!((&*read.fence.0, &*read.payload), (&[b'7'; FENCE][..], &b"what was said"[..]));
        }
    }

    #[test]
    fn a_higher_major_version_is_not_read_and_a_higher_minor_one_is() {
        let mut newer = value(None);
        newer[0] = MAJOR + 1;
        assert!(matches!(read(&newer), Found::Newer));
        let mut more = value(Some("acme"));
        let rest = more.split_off(1 + FENCE);
        let (length, behind) = rest[5..].split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap());
        let (head, payload) = behind.split_at(length as usize);
        let told = [&(length + 3).to_le_bytes()[..], head, b"new", payload].concat();
        more.push(1);
        more.extend_from_slice(&crc32fast::hash(&told).to_le_bytes());
        more.extend_from_slice(&told);
        let Found::Answer(read) = read(&more) else { panic!("an answer") };
        assert_eq!(
            (read.payload.as_slice(), read.account),
            (&b"what was said"[..], Some(AccountId::new("acme")))
        );
    }

    #[test]
    fn anything_else_is_damaged() {
        let whole = value(Some("acme"));
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Found::Damaged), "{length} bytes");
        }
        for at in FENCE + 2..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(matches!(read(&other), Found::Damaged), "byte {at}");
        }
        assert!(matches!(read(b"\0"), Found::Damaged));
    }
}
