//! A port that is the test's, whoever else asks for one meanwhile.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1 that nobody listens on: connections to it are refused. It is bound all the same, so the system gives
/// it to nobody; who asks for this very one may have it, since all servers set SO_REUSEADDR.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _bound: Socket,
}

impl Port {
    /// Kept for as long as this lives.
    pub fn kept() -> Port {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        bound.set_reuse_address(true).expect("an option");
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let address = bound.local_addr().expect("its address").as_socket().expect("an address and a port");
        Port { address, _bound: bound }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }
}
