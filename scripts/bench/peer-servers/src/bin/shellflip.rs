//! shellflip and hyper, drained by shellflip's coordinator: `shellflip ADDRESS`, restarted by USR1.
//!
//! shellflip starts the new process and hands no socket down. The listener goes along as systemd would pass it, so that
//! both accept from one queue.
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;

use heirloom_peer_servers::{DRAIN, answer, http1};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use listenfd::ListenFd;
use rustix::io::FdFlags;
use shellflip::{RestartConfig, ShutdownCoordinator, ShutdownHandle, ShutdownSignal, fixup_systemd_env};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    // They change the environment, so they come before any other thread.
    fixup_systemd_env();
    let inherited = ListenFd::from_env().take_tcp_listener(0)?;
    tokio::runtime::Runtime::new()?.block_on(serve(inherited))
}

async fn serve(inherited: Option<std::net::TcpListener>) -> anyhow::Result<()> {
    let listener = match inherited {
        Some(listener) => {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => TcpListener::bind(std::env::args().nth(1).unwrap_or_default()).await?,
    };
    rustix::io::fcntl_setfd(&listener, FdFlags::empty())?;
    let first = listener.as_raw_fd().to_string();
    let environment = [("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", &first)];
    let restarts = RestartConfig {
        environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
        exit_on_error: false,
        ..RestartConfig::default()
    };
    let mut restarted = pin!(restarts.try_into_restart_task()?);
    let mut told = signal(SignalKind::terminate())?;
    let connections = ShutdownCoordinator::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(converse(stream, connections.handle()));
            },
            new = &mut restarted => { new?; break }
            _ = told.recv() => break,
        }
    }
    drop(listener);
    connections.shutdown_with_timeout(DRAIN.as_secs()).await;
    Ok(())
}

/// The handle is held until the connection has ended.
async fn converse(stream: TcpStream, handle: Arc<ShutdownHandle>) {
    let mut ending = ShutdownSignal::from(&*handle);
    let mut connection = pin!(http1().serve_connection(TokioIo::new(stream), service_fn(answer)));
    tokio::select! {
        _ = &mut connection => return,
        () = ending.on_shutdown() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
