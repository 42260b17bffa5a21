//! `posix_spawn` with descriptors at chosen numbers.
//!
//! Never fork: copying the page tables of a large process stalls it (16 ms a GiB), and a restart must not be
//! felt. posix_spawn borrows the parent's memory and so takes the same fraction of a millisecond at any size,
//! but it suspends the calling *thread* until the exec: keep it off the runtime's threads. No parent-death
//! signal is set: it would fire when that thread ends, not when the process does.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use libc::{c_char, c_int, c_short};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::pidfd::{PIDFD_NEEDS, Pidfd};
use super::signals::signal_set;

/// A program to start, and everything that it starts with.
#[derive(Debug, Clone)]
pub(crate) struct Spawn<'fd> {
    /// The file to execute; no PATH search. A relative path counts from `directory`.
    pub(crate) program: PathBuf,
    /// All arguments, the program's own name first.
    pub(crate) argv: Vec<OsString>,
    /// The whole environment: nothing is inherited beside it.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where the child starts; `None` is where the parent is.
    pub(crate) directory: Option<PathBuf>,
    /// Which descriptor the child finds at which number, each number once. Beside these it has only what is
    /// not close-on-exec in the parent, normally 0 to 2.
    pub(crate) fds: Vec<(BorrowedFd<'fd>, RawFd)>,
    /// The child's whole signal mask.
    pub(crate) blocked: Vec<c_int>,
    /// Signals whose disposition goes back to the default; an ignored signal stays ignored otherwise.
    pub(crate) defaults: Vec<c_int>,
}

/// A child that has begun to execute its program.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// For people and logs; what acts on the child goes through the pidfd.
    pub(crate) pid: i32,
    /// The child. The holder reaps it.
    pub(crate) pidfd: Pidfd,
}

/// Why a program was not started. In every case no child is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SpawnError {
    /// No file of that name.
    #[error("cannot start {}: there is no such file", program.display())]
    NotFound { program: PathBuf },
    /// The file is there, what should interpret or load it is not.
    #[error(
        "cannot start {}: the interpreter or dynamic loader that it names does not exist", program.display()
    )]
    NoInterpreter { program: PathBuf },
    /// EACCES.
    #[error(
        "cannot start {}: permission to execute it is denied; check its mode (chmod +x), the directories above \
         it, and noexec mounts", program.display()
    )]
    NotExecutable { program: PathBuf },
    /// ENOEXEC and its kin.
    #[error(
        "cannot start {}: it is not a program for this machine (empty, damaged, or built for another \
         architecture)", program.display()
    )]
    NotAProgram { program: PathBuf },
    /// The kernel finds it, or would, and does not run it: a link that leads to itself, a name that is too
    /// long, a policy.
    #[error("cannot start {}: it cannot be executed", program.display())]
    Unrunnable { program: PathBuf, source: io::Error },
    /// ETXTBSY.
    #[error(
        "cannot start {}: the file is open for writing; let the copy finish, or better put a new file in its \
         place with a rename", program.display()
    )]
    Busy { program: PathBuf },
    /// E2BIG.
    #[error("cannot start {}: its arguments and environment are too large together", program.display())]
    TooLarge { program: PathBuf },
    /// The start directory is gone, is no directory, or may not be entered.
    #[error("cannot start {}: its start directory {} cannot be entered", program.display(), directory.display())]
    Directory { program: PathBuf, directory: PathBuf, source: io::Error },
    /// EMFILE or ENFILE, here in the parent.
    #[error(
        "cannot start {}: this process or the system has no file descriptor left; raise the limit (ulimit -n) or \
         try again with fewer connections", program.display()
    )]
    Descriptors { program: PathBuf, source: io::Error },
    /// EAGAIN.
    #[error(
        "cannot start {}: there is no room for another process; look at RLIMIT_NPROC (ulimit -u) and the cgroup's \
         pids.max", program.display()
    )]
    Processes { program: PathBuf, source: io::Error },
    /// ENOSYS or EPERM: an old kernel, or a sandbox.
    #[error("cannot start {}: pidfd_open fails; {PIDFD_NEEDS}", program.display())]
    Pidfd { program: PathBuf, source: io::Error },
    /// Something in the request contains a NUL byte, where a C string would end.
    #[error("cannot start {}: {what} contains a NUL byte", program.display())]
    Nul { program: PathBuf, what: &'static str },
    /// Two descriptors for one number, or a number that cannot be one.
    #[error("cannot start {}: fd {target} is asked for twice, or is no descriptor number", program.display())]
    Target { program: PathBuf, target: RawFd },
    /// Anything else that the system refused.
    #[error("cannot start {}", program.display())]
    Other { program: PathBuf, source: io::Error },
}

/// Starts the program. Returns once the child has executed it, or with the reason why it could not.
pub(crate) fn spawn(request: &Spawn<'_>) -> Result<Spawned, SpawnError> {
    spawn_with(request, Pidfd::open)
}

fn spawn_with(request: &Spawn<'_>, hold: fn(i32) -> io::Result<Pidfd>) -> Result<Spawned, SpawnError> {
    let program = request.program.as_path();
    let other = |source| classify(program, source);
    check_targets(request)?;
    let text = Text::new(request)?;
    let directory = request.directory.as_ref().map(|directory| {
        enter(directory).map_err(|source| match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => other(source),
            _ => SpawnError::Directory { program: program.into(), directory: directory.clone(), source },
        })
    });
    let directory = directory.transpose()?;
    let (order, copies) = in_order(&request.fds).map_err(other)?;
    let mut actions = FileActions::new().map_err(other)?;
    // The directory first: its descriptor may have the number of a target, and be written over.
    if let Some(directory) = &directory {
        actions.enter(directory.as_fd()).map_err(other)?;
    }
    for at in order {
        let (source, target) = request.fds[at];
        let source = copies[at].as_ref().map_or(source, AsFd::as_fd);
        actions.place(source, target).map_err(other)?;
    }
    let attributes = Attributes::new(&request.blocked, &request.defaults).map_err(other)?;

    // Held free for the child's pidfd, and a probe: a kernel or sandbox without pidfd_open, or a full table,
    // is found out before there is a child.
    let reserved = Pidfd::own().map_err(|source| match source.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => other(source),
        _ => SpawnError::Pidfd { program: program.into(), source },
    })?;
    let pid = execute(&text, &actions, &attributes).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) if executable_exists(request) => {
            SpawnError::NoInterpreter { program: program.into() }
        }
        _ => other(source),
    })?;
    drop(reserved);
    match hold(pid) {
        Ok(pidfd) => Ok(Spawned { pid, pidfd }),
        Err(source) => {
            // ESRCH: the child has ended and somebody else has reaped it. Its number may be another's by now.
            if source.raw_os_error() != Some(libc::ESRCH) {
                kill_and_reap(pid);
            }
            Err(other(source))
        }
    }
}

fn check_targets(request: &Spawn<'_>) -> Result<(), SpawnError> {
    let mut seen = std::collections::BTreeSet::new();
    match request.fds.iter().find(|(_, target)| !(0..RawFd::MAX).contains(target) || !seen.insert(*target)) {
        None => Ok(()),
        Some((_, target)) => Err(SpawnError::Target { program: request.program.clone(), target: *target }),
    }
}

/// Opens a directory that the child can enter. Looking up "." in it needs the same permission that entering
/// it does, so that a refusal shows here and not as a failed exec.
fn enter(directory: &Path) -> io::Result<OwnedFd> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    Ok(options.open(directory.join("."))?.into())
}

/// File actions run one after the other, so a source whose number is another's target could be overwritten
/// before its turn. The order (by index) in which none is; those that wait for each other in a circle get
/// copies above all targets. Only those: each copy takes one more descriptor, of which a server with many
/// listeners has few left.
fn in_order(fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<(Vec<usize>, Vec<Option<OwnedFd>>)> {
    let above = fds.iter().map(|(_, target)| target + 1).max().unwrap_or(0);
    let numbers: Vec<(RawFd, RawFd)> = fds.iter().map(|(source, own)| (source.as_raw_fd(), *own)).collect();
    let by_target: BTreeMap<RawFd, usize> =
        numbers.iter().enumerate().map(|(at, (_, target))| (*target, at)).collect();
    // How many still need what has this number. One that is its own target does not mind being written over.
    let mut needed = BTreeMap::<RawFd, usize>::new();
    for (source, target) in &numbers {
        *needed.entry(*source).or_default() += usize::from(source != target);
    }
    let is_free =
        |(_, (_, target)): &(usize, &(RawFd, RawFd))| needed.get(target).is_none_or(|count| *count == 0);
    let mut free: Vec<usize> = numbers.iter().enumerate().filter(is_free).map(|(at, _)| at).collect();
    let mut copies: Vec<Option<OwnedFd>> = fds.iter().map(|_| None).collect();
    let mut order = Vec::with_capacity(fds.len());
    let mut waiting: BTreeSet<usize> = (0..fds.len()).collect();
    let mut serve = |at: usize, free: &mut Vec<usize>, waiting: &BTreeSet<usize>| {
        let (source, target) = numbers[at];
        let left = needed.entry(source).or_default();
        *left -= usize::from(source != target);
        if *left == 0
            && let Some(freed) =
                by_target.get(&source).filter(|freed| **freed != at && waiting.contains(freed))
        {
            free.push(*freed);
        }
    };
    loop {
        while let Some(at) = free.pop() {
            if waiting.remove(&at) {
                order.push(at);
                if copies[at].is_none() {
                    serve(at, &mut free, &waiting);
                }
            }
        }
        let Some(at) = waiting.iter().copied().find(|at| copies[*at].is_none()) else {
            return Ok((order, copies));
        };
        copies[at] = Some(move_above(fds[at].0, above)?);
        serve(at, &mut free, &waiting);
    }
}

fn move_above(fd: BorrowedFd<'_>, above: RawFd) -> io::Result<OwnedFd> {
    let copy = match fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above)) {
        // How the kernel says that the limit lies below `above`.
        Err(Errno::EINVAL) => return Err(Errno::EMFILE.into()),
        other => other?,
    };
    // SAFETY: the kernel has just made this copy for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn execute(text: &Text, actions: &FileActions, attributes: &Attributes) -> io::Result<i32> {
    let argv = pointers(&text.argv);
    let env = pointers(&text.env);
    let mut pid = 0;
    // SAFETY: all pointers are to initialised values that outlive the call: `argv` and `env` are
    // null-terminated and point into `text`; actions and attributes were initialised by their own calls. The
    // child shares our memory until its exec, but runs only the C library's code, with every signal blocked.
    let failed = unsafe {
        libc::posix_spawn(
            &mut pid,
            text.program.as_ptr(),
            &actions.0,
            &attributes.0,
            argv.as_ptr(),
            env.as_ptr(),
        )
    };
    check(failed).map(|()| pid)
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

fn executable_exists(request: &Spawn<'_>) -> bool {
    match &request.directory {
        Some(directory) => directory.join(&request.program).exists(),
        None => request.program.exists(),
    }
}

/// The child has not been reaped, so the number is still its own.
pub(crate) fn kill_and_reap(pid: i32) {
    // SAFETY: neither call touches memory of ours (a null status is allowed); the pid is our unreaped
    // child's.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, ptr::null_mut(), 0) == -1 && Errno::last() == Errno::EINTR {}
    }
}

/// As [`kill_and_reap`], without waiting: whether it is gone.
pub(crate) fn kill_and_try_to_reap(pid: i32) -> bool {
    // SAFETY: neither call touches memory of ours (a null status is allowed); the pid is our unreaped
    // child's.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) != 0
    }
}

/// What a failed exec of `program` means.
pub(crate) fn classify(program: &Path, source: io::Error) -> SpawnError {
    let program = program.to_path_buf();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => SpawnError::NotFound { program },
        Some(libc::EACCES) => SpawnError::NotExecutable { program },
        Some(libc::ENOEXEC | libc::ELIBBAD) => SpawnError::NotAProgram { program },
        Some(libc::ELOOP | libc::ENAMETOOLONG | libc::EPERM | libc::EISDIR) => {
            SpawnError::Unrunnable { program, source }
        }
        Some(libc::ETXTBSY) => SpawnError::Busy { program },
        Some(libc::E2BIG) => SpawnError::TooLarge { program },
        // EBADF: what is handed down is open, so it is a target's number that is above the limit.
        Some(libc::EMFILE | libc::ENFILE | libc::EBADF) => SpawnError::Descriptors { program, source },
        Some(libc::EAGAIN) => SpawnError::Processes { program, source },
        _ => SpawnError::Other { program, source },
    }
}

/// The posix_spawn family returns its errno.
fn check(errno: c_int) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// The request's strings, as C wants them.
struct Text {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Text {
    fn new(request: &Spawn<'_>) -> Result<Text, SpawnError> {
        let c_string = |what, bytes: Vec<u8>| {
            CString::new(bytes).map_err(|_| SpawnError::Nul { program: request.program.clone(), what })
        };
        let variable = |(name, value): &(OsString, OsString)| {
            c_string("a variable of its environment", [name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        Ok(Text {
            program: c_string("its path", request.program.as_os_str().as_bytes().to_vec())?,
            argv: request
                .argv
                .iter()
                .map(|argument| c_string("one of its arguments", argument.as_bytes().to_vec()))
                .collect::<Result<_, _>>()?,
            env: request.env.iter().map(variable).collect::<Result<_, _>>()?,
        })
    }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<FileActions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, unless it fails.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        Ok(FileActions(unsafe { actions.assume_init() }))
    }

    fn enter(&mut self, directory: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the actions are initialised; the number is only recorded.
        check(unsafe { libc::posix_spawn_file_actions_addfchdir_np(&mut self.0, directory.as_raw_fd()) })
    }

    /// With equal numbers glibc (2.29) and musl clear close-on-exec, where a plain dup2 would do nothing.
    fn place(&mut self, source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised; the numbers are only recorded.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, source.as_raw_fd(), target) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed only here.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(blocked: &[c_int], defaults: &[c_int]) -> io::Result<Attributes> {
        let (blocked, defaults) = (signal_set(blocked)?, signal_set(defaults)?);
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, unless it fails.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let flags = (libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as c_short;
        // SAFETY: the attributes and both sets are initialised and ours.
        unsafe {
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, &blocked))?;
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &defaults))?;
            check(libc::posix_spawnattr_setflags(&mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed only here.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

#[cfg(test)]
#[path = "spawn_tests.rs"]
mod tests;
