//! What to listen on, as a text says it: an address, or a host name that is looked up.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::Listen;
use crate::sys::address::Address;

/// Why a string is not an address to listen on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenParseError {
    /// Neither `HOST:PORT` nor `unix:PATH`.
    #[error(
        "{address:?} is not an address to listen on; write 127.0.0.1:8080, [::]:8080, unix:/path or unix:@name"
    )]
    #[non_exhaustive]
    Malformed {
        /// What was given.
        address: String,
    },
    /// A host name that the system cannot resolve.
    #[error("cannot resolve {address:?}")]
    #[non_exhaustive]
    Resolve {
        /// What was given.
        address: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// A Unix path that the kernel has no room for.
    #[error("the Unix socket path {path:?} is longer than the kernel's 107 bytes")]
    #[non_exhaustive]
    PathTooLong {
        /// What was given.
        path: PathBuf,
    },
}

/// As `text.parse()`, without blocking the thread.
pub(super) async fn resolve(text: &str) -> Result<Listen, ListenParseError> {
    match read(text)? {
        Read::Address(address) => Ok(Listen::new(address)),
        Read::Name => {
            let (tell, heard) = oneshot::channel();
            look_up(text.to_owned(), |found| drop(tell.send(found)))
                .map_err(|error| unresolved(text, error))?;
            let found = tokio::time::timeout(PATIENCE, heard).await.ok().and_then(Result::ok);
            named(text, found)
        }
    }
}

impl FromStr for Listen {
    type Err = ListenParseError;

    fn from_str(text: &str) -> Result<Listen, ListenParseError> {
        match read(text)? {
            Read::Address(address) => Ok(Listen::new(address)),
            Read::Name => {
                let (tell, heard) = mpsc::sync_channel(1);
                look_up(text.to_owned(), move |found| drop(tell.send(found)))
                    .map_err(|error| unresolved(text, error))?;
                named(text, heard.recv_timeout(PATIENCE).ok())
            }
        }
    }
}

/// What a text is, by itself.
enum Read {
    Address(Address),
    /// A host's name and a port.
    Name,
}

fn read(text: &str) -> Result<Read, ListenParseError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_unix(text, path).map(Read::Address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Read::Address(Address::Inet(address)));
    }
    let is_named =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_named { Ok(Read::Name) } else { Err(ListenParseError::Malformed { address: text.to_owned() }) }
}

fn parse_unix(text: &str, path: &str) -> Result<Address, ListenParseError> {
    /// sun_path holds 108 bytes, one of them for the end of the string (or the abstract name's leading zero).
    const ROOM: usize = 107;
    if path.strip_prefix('@').unwrap_or(path).is_empty() {
        return Err(ListenParseError::Malformed { address: text.to_owned() });
    }
    if path.len() > ROOM {
        return Err(ListenParseError::PathTooLong { path: path.into() });
    }
    Ok(match path.strip_prefix('@') {
        Some(name) => Address::UnixAbstract(name.as_bytes().to_vec()),
        None => Address::UnixPath(path.into()),
    })
}

/// The system's resolver has no deadline, so it gets a thread that nobody has to wait for.
fn look_up(text: String, tell: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static) -> io::Result<()> {
    let found = move || tell(text.to_socket_addrs().map(Iterator::collect));
    thread::Builder::new().name("heirloom-lookup".to_owned()).spawn(found).map(drop)
}

fn named(text: &str, found: Option<io::Result<Vec<SocketAddr>>>) -> Result<Listen, ListenParseError> {
    let found = found.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
    let mut addresses = found.map_err(|error| unresolved(text, error))?.into_iter().map(Address::Inet);
    let first = addresses.next().ok_or_else(|| unresolved(text, io::ErrorKind::NotFound.into()))?;
    Ok(Listen { alternatives: addresses.collect(), ..Listen::new(first) })
}

fn unresolved(text: &str, source: io::Error) -> ListenParseError {
    ListenParseError::Resolve { address: text.to_owned(), source }
}

/// For a name: the resolver asks a server for five seconds, so this lets it try a second one, and ends well
/// within any start timeout.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/app.sock", "unix:@app"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert!(
            matches!("localhost:80".parse::<Listen>().unwrap().address, Address::Inet(a) if a.ip().is_loopback())
        );
    }

    #[tokio::test]
    async fn a_name_is_looked_up_elsewhere_and_stands_for_all_its_addresses() {
        let listen = Listen::resolve("localhost:80").await.unwrap();
        assert_eq!(listen, "localhost:80".parse().unwrap());
        assert!(listen.choices().all(|choice| choice.address.inet().unwrap().ip().is_loopback()));
        let several = ["[::1]:80", "127.0.0.1:80"].map(|text| text.parse().unwrap());
        let listen = named("both:80", Some(Ok(several.to_vec()))).unwrap();
        let choices: Vec<_> = listen.choices().map(|choice| choice.to_string()).collect();
        assert_eq!(choices, ["[::1]:80", "127.0.0.1:80"]);
    }

    #[test]
    fn g5_a_resolver_that_says_nothing_is_not_waited_for() {
        let error = named("silent:80", None).unwrap_err();
        assert!(
            matches!(&error, ListenParseError::Resolve { source, .. } if source.kind() == io::ErrorKind::TimedOut)
        );
        let error = named("empty:80", Some(Ok(Vec::new()))).unwrap_err();
        assert!(error.to_string().contains("empty:80"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["", "8080", ":8080", "unix:", "unix:@", "127.0.0.1:99999"] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(matches!(long.parse::<Listen>(), Err(ListenParseError::PathTooLong { .. })));
    }
}
