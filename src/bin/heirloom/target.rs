//! Which server is meant.

use std::path::{Path, PathBuf};

use clap::Args;
use heirloom::control::{FindError, process_in, socket_of};

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

impl Target {
    /// The control socket itself: not a link that leads to another one after the next restart.
    pub(crate) fn socket(&self) -> Result<PathBuf, Failure> {
        match (&self.pid, &self.pid_file, &self.control) {
            (Some(pid), _, _) => Ok(socket_of(*pid)?),
            (_, Some(pid_file), _) => {
                let mut found = socket_of(process_in(pid_file)?);
                for _ in 0..MOVES {
                    // It has ended meanwhile, after a restart perhaps.
                    let Err(FindError::NotRunning { .. }) = found else { break };
                    found = socket_of(process_in(pid_file)?);
                }
                Ok(found?)
            }
            (_, _, Some(path)) => Ok(followed(path)),
            _ => Err(Failure::new(Code::Other, "no target")),
        }
    }

    /// Another control socket than the one that was just asked in vain: a pid file or a path leads to whoever serves, and
    /// that may have changed between the look and the request.
    pub(crate) fn moved_on(&self, failure: &Failure, asked: &Path) -> Option<PathBuf> {
        let is_over = matches!(failure.code, Code::NotRunning | Code::Refused);
        (is_over && self.pid.is_none()).then(|| self.socket().ok()).flatten().filter(|socket| socket != asked)
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

fn followed(path: &Path) -> PathBuf {
    match std::fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}
