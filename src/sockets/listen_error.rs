//! Why there is no listener, for people.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::holder::holder;
use super::listen::ListenParseError;
use crate::sys::address::Address;
use crate::sys::lock::LockError;
use crate::sys::socket::Kind;

/// Why there is no listener.
#[derive(Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be read.
    #[error(transparent)]
    Parse(#[from] ListenParseError),
    /// Somebody else listens there.
    #[error("{address} is in use by {}", in_use_by(*.holder))]
    #[non_exhaustive]
    InUse {
        /// The address.
        address: Address,
        /// The process that has it, if that can be known: another user's cannot.
        holder: Option<u32>,
        /// What the system said.
        source: io::Error,
    },
    /// A live server's Unix socket.
    #[error("{address} belongs to a server that is running; stop it, or choose another path")]
    #[non_exhaustive]
    Live {
        /// The address.
        address: Address,
    },
    /// Something that is not a socket is in the way.
    #[error("{path:?} exists and is not a socket; it was left alone, remove it or choose another path")]
    #[non_exhaustive]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The lock that owns a Unix socket's path cannot be had.
    #[error("cannot own the path of {address}")]
    #[non_exhaustive]
    Lock {
        /// The address.
        address: Address,
        /// What is in the way.
        source: io::Error,
    },
    /// The mode or the owner that it is to have cannot be set.
    #[error("cannot set the mode or the owner of {address}")]
    #[non_exhaustive]
    Access {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the system refuses.
    #[error("cannot listen on {address}")]
    #[non_exhaustive]
    Bind {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// A successor could not be handed one more.
    #[error(
        "cannot listen on {address} as well: with {listeners} listeners, what a successor is handed has no room for it \
         (at most 2000, and 88 KiB of addresses and names)"
    )]
    #[non_exhaustive]
    TooMany {
        /// The address.
        address: Address,
        /// How many there are.
        listeners: usize,
    },
    /// This process drains: it takes no new listeners.
    #[error("cannot listen on {address}: this process is draining")]
    #[non_exhaustive]
    Draining {
        /// The address.
        address: Address,
    },
}

debug_as_told!(ListenError);

fn in_use_by(holder: Option<u32>) -> String {
    match holder {
        None => "another process; stop it, or choose another address".to_owned(),
        Some(pid) if pid != std::process::id() => {
            format!("process {pid}; stop it, or choose another address")
        }
        Some(_) if std::env::var_os("LISTEN_FDS").is_some() => {
            "this process, which was started with it: LISTEN_FDS is set, but LISTEN_PID does not name this process, so \
             nothing was taken over; have it set as systemd does"
                .to_owned()
        }
        // The case that surprises: between 0.0.0.0:P and 127.0.0.1:P the predecessor's own socket is in the
        // way.
        Some(_) => "this process: it was asked for twice, or is inherited from a predecessor that listens on a wildcard or \
                    single address of the same port (change that in two restarts, through another port)"
            .to_owned(),
    }
}

impl ListenError {
    /// The lock of a Unix socket's path cannot be had.
    pub(super) fn of_lock(address: &Address, error: LockError) -> ListenError {
        match error {
            LockError::Held { .. } => ListenError::Live { address: address.clone() },
            error => ListenError::Lock { address: address.clone(), source: io::Error::other(error) },
        }
    }

    /// It cannot be bound.
    pub(super) fn of_bind(address: &Address, source: io::Error) -> ListenError {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address, holder: None, source },
            _ => ListenError::Bind { address, source },
        }
    }

    /// With what can be found out about it: not in a loop, since it looks at every process.
    pub(super) fn explained(self, kind: Kind) -> ListenError {
        match self {
            ListenError::InUse { address, source, .. } => {
                let holder = address.inet().and_then(|address| holder(address, kind));
                ListenError::InUse { address, holder, source }
            }
            other => other,
        }
    }

    /// This machine has no such address, or none of its family; of a name's others it may have one.
    pub(super) fn is_not_of_this_host(&self) -> bool {
        let ListenError::Bind { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
    }
}
