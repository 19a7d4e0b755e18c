//! A port on which nobody listens, for as long as it is held: its own socket has it.

use std::net::SocketAddr;

use socket2::{Domain, SockAddr, Socket, Type};

/// A port that refuses connections, and that nobody else gets.
pub(crate) struct ClosedPort {
    address: SocketAddr,
    _socket: Socket,
}

impl ClosedPort {
    /// Any port.
    pub(crate) fn any() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a free port");
        let address = socket.local_addr().expect("its address").as_socket().expect("an address of IP");
        Self { address, _socket: socket }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
