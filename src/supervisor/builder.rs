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
use crate::sockets::listen_error::ListenError;
use crate::sys::environment;
use crate::sys::orphan;
use crate::sys::pidfd::PIDFD_NEEDS;
use crate::sys::socket::Kind;

/// Settings of a supervisor; [`run`](Self::run) starts it. See the [module's page](super).
///
/// The deadlines of start, probation, drain and shutdown are those of the workers' own [`Builder`]. The
/// supervisor waits half a second longer than a worker's own deadline before it kills the worker.
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

/// Calls into the program.
#[derive(Default)]
pub(super) struct Hooks {
    /// Called before a restart that was asked for.
    pub(super) before_restart: Option<BeforeRestart>,
    pub(super) started: Vec<Box<dyn FnOnce(SupervisorHandle) + Send>>,
}

/// An error is the reason of a refusal.
pub(super) type BeforeRestart = Arc<Mutex<dyn FnMut() -> Result<(), String> + Send>>;

/// Why there is no supervisor, or why it could not do its work.
#[derive(Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The worker, or the program run without a supervisor, cannot start.
    #[error(transparent)]
    Worker(#[from] StartError),
    /// What a predecessor or a service manager handed down cannot be taken over.
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
    #[non_exhaustive]
    StatusFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel or a sandbox lacks pidfd_open, or descriptors have run out.
    #[error("pidfd_open fails; {PIDFD_NEEDS}")]
    Pidfd(#[source] io::Error),
    /// /proc is not mounted, and workers of a command are started through /proc/self/exe.
    #[error(
        "workers are started through /proc/self/exe, which cannot be read; mount /proc (mount -t proc proc /proc)"
    )]
    Proc(#[source] io::Error),
    /// The process is set-user-id, so its workers would be too.
    #[error(
        "this process is set-user-id, and its workers would not believe their announcement: have it started with the \
         rights that it needs (by a service manager, or with file capabilities)"
    )]
    SetUserId,
    /// Signals, timers or descriptors cannot be had.
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
    /// A supervisor with default deadlines and the default [`SignalMap`], whose workers bind the addresses.
    pub fn new() -> Supervisor {
        Supervisor {
            restarter: Restarter::builder(),
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

    /// The settings of the workers: deadlines, signals, arguments, environment. A pid file set there is the
    /// supervisor's.
    ///
    /// If `builder` has [`SignalMap::none`], workers handle no signals of their own, and a TERM to a worker
    /// kills it.
    pub fn restarter(mut self, builder: Builder) -> Supervisor {
        self.restarter = builder;
        self
    }

    /// Binds this address in the supervisor, before the first worker starts. So an address that cannot be
    /// bound is an error of [`run`](Self::run), and no worker can drop the socket. A worker gets the socket
    /// from [`Restarter::listen`], as if it had bound it.
    pub fn listen(mut self, listen: impl IntoListen) -> Supervisor {
        self.listens.push((listen.into_listen(), false));
        self
    }

    /// Which signal does what *in the supervisor*. Default: HUP and USR2 restart, TERM and INT stop, a second
    /// one at once.
    pub fn signals(mut self, map: SignalMap) -> Supervisor {
        self.signals = map;
        self
    }

    /// Which signals go on to the worker that serves. Default: USR1, QUIT, WINCH, TTIN, TTOU, ALRM and the
    /// real-time signals. A signal that [`signals`](Self::signals) names is not passed on. If several of one
    /// kind come at once, one may be passed on, and of a real-time signal up to five. The value that
    /// `sigqueue` gave a signal is passed on with it.
    pub fn forward(mut self, signals: impl IntoIterator<Item = Signal>) -> Supervisor {
        self.forwarded = signals.into_iter().collect();
        self
    }

    /// What workers do if the supervisor is killed (SIGKILL) and so cannot stop them. Default: they drain and
    /// stop.
    pub fn orphans(mut self, orphans: Orphans) -> Supervisor {
        self.orphans = orphans;
        self
    }

    /// How long the supervisor waits before it replaces a dead worker. It replaces the first one at once.
    /// Before it replaces the second in a row it waits for `first`, and each time twice as long after that,
    /// up to `ceiling`. Connections wait in the kernel meanwhile. Default 100 ms and 30 s: a rare crash costs
    /// no wait, and a program that cannot run costs one start every half minute.
    pub fn backoff(mut self, first: Duration, ceiling: Duration) -> Supervisor {
        self.backoff = (first, ceiling);
        self
    }

    /// If a worker dies after it has served for this long, its death counts as the first in a row. Default 10
    /// s: well above the time in which a broken version dies of its first requests.
    pub fn stable_after(mut self, length: Duration) -> Supervisor {
        self.stable = length;
        self
    }

    /// After this many crashes in a row, the supervisor starts workers from the last program that was stable
    /// (or, if none was, from the last other one that was ready), until somebody asks for a restart. Default
    /// 3: two crashes can be chance. Zero turns it off. There is no rollback for a script, because the file
    /// that an interpreter reads cannot be kept open for it.
    pub fn rollback_after(mut self, crashes: u32) -> Supervisor {
        self.rollback_after = crashes;
        self
    }

    /// Whether it restarts when it is asked to (default: yes). A worker that dies is replaced in any case.
    pub fn restarts(mut self, on: bool) -> Supervisor {
        self.restarts = on;
        self
    }

    /// The supervisor calls `hook` before each restart that somebody asks for, but not before it replaces a
    /// dead worker. If the hook returns an error, the restart is refused for that reason. The hook holds up
    /// the supervisor, so it must be quick: if it takes longer than 5 s, the restart is refused.
    pub fn before_restart(mut self, hook: impl FnMut() -> Result<(), String> + Send + 'static) -> Supervisor {
        self.hooks.before_restart = Some(Arc::new(Mutex::new(hook)));
        self
    }

    /// The supervisor calls `hook` once when it runs, with a handle to itself. The hook runs within the
    /// supervisor's tokio runtime (one thread), so it may spawn tasks. It must not block: after 5 s the
    /// supervisor goes on without it.
    pub fn started(mut self, hook: impl FnOnce(SupervisorHandle) + Send + 'static) -> Supervisor {
        self.hooks.started.push(Box::new(hook));
        self
    }

    /// Whether there is a supervisor at all. Default yes. With `false` the program runs in this process and
    /// restarts by replacing it. So the same code serves on a terminal, in a test, or where a service manager
    /// can follow the PID.
    pub fn supervised(mut self, supervised: bool) -> Supervisor {
        self.supervised = supervised;
        self
    }

    /// Fetches new versions of the program, in the supervisor, and restarts into them. A version that fails,
    /// or is taken back, is replaced by the one before it. `updater` is called once the supervisor runs.
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

    /// Restarts when one of these files has changed, and has then stayed the same for half a second: for a
    /// developer, whose next build is the next worker. A file that is gone or empty is waited for. If the new
    /// worker does not start, the old one serves on, as after any failed restart, and the next change is
    /// tried.
    pub fn watch<P: Into<PathBuf>>(self, paths: impl IntoIterator<Item = P>) -> Supervisor {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        if paths.is_empty() {
            return self;
        }
        self.started(move |handle| super::watching::watch(handle, paths))
    }

    /// Whether the supervisor adopts and reaps the processes that its descendants leave behind. Default no.
    /// As PID 1, and for foreign workers, it always does. Other code in the supervisor that starts a process
    /// has one second to collect the status of that process.
    pub fn subreaper(mut self, on: bool) -> Supervisor {
        self.subreaper = on;
        self
    }

    pub(super) fn adopting(mut self, needed: bool) -> Supervisor {
        self.subreaper |= needed;
        self
    }

    /// Starts this program again as a worker, in which this call runs `program`, and returns when the service
    /// has ended. The exit code is that of the last worker; return it from `main`.
    ///
    /// Call it early in `main`, and once. A server that ran without a supervisor and is restarted into this
    /// program goes on without one, since its PID cannot be kept; so does a worker that [serves
    /// on](Orphans::ServeOn) as an orphan.
    ///
    /// # Errors
    ///
    /// See [`SupervisorError`]. No worker is left then.
    ///
    /// # Panics
    ///
    /// If it is called within a tokio runtime.
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
        self.restarter.begin_to_speak();
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

/// How much longer than its own deadline a worker has before it is killed. It aborts what is left by itself
/// and exits, which takes milliseconds; and with the default of 9 s for a shutdown all is over before `docker
/// stop` kills at 10 s.
const GRACE: Duration = Duration::from_millis(500);

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
