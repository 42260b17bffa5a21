//! hyper-util's GracefulShutdown on a socket that it is given: `hold.py ADDRESS hyper-util`.
use heirloom_peer_servers::{DRAIN, answer, http1};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    // It changes the environment, so it comes before any other thread.
    let given = ListenFd::from_env().take_tcp_listener(0)?;
    let given = given.ok_or_else(|| anyhow::anyhow!("no socket was given: LISTEN_FDS is not set"))?;
    tokio::runtime::Runtime::new()?.block_on(serve(given))
}

async fn serve(given: std::net::TcpListener) -> anyhow::Result<()> {
    given.set_nonblocking(true)?;
    let listener = TcpListener::from_std(given)?;
    let mut told = signal(SignalKind::terminate())?;
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let connection = http1().serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(connections.watch(connection));
            },
            _ = told.recv() => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, connections.shutdown()).await;
    Ok(())
}
