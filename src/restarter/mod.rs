//! The handle on this process's generation: what a program holds from its start to its end.
//!
//! [`Restarter`] is a thin handle. The work is done by the [`driver`] on a thread of its own, so that a
//! restart, a take-back and a stop happen at once however busy the program's own runtime is, and so that
//! programs without a runtime can use it as well.

mod builder;
pub(crate) mod driver;
pub(crate) mod ending;
#[cfg(feature = "udp")]
mod flows;
mod framework;
mod handing;
mod last_words;
mod outcome;
mod shared;
pub(crate) mod signals;
mod start_error;
mod status;

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

pub use builder::Builder;
pub use framework::RunWithError;
pub use outcome::{Outcome, ReadyError, RestartError};
pub use start_error::StartError;
pub use status::{Draining, Status};

use crate::drain::{DrainSignal, Hold, Tracker};
use crate::error::Cause;
use crate::operate::event::Event;
use crate::restarter::ending::Ending;
use crate::sockets::accept::Listener;
use crate::sockets::listen::IntoListen;
use crate::sockets::listen_error::ListenError;
use crate::sys::socket::Kind;
use shared::{Answer, Command, Life, Shared};

/// One generation of a server: gives it its listeners, and restarts and stops it.
///
/// A handle: clones share everything. There is one per process, from [`Restarter::new`] or
/// [`Restarter::builder`], and it lives as long as the process, whether or not a handle is left.
///
/// ```no_run
/// # use heirloom::{Ending, Restarter};
/// # async fn serve(mut listener: heirloom::Listener) {}
/// #[tokio::main]
/// async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
///     let restarter = Restarter::new()?;
///     let listener = restarter.listen("127.0.0.1:8080")?;
///     // ... the rest of the program's own initialisation ...
///     tokio::spawn(serve(listener));
///     Ok(restarter.run().await?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Restarter {
    shared: Arc<Shared>,
}

impl Restarter {
    /// A restarter with default deadlines, the default [`SignalMap`](crate::SignalMap) (HUP and USR2 restart,
    /// TERM and INT stop), and a control socket, by which `heirloom restart --pid PID` and the other commands
    /// find it. [`builder`](Self::builder), `http::run` and the workers of `Supervisor::new` have the same;
    /// [`bare`](Self::bare) has none of it.
    ///
    /// Call it early, and once. It takes over what a predecessor handed down, and from then on heirloom
    /// handles the restart signals. Nothing is accepted before [`ready`](Self::ready) or [`run`](Self::run).
    ///
    /// With the feature `systemd`, and NOTIFY_SOCKET set, systemd is told what happens: see the module
    /// `systemd`.
    pub fn new() -> Result<Restarter, StartError> {
        Restarter::builder().start()
    }

    /// A builder with what [`new`](Self::new) has, to set deadlines, signals, the pid file, or the program
    /// that a successor runs.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Nothing that reaches beyond this process, to be added to: no signal is handled, there is no control
    /// socket, and systemd is told nothing. It restarts and stops by the methods alone.
    pub fn bare() -> Builder {
        Builder::bare()
    }

    /// Which generation this is: 1 for a process that had no predecessor.
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// The time at which this process started its restarter.
    pub fn started(&self) -> std::time::SystemTime {
        self.shared.started
    }

    /// The process id of the supervisor, if this process is a worker. The supervisor alone decides about
    /// restarts: a restart that is asked for here is passed on to it, and its outcome comes back.
    pub fn supervisor(&self) -> Option<u32> {
        self.shared.supervisor
    }

    /// The absolute path of the program that a restart executes: what [`Builder::program`] says, else this
    /// program as it was named at its start. Symbolic links in it are followed at each restart, since they
    /// may lead elsewhere by then.
    pub fn program(&self) -> &Path {
        &self.shared.program
    }

    /// A stream listener (TCP, or a Unix socket) that is inherited if the predecessor had it, and bound
    /// otherwise. [`Listen`](crate::Listen) says which inherited socket is meant.
    ///
    /// If this process does not ask for a listener of its predecessor before [`ready`](Self::ready), that
    /// listener is dropped: the predecessor serves its queue, and then closes it.
    ///
    /// A listener that is made while a restart is on its way is too late for the successor. Without a
    /// supervisor, its queue is served and it is closed when the restart settles, so that the successor can
    /// make it again after that. With a supervisor, connections wait in its queue until the successor asks
    /// for it and inherits it.
    ///
    /// There may be 2000, if their addresses and names fit into 88 KiB (2000 IPv4 addresses do, and 500 of
    /// the longest Unix paths): a successor hears of them in one variable of its environment, for which the
    /// kernel has 128 KiB. A release that reads no more than 512 refuses more, and the restart into it fails.
    pub fn listen(&self, listen: impl IntoListen) -> Result<Listener, ListenError> {
        let listen = listen.into_listen()?;
        let kind = match listen.address() {
            crate::Address::Inet(_) => Kind::Tcp,
            _ => Kind::UnixStream,
        };
        let socket = self.shared.listeners.inherit_or_bind(&listen, kind)?;
        self.shared.keep();
        Ok(Listener::new(socket, Arc::clone(&self.shared.listeners), self.shared.tracker.clone()))
    }

    /// A UDP socket, inherited or bound like a listener; non-blocking.
    ///
    /// This process receives from it at once, beside the predecessor while that is alive. The kernel chooses
    /// which of the two gets a datagram. Stop receiving when [`draining`](Self::draining) resolves. Only the
    /// program's protocol can say which datagrams were in flight then. For protocols with conversations there
    /// is `flows`, with the feature `udp`.
    pub fn udp(&self, listen: impl IntoListen) -> Result<std::net::UdpSocket, ListenError> {
        let listen = listen.into_listen()?;
        let socket = self.shared.listeners.inherit_or_bind(&listen, Kind::Udp)?;
        self.shared.keep();
        let duplicate = std::os::fd::AsFd::as_fd(&*socket).try_clone_to_owned();
        let failed = |source: io::Error| ListenError::Bind { address: socket.address.clone(), source };
        Ok(duplicate.map_err(failed)?.into())
    }

    /// Says that this process is initialised, and waits until it may accept. The first generation may do so
    /// at once, a successor when the predecessor has stopped accepting.
    ///
    /// Listeners accept from then on. Without this call a successor is killed at the start deadline, and a
    /// first generation whose framework accepts already is neither restarted nor stopped gracefully: a
    /// warning says so after 5 s.
    ///
    /// # Errors
    ///
    /// This process must not serve: it was asked to stop, or its predecessor does not answer. Return from
    /// `main`. No connection was accepted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take back that the process is ready. A later call goes on waiting.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        self.shared.send(Command::Ready);
        self.accepting().await
    }

    /// Waits until this process accepts, and says nothing: for an observer, such as a test of the program.
    /// The program itself calls [`ready`](Self::ready) or [`run`](Self::run) once it has its listeners.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A later call goes on waiting.
    pub async fn accepting(&self) -> Result<(), ReadyError> {
        let mut life = self.shared.life.subscribe();
        let reached = life.wait_for(|life| !matches!(life, Life::Starting)).await;
        match reached.as_deref() {
            Ok(Life::Left(departure)) => Err((*departure).into()),
            Ok(_) => Ok(()),
            Err(_) => Err(ReadyError::DriverGone),
        }
    }

    /// Tells the predecessor why this process cannot serve, so that the reason is in the *predecessor's* log,
    /// and waits until the predecessor has been told. Return from `main` afterwards. In the first generation
    /// it does nothing.
    pub async fn failed(&self, reason: impl Display) {
        let (said, heard) = oneshot::channel();
        self.shared.send(Command::Failed { reason: reason.to_string(), said });
        let _ = heard.await;
    }

    /// Returns a result of the program's own initialisation unchanged. If it is an error, the predecessor is
    /// told of it, with its causes. Any [`Error`](std::error::Error) will do, and so will `Box<dyn Error>`
    /// and `anyhow::Error`.
    ///
    /// ```no_run
    /// # async fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
    /// let config = restarter.check(std::fs::read_to_string("server.toml")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn check<T, E: Cause<How>, How>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result {
            self.failed(error.with_causes()).await;
        }
        result
    }

    /// Calls [`ready`](Self::ready), and then waits until the service of this process has ended: handed over
    /// and drained, or stopped. Return the result from `main`. If a framework accepts by itself, use
    /// [`run_with`](Self::run_with).
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A later call goes on waiting.
    pub async fn run(&self) -> Result<Ending, ReadyError> {
        self.ready().await?;
        Ok(self.ended().await)
    }

    /// [`run`](Self::run) for a program without a runtime: blocks the thread.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn run_blocking(&self) -> Result<Ending, ReadyError> {
        block_on(self.run())
    }

    /// [`ready`](Self::ready) for a program without a runtime: blocks the thread.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn ready_blocking(&self) -> Result<(), ReadyError> {
        block_on(self.ready())
    }

    /// Waits until the service of this process has ended, be it before it began. Cancel safe.
    pub async fn ended(&self) -> Ending {
        let mut ending = self.shared.ending.subscribe();
        let ended = ending.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(ending)) => ending.clone(),
            // The sender is in `self.shared`.
            _ => unreachable!("the ending's sender outlives every handle"),
        }
    }

    /// Restarts: starts a successor and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The restart was refused, or the successor failed; this process serves on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the restart.
    pub async fn restart(&self) -> Result<Outcome, RestartError> {
        let (answer, outcome) = oneshot::channel();
        self.shared.send(Command::Restart { answer: Some(Answer::Handle(answer)) });
        outcome.await.unwrap_or(Err(RestartError::DriverGone))
    }

    /// Stops the service gracefully: serves what the listeners' queues hold, drains every connection, and
    /// aborts what is left after `within` (or after the shutdown timeout). Returns what it had to abort.
    ///
    /// During probation this stops the successor as well. A second call stops at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self, within: impl Into<Option<Duration>>) -> Ending {
        self.shared.send(Command::Shutdown { within: within.into() });
        self.ended().await
    }

    /// Aborts what is left and ends the service now.
    pub async fn hammer(&self) -> Ending {
        self.shared.send(Command::Hammer);
        self.ended().await
    }

    /// Whether more clients should be sent to this process. A readiness endpoint answers this. Yes from the
    /// moment it accepts until the service is asked to stop; during a restart both generations say yes.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What this process is doing. It answers "why is the old process still there?"
    pub fn status(&self) -> Status {
        let drain = *self.shared.drain.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let draining = drain.map(|(reason, deadline)| Draining {
            reason,
            within: deadline.saturating_duration_since(std::time::Instant::now()),
        });
        Status {
            generation: self.shared.generation,
            pid: std::process::id(),
            ready: self.is_ready(),
            draining,
            connections: self.shared.tracker.snapshot(),
            #[cfg(feature = "udp")]
            flows: self.shared.flows(),
        }
    }

    /// Resolves once this process drains: after a restart has settled, or when it is to stop. Give it to a
    /// framework as its shutdown signal.
    pub fn draining(&self) -> DrainSignal {
        self.shared.tracker.draining()
    }

    /// Makes the drain wait for work that is not a connection of heirloom's, until dropped.
    #[must_use = "a hold that is dropped at once holds nothing"]
    pub fn hold(&self) -> Hold {
        self.shared.tracker.hold()
    }

    /// The connections of this process.
    pub fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// What happens from now on. A receiver that lags behind by more than 256 events misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }
}

/// For futures that wait for the driver alone, and so need no reactor: this cannot fail for want of
/// descriptors.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers asks nothing of the system").block_on(future)
}
