//! Two connections joined: what one side says the other hears, until both have said all, one fails, or both are
//! silent for too long.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::bound::Bound;

/// How much is on its way in each direction, at most, in bytes, beside what the sockets hold.
const BUFFER: usize = 16 * 1024;

/// One end of a tunnel.
pub(super) trait End: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> End for T {}

/// What both sides have said before they were joined.
pub(super) struct Early {
    pub(super) client: Bytes,
    pub(super) server: Bytes,
}

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) from_client: u64,
    pub(super) from_server: u64,
}

/// Joins two ends until their tunnel is over, and counts in `carried`. A side that has said all may still listen.
pub(super) async fn join(
    client: &mut impl End,
    server: &mut impl End,
    early: Early,
    longest_silence: Duration,
    carried: &mut Carried,
) {
    let mut up = Way::new(&early.client);
    let mut down = Way::new(&early.server);
    let mut silence = Bound::default();
    loop {
        let before = (up.carried, down.carried);
        silence.lift();
        let is_over = poll_fn(|cx| {
            let ways = (up.poll(cx, client, server), down.poll(cx, server, client));
            match ways {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(true),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(true),
                _ => {}
            }
            if (up.carried, down.carried) != before {
                return Poll::Ready(false);
            }
            silence.poll(cx, longest_silence).map(|()| true)
        });
        let is_over = is_over.await;
        *carried = Carried { from_client: up.carried, from_server: down.carried };
        if is_over {
            return;
        }
    }
}

/// One direction.
struct Way {
    buffer: Vec<u8>,
    /// What of the buffer is still to be written.
    from: usize,
    to: usize,
    is_unflushed: bool,
    state: State,
    carried: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its beginning may say more.
    Open,
    /// Its beginning has said all; its end is still to be told.
    Ended,
    /// Its end has been told.
    Closed,
}

impl Way {
    fn new(early: &[u8]) -> Self {
        let buffer = early.to_vec();
        let to = buffer.len();
        Self { buffer, from: 0, to, is_unflushed: false, state: State::Open, carried: 0 }
    }

    /// Carries as much as there is; ready when there will be no more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write(cx, to))?;
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                }
                State::Open => match self.poll_read(cx, from) {
                    Poll::Ready(read) => read?,
                    Poll::Pending if self.is_unflushed => {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.is_unflushed = false;
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        self.buffer.resize(BUFFER, 0);
        let mut read = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        (self.from, self.to) = (0, read.filled().len());
        if self.to == 0 {
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.from..self.to).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.from += written;
            self.carried += written as u64;
            self.is_unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
