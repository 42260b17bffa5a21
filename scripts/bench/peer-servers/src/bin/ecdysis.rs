//! ecdysis and hyper, drained by hyper-util: `ecdysis ADDRESS`, restarted by USR2.
use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures::StreamExt;
use heirloom_peer_servers::{DRAIN, answer, http1};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_default().parse()?;
    let mut builder = TokioEcdysisBuilder::new(SignalKind::user_defined2())?;
    builder.stop_on_signal(SignalKind::terminate())?;
    let mut accepted = builder.build_listen_tcp(StopOnShutdown::Yes, address, |socket, address| {
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    })?;
    let serving = tokio::spawn(async move {
        let connections = GracefulShutdown::new();
        // It ends when the new process is ready, or when this one is to stop.
        while let Some(stream) = accepted.next().await {
            let Ok(stream) = stream else { continue };
            let connection = http1().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connections.watch(connection));
        }
        drop(accepted);
        let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
    });
    let (_ecdysis, ended) = builder.ready()?;
    ended.await.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(serving.await?)
}
