//! Reading a request body whole, or away, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;

use crate::config::Limits;
use crate::memory::Permit;
use crate::outcome::rejection::Rejection;
use crate::proxy::patience::Rate;
use crate::proxy::session::Session;
use crate::proxy::upload::Fault;

/// Longest wait for the next piece of a body.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How a body's permit grows: with what has come, not with what was announced.
const GROWTH: u64 = 64 * 1024;

/// What is asked of a client that sends a body: `limits.min_send_rate`, at least a byte.
pub(super) fn upload_rate(limits: &Limits) -> Rate {
    let bytes = limits.min_send_rate.as_u64().saturating_mul(PIECE_TIMEOUT.as_secs()).max(1);
    Rate { bytes, span: PIECE_TIMEOUT }
}

/// Reads the whole body, counting it in `permit`.
///
/// # Errors
/// It is over `max_body`, did not come in time, is badly framed, or there is no memory for it.
pub(super) async fn read(
    session: &mut Session,
    limits: &Limits,
    permit: &mut Permit,
) -> Result<Bytes, Rejection> {
    let announced = content_length(session);
    if announced.is_some_and(|length| length > limits.max_body.as_u64()) {
        return Err(Rejection::BodyTooLarge);
    }
    session.say_continue().await.map_err(|_| Rejection::BodyBroken)?;
    let mut body = Gathered::default();
    loop {
        let filling = body.fill(session, limits, permit);
        // pingora's makes a timer only where there is a wait.
        match pingora::time::tokio_timeout(PIECE_TIMEOUT, filling).await {
            Ok(Ok(Filled::Enough)) => {}
            Ok(Ok(Filled::Ended)) => return Ok(body.whole()),
            Ok(Err(rejection)) => return Err(rejection),
            Err(_) => return Err(Rejection::BodyTimeout),
        }
    }
}

/// What has come of a body: nothing is copied while it is one piece.
#[derive(Default)]
struct Gathered {
    only: Bytes,
    many: BytesMut,
}

enum Filled {
    /// As much came as the slowest client allowed sends in [`PIECE_TIMEOUT`].
    Enough,
    /// That was all.
    Ended,
}

impl Gathered {
    /// Reads until enough has come for the [rate](upload_rate) that bodies are held to.
    async fn fill(
        &mut self,
        session: &mut Session,
        limits: &Limits,
        permit: &mut Permit,
    ) -> Result<Filled, Rejection> {
        let target = self.len().saturating_add(upload_rate(limits).bytes);
        while let Some(piece) = next_piece(session).await? {
            let size = self.len() + piece.len() as u64;
            if size > limits.max_body.as_u64() {
                return Err(Rejection::BodyTooLarge);
            }
            if !permit.try_grow_to(size.next_multiple_of(GROWTH)) {
                return Err(Rejection::Overloaded);
            }
            self.push(piece);
            if self.len() >= target {
                return Ok(Filled::Enough);
            }
        }
        Ok(Filled::Ended)
    }

    fn len(&self) -> u64 {
        (self.only.len() + self.many.len()) as u64
    }

    fn push(&mut self, piece: Bytes) {
        if self.only.is_empty() && self.many.is_empty() {
            self.only = piece;
            return;
        }
        if self.many.is_empty() {
            self.many.extend_from_slice(&std::mem::take(&mut self.only));
        }
        self.many.extend_from_slice(&piece);
    }

    fn whole(self) -> Bytes {
        if self.many.is_empty() { self.only } else { self.many.freeze() }
    }
}

async fn next_piece(session: &mut Session) -> Result<Option<Bytes>, Rejection> {
    session.read_body().await.map_err(|fault| match fault {
        Fault::Slow => Rejection::BodyTimeout,
        Fault::Gone | Fault::Broken => Rejection::BodyBroken,
    })
}

/// The announced length; `None` for a chunked body.
pub(super) fn content_length(session: &Session) -> Option<u64> {
    let value = session.field(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// Reads an unwanted body away, within `limits.drain_*`, so that a client that is still sending reads the answer.
/// True if nothing of it is left.
pub(super) async fn drain(session: &mut Session, limits: &Limits) -> bool {
    if session.is_body_over() {
        return true;
    }
    if session.expects_continue() && session.body_read() == 0 {
        return false;
    }
    let bound = limits.drain_bytes.as_usize();
    let draining = async {
        let mut read = 0;
        while let Some(piece) = session.read_body().await? {
            read += piece.len();
            if read > bound {
                return Ok(false);
            }
        }
        Ok::<bool, Fault>(true)
    };
    matches!(tokio::time::timeout(limits.drain_timeout, draining).await, Ok(Ok(true)))
}
