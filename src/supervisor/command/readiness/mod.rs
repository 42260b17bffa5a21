//! How it is known that a worker is ready, when it does not speak heirloom's own protocol.
//!
//! A check from outside has a trap: the listening sockets are shared. A connection to one of them is completed by the
//! kernel whether or not anybody accepts, and the request on it is answered by whichever worker is first, so mostly by the
//! *old* one. A check there says nothing of the new worker, and is refused ([`ReadinessError::Shared`]). What reaches
//! the new worker alone is a socket that only it has: with [`Readiness::Http`] without an address, heirloom hands each
//! worker one more listening socket, on a port of 127.0.0.1 that nobody else knows, and asks there.

mod check;
mod family;
mod notice;
mod notify;

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use self::check::Check;
use self::notify::Notify;
use crate::address::Address;
use crate::listen::{Listen, ListenParseError};
use crate::sys::notify::NotifySocket;
use crate::sys::socket::{self, TcpOptions};

/// How a worker shows that it is ready. Reads from text as `heirloom run --ready` takes it:
///
/// ```
/// use heirloom::supervisor::Readiness;
///
/// for text in ["after=1s", "notify", "heirloom", "fd", "fd=9", "tcp=127.0.0.1:9000", "http=/healthz", "http=127.0.0.1:9000/up"] {
///     assert_eq!(text.parse::<Readiness>()?.to_string(), text);
/// }
/// # Ok::<(), heirloom::supervisor::ReadinessError>(())
/// ```
///
/// `NOTIFY_SOCKET` is offered with every choice, for `STATUS=`, `MAINPID=` and barriers. `READY=1` counts where nothing
/// better is asked for (`notify`, `after`): some servers say it before they have loaded their application (gunicorn).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// It has run for so long, or says `READY=1` before: Server::Starter's way. All that it asks of a program is that one which cannot serve ends
    /// soon. The default, with one second.
    After(Duration),
    /// It is a heirloom program: it says so on heirloom's own channel, is told there when to stop accepting and when to
    /// go, and its idle connections and its state move to the next worker.
    Heirloom,
    /// It says `READY=1` as for `sd_notify(3)`.
    Notify,
    /// It writes a line to this descriptor, as for s6's `notification-fd`. Without a number it gets the first free one, and
    /// `HEIRLOOM_READY_FD` names it either way. Closing it without a line is a failure.
    Line(Option<RawFd>),
    /// It accepts connections at an address of its own, one that no other worker listens on.
    Tcp(Address),
    /// It answers `GET` for this path with a status from 200 to 299: at an address of its own, or else at one more
    /// listening socket that heirloom hands it as the last one, by the name `ready`. For programs that serve every socket
    /// that they are handed.
    Http {
        /// Its own address.
        at: Option<SocketAddr>,
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
    Shared {
        /// The address.
        address: Address,
    },
    /// What the watch needs cannot be made.
    #[error("cannot watch for a worker's readiness")]
    Other(#[source] io::Error),
}

/// Why a worker will never be ready.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum NotReady {
    /// End of the pipe.
    #[error(
        "it closed the descriptor for its readiness without a line; write one, or choose another --ready"
    )]
    Closed,
    /// The pipe or the socket fails.
    #[error("its readiness cannot be watched any more")]
    Other(#[source] io::Error),
}

/// What there is for one worker, before it is started.
#[derive(Debug)]
pub(crate) struct Prepared {
    readiness: Readiness,
    notify: NotifySocket,
    line: Option<(io::PipeReader, Arc<OwnedFd>)>,
    private: Option<(Arc<OwnedFd>, SocketAddr)>,
}

/// Watches one worker from its start on, ready or not.
pub(crate) struct Watch {
    notify: Notify,
    means: Option<Means>,
    /// Whether `READY=1` counts.
    counts: bool,
    complaint: check::Complaint,
}

type Means = Pin<Box<dyn Future<Output = Result<(), NotReady>> + Send>>;

/// What a worker lets be known.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is ready; said once.
    Ready,
    /// It never will be.
    Never(NotReady),
    /// It is about to end, on purpose.
    Stopping,
    /// For people.
    Status(String),
    /// Signals are for this process, a descendant of the one that was started.
    MainPid(i32),
}

impl Readiness {
    /// Whether it can tell the new worker from the others, when all of them share `listeners`.
    pub(crate) fn check(&self, listeners: &[Address]) -> Result<(), ReadinessError> {
        let asked = match self {
            Readiness::Tcp(address) => address.clone(),
            Readiness::Http { at: Some(at), .. } => Address::Inet(*at),
            _ => return Ok(()),
        };
        match listeners.iter().any(|listener| reaches(&asked, listener)) {
            true => Err(ReadinessError::Shared { address: asked }),
            false => Ok(()),
        }
    }

    /// Makes what the next worker needs for it.
    pub(crate) fn prepare(&self) -> Result<Prepared, ReadinessError> {
        let line = match self {
            Readiness::Line(_) => {
                let (reader, writer) = io::pipe().map_err(ReadinessError::Other)?;
                Some((reader, Arc::new(writer.into())))
            }
            _ => None,
        };
        let private = match self {
            Readiness::Http { at: None, .. } => Some(private_listener().map_err(ReadinessError::Other)?),
            _ => None,
        };
        let notify = NotifySocket::bind().map_err(ReadinessError::Other)?;
        Ok(Prepared { readiness: self.clone(), notify, line, private })
    }
}

impl Prepared {
    /// One more listening socket for the worker.
    pub(crate) fn socket(&self) -> Option<(&Arc<OwnedFd>, Address)> {
        self.private.as_ref().map(|(fd, address)| (fd, Address::Inet(*address)))
    }

    /// One more descriptor for the worker, and the number that was chosen for it.
    pub(crate) fn line(&self) -> Option<(&Arc<OwnedFd>, Option<RawFd>)> {
        let Readiness::Line(chosen) = self.readiness else { return None };
        self.line.as_ref().map(|(_, writer)| (writer, chosen))
    }

    /// What the worker is told. `line` is the number that the descriptor got.
    pub(crate) fn environment(&self, line: Option<RawFd>) -> io::Result<Vec<(OsString, OsString)>> {
        let mut variables = vec![("NOTIFY_SOCKET".into(), self.notify.name()?)];
        variables.extend(line.map(|fd| ("HEIRLOOM_READY_FD".into(), fd.to_string().into())));
        Ok(variables)
    }

    /// Begins to watch the worker that was started with it. Within a runtime only.
    pub(crate) fn watch(self, pid: i32) -> io::Result<Watch> {
        let complaint = check::Complaint::default();
        let notify = Notify::new(self.notify, pid)?;
        let counts = matches!(self.readiness, Readiness::After(_) | Readiness::Notify);
        let means: Option<Means> = match (self.readiness, self.line, self.private) {
            (Readiness::After(time), ..) => Some(Box::pin(async move {
                tokio::time::sleep(time).await;
                Ok(())
            })),
            // Our copy of the writing end goes with `line`: the worker's is the last.
            (Readiness::Line(_), Some((reader, _)), _) => {
                let reader = pipe::Receiver::from_owned_fd(reader.into())?;
                Some(Box::pin(line(reader)))
            }
            (Readiness::Tcp(address), ..) => Some(checking(Check::Connect(address), &complaint)),
            (Readiness::Http { at: Some(at), path }, ..) => {
                Some(checking(Check::Get { at, path, alone: false }, &complaint))
            }
            (Readiness::Http { at: None, path }, _, Some((_, at))) => {
                Some(checking(Check::Get { at, path, alone: true }, &complaint))
            }
            _ => None,
        };
        Ok(Watch { notify, means, counts, complaint })
    }
}

impl Watch {
    /// What the worker lets be known next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            let outcome = tokio::select! {
                // In this order a worker that says STOPPING is not called ready by the clock of the same moment.
                biased;
                notice = self.notify.next() => match notice {
                    Ok(notice::Notice::Ready) if self.counts && self.notify.first_ready() => {
                        self.means = None;
                        Ok(())
                    }
                    Ok(notice::Notice::Ready) => continue,
                    Ok(notice::Notice::Stopping) => return Said::Stopping,
                    Ok(notice::Notice::Status(text)) => return Said::Status(text),
                    Ok(notice::Notice::MainPid(pid)) => return Said::MainPid(pid),
                    Err(error) => Err(NotReady::Other(error)),
                },
                outcome = wait_for(&mut self.means) => {
                    self.notify.first_ready();
                    outcome
                }
            };
            return outcome.map_or_else(Said::Never, |()| Said::Ready);
        }
    }

    fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It is dropped when the worker is given up: the deadline says that there was no answer, this says which.
        if !self.notify.was_ready()
            && let Some(complaint) = self.complaint()
        {
            say!(warn: complaint, "the last check of the worker's readiness failed");
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("notify", &self.notify).finish_non_exhaustive()
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
            Readiness::Tcp(address) => write!(f, "tcp={address}"),
            Readiness::Http { at: None, path } => write!(f, "http={path}"),
            Readiness::Http { at: Some(at), path } => write!(f, "http={at}{path}"),
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
            ("tcp", Some(address)) => Readiness::Tcp(address.parse::<Listen>()?.address().clone()),
            ("http", Some(rest)) => {
                let slash = rest.find('/').ok_or_else(malformed)?;
                let (at, path) = rest.split_at(slash);
                let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
                let at = match at {
                    "" => None,
                    at => Some(at.parse::<Listen>()?.address().inet().ok_or_else(malformed)?),
                };
                Readiness::Http { at, path: is_plain.then(|| path.to_owned()).ok_or_else(malformed)? }
            }
            _ => return Err(malformed()),
        })
    }
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

/// A future that ends when the means has spoken, and never without one.
async fn wait_for(means: &mut Option<Means>) -> Result<(), NotReady> {
    match means {
        Some(future) => {
            let outcome = future.await;
            *means = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

fn checking(check: Check, complaint: &check::Complaint) -> Means {
    let complaint = Arc::clone(complaint);
    Box::pin(async move {
        check.until_passed(&complaint).await;
        Ok(())
    })
}

/// The first line end, whatever stands before it.
async fn line(mut reader: pipe::Receiver) -> Result<(), NotReady> {
    let mut buffer = [0; 512];
    loop {
        match reader.read(&mut buffer).await.map_err(NotReady::Other)? {
            0 => return Err(NotReady::Closed),
            length if buffer[..length].contains(&b'\n') => return Ok(()),
            _ => {}
        }
    }
}

/// Blocking, as the others are by default.
fn private_listener() -> io::Result<(Arc<OwnedFd>, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Of one client, one connection at a time.
    let options = TcpOptions { backlog: 8, ..TcpOptions::default() };
    let fd = socket::bind_tcp(any, &options)?;
    socket::set_blocking(fd.as_fd())?;
    let facts = socket::facts(fd.as_fd()).map_err(io::Error::other)?;
    let address = facts.local.inet().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((Arc::new(fd), address))
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

#[cfg(test)]
mod tests;
