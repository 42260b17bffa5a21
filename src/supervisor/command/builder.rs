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

/// A command whose processes a [`Supervisor`] starts and replaces: any server, in any language. `heirloom
/// run` is made of this.
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
/// The worker finds its sockets from fd 3 on, announced in `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`,
/// and in `SERVER_STARTER_PORT`; its generation is in `SERVER_STARTER_GENERATION`, and `NOTIFY_SOCKET` is
/// there to be used (see [`Readiness`]). The worker starts with all signals unblocked and at their default
/// effect. It leads a session and a process group of its own. When it ends, the supervisor kills what is left
/// of that group, and every other process that it has left and that holds one of the sockets, so that no
/// process goes on accepting unobserved. Run the server in the foreground: a first worker that goes into the
/// background is given up. When the supervisor stops, everything that its workers have started is stopped. A
/// worker has no terminal, even if the supervisor has one: Ctrl-C reaches the supervisor, which stops the
/// worker; Ctrl-Z suspends the supervisor alone, and the worker serves on. A worker that is stopped in
/// another way (SIGSTOP) does not count as ready until it goes on.
///
/// The supervisor notices a worker that counts as ready and accepts nothing: if connections wait and a queue
/// only grows, a warning names the socket and its number. Readiness by time does not show that a worker
/// accepts, so then the warning also counts what has waited since the worker's start.
///
/// While a new worker is on probation both accept, since a foreign program cannot be told to pause. Then the
/// supervisor sends the old one the [stop signal](Self::stop_signal). heirloom cannot control how the old one
/// closes its connections, and whether it loses a request.
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
    /// If `command` is empty.
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

    /// Binds a socket for the workers. If the supervisor itself got a socket with this address by activation,
    /// the workers get that one. They also get all other sockets that the supervisor got by activation.
    pub fn listen(mut self, listening: Listening) -> WorkerCommand {
        self.listenings.push(listening);
        self
    }

    /// How a worker shows that it is ready. Default: it has run for a second, or says `READY=1` before that.
    pub fn ready(mut self, readiness: Readiness) -> WorkerCommand {
        self.readiness = readiness;
        self
    }

    /// Adds variables that are read anew for each worker. A later source overrides an earlier one. If a
    /// source cannot be read, the worker is not started.
    pub fn environment(mut self, source: EnvironmentSource) -> WorkerCommand {
        self.environment.push(source);
        self
    }

    /// The directory in which workers start. Default: the supervisor's own start directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> WorkerCommand {
        self.directory = Some(directory.into());
        self
    }

    /// The signal that tells a worker to finish and exit. Default TERM. Some servers stop at once on TERM,
    /// and want QUIT to finish first (nginx, unicorn).
    pub fn stop_signal(mut self, signal: Signal) -> WorkerCommand {
        self.stop_signal = signal;
        self
    }

    /// How long an old worker stays beside its settled successor, both accepting, before it is sent the stop
    /// signal. Default zero. This time is not part of any deadline.
    pub fn stop_delay(mut self, delay: Duration) -> WorkerCommand {
        self.stop_delay = delay;
        self
    }

    /// Whether the sockets have O_NONBLOCK set. The flag belongs to the socket itself, and so to all
    /// generations at once: heirloom sets or clears it before the first worker, and never again. Default no,
    /// as from systemd: servers that want the flag set it themselves (asyncio, Node, Go, gunicorn). For other
    /// servers a socket that does not block is an error or a loop that spins.
    pub fn nonblocking(mut self, on: bool) -> WorkerCommand {
        self.nonblocking = on;
        self
    }

    /// Whether a worker has this process's standard input even if that is a terminal. Default no: the worker
    /// has `/dev/null` then, since it is not in the terminal's foreground and would take input away from a
    /// shell. If the standard input is anything else, the worker always has it.
    pub fn keep_stdin(mut self, on: bool) -> WorkerCommand {
        self.keeps_stdin = on;
        self
    }

    /// Keeps a file with one `generation:pid` line for each worker that is alive. It is replaced at each
    /// change, and removed at the end. Default: no file.
    pub fn status_file(mut self, path: impl Into<PathBuf>) -> WorkerCommand {
        self.status_file = Some(path.into());
        self
    }

    /// Restarts once in this interval, give or take a tenth of it, so that many hosts do not restart at one
    /// instant. Default: never.
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
        let spawner = Spawner::new(SHIM.into(), watcher).map_err(SupervisorError::System)?;
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
        };
        Ok(Workers::Foreign { foreign, stop, delay: self.stop_delay })
    }
}

impl Supervisor {
    /// Supervises processes of `command`, and returns when the service has ended. The exit code is that of
    /// the last one; return it from `main`.
    ///
    /// The program that calls this calls [`become_worker`](super::become_worker) first of all in `main`.
    ///
    /// # Errors
    ///
    /// See [`SupervisorError`]. No worker is left then.
    ///
    /// # Panics
    ///
    /// If it is called within a tokio runtime.
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
