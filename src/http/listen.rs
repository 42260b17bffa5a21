//! From a listener to served connections, and the one-line server.

use thiserror::Error;
use tokio::task::JoinHandle;

use super::config::Config;
use super::server::Server;
use super::service::HttpService;
use super::tower::Tower;
use crate::restarter::ending::Ending;
use crate::restarter::{ReadyError, Restarter, StartError};
use crate::sockets::accept::Listener;
use crate::sockets::listen::IntoListen;
use crate::sockets::listen_error::ListenError;

/// Serves a tower service (an `axum::Router`, say) on `address`, restartable: the whole server in one call.
///
/// HUP and USR2 restart, TERM and INT stop; `heirloom restart --pid PID` restarts and tells the outcome.
/// Returns when the service of this process has ended; return what it gives from `main`. Programs with more
/// than one listener, or an initialisation of their own that can fail, use [`Restarter`] and [`serve`]. With
/// the feature `systemd`, systemd is told what happens, and its watchdog (if the unit has one) hears of this
/// runtime only as long as that runs tasks.
///
/// ```no_run
/// #[tokio::main]
/// async fn main() -> Result<heirloom::Ending, heirloom::http::RunError> {
///     let router = axum::Router::new().route("/", axum::routing::get(|| async { "Hello World" }));
///     heirloom::http::run("127.0.0.1:8080", router).await
/// }
/// ```
///
/// # Errors
///
/// Nothing has been served then.
pub async fn run<T>(address: impl IntoListen, service: T) -> Result<Ending, RunError>
where
    Tower<T>: HttpService,
{
    let builder = Restarter::builder();
    #[cfg(feature = "systemd")]
    let builder = {
        let this = tokio::runtime::Handle::current();
        builder.systemd(crate::systemd::Systemd::new().runtime(this))
    };
    let restarter = builder.start()?;
    let address = crate::sockets::listen::resolved(address).await.map_err(ListenError::Parse);
    let listener = restarter.check(address.and_then(|address| restarter.listen(address))).await?;
    serve(listener, service);
    Ok(restarter.run().await?)
}

/// Serves what `listener` accepts with a tower service and the default [`Config`], on a task of its own that
/// ends when this process accepts no more. Call it once for each listener, then [`Restarter::run`].
///
/// Handlers that ask for axum's `ConnectInfo` need [`serve_with`] and `Config::connect_info`; what other
/// frameworks know of a client is given in [`Config::on_request`].
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn serve<T>(listener: Listener, service: T) -> JoinHandle<()>
where
    Tower<T>: HttpService,
{
    serve_with(Config::new(), listener, service)
}

/// [`serve`] with limits and switches of your own.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn serve_with<T>(config: Config, listener: Listener, service: T) -> JoinHandle<()>
where
    Tower<T>: HttpService,
{
    Server::tower(config, service).accept_from(listener)
}

impl<H: HttpService> Server<H> {
    /// Serves what `listener` accepts, on a task of its own that ends when this process accepts no more. The
    /// connections go on after that, until the drain ends them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn accept_from(&self, mut listener: Listener) -> JoinHandle<()> {
        let server = self.clone();
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                server.spawn(connection);
            }
        })
    }
}

/// Why [`run`] served nothing.
#[derive(Error)]
#[non_exhaustive]
pub enum RunError {
    /// What the process was started with cannot be taken over.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The process was not to serve.
    #[error(transparent)]
    Ready(#[from] ReadyError),
}

debug_as_told!(RunError);
