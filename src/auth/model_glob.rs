//! Globs over model names.

/// A pattern over model names: `*` stands for any run of characters, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelGlob(Box<str>);

impl ModelGlob {
    /// Takes a pattern; `None` if it is empty or longer than 256 bytes.
    pub fn new(pattern: &str) -> Option<Self> {
        (!pattern.is_empty() && pattern.len() <= 256).then(|| Self(pattern.into()))
    }
}
