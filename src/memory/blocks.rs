//! Blocks of one size for what is held for long, used again and again by all threads.
//!
//! An allocator keeps what one thread has freed for that thread. Where much is held and given back in turn by several,
//! that would be resident more than once; so it is held in blocks, and a block that is free is there for everybody.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The size of a block, in bytes.
pub const BLOCK: usize = 64 * 1024;

/// How many wait to be used again, at most.
const MOST_FREE: usize = 128;

/// Blocks that are free. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Blocks(Arc<Mutex<Vec<Vec<u8>>>>);

/// A block that is being filled.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    free: Blocks,
}

impl Blocks {
    /// An empty block.
    pub fn take(&self) -> Block {
        let free = self.free().pop();
        Block { bytes: free.unwrap_or_else(|| Vec::with_capacity(BLOCK)), free: self.clone() }
    }

    /// Gives half of those that are free back to the allocator. To be called now and then, so that what was needed
    /// once is not kept for ever.
    pub fn trim(&self) {
        let surplus = {
            let mut free = self.free();
            let half = free.len() / 2;
            free.split_off(half)
        };
        drop(surplus);
    }

    /// How many are free.
    pub fn count(&self) -> usize {
        self.free().len()
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Takes as much of `bytes` as there is room for; how much.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(BLOCK - self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        taken
    }

    /// True if there is no room.
    pub fn is_full(&self) -> bool {
        self.bytes.len() == BLOCK
    }

    /// Its bytes. When the last of them is dropped, the block is free.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.free.free();
        if free.len() < MOST_FREE {
            free.push(bytes);
        }
    }
}
