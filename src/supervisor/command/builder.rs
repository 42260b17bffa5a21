//! What can be set of a command, and its start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::environment::EnvironmentSource;
use super::foreign::Foreign;
use super::listening::Listening;
use super::making::{Commanded, Workers};
use super::readiness::Readiness;
use super::spawner::{Spawner, all_signals};
use super::status_file::StatusFile;
use super::timed;
use super::watcher::{Orders, Watcher};
use crate::handdown::program::Program;
use crate::handdown::recipe::Recipe;
use crate::restarter::signals::Signal;
use crate::supervisor::{Orphans, Supervisor, SupervisorError, SupervisorHandle};

/// A command whose processes a [`Supervisor`] is to replace: any server, in any language. This is what
/// `heirloom run` is made of.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use heirloom::Supervisor;
/// use heirloom::supervisor::{WorkerCommand, become_worker};
///
/// fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
///     // First of all: a worker that is being started is this program for a moment.
///     if become_worker().is_err() {
///         return Ok(ExitCode::FAILURE);
///     }
///     let command = WorkerCommand::new(["python3", "app.py"]).listen("127.0.0.1:8080".parse()?);
///     Ok(Supervisor::new().run_command(command)?)
/// }
/// ```
///
/// The worker finds its sockets from fd 3 on, announced in `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`, and in
/// `SERVER_STARTER_PORT`; its generation is in `SERVER_STARTER_GENERATION`, and `NOTIFY_SOCKET` is there to be used (see [`Readiness`]).
/// Signals
/// come to it unblocked and with their default effect. It leads a session and a process group of its own, and what is left of
/// that group when it ends is killed, and whatever else it has left that holds one of the sockets: nobody is to go on accepting
/// unobserved. A first worker that goes into the background is given up; run it in the foreground. When the supervisor stops,
/// all that its workers have started goes with it. So it has no terminal, even if the supervisor has
/// one: Ctrl-C is for the supervisor, which stops it; Ctrl-Z stops the supervisor alone, and the worker serves on. One that is
/// stopped otherwise (SIGSTOP) does not count as ready until it goes on.
///
/// A worker that counts as ready and accepts nothing is noticed: if connections wait, and a queue only grows, a warning names
/// the socket and its number. Readiness by the clock says nothing of it, so what waits since the worker's start is told then.
///
/// While a new worker is on probation both accept, since nobody can tell a foreign program to pause; then the old one is
/// sent the [stop signal](Self::stop_signal). Whether it closes its connections without losing a request is its own affair.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before run_command()"]
pub struct WorkerCommand {
    command: Vec<OsString>,
    directory: Option<PathBuf>,
    listenings: Vec<Listening>,
    readiness: Readiness,
    environment: Vec<EnvironmentSource>,
    stop_signal: Signal,
    stop_delay: Duration,
    nonblocking: bool,
    keeps_stdin: bool,
    status_file: Option<PathBuf>,
    restart_every: Option<Duration>,
}

impl WorkerCommand {
    /// A program, looked up in the PATH, and its arguments.
    ///
    /// # Panics
    ///
    /// Without a program.
    pub fn new<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> WorkerCommand {
        let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
        assert!(!command.is_empty(), "a command has at least a program");
        WorkerCommand {
            command,
            directory: None,
            listenings: Vec::new(),
            readiness: Readiness::default(),
            environment: Vec::new(),
            stop_signal: Signal::TERM,
            stop_delay: Duration::ZERO,
            nonblocking: false,
            keeps_stdin: false,
            status_file: None,
            restart_every: None,
        }
    }

    /// Binds a socket for the workers. A socket that the supervisor itself was handed by activation is used if it has the
    /// address; what it was handed beside those goes to the workers as well.
    pub fn listen(mut self, listening: Listening) -> WorkerCommand {
        self.listenings.push(listening);
        self
    }

    /// How a worker shows that it is ready. Default: it has run for a second, or says `READY=1` before.
    pub fn ready(mut self, readiness: Readiness) -> WorkerCommand {
        self.readiness = readiness;
        self
    }

    /// Variables that are read anew for each worker, a later source over an earlier one.
    pub fn environment(mut self, source: EnvironmentSource) -> WorkerCommand {
        self.environment.push(source);
        self
    }

    /// Where workers start, instead of where the supervisor did.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> WorkerCommand {
        self.directory = Some(directory.into());
        self
    }

    /// The signal that tells a worker to finish and exit. Default TERM; some servers mean "at once" by it, and want QUIT
    /// (nginx, unicorn).
    pub fn stop_signal(mut self, signal: Signal) -> WorkerCommand {
        self.stop_signal = signal;
        self
    }

    /// How long an old worker stays beside its successor, both accepting, before it is sent the stop signal. Default none
    /// beyond the probation. It is part of no deadline.
    pub fn stop_delay(mut self, delay: Duration) -> WorkerCommand {
        self.stop_delay = delay;
        self
    }

    /// Whether the sockets have O_NONBLOCK set. The flag belongs to the socket itself, and so to all generations at once:
    /// heirloom sets it before the first worker and never touches it again. Default no, as from systemd: servers that want
    /// it set it themselves (asyncio, Node, Go, gunicorn), and to those that do not a socket that does not block is an
    /// error or a loop that spins.
    pub fn nonblocking(mut self, on: bool) -> WorkerCommand {
        self.nonblocking = on;
        self
    }

    /// Whether a worker has this process's standard input even if that is a terminal. Default no: it is `/dev/null` then, since
    /// workers have no terminal to be in the foreground of, and would take its input away from a shell. Whatever else the
    /// standard input is, they have it.
    pub fn keep_stdin(mut self, on: bool) -> WorkerCommand {
        self.keeps_stdin = on;
        self
    }

    /// A file with one `generation:pid` line for each worker that is alive, replaced at each change, removed at the end.
    pub fn status_file(mut self, path: impl Into<PathBuf>) -> WorkerCommand {
        self.status_file = Some(path.into());
        self
    }

    /// Restarts by the clock: so long after each other, a tenth more or less, so that many hosts do not at one instant.
    pub fn restart_every(mut self, interval: Duration) -> WorkerCommand {
        self.restart_every = Some(interval);
        self
    }

    fn program(&self) -> Program {
        Program::of(self.command.clone(), self.directory.clone())
    }

    fn workers(&self, orphans: Orphans, watcher: Option<Arc<Watcher>>) -> Result<Workers, SupervisorError> {
        let program = self.program();
        if self.readiness == Readiness::Heirloom {
            let recipe = Recipe::of_workers(program, all_signals(), Vec::new());
            let recipe = recipe.map_err(SupervisorError::Pidfd)?;
            return Ok(Workers::Heirloom { recipe, environment: self.environment.clone() });
        }
        std::fs::metadata(SHIM).map_err(SupervisorError::Proc)?;
        let spawner = Spawner::new(SHIM.into()).map_err(SupervisorError::System)?;
        let stop = self.stop_signal.number();
        let foreign = Foreign {
            command: self.command.clone(),
            directory: Some(program.directory),
            anywhere: self.directory.is_none(),
            environment: self.environment.clone(),
            readiness: self.readiness.clone(),
            keeps_stdin: self.keeps_stdin,
            at_death: (orphans == Orphans::Stop).then_some(stop),
            spawner: Arc::new(spawner),
            newest: Default::default(),
            watcher,
        };
        Ok(Workers::Foreign { foreign, stop, delay: self.stop_delay })
    }
}

impl Supervisor {
    /// Supervises processes of `command`, and returns when the service has ended. The exit code is that of the last one;
    /// return it from `main`.
    ///
    /// The program that calls this calls [`become_worker`](super::become_worker) first of all in `main`.
    ///
    /// # Errors
    ///
    /// There was nothing to supervise, or nothing to do it with; no worker is left.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn run_command(mut self, command: WorkerCommand) -> Result<ExitCode, SupervisorError> {
        let status_file = match &command.status_file {
            Some(path) => Some(Mutex::new(
                StatusFile::create(path)
                    .map_err(|source| SupervisorError::StatusFile { path: path.clone(), source })?,
            )),
            None => None,
        };
        let watcher = self.watcher(&command).map(Arc::new);
        // What a foreign worker leaves behind is to be found.
        self = self.adopting(command.readiness != Readiness::Heirloom);
        if let Some(watcher) = watcher.clone() {
            self = self.started(move |_| drop(tokio::spawn(watcher.keep())));
        }
        let maker = Commanded {
            workers: command.workers(self.orphans, watcher.clone())?,
            listenings: command.listenings.clone(),
            program: command.program().path,
            status_file,
            nonblocking: command.nonblocking,
            advice: Mutex::default(),
        };
        self.restarter.deadlines.drain = self.restarter.deadlines.drain.saturating_add(command.stop_delay);
        for Listening { listen, udp, .. } in command.listenings {
            self.listens.push((Ok(listen), udp));
        }
        if let Some(every) = command.restart_every {
            self = self.started(move |handle| drop(tokio::spawn(restart_every(handle, every))));
        }
        let ended = self.supervise(Arc::new(maker));
        watcher.inspect(|watcher| watcher.end());
        ended
    }

    /// PID 1 needs none: with it, all are killed.
    fn watcher(&self, command: &WorkerCommand) -> Option<Watcher> {
        let is_needed = self.orphans == Orphans::Stop
            && command.readiness != Readiness::Heirloom
            && std::process::id() != 1;
        let within = self.restarter.deadlines.shutdown;
        let orders = Orders { stop: command.stop_signal.number(), within };
        is_needed.then(|| Watcher::new(SHIM.into(), orders))
    }
}

/// In a child this is still the program that runs here, whatever lies at its path by now.
const SHIM: &str = "/proc/self/exe";

async fn restart_every(handle: SupervisorHandle, interval: Duration) {
    loop {
        tokio::time::sleep(timed::wait(interval)).await;
        say!(info: "restarting by the clock");
        // The driver reports how it went; the next one comes all the same.
        let _ = handle.restart().await;
    }
}
