//! What can be set before the start, and the start itself.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;

use super::SupervisorHandle;
use super::driver::{self, Start};
use super::making::{Itself, Make};
use super::orphans::Children;
use super::signals::forwarded;
use super::store::Store;
use crate::handdown::inherited::{InheritError, Inherited, Parentage, parentage};
use crate::handdown::recipe::Recipe;
use crate::handover::Failure;
use crate::handover::supervise::Limits;
use crate::handover::supervised::Orphans;
use crate::operate::control::place::ControlError;
use crate::operate::pid_file::{PidFile, PidFileError};
use crate::restarter::signals::{Signal, SignalMap};
use crate::restarter::{Builder, Restarter, StartError};
use crate::sockets::listen::{IntoListen, Listen, ListenParseError};
use crate::sockets::socket::ListenError;
use crate::sys::environment;
use crate::sys::orphan;
use crate::sys::pidfd::PIDFD_NEEDS;
use crate::sys::socket::Kind;

/// Settings of a supervisor; [`run`](Self::run) starts it. See the [module's page](super).
///
/// The deadlines of starting, probation, drain and shutdown are those of the workers' own [`Builder`]; the supervisor
/// waits a moment longer than a worker is given before it kills one.
#[must_use = "nothing is supervised before run()"]
pub struct Supervisor {
    pub(super) restarter: Builder,
    /// Each with whether it is a UDP socket.
    pub(super) listens: Vec<(Result<Listen, ListenParseError>, bool)>,
    signals: SignalMap,
    forwarded: Vec<Signal>,
    pub(super) orphans: Orphans,
    backoff: (Duration, Duration),
    stable: Duration,
    rollback_after: u32,
    restarts: bool,
    supervised: bool,
    subreaper: bool,
    hooks: Hooks,
}

/// What the program has a say in.
#[derive(Default)]
pub(super) struct Hooks {
    /// Called before a restart that was asked for.
    pub(super) before_restart: Option<BeforeRestart>,
    pub(super) started: Vec<Box<dyn FnOnce(SupervisorHandle) + Send>>,
}

/// An error is the reason why not.
pub(super) type BeforeRestart = Arc<Mutex<dyn FnMut() -> Result<(), String> + Send>>;

/// Why there is no supervisor, or why it could not do its work.
#[derive(Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The worker, or the program run without a supervisor, cannot start.
    #[error(transparent)]
    Worker(#[from] StartError),
    /// What the environment announces cannot be taken over.
    #[error("cannot take over what this process was started with")]
    Inherit(#[from] InheritError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The path of the control socket is another server's, or cannot be made.
    #[error("cannot have the control socket")]
    Control(#[from] ControlError),
    /// The pid file is another process's, or cannot be written.
    #[error("cannot have the pid file")]
    PidFile(#[from] PidFileError),
    /// The status file cannot be written.
    #[error("cannot write the status file {path:?}; its directory must exist and be writable")]
    StatusFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel or a sandbox lacks pidfd_open, or descriptors have run out.
    #[error("pidfd_open fails; {PIDFD_NEEDS}")]
    Pidfd(#[source] io::Error),
    /// Workers of a command are started through /proc/self/exe, which is not there.
    #[error(
        "workers are started through /proc/self/exe, which cannot be read; mount /proc (mount -t proc proc /proc)"
    )]
    Proc(#[source] io::Error),
    /// It runs with more rights than whoever started it, and so would its workers.
    #[error(
        "this process is set-user-id, and its workers would not believe their announcement: have it started with the \
         rights that it needs (by a service manager, or with file capabilities)"
    )]
    SetUserId,
    /// Signals, timers or descriptors are not to be had.
    #[error("cannot start the supervisor")]
    System(#[source] io::Error),
    /// The first worker cannot be executed at all.
    #[error("cannot start the first worker")]
    CannotStart(#[source] Failure),
}

debug_as_told!(SupervisorError);

impl Default for Supervisor {
    fn default() -> Supervisor {
        Supervisor::new()
    }
}

impl Supervisor {
    /// The usual: default deadlines, the default [`SignalMap`], addresses bound by the workers.
    pub fn new() -> Supervisor {
        Supervisor {
            restarter: usual_worker(),
            listens: Vec::new(),
            signals: SignalMap::default(),
            forwarded: forwarded(),
            orphans: Orphans::default(),
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            stable: Duration::from_secs(10),
            rollback_after: 3,
            restarts: true,
            supervised: true,
            subreaper: false,
            hooks: Hooks::default(),
        }
    }

    /// The settings of the workers: deadlines, signals, arguments, environment. Its pid file is the supervisor's.
    ///
    /// With [`SignalMap::none`] in it (the builder's default) workers have no signals of their own: then a TERM to a
    /// worker kills it.
    pub fn restarter(mut self, builder: Builder) -> Supervisor {
        self.restarter = builder;
        self
    }

    /// Binds this address before the first worker starts, instead of in it: then an address that cannot be had is an
    /// error of [`run`](Self::run), and no worker can drop it. A worker gets it with
    /// [`Restarter::listen`] as if it bound it.
    pub fn listen(mut self, listen: impl IntoListen) -> Supervisor {
        self.listens.push((listen.into_listen(), false));
        self
    }

    /// Which signal does what *in the supervisor*. Default: HUP and USR2 restart, TERM and INT stop, a second one at once.
    pub fn signals(mut self, map: SignalMap) -> Supervisor {
        self.signals = map;
        self
    }

    /// Which signals go on to the worker that serves. Default: USR1, QUIT, WINCH, TTIN, TTOU, ALRM and the
    /// real-time signals. One that [`signals`](Self::signals) names is not passed on. Of several of one kind that come at once
    /// one may be passed on, and no more than five of a real-time one. The value that `sigqueue` gave it goes along.
    pub fn forward(mut self, signals: impl IntoIterator<Item = Signal>) -> Supervisor {
        self.forwarded = signals.into_iter().collect();
        self
    }

    /// What workers do when the supervisor is gone without having stopped them (SIGKILL). Default: they stop in order.
    pub fn orphans(mut self, orphans: Orphans) -> Supervisor {
        self.orphans = orphans;
        self
    }

    /// How long the replacement of a dead worker waits. The first one does not; the second in a row waits for `first`,
    /// and each further one twice as long, up to `ceiling`. Default 100 ms and 30 s: a crash now and then costs nothing,
    /// and a program that cannot run costs no more than a start every half minute. Connections wait in the kernel
    /// meanwhile.
    pub fn backoff(mut self, first: Duration, ceiling: Duration) -> Supervisor {
        self.backoff = (first, ceiling);
        self
    }

    /// A worker that has served for so long was no failure: its death counts as the first. Default 10 s, well above the
    /// time in which a broken version dies of its first requests.
    pub fn stable_after(mut self, length: Duration) -> Supervisor {
        self.stable = length;
        self
    }

    /// After so many crashes in a row, workers are started from the last program that was stable (or, before there is
    /// one, that was ready before the present one), until the next restart that is asked for. Default 3; 0 turns it off.
    /// A script cannot be kept, so there is no rollback for one.
    pub fn rollback_after(mut self, crashes: u32) -> Supervisor {
        self.rollback_after = crashes;
        self
    }

    /// Refuses every restart that is asked for; a worker that dies is still replaced.
    pub fn no_restart(mut self) -> Supervisor {
        self.restarts = false;
        self
    }

    /// Called in the supervisor before each restart that is asked for (not before a dead worker is replaced); an error
    /// says why it must not be, and the restart is refused with it. It holds up the supervisor, so it must be quick: after 5 s
    /// it is not waited for, and the restart refused.
    pub fn before_restart(mut self, hook: impl FnMut() -> Result<(), String> + Send + 'static) -> Supervisor {
        self.hooks.before_restart = Some(Arc::new(Mutex::new(hook)));
        self
    }

    /// Called once in the supervisor when it runs, with a handle on it. Within its tokio runtime (one thread), so it may
    /// spawn tasks; it must not block: after 5 s the supervisor goes on without it.
    pub fn started(mut self, hook: impl FnOnce(SupervisorHandle) + Send + 'static) -> Supervisor {
        self.hooks.started.push(Box::new(hook));
        self
    }

    /// Whether there is a supervisor at all. With `false` the program runs in this very process, and restarts by
    /// replacing it: the same code, for a terminal or a test, or where a service manager can follow the PID.
    pub fn supervised(mut self, supervised: bool) -> Supervisor {
        self.supervised = supervised;
        self
    }

    /// Fetches new versions of the program, in the supervisor, and restarts into them. A version that fails, or is taken
    /// back, is replaced by the one before it. `updater` is called once the supervisor runs.
    ///
    /// ```no_run
    /// # fn program(restarter: heirloom::Restarter) {}
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use heirloom::Supervisor;
    /// use heirloom::fetch::{Checks, Source, Updater};
    ///
    /// let source: Source = "github:someone/server/server-*-x86_64-linux.gz".parse()?;
    /// let checks = Checks::new().minisign_key("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")?;
    /// Supervisor::new()
    ///     .fetch(|handle| Updater::new(source, handle.program(), handle.clone()).checks(checks))
    ///     .run(program)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "fetch")]
    pub fn fetch<F: crate::fetch::Fetcher + 'static>(
        self,
        updater: impl FnOnce(&SupervisorHandle) -> crate::fetch::Updater<F, SupervisorHandle> + Send + 'static,
    ) -> Supervisor {
        self.started(move |handle| {
            let mut updater = updater(&handle);
            tokio::spawn(async move { updater.run().await });
        })
    }

    /// Whether the supervisor adopts and reaps what its descendants leave behind. As PID 1 it does in any case, as an init
    /// must, and for foreign workers. Whatever else starts a process in the supervisor has a second to collect its status.
    pub fn subreaper(mut self, on: bool) -> Supervisor {
        self.subreaper = on;
        self
    }

    pub(super) fn adopting(mut self, needed: bool) -> Supervisor {
        self.subreaper |= needed;
        self
    }

    /// Supervises: starts this very program again as a worker, in which this call runs `program`, and returns when the
    /// service has ended. The exit code is that of the last worker; return it from `main`.
    ///
    /// Call it early in `main`, and once. A server that ran without a supervisor and is restarted into this program goes on
    /// without one, since its PID cannot be kept; so does a worker that [serves on](Orphans::ServeOn) as an orphan.
    ///
    /// # Errors
    ///
    /// There was nothing to supervise, or nothing to do it with; no worker is left.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn run<T: Termination>(
        self,
        program: impl FnOnce(Restarter) -> T,
    ) -> Result<ExitCode, SupervisorError> {
        #[cfg(feature = "fetch")]
        if crate::fetch::answer_sanity_check() {
            return Ok(ExitCode::SUCCESS);
        }
        let parentage = if self.supervised { parentage() } else { Parentage::Worker };
        if parentage != Parentage::First {
            if parentage == Parentage::Successor {
                say!(warn:
                    "restarted from a server without a supervisor, so this one has none: stop and start it"
                );
            }
            return Ok(program(self.restarter.start()?).report());
        }
        let worker = self.restarter.signal_map();
        let forwarded: Vec<i32> = self.forwarded.iter().map(|signal| signal.number()).collect();
        let program = self.restarter.successor_program(None);
        // An ignored one would stay ignored through the exec.
        let signals = [worker.signals(), self.signals.signals(), forwarded].concat();
        let recipe = Recipe::of_workers(program, signals, worker.blocked_at_start());
        let recipe = recipe.map_err(SupervisorError::Pidfd)?;
        self.supervise(Arc::new(Itself { recipe }))
    }

    /// Supervises workers that `maker` makes.
    pub(super) fn supervise(mut self, maker: Arc<dyn Make>) -> Result<ExitCode, SupervisorError> {
        crate::aside::say::begin();
        if !environment::is_trusted() {
            return Err(SupervisorError::SetUserId);
        }
        let inherited = Inherited::take()?;
        let sockets = inherited.sockets.into_iter().flatten().collect();
        let service = Arc::new(self.restarter.service(1)?);
        inherited.unwanted.into_iter().for_each(|stored| service.unwanted(stored.encode()));
        let mut store = Store::new(sockets, Arc::clone(&service)).map_err(SupervisorError::System)?;
        for (listen, udp) in std::mem::take(&mut self.listens) {
            let listen = listen.map_err(ListenError::Parse)?;
            let kind = match listen.address() {
                crate::Address::Inet(_) if udp => Kind::Udp,
                crate::Address::Inet(_) => Kind::Tcp,
                _ => Kind::UnixStream,
            };
            store.bind(&listen, kind)?;
        }
        maker.prepare(&store.sockets()).map_err(SupervisorError::CannotStart)?;
        let pid_file = self.restarter.pid_file_path().map(|path| PidFile::claim(path, None)).transpose()?;
        if self.subreaper {
            orphan::become_subreaper().map_err(SupervisorError::System)?;
        }
        let children = Arc::new(Children::new(self.subreaper || std::process::id() == 1));
        let limits = self.limits(maker.accepts_early());
        driver::run(Start {
            children,
            limits,
            maker,
            store,
            signals: self.signals,
            forwarded: self.forwarded,
            orphans: self.orphans,
            restarts: self.restarts,
            pid_file,
            service,
            control: self.restarter.bind_control()?,
            hooks: self.hooks,
        })
    }

    fn limits(&self, early: bool) -> Limits {
        let own = &self.restarter.deadlines;
        Limits {
            start: own.start,
            probation: own.probation,
            drain: own.drain.saturating_add(GRACE),
            shutdown: own.shutdown.saturating_add(GRACE),
            backoff: self.backoff.0,
            backoff_ceiling: self.backoff.1,
            stable: self.stable,
            rollback_after: self.rollback_after,
            early,
        }
    }
}

/// How much longer than its own deadline a worker has before it is killed. It aborts what is left by itself and exits,
/// which takes milliseconds; and with the default of 9 s for a shutdown all is over before `docker stop` kills at 10 s.
const GRACE: Duration = Duration::from_millis(500);

/// As [`Restarter::new`] has it.
fn usual_worker() -> Builder {
    let builder = Restarter::builder().signals(SignalMap::default()).control();
    #[cfg(feature = "systemd")]
    let builder = builder.systemd(crate::systemd::Systemd::new());
    builder
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("restarter", &self.restarter)
            .field("listens", &self.listens)
            .field("signals", &self.signals)
            .field("orphans", &self.orphans)
            .finish_non_exhaustive()
    }
}
