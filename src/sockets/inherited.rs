//! A socket that somebody else has bound: a predecessor, a supervisor, or the service manager.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use thiserror::Error;

use super::stored_name::Stored;
use crate::handover::announcement::AnnouncedSocket;
use crate::handover::message::KeptSocket;
use crate::sys::address::Address;
use crate::sys::inherit::{AdoptError, adopt, peek_cookie};
use crate::sys::socket::{self, FactsError, Kind};

/// A socket that is there to be claimed.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The address that was asked for, as text; empty with socket activation.
    pub(crate) requested: OsString,
    pub(crate) address: Address,
    pub(crate) lock: Option<OwnedFd>,
    /// Its place in the service manager's store, where an earlier start put it.
    pub(crate) stored: Option<Stored>,
}

/// What is wrong with one announced descriptor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// It is closed, or taken already.
    #[error(transparent)]
    Unusable(std::io::Error),
    /// Another socket lies there.
    #[error(
        "another socket lies there than the one that was announced; does a wrapper close or open descriptors?"
    )]
    Another,
    /// Something else than the named descriptor lies there.
    #[error("something else lies there than what was announced; does a wrapper close or open descriptors?")]
    AnotherFile,
    /// The socket is of another kind.
    #[error("it is a {found} socket, and a {announced} socket was announced")]
    #[non_exhaustive]
    Kind {
        /// What was announced.
        announced: String,
        /// What it is.
        found: &'static str,
    },
    /// The socket is bound elsewhere.
    #[error("it is bound to {found}, and {announced} was announced")]
    #[non_exhaustive]
    Address {
        /// What was announced.
        announced: String,
        /// What it is.
        found: String,
    },
    /// A stream socket that does not listen.
    #[error("it is not listening")]
    NotListening,
}

/// One that a predecessor announces.
pub(crate) fn inherit_socket(announced: AnnouncedSocket) -> Result<InheritedSocket, DescriptorError> {
    let fd = take_socket(announced.fd, announced.cookie)?;
    let (kind, address) = inspect(&fd)?;
    if kind.name() != announced.kind {
        return Err(DescriptorError::Kind { announced: announced.kind, found: kind.name() });
    }
    let found = address.to_os_string();
    if found != announced.address {
        return Err(DescriptorError::Address {
            announced: announced.address.to_string_lossy().into_owned(),
            found: address.to_string(),
        });
    }
    let lock = announced.lock.map(take).transpose()?;
    let (name, requested) = (announced.name, announced.requested);
    Ok(InheritedSocket { fd, kind, name, requested, address, lock, stored: None })
}

/// One that the service manager has opened, or kept.
pub(crate) fn activated(fd: RawFd, name: String) -> Result<InheritedSocket, DescriptorError> {
    let fd = take(fd)?;
    let (kind, address) = inspect(&fd)?;
    let stored = Stored::decode(&name);
    if let Some(Stored { name, requested, .. }) = stored.clone() {
        return Ok(InheritedSocket { fd, kind, name, requested, address, lock: None, stored });
    }
    // systemd calls a socket without FileDescriptorName= after its unit, or "unknown": a name that nobody
    // chose must not keep a listener from being found by its address, so names only ever add a way to match.
    Ok(InheritedSocket { fd, kind, name, requested: OsString::new(), address, lock: None, stored })
}

/// What a supervisor hands to a worker that is there already.
pub(crate) fn offered(fd: OwnedFd, described: KeptSocket) -> Result<InheritedSocket, DescriptorError> {
    let (kind, address) = inspect(&fd)?;
    let KeptSocket { name, requested, .. } = described;
    Ok(InheritedSocket { fd, kind, name, requested, address, lock: None, stored: None })
}

/// Takes what lies at this number into possession.
pub(crate) fn take(fd: RawFd) -> Result<OwnedFd, DescriptorError> {
    adopt(fd).map_err(|error: AdoptError| DescriptorError::Unusable(std::io::Error::other(error)))
}

/// Takes it if it is the socket with this cookie.
pub(crate) fn take_socket(fd: RawFd, cookie: u64) -> Result<OwnedFd, DescriptorError> {
    // Looked at before it is taken: what is not ours stays open for its owner.
    match peek_cookie(fd) {
        Some(found) if found != cookie => Err(DescriptorError::Another),
        _ => take(fd),
    }
}

/// What the socket is; an error unless it can serve.
fn inspect(fd: &OwnedFd) -> Result<(Kind, Address), DescriptorError> {
    let facts = socket::facts(fd.as_fd())
        .map_err(|error: FactsError| DescriptorError::Unusable(std::io::Error::other(error)))?;
    if matches!(facts.kind, Kind::Tcp | Kind::UnixStream) && !facts.listening {
        return Err(DescriptorError::NotListening);
    }
    Ok((facts.kind, facts.local))
}
