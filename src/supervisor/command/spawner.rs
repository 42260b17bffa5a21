//! Starting a worker's program through the [shim](super::shim), from a thread that lives as long as its
//! workers.
//!
//! Why a thread of its own: the signal at a parent's death comes when the *thread* that started the child
//! ends.
//!
//! The shim waits for a word before it executes the program. By then the [watcher](super::watcher) knows of
//! it; if this process is killed before that, the shim finds nobody at the other end, and ends.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::shim::{GO, Order};
use super::watcher::{ToldBy, Watcher};
use crate::restarter::signals::stays_ignored;
use crate::sys::spawn::{Spawn, SpawnError, Spawned, classify, kill_and_reap, spawn};

/// A program to start, and everything that it starts with.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program's file, looked up in the new environment's PATH unless there is a slash in it.
    pub(crate) file: OsString,
    /// The program's arguments, its name first.
    pub(crate) command: Vec<OsString>,
    /// Where it starts; `None` is where this process is.
    pub(crate) directory: Option<PathBuf>,
    /// Whether it starts where this process is, once that directory is gone.
    pub(crate) anywhere: bool,
    /// The whole environment, but for `LISTEN_PID`.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Which descriptor it finds at which number.
    pub(crate) fds: Vec<(Arc<OwnedFd>, RawFd)>,
    /// The signal that it is sent when this process dies and no watcher sends it.
    pub(crate) at_death: Option<i32>,
}

/// Starts programs. Must outlive them, or they take its end for this process's.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

type Job = (Launch, mpsc::SyncSender<Result<Spawned, LaunchError>>);

/// Why a program does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum LaunchError {
    /// It, or the shim, could not be executed.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The socket that would have told could not be made or read.
    #[error("cannot learn whether {} was started", program.display())]
    Report { program: PathBuf, source: io::Error },
    /// Neither started nor failed; it was killed.
    #[error("{} did not get as far as being executed in {REPORT:?}; is its file on a network that hangs?", program.display())]
    Stuck { program: PathBuf },
}

impl Spawner {
    /// `shim` is a program that calls [`become_worker`](super::shim::become_worker). `watcher`: who ends what
    /// is started after this process, if it is to end.
    pub(super) fn new(shim: PathBuf, watcher: Option<Arc<Watcher>>) -> io::Result<Spawner> {
        let (jobs, received) = mpsc::channel::<Job>();
        thread::Builder::new().name("heirloom-spawn".into()).spawn(move || {
            for (launch, answer) in received {
                // Nobody waits any more: then nobody would ever reap it either.
                if let Err(mpsc::SendError(Ok(unwanted))) =
                    answer.send(start(&shim, watcher.as_deref(), &launch))
                {
                    kill_and_reap(unwanted.pid);
                }
            }
        })?;
        Ok(Spawner { jobs })
    }

    /// Blocks until the program has been executed, or has not.
    pub(crate) fn start(&self, launch: Launch) -> Result<Spawned, LaunchError> {
        let program = PathBuf::from(&launch.file);
        let gone = || LaunchError::Report { program, source: io::ErrorKind::BrokenPipe.into() };
        let (answer, answered) = mpsc::sync_channel(1);
        if self.jobs.send((launch, answer)).is_err() {
            return Err(gone());
        }
        answered.recv().unwrap_or_else(|_| Err(gone()))
    }
}

fn start(shim: &Path, watcher: Option<&Watcher>, launch: &Launch) -> Result<Spawned, LaunchError> {
    let program = PathBuf::from(&launch.file);
    let unknown = |source| LaunchError::Report { program: program.clone(), source };
    let (mut report, far) = UnixStream::pair().map_err(unknown)?;
    let told_by = watcher.map(Watcher::tells);
    let number =
        launch.fds.iter().map(|(_, number)| number + 1).max().unwrap_or(0).max(super::numbers::FIRST);
    let order = Order {
        report: number,
        parent: std::process::id(),
        at_death: launch.at_death.filter(|_| told_by != Some(ToldBy::Watcher)),
        file: launch.file.clone(),
        command: launch.command.clone(),
    };
    let fds = launch.fds.iter().map(|(fd, number)| (fd.as_fd(), *number));
    let mut request = Spawn {
        program: shim.to_owned(),
        argv: order.encode(),
        env: launch.environment.clone(),
        directory: launch.directory.clone(),
        fds: fds.chain([(far.as_fd(), number)]).collect(),
        blocked: Vec::new(),
        defaults: all_signals(),
    };
    let spawned = match spawn(&request) {
        Err(SpawnError::Directory { directory, source, .. }) if launch.anywhere => {
            say!(warn: directory = %directory.display(), error = %source, "the start directory is gone, starting the worker in the current one");
            request.directory = None;
            spawn(&request)
        }
        // The reader has started the program, and knows nothing of a shim.
        Err(SpawnError::Directory { directory, source, .. }) => {
            Err(SpawnError::Directory { program: program.clone(), directory, source })
        }
        spawned => spawned,
    }?;
    drop(far);
    if let (Some(watcher), Some(told_by)) = (watcher, told_by) {
        watcher.add(spawned.pid, &spawned.pidfd, told_by);
    }
    // One that was killed meanwhile does not hear it, and its death is for the driver to see.
    let _ = report.write_all(GO);
    let failed = match read_report(report) {
        Ok(Report::Started) => return Ok(spawned),
        Ok(Report::Failed(errno)) => why(&program, launch, io::Error::from_raw_os_error(errno)).into(),
        Ok(Report::Nothing) => LaunchError::Stuck { program: program.clone() },
        Err(source) => unknown(source),
    };
    kill_and_reap(spawned.pid);
    Err(failed)
}

fn why(program: &Path, launch: &Launch, error: io::Error) -> SpawnError {
    let directory = launch.directory.as_deref().unwrap_or(Path::new(""));
    let path = launch.environment.iter().find(|(name, _)| name == "PATH");
    let is_looked_up = !program.as_os_str().as_encoded_bytes().contains(&b'/');
    let folders: Vec<PathBuf> = match path {
        Some((_, path)) if is_looked_up => env::split_paths(path).collect(),
        _ => vec![PathBuf::new()],
    };
    let is_there = |folder: &PathBuf| directory.join(folder).join(program).is_file();
    match error.raw_os_error() {
        // A file that is there, and is not found: what its first line names is not.
        Some(libc::ENOENT) if folders.iter().any(is_there) => {
            SpawnError::NoInterpreter { program: program.into() }
        }
        // Of a folder that may not be searched, on the way to nothing at all.
        Some(libc::EACCES) if is_looked_up && !folders.iter().any(is_there) => {
            SpawnError::NotFound { program: program.into() }
        }
        _ => classify(program, error),
    }
}

enum Report {
    /// The end, without a word.
    Started,
    /// The error number of the shim.
    Failed(i32),
    /// Neither in time.
    Nothing,
}

fn read_report(mut report: UnixStream) -> io::Result<Report> {
    let deadline = Instant::now() + REPORT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(report.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Ok(Report::Nothing),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // Written at once, so read at once: less than a pipe's atomic size.
    let mut errno = [0; size_of::<i32>()];
    let length = report.read(&mut errno)?;
    Ok(if length == 0 { Report::Started } else { Report::Failed(i32::from_ne_bytes(errno)) })
}

/// Every signal that can have a disposition and that the C library does not keep for itself: an ignored one
/// would stay ignored in a program that never asked for that. Not what `nohup` ignores, for whatever runs
/// below it.
pub(crate) fn all_signals() -> Vec<i32> {
    let unchangeable = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    (1..=64).filter(|signal| !unchangeable.contains(signal) && !stays_ignored(*signal)).collect()
}

/// An exec from a slow disk takes a second; nothing but the restart waits for it.
const REPORT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, await_exit, scratch};
    use crate::sys::pidfd::Exit;
    use std::os::unix::fs::PermissionsExt;

    /// What the shim does, in a shell: in this test's own binary there is no `main` of ours.
    const SHIM: &str = "#!/bin/sh\nreport=$1; shift 4; read go <&$report || exit\n\
                        command -v \"$1\" >/dev/null || { printf '\\002\\0\\0\\0' >&$report; exit 1; }\n\
                        eval \"exec $report>&-\"; LISTEN_PID=$$; export LISTEN_PID; exec \"$@\"\n";

    fn spawner(directory: &Path) -> Spawner {
        let shim = directory.join("shim");
        std::fs::write(&shim, SHIM).unwrap();
        std::fs::set_permissions(&shim, PermissionsExt::from_mode(0o755)).unwrap();
        Spawner::new(shim, None).unwrap()
    }

    /// Whether an exec from here keeps this descriptor anyway.
    fn stays_open(fd: RawFd) -> bool {
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t"));
        flags.is_some_and(|octal| i32::from_str_radix(octal, 8).unwrap() & libc::O_CLOEXEC == 0)
    }

    fn launch(script: &str, fds: Vec<(Arc<OwnedFd>, RawFd)>) -> Launch {
        Launch {
            file: "sh".into(),
            command: ["sh", "-c", script].map(OsString::from).to_vec(),
            directory: None,
            anywhere: false,
            environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            fds,
            at_death: None,
        }
    }

    #[test]
    fn a_program_runs_with_its_descriptors_and_nothing_else() {
        alone(
            "supervisor::command::spawner::tests::a_program_runs_with_its_descriptors_and_nothing_else",
            &[libc::SIGUSR1],
            || {
                let directory = scratch("spawner");
                let spawner = spawner(&directory);
                let says = |command: &[&str]| {
                    let (mut output, writer) = io::pipe().unwrap();
                    let writer: Arc<OwnedFd> = Arc::new(writer.into());
                    let mut launch = launch("", vec![(Arc::clone(&writer), 1), (writer, 7)]);
                    launch.command = command.iter().map(OsString::from).collect();
                    let started = spawner.start(launch).unwrap();
                    let mut said = String::new();
                    output.read_to_string(&mut said).unwrap();
                    await_exit(&started.pidfd);
                    assert_eq!(started.pidfd.reap().unwrap(), Some(Exit::Code(0)));
                    (started.pid, said)
                };
                let (pid, said) = says(&["sh", "-c", "echo $LISTEN_PID $$"]);
                assert_eq!(said, format!("{pid} {pid}\n"));
                // Beside 7, what this process itself was started with; 3 is the directory that ls reads. The
                // shell that plays the shim has its script open at 10.
                let (_, said) = says(&["ls", "/proc/self/fd"]);
                let fds: Vec<RawFd> = said.lines().map(|fd| fd.parse().unwrap()).collect();
                let unexpected = |fd: &RawFd| !stays_open(*fd) && ![3, 7, 10].contains(fd);
                assert!(fds.contains(&7) && !fds.iter().any(unexpected), "{fds:?}");
                let (_, said) = says(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]);
                let sets: Vec<_> =
                    said.lines().map(|line| u64::from_str_radix(line[8..].trim(), 16).unwrap()).collect();
                // 32 and 33 are the C library's own.
                assert_eq!((sets[0], sets[1] & !(0b11 << 31)), (0, 0), "{said}");
                std::fs::remove_dir_all(directory).unwrap();
            },
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named_and_leaves_nothing_behind() {
        alone(
            "supervisor::command::spawner::tests::a_program_that_is_not_there_is_named_and_leaves_nothing_behind",
            &[],
            || {
                let directory = scratch("spawner-missing");
                let spawner = spawner(&directory);
                let mut missing = launch("", vec![]);
                missing.file = "/nowhere/server".into();
                missing.command = vec![missing.file.clone()];
                let error = spawner.start(missing).unwrap_err().to_string();
                assert!(error.contains("/nowhere/server") && error.contains("no such file"), "{error}");
                assert!(crate::sys::orphan::ended().unwrap().is_empty(), "a zombie was left");
                std::fs::remove_dir_all(directory).unwrap();
            },
        );
    }

    #[test]
    fn a_start_directory_that_is_gone_is_done_without_unless_it_was_chosen() {
        alone(
            "supervisor::command::spawner::tests::a_start_directory_that_is_gone_is_done_without_unless_it_was_chosen",
            &[],
            || {
                let directory = scratch("spawner-directory");
                let spawner = spawner(&directory);
                let from = |anywhere| {
                    let directory = Some("/nowhere/release".into());
                    spawner.start(Launch { directory, anywhere, ..launch("exit 0", vec![]) })
                };
                let started = from(true).unwrap();
                await_exit(&started.pidfd);
                assert_eq!(started.pidfd.reap().unwrap(), Some(Exit::Code(0)));
                let error = from(false).unwrap_err().to_string();
                assert!(error.contains("cannot start sh: its start directory /nowhere/release"), "{error}");
                std::fs::remove_dir_all(directory).unwrap();
            },
        );
    }

    #[test]
    fn what_is_nowhere_in_the_path_is_not_found_whatever_else_is_in_the_way() {
        let directory = scratch("spawner-path");
        std::fs::create_dir(directory.join("folder")).unwrap();
        std::fs::write(directory.join("server"), "").unwrap();
        let why = |program: &str| {
            let environment = vec![("PATH".into(), directory.clone().into_os_string())];
            let launch = Launch { environment, ..launch("", vec![]) };
            super::why(Path::new(program), &launch, io::Error::from_raw_os_error(libc::EACCES))
        };
        assert!(matches!(why("server"), SpawnError::NotExecutable { .. }));
        for missing in ["no-server", "folder"] {
            assert!(matches!(why(missing), SpawnError::NotFound { .. }), "{missing}");
        }
        assert!(matches!(why("./folder"), SpawnError::NotExecutable { .. }), "named, and there");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn without_a_shim_nothing_starts() {
        let spawner = Spawner::new("/nowhere/shim".into(), None).unwrap();
        let error = spawner.start(launch("exit 0", vec![])).unwrap_err();
        assert!(matches!(error, LaunchError::Spawn(SpawnError::NotFound { .. })), "{error:?}");
    }
}
