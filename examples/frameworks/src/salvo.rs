//! For `salvo::Server::new`.

use std::future::pending;
use std::io;

use heirloom::http::{Incoming, Lent};
use heirloom::{Address, Listener};
use salvo::conn::tcp::TcpCoupler;
use salvo::conn::{Accepted, Acceptor, ConnCtrl, Holding, SocketAddr, StraightStream};
use salvo::fuse::{ArcFusePolicy, FuseAction, FuseInfo, TransProto};
use salvo::http::Version;
use salvo::http::uri::Scheme;

/// Lends what a listener accepts.
pub struct Lending {
    incoming: Incoming,
    holdings: [Holding; 1],
}

impl Lending {
    /// Takes the listener.
    pub fn new(listener: Listener) -> Lending {
        let incoming = listener.into_incoming();
        let local_addr = address(Some(incoming.local_addr().clone()));
        let http_versions = vec![Version::HTTP_11];
        Lending { incoming, holdings: [Holding { local_addr, http_versions, http_scheme: Scheme::HTTP }] }
    }
}

impl Acceptor for Lending {
    type Coupler = TcpCoupler<StraightStream<Lent>>;
    type Stream = StraightStream<Lent>;

    fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    async fn accept(
        &mut self,
        policy: Option<ArcFusePolicy>,
    ) -> io::Result<Accepted<Self::Coupler, Self::Stream>> {
        let local_addr = self.holdings[0].local_addr.clone();
        while let Some(lent) = self.incoming.accept().await {
            let remote_addr = address(lent.peer_addr());
            let conn_ctrl = ConnCtrl::new();
            let (mut fuse_config, mut observer) = (None, None);
            if let Some(policy) = &policy {
                let (local_addr, remote_addr) = (local_addr.clone(), remote_addr.clone());
                let info = FuseInfo { trans_proto: TransProto::Tcp, remote_addr, local_addr };
                let FuseAction::Accept(config) = policy.decide(&info).await else { continue };
                (fuse_config, observer) = (Some(config), policy.observe(&info, &conn_ctrl));
            }
            return Ok(Accepted {
                coupler: TcpCoupler::new(),
                stream: StraightStream::new(lent, fuse_config, conn_ctrl.clone(), observer),
                fuse_config,
                conn_ctrl,
                local_addr,
                remote_addr,
                http_scheme: Scheme::HTTP,
            });
        }
        // Until all that was lent is back.
        pending().await
    }
}

fn address(address: Option<Address>) -> SocketAddr {
    match address {
        Some(Address::Inet(address)) => address.into(),
        _ => SocketAddr::Unknown,
    }
}
