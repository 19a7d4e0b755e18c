//! The side of a recording that follows.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::cache::recording::{AnswerHead, End, FIRST, Failure, Recording, Step};

/// Follows a recording from its beginning.
#[derive(Debug)]
pub struct Reader {
    pub(super) recording: Arc<Recording>,
    pub(super) id: u64,
}

impl Reader {
    /// Waits for the head.
    ///
    /// # Errors
    /// The answer failed before it had one.
    pub async fn head(&self) -> Result<Arc<AnswerHead>, Failure> {
        poll_fn(|cx| {
            let mut state = self.recording.state();
            if state.unshared && self.id != FIRST {
                return Poll::Ready(Err(Failure::Unshared));
            }
            if let Some(head) = &state.head {
                return Poll::Ready(Ok(Arc::clone(head)));
            }
            match state.end {
                Some(End::Failed(why)) => Poll::Ready(Err(why)),
                Some(End::Complete) => Poll::Ready(Err(Failure::Invalid)),
                None => {
                    state.wait(self.id, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits for the next bytes or the end.
    pub async fn next(&mut self) -> Step {
        poll_fn(|cx| {
            let mut state = self.recording.state();
            match state.advance(self.id) {
                Some(step) => Poll::Ready(step),
                None => {
                    state.wait(self.id, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until it may read no further, while what it has read is still on its way. It holds memory until then.
    pub async fn cut(&self) {
        poll_fn(|cx| {
            let mut state = self.recording.state();
            if state.cut {
                return Poll::Ready(());
            }
            // Only those of an entry are ever cut; others are not to be woken by each piece.
            if state.is_entry {
                state.wait(self.id, cx.waker());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for the end, whatever it is.
    pub async fn end(&mut self) {
        while matches!(self.next().await, Step::Piece(_)) {}
    }

    /// The recording that is followed.
    pub fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.recording.state();
        state.readers.retain(|reader| reader.id != self.id);
        state.drop_read();
        state.charge();
        let writer = state.writer.take();
        let deserted = if state.readers.is_empty() { state.deserted.take() } else { None };
        drop(state);
        writer.into_iter().chain(deserted).for_each(Waker::wake);
    }
}
