//! Which server is meant.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use heirloom::control::{Expected, FindError, GenerationStatus, Peer, process_in, sibling, socket_of};

use crate::exit::{Code, Failure};

/// Which server is meant: exactly one of these.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// The process id of the server.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// The server's pid file.
    #[arg(long, value_name = "PATH")]
    pub(crate) pid_file: Option<PathBuf>,
    /// The path of the server's control socket, if it was given one (Builder::control_at).
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
}

/// A control socket, and who is to answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) socket: PathBuf,
    pub(crate) expected: Expected,
}

impl Aim {
    /// Whatever the process's socket turns out to be, this process alone is asked.
    pub(crate) fn process(pid: u32) -> Result<Aim, FindError> {
        Ok(Aim { socket: socket_of(pid)?, expected: Expected::Process(pid) })
    }

    /// A link that heirloom has made is followed here: it leads to another process after the next restart.
    fn at(path: &Path) -> Aim {
        let target =
            std::fs::read_link(path).ok().filter(|target| target.file_name() == Some(target.as_os_str()));
        let owner = std::fs::symlink_metadata(path).map(|link| link.uid());
        match (target, owner) {
            (Some(target), Ok(owner)) => {
                Aim { socket: path.with_file_name(target), expected: Expected::NamedBy(owner) }
            }
            _ => Aim { socket: path.to_owned(), expected: Expected::Anybody },
        }
    }

    /// Another process of the same server, which this one (it is `peer`) has named: in the directory where
    /// this one's socket was found, since what a server calls its own may be another mount namespace's.
    pub(crate) fn kin(&self, pid: u32, peer: Peer) -> Result<Aim, FindError> {
        match sibling(&self.socket, pid).filter(|path| path.exists()) {
            Some(socket) => Ok(Aim { socket, expected: Expected::NamedBy(peer.user) }),
            None => Aim::process(pid),
        }
    }

    /// The same, by what it has said of that one's socket.
    pub(crate) fn generation(&self, named: &GenerationStatus, peer: Peer) -> Option<Aim> {
        let expected = Expected::NamedBy(peer.user);
        let beside = sibling(&self.socket, named.pid).filter(|path| path.exists());
        let told = named.control.as_deref().map(Path::new);
        let here = told.and_then(|told| Some(self.socket.parent()?.join(told.file_name()?)));
        let socket = beside.or(here.filter(|path| path.exists())).or(told.map(Path::to_owned))?;
        Some(Aim { socket, expected })
    }
}

impl Target {
    /// The control socket itself.
    pub(crate) fn aim(&self) -> Result<Aim, Failure> {
        match (&self.pid, &self.pid_file, &self.control) {
            (Some(pid), _, _) => Ok(Aim::process(*pid)?),
            (_, Some(pid_file), _) => {
                let mut found = Aim::process(process_in(pid_file)?);
                for _ in 0..MOVES {
                    // It has ended meanwhile, after a restart perhaps.
                    let Err(FindError::NotRunning { .. }) = found else { break };
                    found = Aim::process(process_in(pid_file)?);
                }
                Ok(found?)
            }
            (_, _, Some(path)) => Ok(Aim::at(path)),
            _ => Err(Failure::new(Code::Other, "no target")),
        }
    }

    /// Another control socket than the one that was just asked in vain: a pid file or a path leads to the
    /// process that serves, and that may have changed between the look and the request.
    pub(crate) fn moved_on(&self, failure: &Failure, asked: &Aim) -> Option<Aim> {
        let is_over = matches!(failure.code, Code::NotRunning | Code::Refused);
        (is_over && self.pid.is_none()).then(|| self.aim().ok()).flatten().filter(|aim| aim != asked)
    }

    /// The process that is meant, for a plain signal.
    pub(crate) fn process(&self) -> Result<u32, Failure> {
        match (&self.pid, &self.pid_file) {
            (Some(pid), _) => Ok(*pid),
            (_, Some(pid_file)) => Ok(process_in(pid_file)?),
            _ => Err(Failure::new(Code::NoControl, "a signal needs --pid or --pid-file")),
        }
    }
}

/// How often another socket is asked: each time a whole restart must have settled in a moment.
pub(crate) const MOVES: usize = 10;
