//! The side of a recording that appends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::cache::recording::state::State;
use crate::cache::recording::{AnswerHead, End, Failure, Recording};
use crate::llm::usage::Usage;

/// Appends to a recording. Dropped before its end, it fails the recording as stopped.
#[derive(Debug)]
pub struct Writer(pub(super) Arc<Recording>);

impl Writer {
    /// The recording that is being written.
    pub fn recording(&self) -> &Arc<Recording> {
        &self.0
    }

    /// Keeps the answer for the first reader; to be called before its head is published. The others wait for nothing.
    pub fn unshare(&self) {
        self.change(|state| (state.closed, state.unshared) = (true, true));
    }

    /// Publishes the head. To be called once, before any piece.
    pub fn head(&self, head: AnswerHead) {
        self.change(|state| state.head = Some(Arc::new(head)));
    }

    /// Appends a piece; an empty one is nothing. False if the permit could not grow: the caller makes the recording
    /// [windowed](Writer::window) if it is not yet, and reads less at once.
    pub fn push(&self, piece: Bytes) -> bool {
        if piece.is_empty() {
            return true;
        }
        let mut counted = true;
        self.change(|state| {
            if let Some(permit) = state.permit.as_ref().filter(|_| !state.windowed) {
                state.pieces.gather(permit.blocks());
            }
            state.pieces.push(piece);
            // Of use only when nobody reads any more.
            state.drop_read();
            counted = state.grow();
        });
        counted
    }

    /// From now on drops what all readers have read; no reader can be attached any more.
    pub fn window(&self) {
        let mut state = self.0.state();
        state.windowed = true;
        state.drop_read();
        state.grow();
    }

    /// Waits until a windowed recording has room for more. Kept ones always have.
    pub async fn room(&self) {
        poll_fn(|cx| {
            let mut state = self.0.state();
            if !state.windowed || state.pieces.held() <= state.may_be_left() || state.readers.is_empty() {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ends the recording: all bytes are there. `usage` is what they cost.
    pub fn complete(self, usage: Option<Usage>) {
        self.0.state().usage = usage;
        self.end(End::Complete);
    }

    /// Ends the recording early.
    pub fn fail(self, why: Failure) {
        self.end(End::Failed(why));
    }

    fn end(&self, end: End) {
        self.change(|state| {
            if state.end.is_none() {
                state.end = Some(end);
                state.shrink();
            }
        });
    }

    /// Changes the state, then wakes every reader that waits; the lock is released first.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state();
        change(&mut state);
        let mut rest = state.readers.iter_mut().filter_map(|reader| reader.waker.take());
        let first = rest.next();
        let others: Vec<Waker> = rest.collect();
        drop(state);
        first.into_iter().chain(others).for_each(Waker::wake);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(End::Failed(Failure::Stopped));
    }
}
