//! A client's connection as requests see it, whether or not it is over TLS.

use std::task::{Context, Poll};

use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpConnection;
use pingora::protocols::tls::TlsStream;

use crate::proxy::connection::Connection;
use crate::proxy::head_state::HeadState;
use crate::proxy::tunnel::End;

/// A client's connection, whatever it is carried over.
pub(super) trait Client {
    /// Where the connection is; shared with it.
    fn head_state(&self) -> &HeadState;

    /// Ready when the client has ended its side of the connection. To be asked while nothing is read of it. Of one that
    /// [`is_full`](Client::is_full) nobody sees that here.
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// True if no more is read ahead.
    fn is_full(&self) -> bool;

    /// True unless something was read ahead that may be more than an empty line (RFC 9112 §2.2), which is dropped.
    fn is_quiet(&self) -> bool;

    /// Takes the connection over: for who has it, it has ended.
    fn take(&self) -> Option<Box<dyn End>>;
}

/// The client's connection that `stream` is; `None` if it is none of [`Connection`].
pub(super) fn client(stream: &Stream) -> Option<&dyn Client> {
    let any = stream.as_ref().as_any();
    if let Some(plain) = any.downcast_ref::<Connection<TcpConnection>>() {
        return Some(plain);
    }
    any.downcast_ref::<Connection<TlsStream<TcpConnection>>>().map(|tls| tls as &dyn Client)
}
