//! What `axum::serve` takes.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::serve::{Listener as AxumListener, ListenerExt, TapIo};

use super::{Incoming, Lent};
use crate::sockets::accept::Listener;
use crate::sys::address::Address;

/// A TCP listener for `axum::serve`, whose address is a `SocketAddr`: [`Listener::into_axum`].
#[derive(Debug)]
pub struct Inet {
    incoming: Incoming,
    address: SocketAddr,
}

/// In the form for which axum has `ConnectInfo<SocketAddr>`.
pub type AxumTcp = TapIo<Inet, fn(&mut Lent)>;

impl Listener {
    /// For `axum::serve`, whose connections then lose nothing at a restart.
    ///
    /// ```no_run
    /// # use std::net::SocketAddr;
    /// # async fn example(app: axum::Router) -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    /// let restarter = heirloom::Restarter::new()?;
    /// let listener = restarter.listen("127.0.0.1:3000")?.into_axum()?;
    /// let app = app.into_make_service_with_connect_info::<SocketAddr>();
    /// let serve = |told| async { axum::serve(listener, app).with_graceful_shutdown(told).await };
    /// Ok(restarter.run_with(serve).await?)
    /// # }
    /// ```
    ///
    /// Give axum the signal of [`run_with`](crate::Restarter::run_with), or none: `restarter.draining()`
    /// comes too early for it, when it closes connections that heirloom would move.
    ///
    /// # Errors
    ///
    /// A Unix listener has no `SocketAddr`: `axum::serve` takes its
    /// [`into_incoming`](Listener::into_incoming) as it is.
    pub fn into_axum(self) -> io::Result<AxumTcp> {
        let Some(address) = self.local_addr().inet() else {
            let why = "a Unix listener has no SocketAddr: use into_incoming";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        let nothing: fn(&mut Lent) = |_| {};
        Ok(Inet { incoming: self.into_incoming(), address }.tap_io(nothing))
    }
}

impl AxumListener for Incoming {
    type Io = Lent;
    type Addr = Address;

    async fn accept(&mut self) -> (Lent, Address) {
        match Incoming::accept(self).await {
            Some(lent) => {
                let peer = lent.peer_addr().unwrap_or(Address::Unnamed);
                (lent, peer)
            }
            // Who serves is told when it is over; until then there is nothing more to do.
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        Ok(Incoming::local_addr(self).clone())
    }
}

impl AxumListener for Inet {
    type Io = Lent;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Lent, SocketAddr) {
        let (lent, peer) = AxumListener::accept(&mut self.incoming).await;
        // A client that has gone by now has none.
        (lent, peer.inet().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
