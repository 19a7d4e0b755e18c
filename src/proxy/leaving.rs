//! The eye on a client that waits: it may leave.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use pingora::protocols::http::ServerSession;
use tokio::time::Sleep;

use crate::proxy::client::client;

/// How often the system is asked about a client that has sent so much that its end is not read.
const LOOK: Duration = Duration::from_millis(50);

/// A TCP connection whose other side has not ended it, as Linux's `tcp_info` has it.
const ESTABLISHED: u8 = 1;

/// Waits until the client leaves; to be awaited while nothing is read of it.
pub(super) async fn left(session: &mut ServerSession) {
    if session.is_http2() {
        // A reset stands beside the body, not behind it.
        let _ = session.read_body_or_idle(true).await;
        return;
    }
    let mut look: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let Some(client) = session.stream().and_then(client) else { return Poll::Ready(()) };
        if client.poll_left(cx).is_ready() {
            return Poll::Ready(());
        }
        while client.is_full() && !has_ended(session) {
            let timer = look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(timer.as_mut().poll(cx));
            look = None;
        }
        if client.is_full() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// True if the client has ended its side of the connection, or the connection is gone, whatever is unread of it.
fn has_ended(session: &ServerSession) -> bool {
    let socket = session.stream().and_then(|stream| stream.get_socket_digest());
    socket.and_then(|socket| socket.tcp_info()).is_some_and(|info| info.tcpi_state != ESTABLISHED)
}
