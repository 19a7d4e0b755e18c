//! Globs over model names.

use std::fmt;

use memchr::memmem;

/// A pattern over model names: `*` stands for any run of characters, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelGlob(Box<str>);

impl ModelGlob {
    /// Takes a pattern; `None` if it is empty or longer than 256 bytes.
    pub fn new(pattern: &str) -> Option<Self> {
        (!pattern.is_empty() && pattern.len() <= 256).then(|| Self(pattern.into()))
    }

    /// True if the whole of `model` fits, upper and lower case apart. Never backtracks: between the first and last
    /// literal, each is taken where it first occurs, which leaves most to the ones after it.
    pub fn matches(&self, model: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return *self.0 == *model };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let inner = model.strip_prefix(head).and_then(|model| model.strip_suffix(tail));
        let Some(mut left) = inner.map(str::as_bytes) else { return false };
        for literal in middle.split('*') {
            let Some(at) = memmem::find(left, literal.as_bytes()) else { return false };
            left = left.get(at + literal.len()..).unwrap_or_default();
        }
        true
    }
}

impl fmt::Display for ModelGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
