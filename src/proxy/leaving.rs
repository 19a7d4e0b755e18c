//! The eye on a client that waits: it may leave.

use std::future::poll_fn;
use std::task::Poll;

use pingora::protocols::http::ServerSession;

use crate::proxy::connection::client;

/// Waits until the client leaves; to be awaited while nothing is read of it. Over HTTP/1.1 one that sends a lot
/// meanwhile is not seen to leave.
pub(super) async fn left(session: &mut ServerSession) {
    if session.is_http2() {
        // A reset stands beside the body, not behind it.
        let _ = session.read_body_or_idle(true).await;
        return;
    }
    poll_fn(|cx| session.stream().and_then(client).map_or(Poll::Ready(()), |client| client.poll_left(cx)))
        .await;
}
