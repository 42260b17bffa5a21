//! Making a successor: what it runs, what it is handed, and under which numbers.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use crate::error::told;
use crate::handdown::program::Program;
use crate::handover::Failure;
use crate::handover::announcement::{
    AnnouncedDescriptor, AnnouncedPeer, AnnouncedSocket, Announcement, VARIABLE,
};
use crate::handover::history::History;
use crate::handover::supervised::Orphans;
use crate::operate::pid_file::PidFile;
use crate::sockets::socket::Socket;
use crate::sys::channel::Channel;
use crate::sys::inherit::peek_identity;
use crate::sys::pidfd::Pidfd;
use crate::sys::socket;
use crate::sys::spawn::{Spawn, SpawnError, Spawned, spawn};

/// What every successor of this process has in common.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) program: Program,
    pub(crate) generation: u64,
    /// Every signal that is handled here: an ignored one would stay ignored through the exec.
    pub(crate) signals: Vec<i32>,
    /// What must wait until the successor has handlers.
    pub(crate) blocked: Vec<i32>,
    pub(crate) own_pidfd: Arc<Pidfd>,
    /// What became of earlier restarts.
    pub(crate) history: Option<History>,
    pub(crate) control: Option<Arc<crate::operate::control::place::Place>>,
}

/// A successor's process, and our end of the channel to it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) spawned: Spawned,
    pub(crate) channel: Channel,
}

/// How a supervisor's worker comes to know its place.
#[derive(Debug)]
pub(crate) struct Supervision {
    pub(crate) orphans: Orphans,
    /// The worker that it is to replace: its process id, the channel to it, and its pidfd.
    pub(crate) peer: Option<(u32, OwnedFd, OwnedFd)>,
    /// Whether the supervisor goes on with operators who ask the worker for a restart.
    pub(crate) takes_operators: bool,
    pub(crate) adopts: bool,
}

/// The first descriptor that a successor is handed, as with LISTEN_FDS.
const FIRST: RawFd = 3;

impl Recipe {
    /// For a supervisor, which hands no history and no control socket down.
    #[cfg(feature = "supervisor")]
    pub(crate) fn of_workers(program: Program, signals: Vec<i32>, blocked: Vec<i32>) -> io::Result<Recipe> {
        Ok(Recipe {
            program,
            generation: 0,
            signals,
            blocked,
            own_pidfd: Arc::new(Pidfd::own()?),
            history: None,
            control: None,
        })
    }

    /// Starts a successor that is handed `sockets` and, by name, `descriptors`. Blocks until it has executed
    /// its program, or what is to be executed `instead`.
    pub(crate) fn make(
        &self,
        instead: Option<&Path>,
        sockets: &[Arc<Socket>],
        pid_file: Option<&PidFile>,
        descriptors: &[(String, Arc<OwnedFd>)],
        supervised: Option<&Supervision>,
    ) -> Result<Made, Failure> {
        let (channel, far) = Channel::pair().map_err(|error| no_channel(&error))?;
        let mut numbers = FIRST..;
        let mut fds: Vec<(BorrowedFd<'_>, RawFd)> = Vec::new();
        let mut place = |fd| {
            let number = numbers.next().expect("descriptors run out before their numbers do");
            fds.push((fd, number));
            number
        };
        let listening: Vec<RawFd> = sockets.iter().map(|socket| place(socket.as_fd())).collect();
        // A supervisor's workers come and go; the paths stay its own.
        let locks: Vec<Option<RawFd>> = sockets
            .iter()
            .map(|socket| socket.lock_fd().filter(|_| supervised.is_none()).map(&mut place))
            .collect();
        let announcement = Announcement {
            generation: self.generation,
            predecessor: std::process::id(),
            channel: (place(far.as_fd()), socket::cookie(far.as_fd()).map_err(|error| no_channel(&error))?),
            pidfd: place(self.own_pidfd.as_fd()),
            pid_file: pid_file.map(|file| place(file.as_fd())),
            program: self.program.path.clone().into_os_string(),
            directory: self.program.directory.clone().into_os_string(),
            sockets: sockets.iter().zip(listening).zip(locks).map(announced).collect(),
            gives_state: supervised.is_none_or(|supervised| supervised.peer.is_some()),
            supervised: supervised.map(|supervised| supervised.orphans),
            takes_operators: supervised.is_some_and(|supervised| supervised.takes_operators),
            adopts: supervised.is_some_and(|supervised| supervised.adopts),
            peer: match supervised.and_then(|supervised| supervised.peer.as_ref()) {
                Some((pid, channel, pidfd)) => Some(AnnouncedPeer {
                    pid: *pid,
                    channel: (
                        place(channel.as_fd()),
                        socket::cookie(channel.as_fd()).map_err(|error| no_channel(&error))?,
                    ),
                    pidfd: place(pidfd.as_fd()),
                }),
                None => None,
            },
            descriptors: descriptors
                .iter()
                .map(|(name, fd)| AnnouncedDescriptor {
                    fd: place(fd.as_fd()),
                    // Of an open descriptor the kernel says that much; if it should not, the successor
                    // reports it.
                    identity: peek_identity(fd.as_raw_fd()).unwrap_or_default(),
                    name: name.clone(),
                })
                .collect(),
            control: self.control_lock().map(&mut place),
            history: self.history.clone(),
        };
        let value = announcement.encode().map_err(|error| Failure::Spawn { reason: error.to_string() })?;
        let spawned = self.spawn(instead, fds, value).map_err(|error| not_started(&error))?;
        Ok(Made { spawned, channel })
    }

    fn control_lock(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref()?.lock_fd()
    }

    fn spawn(
        &self,
        instead: Option<&Path>,
        fds: Vec<(BorrowedFd<'_>, RawFd)>,
        announcement: OsString,
    ) -> Result<Spawned, SpawnError> {
        let mut request = Spawn {
            program: instead.unwrap_or(&self.program.path).to_owned(),
            argv: self.program.arguments.clone(),
            env: self.program.environment((VARIABLE, announcement)),
            directory: Some(self.program.directory.clone()),
            fds,
            blocked: self.blocked.clone(),
            defaults: self.signals.iter().copied().chain([libc::SIGPIPE]).collect(),
        };
        match spawn(&request) {
            Err(SpawnError::Directory { directory, source, .. }) => {
                say!(warn: directory = %directory.display(), error = %source, "the start directory is gone, starting the successor in the current one");
                request.directory = None;
                spawn(&request)
            }
            spawned => spawned,
        }
    }
}

fn announced(((socket, fd), lock): ((&Arc<Socket>, RawFd), Option<RawFd>)) -> AnnouncedSocket {
    AnnouncedSocket {
        fd,
        cookie: socket.cookie,
        kind: socket.kind.name().to_owned(),
        name: socket.name.clone(),
        requested: socket.requested.clone(),
        address: socket.address.to_os_string(),
        lock,
    }
}

fn no_channel(error: &io::Error) -> Failure {
    let what_to_do = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            "; raise the limit (ulimit -n) or try again with fewer connections"
        }
        _ => "",
    };
    Failure::Spawn { reason: format!("cannot make the handover channel (socketpair): {error}{what_to_do}") }
}

/// The error with what the system said: a [`Failure`] is plain text, so its chain ends here.
pub(crate) fn not_started(error: &SpawnError) -> Failure {
    let reason = told(error);
    match error {
        SpawnError::NotFound { .. } => Failure::NotFound { reason },
        SpawnError::NoInterpreter { .. }
        | SpawnError::NotExecutable { .. }
        | SpawnError::NotAProgram { .. }
        | SpawnError::Unrunnable { .. }
        | SpawnError::Busy { .. }
        | SpawnError::TooLarge { .. } => Failure::NotExecutable { reason },
        _ => Failure::Spawn { reason },
    }
}
