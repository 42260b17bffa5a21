//! Where a socket is bound, or where its peer is.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The address of a socket. Prints as [`Listen`](crate::Listen) reads it: `127.0.0.1:80`, `unix:/path`,
/// `unix:@name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and port.
    Inet(SocketAddr),
    /// A Unix socket with a place in the file system.
    UnixPath(PathBuf),
    /// A Unix socket in the abstract namespace: the name without its leading NUL byte.
    UnixAbstract(Vec<u8>),
    /// None, as the client's end of a Unix socket mostly has.
    Unnamed,
}

impl Address {
    /// The IP address and port, if it has one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            _ => None,
        }
    }

    /// As it prints, but for paths that are not UTF-8 without loss.
    pub(crate) fn to_os_string(&self) -> OsString {
        let with_prefix = |prefix: &str, rest: &[u8]| OsString::from_vec([prefix.as_bytes(), rest].concat());
        match self {
            Address::Inet(address) => address.to_string().into(),
            Address::UnixPath(path) => with_prefix("unix:", path.as_os_str().as_bytes()),
            Address::UnixAbstract(name) => with_prefix("unix:@", name),
            Address::Unnamed => "unix:unnamed".into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_os_string().to_string_lossy())
    }
}
