//! What of a message's body is still to come, where its framing tells (RFC 9112 §6).

use std::ops::Range;

use crate::proxy::chunks::Chunks;

/// What is still to come.
pub(super) enum Remainder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
}

impl Remainder {
    /// True if there is nothing left.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
        }
    }

    /// True if what came is none: there will be no more.
    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Self::Chunked(chunks) if chunks.is_bad())
    }

    /// Reads `bytes` as far as they belong to the body, as [`Chunks::read`] does. Returns where in them what they carry is
    /// now, and how many of them were read.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> (Range<usize>, usize) {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                (0..taken, taken)
            }
            Self::Chunked(chunks) => chunks.read(bytes),
        }
    }
}
