//! Reading a request body whole, or away, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::config::Limits;
use crate::memory::Permit;
use crate::outcome::rejection::Rejection;

/// Longest wait for the next piece of a body.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How a chunked body's permit grows.
const GROWTH: u64 = 64 * 1024;

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
    if !permit.try_grow_to(announced.unwrap_or_default()) {
        return Err(Rejection::Overloaded);
    }
    if session.get_header(EXPECT).is_some() {
        session.write_continue_response().await.map_err(|_| Rejection::BodyBroken)?;
    }
    let Some(first) = next_piece(session).await? else { return Ok(Bytes::new()) };
    if announced == Some(first.len() as u64) {
        // The whole body in one piece: pingora has nothing more, but must be asked to know it itself.
        return match next_piece(session).await? {
            None => Ok(first),
            Some(_) => Err(Rejection::BodyBroken),
        };
    }
    gather(session, first, limits, permit).await
}

/// Appends piece after piece to `first`.
async fn gather(
    session: &mut Session,
    first: Bytes,
    limits: &Limits,
    permit: &mut Permit,
) -> Result<Bytes, Rejection> {
    let announced = content_length(session).unwrap_or_default();
    let mut body =
        BytesMut::with_capacity(usize::try_from(announced).unwrap_or_default().max(first.len() * 2));
    let mut next = Some(first);
    while let Some(piece) = next {
        let size = (body.len() + piece.len()) as u64;
        if size > limits.max_body.as_u64() {
            return Err(Rejection::BodyTooLarge);
        }
        if size > permit.bytes() && !permit.try_grow_to(size.next_multiple_of(GROWTH)) {
            return Err(Rejection::Overloaded);
        }
        body.extend_from_slice(&piece);
        next = next_piece(session).await?;
    }
    Ok(body.freeze())
}

async fn next_piece(session: &mut Session) -> Result<Option<Bytes>, Rejection> {
    session.downstream_session.read_request_body().await.map_err(|error| match error.etype() {
        ErrorType::ReadTimedout => Rejection::BodyTimeout,
        _ => Rejection::BodyBroken,
    })
}

/// The announced length; `None` for a chunked body.
pub(super) fn content_length(session: &Session) -> Option<u64> {
    let value = session.get_header(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// Reads an unwanted body away, within `limits.drain_*`, so that a client that is still sending reads the answer.
/// True if nothing of it is left.
pub(super) async fn drain(session: &mut Session, limits: &Limits) -> bool {
    if session.is_body_done() {
        return true;
    }
    let waits_for_continue = session.get_header(EXPECT).is_some() && session.body_bytes_read() == 0;
    if waits_for_continue {
        return false;
    }
    let bound = limits.drain_bytes.as_usize();
    let draining = async {
        let mut read = 0;
        while let Some(piece) = session.downstream_session.read_request_body().await? {
            read += piece.len();
            if read > bound {
                return Ok(false);
            }
        }
        Ok::<bool, Box<Error>>(true)
    };
    matches!(tokio::time::timeout(limits.drain_timeout, draining).await, Ok(Ok(true)))
}
