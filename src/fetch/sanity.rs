//! A fetched binary is run before it is used: it must be able to start, and be the program that it should be.
//!
//! It is started with a token in its environment, and must write it to its standard output and exit. A file
//! that is not this program, whose libraries are missing, or that crashes before `main` gets anywhere,
//! cannot.
//!
//! Hazard: the new file was open for writing a moment ago. A thread of this process that forked then has a
//! copy of that descriptor until it executes, and the kernel executes no file that is open for writing
//! (ETXTBSY): try again.

use std::env;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::sys::pidfd::Pidfd;
use crate::sys::watched::watch;

/// How a fetched binary is tried before it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SanityCheck {
    /// It is run with a token in its environment and must answer, by [`answer_sanity_check`].
    #[default]
    Answer,
    /// It is run with these arguments, such as `--version`, and must exit with status 0.
    Exits(Vec<OsString>),
    /// It is not run.
    None,
}

/// What came of running it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SanityError {
    /// The system does not execute it.
    #[error("it cannot be executed")]
    #[non_exhaustive]
    Spawn {
        /// What the system said; "no such file" means its dynamic linker.
        source: io::Error,
    },
    /// It did not come to an end.
    #[error(
        "it did not answer within {deadline:?} and was killed; does its main begin with answer_sanity_check?{}",
        said(.stderr)
    )]
    #[non_exhaustive]
    TimedOut {
        /// How long it may take.
        deadline: Duration,
        /// What it said to standard error, the beginning of it.
        stderr: String,
    },
    /// It ended badly.
    #[error("it ended with {status}{}", said(.stderr))]
    #[non_exhaustive]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said to standard error, the beginning of it.
        stderr: String,
    },
    /// It said something else.
    #[error("it exited without the answer; does its main begin with answer_sanity_check?{}", said(.stderr))]
    #[non_exhaustive]
    NoAnswer {
        /// What it said to standard error, the beginning of it.
        stderr: String,
    },
}

impl SanityError {
    /// Whether the machine may be to blame: too busy, or out of processes.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            SanityError::TimedOut { .. } => true,
            SanityError::Spawn { source } => {
                !matches!(source.raw_os_error(), Some(code) if LASTING.contains(&Errno::from_raw(code)))
            }
            _ => false,
        }
    }
}

/// The new binary's side: answers if this process was started to be tried. Call it first in `main`, before
/// anything is opened, and return if it says so.
///
/// ```no_run
/// if heirloom::fetch::answer_sanity_check() {
///     return;
/// }
/// // ... the program ...
/// ```
#[must_use = "a process that was started to be tried is to return from `main`"]
pub fn answer_sanity_check() -> bool {
    let Some(token) = env::var_os(VARIABLE) else { return false };
    let mut out = io::stdout();
    // With nobody left to hear it there is nothing to do but to exit, too.
    let _ = out.write_all(token.as_encoded_bytes()).and_then(|()| out.flush());
    true
}

pub(super) async fn check(path: &Path, check: &SanityCheck, deadline: Duration) -> Result<(), SanityError> {
    let (arguments, answers) = match check {
        SanityCheck::None => return Ok(()),
        SanityCheck::Answer => (&[][..], true),
        SanityCheck::Exits(arguments) => (arguments.as_slice(), false),
    };
    let token = format!("{:016x}{:016x}", random(), random());
    let permissions = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, permissions).map_err(|source| SanityError::Spawn { source })?;
    let mut command = Command::new(path);
    command.args(arguments).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in NOT_ITS_OWN {
        command.env_remove(name);
    }
    if answers {
        command.env(VARIABLE, &token);
    }
    let mut child = spawn(&mut command).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = timeout(deadline, run(&mut child, &mut stdout, &mut stderr)).await;
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    match ended {
        Err(_) => {
            kill_group(&child);
            let _ = timeout(KILLED, child.wait()).await;
            Err(SanityError::TimedOut { deadline, stderr })
        }
        // Somebody else has reaped it: a process 1 does that. Its answer is all there is.
        Ok(Err(_)) if answers && stdout == token.as_bytes() => Ok(()),
        Ok(Err(source)) => Err(SanityError::Spawn { source }),
        Ok(Ok(status)) if !status.success() => Err(SanityError::Failed { status, stderr }),
        Ok(Ok(_)) if answers && stdout != token.as_bytes() => Err(SanityError::NoAnswer { stderr }),
        Ok(Ok(_)) => Ok(()),
    }
}

async fn spawn(command: &mut Command) -> Result<Child, SanityError> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => sleep(BUSY_PAUSE).await,
            other => return other.map_err(|source| SanityError::Spawn { source }),
        }
    }
    command.spawn().map_err(|source| SanityError::Spawn { source })
}

async fn run(child: &mut Child, out: &mut Vec<u8>, err: &mut Vec<u8>) -> io::Result<ExitStatus> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = watch(Pidfd::open(pid)?)?.readable().await?;
        }
        // What it has left behind would keep the pipes open.
        kill_group(child);
        child.wait().await
    };
    let (status, (), ()) = tokio::join!(ended, collect(stdout, out), collect(stderr, err));
    status
}

/// Kills it and what it started. Before it is reaped, since only until then the number is its own.
fn kill_group(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// All is read, so that the program is not stopped by a full pipe, and the beginning is kept.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let (Some(mut pipe), mut buffer) = (pipe, vec![0; KEPT]) else { return };
    while let Ok(count) = pipe.read(&mut buffer).await
        && count > 0
    {
        let room = KEPT - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Not a secret: it is only to be none that a program writes by chance.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

const VARIABLE: &str = "HEIRLOOM_SANITY_CHECK";

/// What names this process's descriptors, its supervisor and its watchdog.
const NOT_ITS_OWN: [&str; 7] = [
    crate::handover::announcement::VARIABLE,
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// What no later try will change about the file.
const LASTING: [Errno; 5] = [Errno::ENOEXEC, Errno::ENOENT, Errno::EACCES, Errno::ELIBBAD, Errno::EINVAL];

/// A screenful for the log.
const KEPT: usize = 2048;

/// A copied descriptor lives until its process executes: a millisecond, on a busy machine some.
const BUSY_TRIES: usize = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A killed process is gone at once, unless it hangs in the kernel; then tokio reaps it some time.
const KILLED: Duration = Duration::from_secs(2);
