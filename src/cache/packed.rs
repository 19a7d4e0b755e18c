//! An answer as bytes that outlive the process: a version, the length of what follows, and that, compressed: a head, then
//! the body.
//!
//! Numbers are little-endian. What is there or not begins with a byte that says so; texts begin with their length in four
//! bytes. When the head changes its form, the version rises: older ones are read on, newer ones are as good as not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};

use crate::cache::admit::copied;
use crate::cache::recording::{AnswerHead, Destiny};
use crate::clock::nanos;
use crate::llm::usage::Usage;

/// The form that is written.
const VERSION: u8 = 1;

/// How hard the compressor tries: what is written behind every answer must cost little.
const LEVEL: i32 = 1;

/// The most that the head takes beside the body, in bytes: what upstreams may send as a head, and to spare.
const MOST_HEAD: u64 = 512 * 1024;

/// Version and length.
const PREFIX: usize = 5;

/// All that an entry is, but for when and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The head; it is never to be stored anew.
    pub head: AnswerHead,
    /// The body.
    pub body: Bytes,
    /// How long it is served, from when it came.
    pub ttl: Duration,
    /// What it cost.
    pub usage: Option<Usage>,
    /// The model that was asked, if one was named.
    pub model: Option<Arc<str>>,
}

/// Without what it says: that belongs into no log.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.body.len())
    }
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A newer version wrote them.
    Newer,
    /// It is larger than an answer may be.
    TooLarge,
    /// They are not what was written.
    Damaged,
}

/// Packs an answer; `None` if it has more than can be told in four bytes.
pub fn pack(content: &Content) -> Option<Vec<u8>> {
    let Content { head, body, ttl, usage, model } = content;
    let AnswerHead { status, fields, length, destiny: _ } = head;
    let mut plain = Vec::with_capacity(body.len().saturating_add(512));
    plain.extend_from_slice(&status.as_u16().to_le_bytes());
    plain.extend_from_slice(&nanos(*ttl).to_le_bytes());
    option(&mut plain, length.as_ref(), |plain, length| plain.extend_from_slice(&length.to_le_bytes()));
    option(&mut plain, usage.as_ref(), |plain, usage| {
        let Usage { prompt, completion, cached } = usage;
        [prompt, completion, cached].iter().for_each(|count| plain.extend_from_slice(&count.to_le_bytes()));
    });
    option(&mut plain, model.as_ref(), |plain, model| text(plain, model.as_bytes()));
    plain.extend_from_slice(&u32::try_from(fields.len()).ok()?.to_le_bytes());
    for (name, value) in fields {
        text(&mut plain, name.as_str().as_bytes());
        text(&mut plain, value.as_bytes());
    }
    plain.extend_from_slice(body);
    let mut packed = vec![VERSION];
    packed.extend_from_slice(&u32::try_from(plain.len()).ok()?.to_le_bytes());
    // No compressor fails of memory that is there.
    packed.extend_from_slice(&zstd::bulk::compress(&plain, LEVEL).ok()?);
    Some(packed)
}

/// How many bytes it takes to unpack them; `None` if they do not even say that.
pub fn unpacked_size(packed: &[u8]) -> Option<u64> {
    let (_, rest) = packed.split_first()?;
    rest.first_chunk().map(|length| u64::from(u32::from_le_bytes(*length)))
}

/// The answer that was packed, whose body has at most `most` bytes. Takes no more memory than [`unpacked_size`] says.
///
/// # Errors
/// What was packed elsewhere, or was something else.
pub fn unpack(packed: &[u8], most: u64) -> Result<Content, Fault> {
    let version = packed.first().ok_or(Fault::Damaged)?;
    if *version > VERSION {
        return Err(Fault::Newer);
    }
    let size = unpacked_size(packed).filter(|_| *version == VERSION).ok_or(Fault::Damaged)?;
    if size > most.saturating_add(MOST_HEAD) {
        return Err(Fault::TooLarge);
    }
    let capacity = usize::try_from(size).map_err(|_| Fault::TooLarge)?;
    let compressed = packed.get(PREFIX..).ok_or(Fault::Damaged)?;
    let plain = zstd::bulk::decompress(compressed, capacity).map_err(|_| Fault::Damaged)?;
    if plain.len() != capacity {
        return Err(Fault::Damaged);
    }
    let content = Reader { plain: Bytes::from(plain) }.content().ok_or(Fault::Damaged)?;
    if content.body.len() as u64 > most { Err(Fault::TooLarge) } else { Ok(content) }
}

fn option<T>(plain: &mut Vec<u8>, value: Option<&T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
    plain.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(plain, value);
    }
}

/// A text of less than 4 GiB; of a longer one the rest is left out, with which all of it is too long to be told.
fn text(plain: &mut Vec<u8>, text: &[u8]) {
    plain.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    plain.extend_from_slice(text);
}

/// What is still to be read.
struct Reader {
    plain: Bytes,
}

impl Reader {
    fn content(mut self) -> Option<Content> {
        let status = StatusCode::from_u16(u16::from_le_bytes(self.number()?)).ok()?;
        let ttl = Duration::from_nanos(self.count()?);
        let length = self.option(Self::count)?;
        let usage = self.option(|reader| {
            let [prompt, completion, cached] = [reader.count()?, reader.count()?, reader.count()?];
            Some(Usage { prompt, completion, cached })
        })?;
        let model = self.option(|reader| {
            let model = reader.text()?;
            std::str::from_utf8(&model).ok().map(Arc::from)
        })?;
        let fields = u32::from_le_bytes(self.number()?);
        let fields = (0..fields).map(|_| {
            let name = HeaderName::from_bytes(&self.text()?).ok()?;
            Some((name, copied(&self.text()?)?))
        });
        let mut fields = fields.collect::<Option<Vec<_>>>()?;
        fields.shrink_to_fit();
        // A body of its own: what it was read from would be held with it.
        let body = Bytes::copy_from_slice(&self.plain);
        let head = AnswerHead { status, fields, length, destiny: Destiny::Forgotten };
        Some(Content { head, body, ttl, usage, model })
    }

    fn take(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.plain.len()).then(|| self.plain.split_to(count))
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn count(&mut self) -> Option<u64> {
        self.number().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<Bytes> {
        let length = u32::from_le_bytes(self.number()?);
        self.take(usize::try_from(length).ok()?)
    }

    /// What is there or not; `None` if the byte that says so is neither.
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            [0] => Some(None),
            [1] => read(self).map(Some),
            _ => None,
        }
    }
}
