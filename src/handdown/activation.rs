//! Sockets by activation: `LISTEN_FDS` and its companions, as systemd and others set them.

use std::env;
use std::os::fd::{AsFd, RawFd};

use super::inherited::InheritError;
use crate::sockets::inherited::{InheritedSocket, activated};
use crate::sockets::stored_name::Stored;
use crate::sys::socket;

/// What was passed to this process. Among them are the sockets that an earlier start of this
/// service put into the manager's store; what of those is unusable is left out and named.
pub(super) fn from_activation() -> Result<(Vec<InheritedSocket>, Vec<Stored>), InheritError> {
    /// The convention's first descriptor.
    const FIRST: RawFd = 3;
    if number("LISTEN_PID")? != Some(std::process::id()) {
        // Whatever the others say, they say it to somebody else.
        return Ok(Default::default());
    }
    let count = number("LISTEN_FDS")?.unwrap_or(0);
    let count = RawFd::try_from(count).ok().filter(|count| *count <= 1024).ok_or_else(|| {
        InheritError::Activation {
            variable: "LISTEN_FDS",
            value: env::var_os("LISTEN_FDS").unwrap_or_default(),
        }
    })?;
    // One name that is no text must not take the others with it.
    let names = env::var_os("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.to_string_lossy();
    let mut names = names.split(':').map(str::to_owned);
    let (mut sockets, mut unwanted) = (Vec::new(), Vec::new());
    for fd in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default();
        let stored = Stored::decode(&name);
        match (activated(fd, name), stored) {
            (Ok(socket), _) => sockets.push(socket),
            // It would be there again at each start.
            (Err(error), Some(stored)) => {
                say!(warn: fd, %error, "leaving out a descriptor that the service manager kept");
                unwanted.push(stored);
            }
            (Err(source), None) => {
                return Err(InheritError::Descriptor { what: "activation socket", fd, source });
            }
        }
    }
    Ok((without_twins(sockets), unwanted))
}

/// A socket of a socket unit that is in the store as well comes twice. The store's are put into the order of
/// their making: the manager's own is another one.
fn without_twins(sockets: Vec<InheritedSocket>) -> Vec<InheritedSocket> {
    let (mut stored, mut kept): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| socket.stored.is_some());
    stored.sort_by_key(|socket| socket.stored.as_ref().map(|stored| stored.cookie));
    for socket in stored {
        let cookie = socket::cookie(socket.fd.as_fd()).ok();
        let is_twin = |other: &&mut InheritedSocket| socket::cookie(other.fd.as_fd()).ok() == cookie;
        match kept.iter_mut().find(is_twin) {
            // The unit file says what it is; the store's name says how to get rid of the other copy.
            Some(twin) => twin.stored = socket.stored,
            None => kept.push(socket),
        }
    }
    kept
}

fn number(variable: &'static str) -> Result<Option<u32>, InheritError> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(InheritError::Activation { variable, value }),
    }
}
