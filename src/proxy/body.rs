//! Reading a request body whole, or away, within bounds.

use std::time::Duration;

use bytes::Bytes;
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

/// Up to so many bytes, room is made for three times what has come of a body, and behind that for half.
const QUICK_GROWTH: u64 = 1024 * 1024;

/// What is asked of a client that sends a body: `limits.min_send_rate`, at least a byte.
pub(super) fn upload_rate(limits: &Limits) -> Rate {
    let bytes = limits.min_send_rate.as_u64().saturating_mul(PIECE_TIMEOUT.as_secs()).max(1);
    Rate { bytes, span: PIECE_TIMEOUT }
}

/// Reads the whole body, counting it in `permit`.
///
/// # Errors
/// It is over `max_body`, did not come in time, is badly framed, or there is no memory for it. `None`: the client left.
pub(super) async fn read(
    session: &mut Session,
    limits: &Limits,
    permit: &mut Permit,
) -> Result<Bytes, Option<Rejection>> {
    let announced = content_length(session);
    if announced.is_some_and(|length| length > limits.max_body.as_u64()) {
        return Err(Some(Rejection::BodyTooLarge));
    }
    session.say_continue().await.map_err(|_| None)?;
    let mut body = Gathered::default();
    loop {
        let filling = body.fill(session, limits, permit);
        // pingora's makes a timer only where there is a wait.
        match pingora::time::tokio_timeout(PIECE_TIMEOUT, filling).await {
            Ok(Ok(Filled::Enough)) => {}
            Ok(Ok(Filled::Ended)) => return Ok(body.whole()),
            Ok(Err(rejection)) => return Err(rejection),
            Err(_) => return Err(Some(Rejection::BodyTimeout)),
        }
    }
}

/// What has come of a body: nothing is copied while it is one piece.
#[derive(Default)]
struct Gathered {
    only: Bytes,
    many: Vec<u8>,
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
    ) -> Result<Filled, Option<Rejection>> {
        let target = self.len().saturating_add(upload_rate(limits).bytes);
        while self.len() < target {
            match session.body_left().filter(|_| self.len() > 0) {
                Some(left) => {
                    self.make_room(left.min(GROWTH), left, permit)?;
                    session.read_body_to(&mut self.many).await.map_err(Fault::rejection)?;
                }
                None => match session.read_body().await.map_err(Fault::rejection)? {
                    Some(piece) => self.push(piece, limits, permit)?,
                    None => return Ok(Filled::Ended),
                },
            }
        }
        Ok(Filled::Enough)
    }

    fn len(&self) -> u64 {
        (self.only.len() + self.many.len()) as u64
    }

    /// Makes room for `least` more bytes where no more than `most` will come; for more than those if there is memory.
    fn make_room(&mut self, least: u64, most: u64, permit: &mut Permit) -> Result<(), Option<Rejection>> {
        let spare = (self.many.capacity() - self.many.len()) as u64;
        if self.only.is_empty() && spare >= least {
            return Ok(());
        }
        let len = self.len();
        let ahead = (len * 3).min(QUICK_GROWTH).max(len / 2).max(GROWTH.saturating_sub(len));
        let wanted = ahead.clamp(least, most);
        let room = if count(len + wanted, permit).is_ok() { wanted } else { least };
        count(len + room, permit)?;
        self.many.reserve_exact(self.only.len() + usize::try_from(room).unwrap_or(usize::MAX));
        if !self.only.is_empty() {
            self.many.extend_from_slice(&std::mem::take(&mut self.only));
        }
        Ok(())
    }

    fn push(&mut self, piece: Bytes, limits: &Limits, permit: &mut Permit) -> Result<(), Option<Rejection>> {
        let size = piece.len() as u64;
        let most = limits.max_body.as_u64().saturating_sub(self.len());
        if size > most {
            return Err(Some(Rejection::BodyTooLarge));
        }
        if self.len() == 0 {
            count(size, permit)?;
            self.only = piece;
        } else {
            self.make_room(size, most, permit)?;
            self.many.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn whole(self) -> Bytes {
        if self.many.is_empty() { self.only } else { self.many.into() }
    }
}

/// Counts a body of `size` bytes.
fn count(size: u64, permit: &mut Permit) -> Result<(), Option<Rejection>> {
    if permit.try_grow_to(size.next_multiple_of(GROWTH)) { Ok(()) } else { Err(Some(Rejection::Overloaded)) }
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
