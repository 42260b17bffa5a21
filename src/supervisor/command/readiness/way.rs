//! The ways in which a worker can show that it is ready, as one writes them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::sockets::listen::{Listen, ListenParseError};
use crate::sys::address::Address;

/// How a worker shows that it is ready. Reads from text as `heirloom run --ready` takes it:
///
/// ```
/// use heirloom::supervisor::Readiness;
///
/// let ways = ["after=1s", "notify", "heirloom", "fd", "fd=9", "tcp=127.0.0.1:9000"];
/// for text in ways.into_iter().chain(["http=/healthz", "http=127.0.0.1:9000/up"]) {
///     assert_eq!(text.parse::<Readiness>()?.to_string(), text);
/// }
/// # Ok::<(), heirloom::supervisor::ReadinessError>(())
/// ```
///
/// `NOTIFY_SOCKET` is offered with every choice but `heirloom`, for `STATUS=`, `MAINPID=`,
/// `EXTEND_TIMEOUT_USEC=` and barriers. `READY=1` counts where nothing better is asked for (`notify`,
/// `after`): some servers say it before they have loaded their application (gunicorn).
///
/// It is a path, as systemd's: in a directory of its own below `/run/heirloom-notify` (for root; else in
/// `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR`, or the directory for temporary files), whose name only the
/// worker is told; it may have changed its user or its network, but not its root directory. Where none of
/// these can be written to, `notify` falls back to an abstract name, which some programs (those of Ruby)
/// cannot use and every other user can write to, and the other choices go without.
///
/// As by systemd, `MAINPID=` is followed: when the process that was started ends and the one that it has
/// named goes on, the worker has not died. (The starter stays a zombie as long.) `EXTEND_TIMEOUT_USEC=` gives
/// the worker that much time from then on, to be ready or to be gone, where its deadline would be sooner.
///
/// At the end of its probation, before the old worker is told to go, the new one must not be stopped
/// (SIGSTOP, a debugger), and a check ([`Tcp`](Self::Tcp), [`Http`](Self::Http)) is repeated, which must pass
/// within 5 s. Else the restart is taken back, and the new one is sent the stop signal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// It has run for this long, or says `READY=1` before that, as with Server::Starter. A program that
    /// cannot serve must end within this time. This is the default, with one second.
    After(Duration),
    /// It is a heirloom program: it says so on heirloom's own channel, is told there when to stop accepting
    /// and when to go, and its idle connections and its state move to the next worker.
    Heirloom,
    /// It says `READY=1` as for `sd_notify(3)`.
    Notify,
    /// It writes a line to this descriptor, as for s6's `notification-fd`. Without a number it gets the first
    /// free one, and `HEIRLOOM_READY_FD` names it either way. Closing it without a line is a failure.
    Line(Option<RawFd>),
    /// It accepts connections at an address of its own, one that no other worker listens on; of several
    /// (those of a host name) at any.
    Tcp(Vec<Address>),
    /// It answers `GET` for this path with a status from 200 to 299: at an address of its own, or else at one
    /// more listening socket that heirloom hands it as the last one, by the name `ready`. For programs that
    /// serve every socket that they are handed.
    Http {
        /// Its own address, or what a host name stands for: any of them will do. Empty for a socket from
        /// heirloom.
        at: Vec<SocketAddr>,
        /// The path, with its leading slash.
        path: String,
    },
}

/// Why a readiness cannot be watched for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadinessError {
    /// No such way.
    #[error(
        "{text:?} is no way to tell that a worker is ready; write after=1s, notify, heirloom, fd, fd=9, tcp=ADDRESS, \
         http=/path or http=ADDRESS/path"
    )]
    #[non_exhaustive]
    Malformed {
        /// What was given.
        text: String,
    },
    /// The address in it cannot be read.
    #[error(transparent)]
    Address(#[from] ListenParseError),
    /// The address is one that all workers share.
    #[error(
        "a check at {address} would be answered by the kernel or by the old worker, since all workers share that \
         socket; check an address of the worker's own, or write http=/path for a socket that heirloom hands to it alone"
    )]
    #[non_exhaustive]
    Shared {
        /// The address.
        address: Address,
    },
    /// What the watch needs cannot be made.
    #[error("cannot watch for a worker's readiness")]
    Other(#[source] io::Error),
}

impl Readiness {
    /// Whether it can tell the new worker from the others, when all of them share `listeners`.
    pub(crate) fn check(&self, listeners: &[Address]) -> Result<(), ReadinessError> {
        let asked = match self {
            Readiness::Tcp(addresses) => addresses.clone(),
            Readiness::Http { at, .. } => at.iter().copied().map(Address::Inet).collect(),
            _ => return Ok(()),
        };
        let is_shared = |asked: &Address| listeners.iter().any(|listener| reaches(asked, listener));
        match asked.into_iter().find(is_shared) {
            Some(address) => Err(ReadinessError::Shared { address }),
            None => Ok(()),
        }
    }
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness::After(INTERVAL)
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Readiness::After(time) => write!(f, "after={time:?}"),
            Readiness::Heirloom => f.write_str("heirloom"),
            Readiness::Notify => f.write_str("notify"),
            Readiness::Line(None) => f.write_str("fd"),
            Readiness::Line(Some(fd)) => write!(f, "fd={fd}"),
            Readiness::Tcp(addresses) => write!(f, "tcp={}", joined(addresses)),
            Readiness::Http { at, path } => write!(f, "http={}{path}", joined(at)),
        }
    }
}

impl FromStr for Readiness {
    type Err = ReadinessError;

    fn from_str(text: &str) -> Result<Readiness, ReadinessError> {
        let malformed = || ReadinessError::Malformed { text: text.to_owned() };
        let (means, rest) = text.split_once('=').map_or((text, None), |(means, rest)| (means, Some(rest)));
        Ok(match (means, rest) {
            ("heirloom", None) => Readiness::Heirloom,
            ("notify", None) => Readiness::Notify,
            ("fd", None) => Readiness::Line(None),
            ("fd", Some(number)) => Readiness::Line(Some(number.parse().map_err(|_| malformed())?)),
            ("after", Some(time)) => Readiness::After(duration(time).ok_or_else(malformed)?),
            ("tcp", Some(address)) => {
                Readiness::Tcp(address.parse::<Listen>()?.choices().map(|choice| choice.address).collect())
            }
            ("http", Some(rest)) => {
                let slash = rest.find('/').ok_or_else(malformed)?;
                let (at, path) = rest.split_at(slash);
                let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
                let at = match at {
                    "" => Vec::new(),
                    at => {
                        let choices = at.parse::<Listen>()?;
                        choices
                            .choices()
                            .map(|choice| choice.address.inet())
                            .collect::<Option<_>>()
                            .ok_or_else(malformed)?
                    }
                };
                Readiness::Http { at, path: is_plain.then(|| path.to_owned()).ok_or_else(malformed)? }
            }
            _ => return Err(malformed()),
        })
    }
}

/// One is as it was written.
fn joined(addresses: &[impl ToString]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Seconds or milliseconds, as they print.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let scale = match unit {
        "s" | "" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// Whether a connection to `asked` arrives at a socket that listens at `listener`.
fn reaches(asked: &Address, listener: &Address) -> bool {
    match (asked, listener) {
        (Address::Inet(asked), Address::Inet(listener)) => {
            let same_host = asked.ip() == listener.ip()
                || listener.ip().is_unspecified() && is_of_this_host(asked.ip())
                || asked.ip().is_unspecified();
            asked.port() == listener.port() && same_host
        }
        (asked, listener) => asked == listener,
    }
}

/// As far as it can be told without asking the system; an interface's own address is not.
fn is_of_this_host(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// Server::Starter's default: what cannot read its configuration or load its code ends within it.
const INTERVAL: Duration = Duration::from_secs(1);
