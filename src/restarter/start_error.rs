//! Why a process cannot start, for people.

use std::io;

use thiserror::Error;

use crate::handdown::inherited::InheritError;
use crate::operate::control::place::ControlError;
use crate::operate::pid_file::PidFileError;
use crate::sys::pidfd::PIDFD_NEEDS;

/// Why a process cannot start.
#[derive(Error)]
#[non_exhaustive]
pub enum StartError {
    /// Descriptors and signals belong to the process: there is one restarter in it.
    #[error("this process has a restarter already; clone that one")]
    AlreadyStarted,
    /// What a predecessor or a service manager handed down cannot be taken over.
    #[error("cannot take over what this process was started with")]
    Inherit(#[from] InheritError),
    /// A signal cannot be handled.
    #[error("cannot handle the signals {signals:?}")]
    #[non_exhaustive]
    Signals {
        /// The numbers that the map names.
        signals: Vec<i32>,
        /// What the system said.
        source: io::Error,
    },
    /// The pid file is another process's, or cannot be written.
    #[error("cannot have the pid file")]
    PidFile(#[from] PidFileError),
    /// The path of the control socket is another server's, or cannot be made.
    #[error("cannot have the control socket")]
    Control(#[from] ControlError),
    /// Threads have run out.
    #[error("cannot start heirloom's thread; look at RLIMIT_NPROC (ulimit -u) and the cgroup's pids.max")]
    Thread(#[source] io::Error),
    /// The kernel or a sandbox lacks pidfd_open, or descriptors have run out.
    #[error("pidfd_open fails; {PIDFD_NEEDS}")]
    Pidfd(#[source] io::Error),
    /// Descriptors or memory have run out, or a sandbox lacks epoll or eventfd.
    #[error(
        "cannot wait for what happens (epoll_create, epoll_ctl, eventfd); look at RLIMIT_NOFILE (ulimit -n), or at what \
         the sandbox allows"
    )]
    Wait(#[source] io::Error),
    /// NOTIFY_SOCKET names no socket, or threads have run out.
    #[cfg(feature = "systemd")]
    #[error(
        "cannot reach the service manager by NOTIFY_SOCKET={:?}; a path or an abstract name after an @ would do",
        std::env::var_os("NOTIFY_SOCKET").unwrap_or_default()
    )]
    Notify(#[source] io::Error),
}

debug_as_told!(StartError);
