//! axum-server's Handle on a socket that it is given: `hold.py ADDRESS axum-server`.
use axum::Router;
use axum::body::Bytes;
use axum_server::Handle;
use heirloom_peer_servers::DRAIN;
use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    // It changes the environment, so it comes before any other thread.
    let given = ListenFd::from_env().take_tcp_listener(0)?;
    let given = given.ok_or_else(|| anyhow::anyhow!("no socket was given: LISTEN_FDS is not set"))?;
    tokio::runtime::Runtime::new()?.block_on(serve(given))
}

async fn serve(given: std::net::TcpListener) -> anyhow::Result<()> {
    // The argument is what was sent, which is so taken.
    let program = Router::new().fallback(|_sent: Bytes| async { std::process::id().to_string() });
    let handle = Handle::new();
    let mut told = signal(SignalKind::terminate())?;
    tokio::spawn({
        let handle = handle.clone();
        async move {
            told.recv().await;
            handle.graceful_shutdown(Some(DRAIN));
        }
    });
    let mut server = axum_server::from_tcp(given)?.handle(handle);
    // For clients that end their own direction and wait.
    server.http_builder().http1().half_close(true);
    Ok(server.serve(program.into_make_service()).await?)
}
