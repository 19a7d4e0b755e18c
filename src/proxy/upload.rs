//! A request's body on its way from the client: read as the server takes it, and no further than a little ahead.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;

use crate::memory::Permit;
use crate::outcome::rejection::Rejection;
use crate::proxy::attempts::Repeat;
use crate::proxy::body::content_length;
use crate::proxy::link::LARGEST_PIECE;
use crate::proxy::patience::Patience;
use crate::proxy::session::Session;

/// Up to this size a body is kept until its answer begins: it may have to be sent once more. So much is also read
/// ahead of a server that is not there yet.
const KEPT: usize = 64 * 1024;

/// The most memory that a body on its way takes here: what is kept, a piece that has just been read, and one that is
/// being written.
const MOST_HELD: u64 = (KEPT + 2 * LARGEST_PIECE) as u64;

/// A body that is being sent on.
pub(super) struct Upload {
    /// What was read: all of it if `is_kept`, else what was not handed out.
    pieces: VecDeque<Bytes>,
    /// Bytes of them.
    size: usize,
    is_kept: bool,
    /// How many pieces of what is kept have been handed out.
    given: usize,
    client: Client,
    is_over: bool,
    patience: Patience,
    memory: Permit,
}

/// What the client still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// It sends the body.
    Sends,
    /// It waits, and may leave.
    Waits,
}

/// Why a client's request comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It left.
    Gone,
    /// Its body did not come in time.
    Slow,
    /// Its body is badly framed.
    Broken,
}

impl Fault {
    /// What is to be told, if there is anyone to be told.
    pub(super) fn rejection(self) -> Option<Rejection> {
        match self {
            Self::Gone => None,
            Self::Slow => Some(Rejection::BodyTimeout),
            Self::Broken => Some(Rejection::BodyBroken),
        }
    }
}

impl Upload {
    /// The body of the request that `session` has read the head of. Only the time in which it is waited for counts
    /// in `patience`. What it may hold is counted in `memory` until it is [released](Upload::release).
    ///
    /// # Errors
    /// [`Rejection::Overloaded`]: there is no memory for it.
    pub(super) fn of(
        session: &mut Session,
        patience: Patience,
        mut memory: Permit,
    ) -> Result<Self, Rejection> {
        let client = if session.is_body_over() { Client::Waits } else { Client::Sends };
        let most_held = match client {
            Client::Sends => content_length(session).unwrap_or(MOST_HELD).min(MOST_HELD),
            Client::Waits => 0,
        };
        if !memory.try_grow(most_held) {
            return Err(Rejection::Overloaded);
        }
        let pieces = VecDeque::new();
        Ok(Self { pieces, size: 0, is_kept: true, given: 0, client, is_over: false, patience, memory })
    }

    /// All of it has been written: it takes no more memory.
    pub(super) fn release(&mut self) {
        self.memory.shrink_to(0);
    }

    /// True once it [has ended](Upload::ends).
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// True, once, when all of it was handed out.
    pub(super) fn ends(&mut self) -> bool {
        let is_at_end = self.client != Client::Sends && self.left() == 0;
        let ends = is_at_end && !self.is_over;
        self.is_over |= is_at_end;
        ends
    }

    /// How many pieces that were read are still to be handed out.
    fn left(&self) -> usize {
        self.pieces.len() - self.given
    }

    /// The next piece, never empty; `None` if there is none before the end. Once it is over, comes back only if the
    /// client leaves. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// There will be no more.
    pub(super) async fn next(&mut self, session: &mut Session) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(piece) = self.take() {
                return Ok(Some(piece));
            }
            if self.client != Client::Sends && !self.is_over {
                return Ok(None);
            }
            self.read(session).await?;
        }
    }

    /// The client is not waited for any more, for now.
    pub(super) fn pause(&mut self) {
        self.patience.pause();
    }

    /// Hands out what was read before.
    fn take(&mut self) -> Option<Bytes> {
        if self.is_kept {
            let piece = self.pieces.get(self.given).cloned()?;
            self.given += 1;
            return Some(piece);
        }
        let piece = self.pieces.pop_front()?;
        self.size -= piece.len();
        Some(piece)
    }

    /// Waits for `event`, while the client may go on sending, or leave.
    ///
    /// # Errors
    /// The client's came first.
    pub(super) async fn until<T>(
        &mut self,
        session: &mut Session,
        event: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let value = tokio::select! {
            biased;
            value = event => value,
            fault = self.read_ahead(session) => return Err(fault),
        };
        self.pause();
        Ok(value)
    }

    async fn read_ahead(&mut self, session: &mut Session) -> Fault {
        while self.client != Client::Sends || self.size < KEPT {
            if let Err(fault) = self.read(session).await {
                return fault;
            }
        }
        session.left().await;
        Fault::Gone
    }

    /// Begins again, if nothing of what was handed out is gone.
    pub(super) fn rewind(&mut self) -> Repeat {
        if !self.is_kept {
            return Repeat::Impossible;
        }
        self.given = 0;
        self.is_over = false;
        Repeat::Possible
    }

    /// It will not be needed once more.
    pub(super) fn let_go(&mut self) {
        self.is_kept = false;
        for piece in self.pieces.drain(..self.given) {
            self.size -= piece.len();
        }
        self.given = 0;
    }

    /// Reads a piece more; of a client that has sent all, waits until it leaves.
    async fn read(&mut self, session: &mut Session) -> Result<(), Fault> {
        match self.client {
            Client::Sends => {
                let piece = self.read_piece(session).await?;
                if piece.is_none() || session.is_body_over() {
                    self.client = Client::Waits;
                }
                // HTTP/2 clients commonly end a body with an empty frame.
                if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                    self.size += piece.len();
                    self.pieces.push_back(piece);
                    if self.size > KEPT {
                        self.let_go();
                    }
                }
                Ok(())
            }
            Client::Waits => {
                session.left().await;
                Err(Fault::Gone)
            }
        }
    }

    async fn read_piece(&mut self, session: &mut Session) -> Result<Option<Bytes>, Fault> {
        let mut reading = pin!(session.read_body());
        poll_fn(|cx| {
            let read = reading.as_mut().poll(cx);
            let moved = match &read {
                Poll::Ready(read) => Poll::Ready(Ok(size_of(read))),
                Poll::Pending => Poll::Pending,
            };
            match self.patience.note(cx, &moved) {
                Ok(()) => read,
                Err(_) => Poll::Ready(Err(Fault::Slow)),
            }
        })
        .await
    }
}

fn size_of(read: &Result<Option<Bytes>, Fault>) -> usize {
    read.as_ref().map_or(0, |piece| piece.as_ref().map_or(0, Bytes::len))
}
