//! The bytes of a recording that are still here: the newest in pieces as they came, what is older gathered in blocks.
//!
//! A piece is handed out as it came, to whoever keeps up. What lies behind is copied once, into blocks that hold as much
//! as a thousand small events, and is read from there by all who come later.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::memory::allocated;
use crate::memory::blocks::{BLOCK, Blocks};

/// What is handed out at once, at most, in bytes.
const MOST: usize = 64 * 1024;

/// From this many bytes on a piece is handed out as it is: to write it alone costs less than to copy it.
const LARGE: usize = 16 * 1024;

/// What a piece takes beside its bytes: its place among the pieces, which may have been doubled, and its count.
const PLACE: u64 = 112;

/// Bytes in a row, addressed by how many came before them.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    list: VecDeque<Piece>,
    /// Bytes ever appended.
    written: u64,
    /// Memory that they take.
    held: u64,
    /// How many blocks there are before the pieces as they came.
    blocks: usize,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Pieces {
    /// All bytes of a body, in a place that no others will be beside.
    pub(super) fn of(body: Bytes) -> Self {
        let mut pieces = Self { list: VecDeque::with_capacity(1), ..Self::default() };
        if !body.is_empty() {
            pieces.push(body);
        }
        pieces
    }

    /// Bytes ever appended.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Memory that those which are still here take, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Appends bytes, not none.
    pub(super) fn push(&mut self, bytes: Bytes) {
        let piece = Piece { start: self.written, bytes };
        self.written = piece.end();
        self.held += piece.memory();
        self.list.push_back(piece);
    }

    /// Gathers in blocks what fills some. To be called while nothing has been dropped, and before a piece is appended:
    /// that one is handed out as it came.
    pub(super) fn gather(&mut self, blocks: &Blocks) {
        while self.written - (self.blocks * BLOCK) as u64 >= BLOCK as u64 {
            let mut loose = self.list.split_off(self.blocks);
            let start = loose.front().map_or(self.written, |piece| piece.start);
            let mut block = blocks.take();
            while let Some(piece) = loose.front_mut().filter(|_| !block.is_full()) {
                self.held -= piece.memory();
                let taken = block.fill(&piece.bytes);
                piece.bytes.advance(taken);
                piece.start += taken as u64;
                if piece.bytes.is_empty() {
                    loose.pop_front();
                } else {
                    self.held += piece.memory();
                }
            }
            let block = Piece { start, bytes: block.freeze() };
            self.held += block.memory();
            self.list.push_back(block);
            self.list.append(&mut loose);
            self.blocks += 1;
        }
    }

    /// The bytes from `position` on, some of them; `None` if there are none yet. Small pieces that wait together come as
    /// one, which is a copy; all else comes as it is kept.
    pub(super) fn read(&self, position: u64) -> Option<Bytes> {
        let at = self.list.partition_point(|piece| piece.end() <= position);
        let piece = self.list.get(at)?;
        let from = usize::try_from(position.saturating_sub(piece.start)).ok()?;
        let first = piece.bytes.slice(from..piece.bytes.len().min(from + MOST));
        if first.len() >= LARGE {
            return Some(first);
        }
        let mut size = first.len();
        let fits = |piece: &&Piece| {
            let fits = size + piece.bytes.len() <= MOST && piece.bytes.len() < LARGE;
            size += if fits { piece.bytes.len() } else { 0 };
            fits
        };
        let fitting = self.list.range(at + 1..).take_while(fits).count();
        if fitting == 0 {
            return Some(first);
        }
        let mut together = BytesMut::with_capacity(size);
        together.extend_from_slice(&first);
        let following = self.list.range(at + 1..).take(fitting);
        following.for_each(|piece| together.extend_from_slice(&piece.bytes));
        Some(together.freeze())
    }

    /// Drops the pieces that end before `position`.
    pub(super) fn drop_before(&mut self, position: u64) {
        while let Some(piece) = self.list.pop_front_if(|piece| piece.end() <= position) {
            self.held -= piece.memory();
        }
    }

    /// True if `position` is in the first piece that is still here, or before it.
    pub(super) fn is_in_first(&self, position: u64) -> bool {
        self.list.front().is_some_and(|piece| position < piece.end())
    }

    /// All bytes ever appended, if they are one piece.
    pub(super) fn only(&self) -> Option<&Bytes> {
        self.list.front().filter(|piece| piece.bytes.len() as u64 == self.written).map(|piece| &piece.bytes)
    }

    /// All bytes; `None` if some have been dropped.
    pub(super) fn all(&self) -> Option<Vec<Bytes>> {
        let is_all = self.list.front().map_or(self.written, |piece| piece.start) == 0;
        is_all.then(|| self.list.iter().map(|piece| piece.bytes.clone()).collect())
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn memory(&self) -> u64 {
        allocated(self.bytes.len() as u64) + PLACE
    }
}
