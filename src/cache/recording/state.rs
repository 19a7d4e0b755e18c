//! What the writer and the readers of a recording share, behind its lock.

use std::sync::Arc;
use std::task::Waker;

use crate::cache::recording::pieces::Pieces;
use crate::cache::recording::{AnswerHead, CONNECTION, End, FIRST, Failure, LEFT, Step, WINDOW};
use crate::llm::usage::Usage;
use crate::memory::Permit;

#[derive(Debug)]
pub(super) struct State {
    pub(super) head: Option<Arc<AnswerHead>>,
    pub(super) pieces: Pieces,
    pub(super) windowed: bool,
    /// Nobody may join any more.
    pub(super) closed: bool,
    /// It is for its first reader alone.
    pub(super) unshared: bool,
    /// Its readers may read no further.
    pub(super) cut: bool,
    pub(super) end: Option<End>,
    pub(super) readers: Vec<Follower>,
    pub(super) next_reader: u64,
    /// Who waits for room.
    pub(super) writer: Option<Waker>,
    /// Who waits for the last reader to leave.
    pub(super) deserted: Option<Waker>,
    pub(super) permit: Option<Permit>,
    /// The reader whose purse the permit is of.
    pub(super) payer: u64,
    /// It is an entry's content, or was.
    pub(super) is_entry: bool,
    /// The entry is one no more: who reads it pays.
    pub(super) has_left: bool,
    pub(super) usage: Option<Usage>,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) id: u64,
    /// Bytes that it has taken.
    pub(super) position: u64,
    pub(super) waker: Option<Waker>,
    /// With what it pays for what the recording holds.
    pub(super) purse: Permit,
}

impl State {
    /// Where a reader is; they are in the order in which they came.
    pub(super) fn reader(&self, id: u64) -> Option<usize> {
        self.readers.binary_search_by_key(&id, |reader| reader.id).ok()
    }

    /// Has the reader woken by what comes next, unless it is the [first](FIRST).
    pub(super) fn wait(&mut self, id: u64, waker: &Waker) {
        if id == FIRST {
            return;
        }
        if let Some(reader) = self.reader(id).and_then(|at| self.readers.get_mut(at)) {
            reader.waker = Some(waker.clone());
        }
    }

    /// The reader's next step, if there is one now.
    pub(super) fn advance(&mut self, id: u64) -> Option<Step> {
        if self.cut {
            return Some(Step::Failed(Failure::NoRoom));
        }
        let at = self.reader(id)?;
        let reader = self.readers.get_mut(at)?;
        let Some(bytes) = self.pieces.read(reader.position) else {
            return self.end.map(|end| match end {
                End::Complete => Step::Complete,
                End::Failed(why) => Step::Failed(why),
            });
        };
        let was_last = self.pieces.is_in_first(reader.position);
        reader.position += bytes.len() as u64;
        if self.windowed && was_last {
            self.drop_read();
            if let Some(waker) = self.writer.take() {
                waker.wake();
            }
        }
        Some(Step::Piece(bytes))
    }

    /// Counts what is held with whoever has read for the longest, once who paid has gone.
    pub(super) fn charge(&mut self) {
        if self.reader(self.payer).is_some() {
            return;
        }
        let Some(reader) = self.readers.first() else { return };
        self.payer = reader.id;
        if let Some(permit) = self.permit.as_mut() {
            permit.move_to(&reader.purse);
        }
    }

    /// Counts what is taken, with another reader if who pays has no room; false if none has.
    pub(super) fn grow(&mut self) -> bool {
        let taken = self.taken();
        let Some(permit) = self.permit.as_mut() else { return true };
        if permit.try_grow_to(taken) {
            return true;
        }
        let other = self.readers.iter().filter(|reader| reader.id != self.payer).find_map(|reader| {
            let mut other = reader.purse.another();
            let (more, held) = (taken.saturating_sub(permit.bytes()), permit.bytes());
            (other.try_grow(more) && other.try_hold(held)).then_some((other, reader.id))
        });
        let Some((other, id)) = other else { return false };
        (self.permit, self.payer) = (Some(other), id);
        true
    }

    /// Drops the pieces that all readers have taken, if the recording is windowed, and gives back their memory.
    pub(super) fn drop_read(&mut self) {
        if !self.windowed {
            return;
        }
        let slowest = self.readers.iter().map(|reader| reader.position).min().unwrap_or(u64::MAX);
        self.pieces.drop_before(slowest);
        self.shrink();
    }

    /// Gives back the memory that is no longer taken.
    pub(super) fn shrink(&mut self) {
        let taken = self.taken();
        if let Some(permit) = self.permit.as_mut() {
            permit.shrink_to(taken);
        }
    }

    /// How much may be unread when the writer of a windowed recording goes on.
    pub(super) fn may_be_left(&self) -> u64 {
        let has_room = self.permit.as_ref().is_some_and(|permit| permit.bytes() >= WINDOW + CONNECTION);
        if has_room { WINDOW } else { LEFT }
    }

    /// Memory that it takes: for what is here, what is on its way to a reader, and the connection it comes over.
    pub(super) fn taken(&self) -> u64 {
        let is_long = self.end.is_none() && self.pieces.written() > CONNECTION;
        WINDOW + self.pieces.held() + if is_long { CONNECTION } else { 0 }
    }
}
