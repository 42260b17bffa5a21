//! The handle on this process's generation: what a program holds from its start to its end.
//!
//! [`Restarter`] is a thin handle. The work is done by the [`driver`] on a thread of its own, so that a restart, a
//! take-back and a stop happen at once however busy the program's own runtime is, and so that programs without a
//! runtime can use it as well.

mod builder;
pub(crate) mod driver;
pub(crate) mod ending;
mod framework;
mod handing;
#[cfg(feature = "control")]
mod last_words;
mod outcome;
mod shared;
pub(crate) mod signals;
mod status;

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

pub use builder::{Builder, StartError};
pub use framework::RunWithError;
pub use outcome::{Outcome, ReadyError, RestartError};
pub use status::{Draining, Status};

use crate::drain::{DrainSignal, Hold, Tracker};
use crate::operate::event::Event;
use crate::restarter::ending::Ending;
use crate::sockets::accept::Listener;
use crate::sockets::listen::IntoListen;
use crate::sockets::socket::ListenError;
use crate::sys::socket::Kind;
use shared::{Answer, Command, Life, Shared};

/// One generation of a server: gives it its listeners, and restarts and stops it.
///
/// A handle: clones share everything. There is one per process, from [`Restarter::new`] or [`Restarter::builder`],
/// and it lives as long as the process, whether or not a handle is left.
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
    /// The usual: default deadlines, the default [`SignalMap`](crate::SignalMap) (HUP and USR2 restart, TERM and INT
    /// stop), and with the feature `control` (on by default) a control socket, by which `heirloom restart --pid PID` and
    /// its kin find it. `http::run` and `Supervisor::new` have the same.
    ///
    /// Call it early, and once: it takes over what a predecessor handed down, and from here on the restart signals
    /// are heirloom's. Nothing is accepted before [`ready`](Self::ready) or [`run`](Self::run).
    ///
    /// With the feature `systemd`, and NOTIFY_SOCKET set, systemd is told what happens: see the module `systemd`.
    pub fn new() -> Result<Restarter, StartError> {
        let builder = Restarter::builder().signals(crate::SignalMap::default());
        #[cfg(feature = "control")]
        let builder = builder.control();
        #[cfg(feature = "systemd")]
        let builder = builder.systemd(crate::systemd::Systemd::new());
        builder.start()
    }

    /// To set deadlines, signals, the pid file, or what a successor runs.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Which generation this is: 1 for a process that had no predecessor.
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// When this process started with heirloom.
    pub fn started(&self) -> std::time::SystemTime {
        self.shared.started
    }

    /// The process id of the supervisor that this process is a worker of. It alone decides: a restart asked for here
    /// is asked of it, and it answers to the same calls.
    pub fn supervisor(&self) -> Option<u32> {
        self.shared.supervisor
    }

    /// What a restart executes: this program as it was named at its start, found once and left unresolved (a symbolic
    /// link may lead elsewhere by then), or what [`Builder::program`] says. Absolute.
    pub fn program(&self) -> &Path {
        &self.shared.program
    }

    /// A stream listener (TCP, or a Unix socket) that is inherited if the predecessor had it, and bound otherwise.
    /// [`Listen`](crate::Listen) says which inherited socket is meant.
    ///
    /// Listeners that a predecessor had and that nobody asks for before [`ready`](Self::ready) are dropped: the
    /// predecessor serves their queues, and then closes them.
    ///
    /// One that is made while a restart is on its way is too late for the successor. Without a supervisor its queue is served
    /// and it is closed when the restart settles, so that the successor can make it anew after that. With one its queue
    /// stands, and the successor inherits it when it asks for it; until then, connections wait there.
    ///
    /// There may be 2000, if their addresses and names fit into 88 KiB (2000 IPv4 addresses do, and 500 of the longest Unix
    /// paths): a successor hears of them in one variable of its environment, for which the kernel has 128 KiB. A release that
    /// reads no more than 512 refuses more, and the restart into it fails.
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
    /// It receives in this process from the moment it is asked for, beside the predecessor while that is alive:
    /// which of the two gets a datagram is the kernel's choice. Stop receiving when [`draining`](Self::draining)
    /// resolves; what was in flight then is for the protocol to say.
    pub fn udp(&self, listen: impl IntoListen) -> Result<std::net::UdpSocket, ListenError> {
        let listen = listen.into_listen()?;
        let socket = self.shared.listeners.inherit_or_bind(&listen, Kind::Udp)?;
        self.shared.keep();
        let duplicate = std::os::fd::AsFd::as_fd(&*socket).try_clone_to_owned();
        let failed = |source: io::Error| ListenError::Bind { address: socket.address.clone(), source };
        Ok(duplicate.map_err(failed)?.into())
    }

    /// Says that this process is initialised, and waits until it may accept: at once for the first generation, and
    /// else until the predecessor has stopped accepting.
    ///
    /// Listeners accept from then on. Without this call a successor is killed at the start deadline, and a first generation
    /// whose framework accepts already is neither restarted nor stopped gracefully: a warning says so after 5 s.
    ///
    /// # Errors
    ///
    /// This process is not to serve: it was asked to stop, or its predecessor does not answer. Return from `main`;
    /// nothing was taken.
    ///
    /// # Cancel safety
    ///
    /// What was said stays said; a later call waits on.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        self.shared.send(Command::Ready);
        self.accepting().await
    }

    /// Waits until this process accepts, and says nothing: for whoever looks on, such as a test of the program. It is the
    /// program itself that says [`ready`](Self::ready), or [`run`](Self::run), once it has its listeners.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// A later call waits on.
    pub async fn accepting(&self) -> Result<(), ReadyError> {
        let mut life = self.shared.life.subscribe();
        let reached = life.wait_for(|life| !matches!(life, Life::Starting)).await;
        match reached.as_deref() {
            Ok(Life::Left(departure)) => Err((*departure).into()),
            Ok(_) => Ok(()),
            Err(_) => Err(ReadyError::DriverGone),
        }
    }

    /// Tells the predecessor why this process cannot serve, so that the reason stands in *its* log, and waits until
    /// that is said. Return from `main` afterwards. In the first generation it does nothing.
    pub async fn failed(&self, reason: impl Display) {
        let (said, heard) = oneshot::channel();
        self.shared.send(Command::Failed { reason: reason.to_string(), said });
        let _ = heard.await;
    }

    /// Passes a result of the program's own initialisation through; the predecessor is told of an error, with what
    /// caused it. (For an error that is none of the standard library's kind, say [`failed`](Self::failed).)
    ///
    /// ```no_run
    /// # async fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
    /// let config = restarter.check(std::fs::read_to_string("server.toml")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn check<T, E: Error>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result {
            self.failed(with_causes(error)).await;
        }
        result
    }

    /// [`ready`](Self::ready), and then waits until the service of this process has ended: handed over and drained,
    /// or stopped. Return what it gives from `main`. Where a framework accepts by itself, see [`run_with`](Self::run_with).
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a later call waits on.
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

    /// Waits until the service of this process has ended. Cancel safe.
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

    /// Stops the service gracefully: serves what the listeners' queues hold, says goodbye to every connection, and
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

    /// Whether more clients should be sent to this process: what a readiness endpoint answers. Yes from the moment it
    /// accepts until the service is asked to stop; during a restart both generations say yes.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What this process is doing: "why is the old one still there?"
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
        }
    }

    /// Resolves once this process says goodbye: after a restart has settled, or when it is to stop. What a framework
    /// takes as its shutdown signal.
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

/// For futures that wait for the driver alone, and so need no reactor: this cannot fail for want of descriptors.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers asks nothing of the system").block_on(future)
}

fn with_causes(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}
