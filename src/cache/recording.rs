//! An answer written once and followed by any number of readers: a miss, a hit and a stream are all this.
//!
//! The [`Writer`] appends a head, then pieces, then an end. Each [`Reader`] follows at its own index and sees all of
//! it from the beginning, whenever it was attached. The writer never waits for a reader while pieces are *kept*;
//! once the recording is *windowed* (it will not be stored and nobody may join any more), pieces that all readers
//! have taken are dropped and the writer waits for the slowest.
//!
//! One `std` mutex guards the state: it is held for pushes and index arithmetic only, never across an await.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::cache::recording::pieces::Pieces;
use crate::cache::recording::reader::Reader;
use crate::cache::recording::state::{Follower, State};
use crate::cache::recording::writer::Writer;
use crate::llm::usage::Usage;
use crate::memory::Permit;

mod pieces;
pub mod reader;
mod state;
pub mod writer;

/// How much a windowed recording may run ahead of its slowest reader, in bytes.
pub const WINDOW: u64 = 64 * 1024;

/// The same while nothing but that is reserved: a piece more must not make much more of it.
const LEFT: u64 = 16 * 1024;

/// What a connection fills in its own buffers when more than that comes over it, in bytes: a recording is counted with it
/// from then on, and the connection is to be read in small portions before, and where that cannot be counted.
pub const CONNECTION: u64 = 128 * 1024;

/// The head of an answer, hop-by-hop fields already gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status code, never 1xx.
    pub status: StatusCode,
    /// The fields in the order in which they came.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body's length, where it is known beforehand.
    pub length: Option<u64>,
    /// Whether it becomes an entry, if it comes whole.
    pub destiny: Destiny,
}

/// What becomes of an answer after it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destiny {
    /// It is stored, if it comes whole and clean.
    Stored,
    /// It is forgotten.
    Forgotten,
}

/// Why an answer did not come, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No server could be connected to.
    Connect,
    /// Connecting took too long.
    ConnectTimeout,
    /// We have as many files open as we may.
    NoFiles,
    /// The first byte took too long.
    FirstByteTimeout,
    /// The next piece took too long.
    IdleTimeout,
    /// The connection ended early.
    Reset,
    /// What came was no HTTP.
    Invalid,
    /// Nobody was reading any more, or the gateway is ending.
    Stopped,
    /// The upstream's queue had no place.
    Busy,
    /// The answer is for the one alone who asked first.
    Unshared,
    /// Whoever reads it has no room for what it takes.
    NoRoom,
}

/// One step of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes, never empty.
    Piece(Bytes),
    /// All bytes have been read.
    Complete,
    /// There will be no more.
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed(Failure),
}

/// What readers and the writer share. Kept alone, it is a cache entry's content.
#[derive(Debug)]
pub struct Recording(Mutex<State>);

/// The reader for whom a recording is begun. The task that writes drives it too, each time behind the writer: so nothing
/// wakes it, which would only have the same task run once more for each piece.
const FIRST: u64 = 0;

/// Begins a recording. The reader is to be polled by the task that writes, after each poll of the writer: it is not woken
/// by what is written. `permit` is for [`WINDOW`] bytes already, for what is on its way in and out, and counts what the
/// recording takes beside them, in the share of whoever of its readers has read for the longest.
pub fn begin(permit: Permit) -> (Writer, Reader) {
    let purse = permit.another();
    let recording = Arc::new(Recording(Mutex::new(State {
        head: None,
        pieces: Pieces::default(),
        windowed: false,
        closed: false,
        unshared: false,
        cut: false,
        end: None,
        readers: vec![Follower { id: FIRST, position: 0, waker: None, purse }],
        next_reader: FIRST + 1,
        writer: None,
        deserted: None,
        permit: Some(permit),
        payer: FIRST,
        is_entry: false,
        has_left: false,
        usage: None,
    })));
    (Writer(Arc::clone(&recording)), Reader { recording, id: FIRST })
}

/// A recording that is whole from the start: an entry's content.
pub fn complete(head: AnswerHead, body: Bytes) -> Arc<Recording> {
    Arc::new(Recording(Mutex::new(State {
        head: Some(Arc::new(head)),
        pieces: Pieces::of(body),
        windowed: false,
        closed: false,
        unshared: false,
        cut: false,
        end: Some(End::Complete),
        readers: Vec::new(),
        next_reader: FIRST + 1,
        writer: None,
        deserted: None,
        permit: None,
        payer: FIRST,
        is_entry: true,
        has_left: false,
        usage: None,
    })))
}

/// A further reader, from the first piece on; `None` once pieces may have been dropped, or nobody may join any more. It
/// pays with `purse`, a permit for nothing yet, for what the recording holds, once those are gone who came before; `None`
/// also if it would have to pay at once and cannot.
pub fn join(recording: &Arc<Recording>, purse: Permit) -> Option<Reader> {
    let mut state = recording.state();
    if state.windowed || state.closed || state.cut {
        return None;
    }
    let id = state.next_reader;
    if state.has_left && state.permit.is_none() {
        let mut permit = purse.another();
        if !permit.try_grow(state.pieces.held()) {
            return None;
        }
        (state.permit, state.payer) = (Some(permit), id);
    }
    state.next_reader += 1;
    state.readers.push(Follower { id, position: 0, waker: None, purse });
    state.charge();
    drop(state);
    Some(Reader { recording: Arc::clone(recording), id })
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head, once there is one.
    pub fn head(&self) -> Option<Arc<AnswerHead>> {
        self.state().head.clone()
    }

    /// Bytes of body written so far.
    pub fn written(&self) -> u64 {
        self.state().pieces.written()
    }

    /// Memory that the pieces of the body which are still here take, in bytes.
    pub fn held(&self) -> u64 {
        self.state().pieces.held()
    }

    /// The whole body in one piece; `None` unless every byte is still here.
    pub fn body(&self) -> Option<Bytes> {
        let pieces = {
            let state = self.state();
            if let Some(only) = state.pieces.only() {
                return Some(only.clone());
            }
            state.pieces.all()?
        };
        Some(pieces.concat().into())
    }

    /// The recording is no entry any more: from now on it is counted with one of those who read it. If none of them has
    /// room for it in its share, they are cut.
    pub fn leave_cache(&self) {
        let mut state = self.state();
        state.has_left = true;
        if state.permit.is_some() || state.readers.is_empty() {
            return;
        }
        let taken = state.pieces.held();
        let payer = state.readers.iter().find_map(|reader| {
            let mut permit = reader.purse.another();
            permit.try_hold(taken).then_some((permit, reader.id))
        });
        if let Some((permit, id)) = payer {
            (state.permit, state.payer) = (Some(permit), id);
            return;
        }
        state.cut = true;
        state.pieces = Pieces::default();
        let wakers: Vec<Waker> = state.readers.iter_mut().filter_map(|reader| reader.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// True while every byte is kept, so that it may be stored: it is not windowed.
    pub fn is_kept(&self) -> bool {
        !self.state().windowed
    }

    /// True while somebody reads.
    pub fn is_read(&self) -> bool {
        !self.state().readers.is_empty()
    }

    /// Waits until nobody reads. One task may wait.
    pub async fn deserted(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.readers.is_empty() {
                return Poll::Ready(());
            }
            state.deserted = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// True if nobody reads; then nobody will.
    pub fn close_if_deserted(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.readers.is_empty();
        state.closed && state.readers.is_empty()
    }

    /// True if it ended early.
    pub fn has_failed(&self) -> bool {
        matches!(self.state().end, Some(End::Failed(_)))
    }

    /// What the answer cost, once it has come whole and if it told.
    pub fn usage(&self) -> Option<Usage> {
        self.state().usage
    }
}
