//! For `poem::Server::new_with_acceptor`.

use std::future::pending;
use std::io;

use heirloom::http::{Incoming, Lent};
use heirloom::{Address, Listener};
use poem::Addr;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};

/// Lends what a listener accepts.
#[derive(Debug)]
pub struct Lending(Incoming);

impl Lending {
    /// Takes the listener.
    pub fn new(listener: Listener) -> Lending {
        Lending(listener.into_incoming())
    }
}

impl Acceptor for Lending {
    type Io = Lent;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(address(Some(self.0.local_addr().clone())))]
    }

    async fn accept(&mut self) -> io::Result<(Lent, LocalAddr, RemoteAddr, Scheme)> {
        let Some(lent) = self.0.accept().await else {
            // Until the server is told that all is over.
            return pending().await;
        };
        let remote = RemoteAddr(address(lent.peer_addr()));
        Ok((lent, LocalAddr(address(Some(self.0.local_addr().clone()))), remote, Scheme::HTTP))
    }
}

fn address(address: Option<Address>) -> Addr {
    match address {
        Some(Address::Inet(address)) => Addr::SocketAddr(address),
        Some(other) => Addr::custom("socket", other.to_string()),
        None => Addr::custom("socket", "gone"),
    }
}
