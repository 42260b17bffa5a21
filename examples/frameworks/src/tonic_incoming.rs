//! For tonic's own server, by `tonic::transport::server::Router::serve_with_incoming_shutdown`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use heirloom::http::Lent;
use heirloom::{Ending, Listener, Restarter, RunWithError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::{Connected, Router, TcpConnectInfo};

/// A connection that tells tonic who its client is.
#[derive(Debug)]
pub struct Told(Lent);

/// Says ready and serves. Connections of clients move to the next process at a restart.
pub async fn serve(
    restarter: &Restarter,
    listener: Listener,
    server: Router,
) -> Result<Ending, RunWithError<tonic::transport::Error>> {
    restarter.run_with(|told| server.serve_with_incoming_shutdown(incoming(listener), told)).await
}

/// Lends what a listener accepts.
pub fn incoming(listener: Listener) -> impl Stream<Item = io::Result<Told>> {
    listener.into_incoming().into_stream().map(|lent| lent.map(Told))
}

impl Connected for Told {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let remote_addr = self.0.peer_addr().and_then(|address| address.inet());
        TcpConnectInfo { local_addr: None, remote_addr }
    }
}

impl AsyncRead for Told {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Told {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
