//! What can be set before the start, and the start itself.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, mpsc, watch};

use super::Restarter;
use super::driver::{self, Bounds, Start};
use super::shared::{Life, Shared};
use super::start_error::StartError;
use crate::drain::Tracker;
use crate::handdown::descriptors::Descriptors;
use crate::handdown::inherited::Inherited;
use crate::handdown::program::Program;
use crate::handdown::recipe::Recipe;
use crate::handdown::state::Providers;
use crate::handover::Refusal;
#[cfg(feature = "supervisor")]
use crate::operate::control::place::{Bound, ControlError};
use crate::operate::control::place::{Wanted, bound};
use crate::operate::pid_file::PidFile;
use crate::operate::service::Service;
#[cfg(feature = "systemd")]
use crate::operate::systemd::Systemd;
use crate::restarter::signals::SignalMap;
use crate::sockets::listeners::Listeners;
use crate::sys::environment;
use crate::sys::pidfd::Pidfd;

/// Settings of a [`Restarter`]. Every deadline has a default that its method explains.
#[derive(Debug)]
#[must_use = "nothing is taken over before start()"]
pub struct Builder {
    pub(crate) deadlines: Deadlines,
    state: Bounds,
    signals: SignalMap,
    pid_file: Option<PathBuf>,
    control: Option<Wanted>,
    program: Option<PathBuf>,
    arguments: Option<Vec<OsString>>,
    changes: Vec<(OsString, Option<OsString>)>,
    stderr: bool,
    #[cfg(feature = "systemd")]
    systemd: Option<Systemd>,
}

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) start: Duration,
    pub(crate) probation: Duration,
    pub(crate) drain: Duration,
    pub(crate) shutdown: Duration,
    pub(super) idle_linger: Duration,
    pub(super) notice: Duration,
    pub(super) upgraded: Option<Duration>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        let deadlines = Deadlines {
            start: Duration::from_secs(60),
            probation: Duration::from_secs(1),
            drain: Duration::from_secs(60),
            shutdown: Duration::from_secs(9),
            idle_linger: Duration::from_secs(2),
            notice: Duration::ZERO,
            upgraded: None,
        };
        Builder {
            deadlines,
            state: Bounds { size: 1 << 30, time: Duration::from_secs(10) },
            signals: SignalMap::default(),
            pid_file: None,
            control: Some(Wanted::Somewhere),
            program: None,
            arguments: None,
            changes: Vec::new(),
            stderr: true,
            #[cfg(feature = "systemd")]
            systemd: Some(Systemd::new()),
        }
    }

    /// Nothing that reaches beyond this process: no signal, no control socket, no word to systemd.
    pub(super) fn bare() -> Builder {
        let bare = Builder { signals: SignalMap::none(), control: None, ..Builder::new() };
        #[cfg(feature = "systemd")]
        let bare = Builder { systemd: None, ..bare };
        bare
    }

    /// How long a successor may take from its start until it is ready. Then it is killed, and this process
    /// serves on. Default 60 s: longer than any initialisation that is not stuck, and only the operator waits
    /// for it.
    pub fn start_timeout(mut self, limit: Duration) -> Builder {
        self.deadlines.start = limit;
        self
    }

    /// How long this process watches its successor after the successor has begun to accept. If the successor
    /// dies in that time, this process accepts again at once. Default 1 s: a version that dies of its first
    /// requests does so in that time, and old code serves the old connections no longer than that. Zero turns
    /// it off.
    pub fn probation(mut self, length: Duration) -> Builder {
        self.deadlines.probation = length;
        self
    }

    /// How long connections may take to end after a restart. Then the hammer falls: what is left is aborted
    /// and counted. Default 60 s: old and new process run beside each other, so a longer drain costs only
    /// memory, and slow downloads get a minute.
    pub fn drain_timeout(mut self, limit: Duration) -> Builder {
        self.deadlines.drain = limit;
        self
    }

    /// How long connections may take to end when the service stops. Then the hammer falls. Default 9 s:
    /// `docker stop` kills after 10 s, and what heirloom aborts before that is at least counted and reported.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Builder {
        self.deadlines.shutdown = limit;
        self
    }

    /// How long an idle connection is kept while draining, for a request that may be on its way. Such a
    /// request is answered, and the connection is closed with notice. Default 2 s: far above any round trip,
    /// and most of the shutdown timeout is left for the requests themselves.
    pub fn idle_linger(mut self, length: Duration) -> Builder {
        self.deadlines.idle_linger = length;
        self
    }

    /// The largest state in bytes that this process gives to its successor or takes from its predecessor, for
    /// each name. Default 1 GiB: more belongs into a database, and a provider that never stops writing must
    /// not take the machine's memory.
    pub fn state_limit(mut self, bytes: u64) -> Builder {
        self.state.size = bytes;
        self
    }

    /// How long a provider may take to write its state. Default 10 s: a gigabyte takes one or two seconds,
    /// and a successor that goes on without the state still has most of its start timeout. A successor waits
    /// twice as long for a predecessor that does not answer at all.
    pub fn state_timeout(mut self, limit: Duration) -> Builder {
        self.state.time = limit;
        self
    }

    /// How long connections may take to end whose protocol is the program's: raw connections of a plain
    /// accept loop, and upgraded ones (WebSocket, CONNECT). Their handlers see
    /// [`draining`](Restarter::draining) when it begins, and can end the connection as their protocol does.
    /// Default: as long as all other connections. A shorter time makes sense if the clients reconnect by
    /// themselves: such connections last for hours, and each restart would keep the old process until the
    /// hammer falls.
    pub fn upgraded_timeout(mut self, limit: Duration) -> Builder {
        self.deadlines.upgraded = Some(limit);
        self
    }

    /// How long the service serves on as before when it is to stop, while [`is_ready`](Restarter::is_ready)
    /// says no, so that load balancers and Kubernetes endpoints notice first. This time is part of the
    /// shutdown timeout. Default zero: if nothing asks, a notice only delays the stop. Behind a prober, set
    /// its period times its failure threshold.
    pub fn shutdown_notice(mut self, length: Duration) -> Builder {
        self.deadlines.notice = length;
        self
    }

    /// Which signals are handled, and how. Default: HUP and USR2 restart, TERM and INT stop.
    pub fn signals(mut self, map: SignalMap) -> Builder {
        self.signals = map;
        self
    }

    /// Keeps the main process's id in a file. The file is written when this process serves, rewritten at each
    /// restart, and removed by the last generation. Default: no file.
    pub fn pid_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.pid_file = Some(path.into());
        self
    }

    /// Whether there is a control socket, so that `heirloom restart --pid PID` and the other commands work
    /// (default: yes); see [`control`](crate::control). It lies where only this user can reach it, and the
    /// command finds it from the process id. If there is no place for it (no directory is writable), a
    /// warning says so, and the process starts without it.
    ///
    /// While a predecessor watches this process, the predecessor is told of a panic, so that the panic is
    /// part of the reason of a failed restart. A panic hook does that, and then calls the hook that was there
    /// before.
    pub fn control(mut self, on: bool) -> Builder {
        self.control = on.then(|| self.control.unwrap_or(Wanted::Somewhere));
        self
    }

    /// Opens a control socket as [`control`](Self::control) does, and makes this path lead to it. The path is
    /// a symbolic link to the socket of the process that serves. It is replaced when a restart settles, and
    /// removed by the last generation. Beside it lie the sockets themselves (`PATH.PID.heirloom`) and a lock.
    /// If another server has the path, the start fails.
    pub fn control_at(mut self, path: impl Into<PathBuf>) -> Builder {
        self.control = Some(Wanted::At(path.into()));
        self
    }

    /// Whether warnings and errors go to standard error, one line each, while the program has no `tracing`
    /// subscriber (default: yes, since a restart that fails must not fail in silence). With the feature
    /// `log` they go to a logger of the `log` crate instead, if there is one. What a subscriber leaves out
    /// stays out. This is for the whole process; the last start counts.
    pub fn warnings_to_stderr(mut self, on: bool) -> Builder {
        self.stderr = on;
        self
    }

    /// The program that a successor runs. Default: this program, by the name with which it was started.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Builder {
        self.program = Some(path.into());
        self
    }

    /// The successor's arguments, its own name first. Default: this process's arguments.
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Builder {
        self.arguments = Some(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a variable in the successor's environment. The rest of that is this process's environment.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Builder {
        self.changes.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the successor's environment.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Builder {
        self.changes.push((key.into(), None));
        self
    }

    /// Tells systemd what happens to the service, if NOTIFY_SOCKET is set. If it is not, this does nothing.
    /// See [`systemd`](crate::systemd) for what is told, and for unit files.
    #[cfg(feature = "systemd")]
    pub fn systemd(mut self, systemd: Systemd) -> Builder {
        self.systemd = Some(systemd);
        self
    }

    /// Takes over what a predecessor handed down, and starts heirloom's thread. On return the signals are
    /// handled.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. Nothing has been accepted or announced then: print the error and exit.
    pub fn start(self) -> Result<Restarter, StartError> {
        static STARTED: AtomicBool = AtomicBool::new(false);
        // Nothing else is published through the flag.
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(StartError::AlreadyStarted);
        }
        self.start_with(Inherited::take()?, None)
    }

    /// A restarter that stands apart from the process: for tests of a program's own code, as many in one
    /// process as are wanted. It reads no environment, handles no signal, has no pid file and notifies no
    /// service manager. Listeners are bound, tracked and drained as usual, [`shutdown`](Restarter::shutdown)
    /// works, and a restart is refused.
    ///
    /// ```
    /// # async fn program(restarter: heirloom::Restarter) -> Result<heirloom::Ending, heirloom::ReadyError> {
    /// #     restarter.run().await
    /// # }
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use heirloom::Restarter;
    ///
    /// let restarter = Restarter::builder().detached()?;
    /// let running = tokio::spawn(program(restarter.clone()));
    /// // The program itself says when it is ready; the test must not.
    /// restarter.accepting().await?;
    /// // ... requests to it ...
    /// assert!(restarter.restart().await.is_err());
    /// restarter.shutdown(None).await;
    /// running.await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Threads or descriptors have run out.
    pub fn detached(mut self) -> Result<Restarter, StartError> {
        self.signals = SignalMap::none();
        (self.pid_file, self.control) = (None, None);
        #[cfg(feature = "systemd")]
        {
            self.systemd = None;
        }
        self.start_with(Inherited::nothing(), Some(Refusal::Disabled))
    }

    fn start_with(self, inherited: Inherited, refusal: Option<Refusal>) -> Result<Restarter, StartError> {
        self.begin_to_speak();
        let pid_file = match &self.pid_file {
            // The process to know is the supervisor.
            Some(path) if inherited.supervisor.is_some() => {
                say!(debug: path = %path.display(), "no pid file of a worker's own");
                None
            }
            Some(path) => Some(Arc::new(PidFile::claim(path, inherited.pid_file)?)),
            None => None,
        };
        let control = match &self.control {
            // The path that stays is the supervisor's.
            Some(_) if inherited.supervisor.is_some() => bound(&Wanted::Somewhere, None)?,
            Some(wanted) => bound(wanted, inherited.control)?,
            None => None,
        };
        let recipe = Recipe {
            program: self.successor_program(inherited.program),
            generation: inherited.generation + 1,
            signals: self.signals.signals(),
            blocked: self.signals.blocked_at_start(),
            own_pidfd: Arc::new(Pidfd::own().map_err(StartError::Pidfd)?),
            history: None,
            control: control.as_ref().map(|(_, place)| Arc::clone(place)),
        };
        let (commands, received) = mpsc::unbounded_channel();
        // The main process is the supervisor, and speaks for itself.
        let service = match inherited.supervisor {
            Some(_) => Arc::default(),
            None => Arc::new(self.service(inherited.generation)?),
        };
        inherited.unwanted.into_iter().for_each(|stored| service.unwanted(stored.encode()));
        let is_tried = inherited.predecessor.is_some() || inherited.supervisor.is_some();
        let shared = Arc::new(Shared {
            generation: inherited.generation,
            supervisor: inherited.supervisor.as_ref().map(|supervisor| supervisor.pid),
            program: recipe.program.path.clone(),
            listeners: Arc::new(Listeners::new(inherited.sockets, Arc::clone(&service))),
            tracker: Tracker::new(),
            descriptors: Descriptors::new(inherited.descriptors),
            providers: Providers::default(),
            commands,
            service,
            ready: AtomicBool::new(false),
            is_watched: AtomicBool::new(is_tried),
            started: SystemTime::now(),
            drain: Mutex::new(None),
            life: watch::Sender::new(Life::Starting),
            ending: watch::Sender::new(None),
            events: broadcast::Sender::new(EVENTS),
            #[cfg(feature = "udp")]
            flows: Mutex::default(),
        });
        let tells_of_panics = self.control.is_some() && is_tried;
        driver::start(Start {
            refusal: refusal
                .or_else(|| may_not_exit(pid_file.is_some() || shared.service.follows_restarts())),
            deadlines: self.deadlines,
            state: self.state,
            signals: self.signals,
            predecessor: inherited.predecessor,
            supervisor: inherited.supervisor,
            recipe,
            pid_file,
            history: inherited.history,
            control,
            shared: Arc::clone(&shared),
            commands: received,
        })?;
        if tells_of_panics {
            super::last_words::tell_of_panics(&shared);
        }
        Ok(Restarter { shared })
    }

    /// Lines can be said from here on.
    pub(crate) fn begin_to_speak(&self) {
        crate::aside::unheard::turn(self.stderr && !cfg!(test));
        crate::aside::say::begin();
    }

    #[cfg(feature = "supervisor")]
    pub(crate) fn signal_map(&self) -> &SignalMap {
        &self.signals
    }

    /// The control socket that is asked for, in a supervisor.
    #[cfg(feature = "supervisor")]
    pub(crate) fn bind_control(&self) -> Result<Option<Bound>, ControlError> {
        self.control.as_ref().map_or(Ok(None), |wanted| bound(wanted, None))
    }

    #[cfg(feature = "supervisor")]
    pub(crate) fn pid_file_path(&self) -> Option<&std::path::Path> {
        self.pid_file.as_deref()
    }

    /// Who is to hear what happens.
    #[cfg_attr(not(feature = "systemd"), expect(unused_variables, reason = "nobody to begin with"))]
    pub(crate) fn service(&self, generation: u64) -> Result<Service, StartError> {
        #[cfg(feature = "systemd")]
        return Ok(Service {
            systemd: match &self.systemd {
                Some(systemd) => {
                    let patience = self.deadlines.start.saturating_add(self.deadlines.probation);
                    systemd.begin(generation, patience).map_err(StartError::Notify)?
                }
                None => None,
            },
            #[cfg(feature = "metrics")]
            metrics: Default::default(),
        });
        #[cfg(not(feature = "systemd"))]
        Ok(Service::default())
    }

    pub(crate) fn successor_program(&self, inherited: Option<(PathBuf, PathBuf)>) -> Program {
        let mut program = Program::own(inherited);
        if let Some(path) = &self.program {
            program.path = program.directory.join(path);
        }
        if let Some(arguments) = &self.arguments {
            program.arguments.clone_from(arguments);
        }
        program.changes.clone_from(&self.changes);
        program
    }
}

/// How many events a receiver may lag behind: a burst of restarts makes about ten each.
const EVENTS: usize = 256;

/// Why this process may not exit, if so: then it must not hand over to another one either.
fn may_not_exit(is_followed: bool) -> Option<Refusal> {
    let own = std::process::id();
    let is_unit = env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid.parse() == Ok(own));
    match own {
        1 => Some(Refusal::Init),
        _ if !environment::is_trusted() => Some(Refusal::SetUserId),
        _ if is_unit && !is_followed => Some(Refusal::Systemd),
        _ => None,
    }
}
