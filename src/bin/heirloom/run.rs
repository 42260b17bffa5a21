//! `heirloom run`: a parent with a stable PID in front of any server.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heirloom::supervisor::{EnvironmentSource, Listening, Orphans, Readiness, Supervisor, WorkerCommand};
use heirloom::{Restarter, Signal};

use crate::exit::{RUN_CODES, never_ran};

/// Run a server in any language under a parent that keeps its PID and its sockets.
///
/// The server finds its sockets from fd 3 on: LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID say so as under
/// systemd, SERVER_STARTER_PORT as under Server::Starter. HUP and USR2 start a new one; the old one serves
/// until that is ready and has shown itself for the probation, and is then sent the stop signal. TERM and INT
/// stop, a second one at once. USR1, QUIT, WINCH, TTIN, TTOU, ALRM and the real-time signals go on to the
/// server.
#[derive(Args, Debug)]
// A wrapper's option, and after it the operator's: the last word counts.
#[command(args_override_self = true, after_help = RUN_CODES)]
pub(crate) struct Run {
    /// Listen here, as often as wanted: 127.0.0.1:80, '[::]:80' (IPv6 alone), unix:/path, unix:@name,
    /// udp:127.0.0.1:53. NAME is for LISTEN_FDNAMES, FD the number under which the server finds it.
    #[arg(short, long, value_name = "[NAME=]ADDRESS[=FD]")]
    listen: Vec<Listening>,

    /// The mode of Unix sockets' paths, in octal: a user who may write there may connect. Without it 0777
    /// less the umask.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    socket_mode: Option<u32>,

    /// The user that Unix sockets' paths belong to, by name or number.
    #[arg(long, value_name = "USER", value_parser = user)]
    socket_owner: Option<u32>,

    /// The group that Unix sockets' paths belong to, by name or number.
    #[arg(long, value_name = "GROUP", value_parser = group)]
    socket_group: Option<u32>,

    /// How many connections may wait to be accepted, cut to net.core.somaxconn.
    #[arg(long, value_name = "N")]
    backlog: Option<u32>,

    /// Hand the sockets down with O_NONBLOCK set. Without it they block, as from systemd; servers that do not
    /// want that set the flag themselves.
    #[arg(long)]
    nonblocking: bool,

    /// How the server shows that it is ready: after=1s (it has run so long), notify (READY=1 to
    /// NOTIFY_SOCKET), fd or fd=N (a line written there; HEIRLOOM_READY_FD names it), http=/path (a 2xx at
    /// one more socket that it is handed), http=ADDRESS/path or tcp=ADDRESS (at an address of its own),
    /// heirloom (it is a heirloom program). NOTIFY_SOCKET is a path, as under systemd, and offered with every
    /// choice but heirloom: STATUS=, MAINPID= (the main process, also when its starter ends), STOPPING= and
    /// EXTEND_TIMEOUT_USEC= (more time to start or to stop) are heard there. Where no directory can be had
    /// for it, it is an abstract name (@...) for notify, and left out otherwise.
    #[arg(long, value_name = "HOW", default_value = "after=1s")]
    ready: Readiness,

    /// Leave servers the standard input even if it is a terminal. Without it they have /dev/null instead
    /// then.
    #[arg(long)]
    keep_stdin: bool,

    /// A server that is not ready by then is killed; the old one serves on.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    start_timeout: Duration,

    /// How long a new server is watched, and the old one kept, after it is ready. If it dies, or is stopped
    /// at the end or fails its check (http=, tcp=) then, the old one goes on.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    probation: Duration,

    /// The signal that tells a server to finish and exit.
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    stop_signal: Signal,

    /// How long an old server stays beside its successor before it is sent the stop signal.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    stop_delay: Duration,

    /// How long an old server may take after a restart before it is killed.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// How long a server may take when the service stops before it is killed.
    #[arg(long, value_name = "TIME", default_value = "9s", value_parser = humantime::parse_duration)]
    shutdown_timeout: Duration,

    /// Restart by the clock, so long after each other, a tenth more or less.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    restart_every: Option<Duration>,

    /// Restart when this file has changed and has stayed the same for half a second, as after a build. As
    /// often as wanted. If the new server does not start, the old one serves on.
    #[arg(long, value_name = "PATH")]
    watch: Vec<PathBuf>,

    /// Read variables for each new server from a directory: a file's name and its first line. An empty file
    /// removes one.
    #[arg(long, value_name = "DIR")]
    env_dir: Vec<PathBuf>,

    /// Read variables for each new server from a file of NAME=VALUE lines.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Start servers in this directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Have the control socket at this path, too. `heirloom restart --pid PID` finds it in any case.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    #[cfg(feature = "fetch")]
    #[command(flatten)]
    fetching: crate::fetching::Fetching,

    /// Keep this process's id in a file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Keep a GENERATION:PID line for each server in a file.
    #[arg(long, value_name = "FILE")]
    status_file: Option<PathBuf>,

    /// How long the second replacement in a row of a server that dies waits; each further one twice as long.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    backoff: Duration,

    /// The longest such wait.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    backoff_ceiling: Duration,

    /// A server that has run for so long was no failure: its death counts as the first.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    stable_after: Duration,

    /// After so many deaths in a row, run the last program file that was good, whatever has become of it,
    /// until the next restart that is asked for; 0 never does. Not for scripts.
    #[arg(long, value_name = "N", default_value = "3")]
    rollback_after: u32,

    /// Leave servers running when this process is killed. Without it they are sent the stop signal.
    #[arg(long)]
    leave_running: bool,

    /// Adopt and reap what the server's processes leave behind, as PID 1 does anyway.
    #[arg(long)]
    subreaper: bool,

    /// The server and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// As clap has it.
const USAGE: u8 = 2;

/// Runs until the service ends.
pub(crate) fn run(options: Run) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (supervisor, command) = match options.configure() {
        Ok(configured) => configured,
        Err(reason) => {
            crate::output::complain(&reason);
            return ExitCode::from(USAGE);
        }
    };
    match supervisor.run_command(command) {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                text += &format!(": {deeper}");
                cause = deeper.source();
            }
            crate::output::last_words(text);
            ExitCode::from(never_ran(&error))
        }
    }
}

impl Run {
    fn configure(self) -> Result<(Supervisor, WorkerCommand), String> {
        let mut deadlines = match self.control {
            Some(path) => Restarter::builder().control_at(path),
            None => Restarter::builder(),
        };
        deadlines = deadlines
            .start_timeout(self.start_timeout)
            .probation(self.probation)
            .drain_timeout(self.drain_timeout)
            .shutdown_timeout(self.shutdown_timeout);
        if let Some(path) = self.pid_file {
            deadlines = deadlines.pid_file(path);
        }
        let backoff = (self.backoff, self.backoff_ceiling.max(self.backoff));
        let mut supervisor =
            Supervisor::new().restarter(deadlines).backoff(backoff.0, backoff.1).subreaper(self.subreaper);
        supervisor = supervisor.stable_after(self.stable_after).rollback_after(self.rollback_after);
        supervisor = supervisor.watch(self.watch);
        if self.leave_running {
            supervisor = supervisor.orphans(Orphans::ServeOn);
        }
        let mut command = WorkerCommand::new(self.command)
            .ready(self.ready)
            .stop_signal(self.stop_signal)
            .stop_delay(self.stop_delay)
            .nonblocking(self.nonblocking)
            .keep_stdin(self.keep_stdin);
        for mut listening in self.listen {
            if let Some(connections) = self.backlog {
                listening = listening.backlog(connections);
            }
            if let Some(mode) = self.socket_mode {
                listening = listening.mode(mode);
            }
            if let Some(user) = self.socket_owner {
                listening = listening.owner(user);
            }
            if let Some(group) = self.socket_group {
                listening = listening.group(group);
            }
            command = command.listen(listening);
        }
        // The file has the last word, being the more deliberate of the two.
        let directories = self.env_dir.into_iter().map(EnvironmentSource::Directory);
        for source in directories.chain(self.env_file.into_iter().map(EnvironmentSource::File)) {
            command = command.environment(source);
        }
        if let Some(directory) = self.directory {
            command = command.directory(directory);
        }
        if let Some(path) = self.status_file {
            command = command.status_file(path);
        }
        if let Some(every) = self.restart_every {
            command = command.restart_every(every);
        }
        #[cfg(feature = "fetch")]
        {
            supervisor = self.fetching.configure(supervisor)?;
        }
        Ok((supervisor, command))
    }
}

/// A signal by its name, with or without SIG, or by its number.
fn signal(text: &str) -> Result<Signal, heirloom::SignalParseError> {
    text.parse()
}

/// As chmod has it.
fn mode(text: &str) -> Result<u32, String> {
    const ALL: u32 = 0o777;
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= ALL);
    mode.ok_or_else(|| "three octal digits are wanted, such as 660".to_owned())
}

fn user(text: &str) -> Result<u32, String> {
    let by_name = || nix::unistd::User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(by_name).ok_or_else(|| "there is no such user".to_owned())
}

fn group(text: &str) -> Result<u32, String> {
    let by_name = || nix::unistd::Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    text.parse().ok().or_else(by_name).ok_or_else(|| "there is no such group".to_owned())
}
