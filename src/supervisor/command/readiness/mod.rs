//! How it is known that a worker is ready, when it does not speak heirloom's own protocol.
//!
//! A check from outside has a trap: the listening sockets are shared. A connection to one of them is
//! completed by the kernel whether or not anybody accepts, and the request on it is answered by whichever
//! worker is first, so mostly by the *old* one. A check there says nothing of the new worker, and is refused
//! ([`ReadinessError::Shared`]). What reaches the new worker alone is a socket that only it has: with
//! [`Readiness::Http`] without an address, heirloom hands each worker one more listening socket, on a port of
//! 127.0.0.1 that nobody else knows, and asks there.

mod check;
mod family;
mod notice;
mod notify;
mod place;
mod queues;
mod way;

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

pub(crate) use self::check::{Check, Complaint};
pub(crate) use self::notify::Heard;
use self::notify::Notify;
pub(crate) use self::queues::{Newest, Queues};
pub use self::way::{Readiness, ReadinessError};
use crate::sys::address::Address;
use crate::sys::notify::NotifySocket;
use crate::sys::socket::{self, TcpOptions};

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
    notify: Option<NotifySocket>,
    line: Option<(io::PipeReader, Arc<OwnedFd>)>,
    private: Option<(Arc<OwnedFd>, SocketAddr)>,
}

/// Watches one worker from its start on, ready or not.
pub(crate) struct Watch {
    notify: Option<Notify>,
    queues: Queues,
    was_ready: bool,
    by_the_clock: bool,
    means: Option<Means>,
    /// Open as long as the worker lives: one that writes once more must not get a SIGPIPE for it.
    _line: Option<Arc<pipe::Receiver>>,
    /// Whether `READY=1` counts.
    counts: bool,
    complaint: Complaint,
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
}

impl Readiness {
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
            Readiness::Http { at, .. } if at.is_empty() => {
                Some(private_listener().map_err(ReadinessError::Other)?)
            }
            _ => None,
        };
        let notify = place::bind(*self == Readiness::Notify).map_err(ReadinessError::Other)?;
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
        let mut variables = Vec::new();
        if let Some(notify) = &self.notify {
            variables.push(("NOTIFY_SOCKET".into(), notify.name()?));
        }
        variables.extend(line.map(|fd| ("HEIRLOOM_READY_FD".into(), fd.to_string().into())));
        Ok(variables)
    }

    /// What the worker that was started with it says at `NOTIFY_SOCKET`, if it was given one; once.
    /// `extensions`: where it goes that it wants more time.
    pub(crate) fn hear(
        &mut self,
        pid: i32,
        generation: u64,
        extensions: mpsc::UnboundedSender<(u64, Duration)>,
    ) -> Option<Arc<Heard>> {
        let socket = self.notify.take()?;
        Some(Arc::new(Heard::new(socket, pid, generation, extensions)))
    }

    /// What the worker is asked from outside, if that is how it shows that it is ready.
    pub(crate) fn check(&self) -> Option<Check> {
        match (&self.readiness, &self.private) {
            (Readiness::Tcp(addresses), _) => Some(Check::Connect(addresses.clone())),
            (Readiness::Http { path, .. }, Some((_, at))) => {
                Some(Check::Get { at: vec![*at], path: path.clone(), alone: true })
            }
            (Readiness::Http { at, path }, None) => {
                Some(Check::Get { at: at.clone(), path: path.clone(), alone: false })
            }
            _ => None,
        }
    }

    /// Begins to watch that worker, and the sockets that it was handed. Within a runtime only.
    pub(crate) fn watch(self, heard: Option<Arc<Heard>>, queues: Queues) -> io::Result<Watch> {
        let complaint = Complaint::default();
        let check = self.check();
        let notify = heard.map(Notify::new).transpose()?;
        let by_the_clock = matches!(self.readiness, Readiness::After(_));
        let counts = matches!(self.readiness, Readiness::After(_) | Readiness::Notify);
        // Our copy of the writing end goes: the worker's is the last.
        let reader = self.line.map(|(reader, _)| pipe::Receiver::from_owned_fd(reader.into())).transpose()?;
        let reader = reader.map(Arc::new);
        let means: Option<Means> = match (self.readiness, &reader, check) {
            (Readiness::After(time), ..) => Some(Box::pin(async move {
                tokio::time::sleep(time).await;
                Ok(())
            })),
            (Readiness::Line(_), Some(reader), _) => Some(Box::pin(line(Arc::clone(reader)))),
            (_, _, Some(check)) => Some(checking(check, &complaint)),
            _ => None,
        };
        Ok(Watch { notify, queues, was_ready: false, by_the_clock, means, _line: reader, counts, complaint })
    }
}

impl Watch {
    /// What the worker lets be known next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            let outcome = tokio::select! {
                // In this order a worker that says STOPPING is not called ready by the clock of the same
                // moment.
                biased;
                notice = hear(&mut self.notify) => match notice {
                    Ok(notice::Notice::Ready) if self.counts && !self.was_ready => {
                        self.means = None;
                        self.queues.ready(false);
                        Ok(())
                    }
                    Ok(notice::Notice::Stopping) => return Said::Stopping,
                    Ok(notice::Notice::Status(text)) => return Said::Status(text),
                    // The others were acted on when they were heard.
                    Ok(_) => continue,
                    Err(error) => Err(NotReady::Other(error)),
                },
                outcome = wait_for(&mut self.means) => {
                    if outcome.is_ok() {
                        self.queues.ready(self.by_the_clock);
                    }
                    outcome
                }
                () = self.queues.watch() => continue,
            };
            self.was_ready |= outcome.is_ok();
            return outcome.map_or_else(Said::Never, |()| Said::Ready);
        }
    }

    fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It is dropped when the worker is given up: the deadline says that there was no answer, this says
        // which.
        if !self.was_ready
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

/// Never, without a socket.
async fn hear(notify: &mut Option<Notify>) -> io::Result<notice::Notice> {
    match notify {
        Some(notify) => notify.next().await,
        None => std::future::pending().await,
    }
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

fn checking(check: Check, complaint: &Complaint) -> Means {
    let complaint = Arc::clone(complaint);
    Box::pin(async move {
        check.until_passed(&complaint).await;
        Ok(())
    })
}

/// The first line end, whatever stands before it.
async fn line(reader: Arc<pipe::Receiver>) -> Result<(), NotReady> {
    let mut buffer = [0; 512];
    loop {
        reader.readable().await.map_err(NotReady::Other)?;
        match reader.try_read(&mut buffer) {
            Ok(0) => return Err(NotReady::Closed),
            Ok(length) if buffer[..length].contains(&b'\n') => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(NotReady::Other(error)),
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

/// For a fuzzer.
#[cfg(any(test, fuzzing))]
pub(super) fn read_notices(bytes: &[u8]) {
    for notice in notice::parse(bytes) {
        if let notice::Notice::Status(text) = notice {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}

#[cfg(test)]
mod tests;
