//! The driver's part in moving connections: out to the successor, and in from the predecessor.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Attempt, Step};
use crate::drain::Tracker;
use crate::drain::departure::{Arrival, Departure, Mover, Verdict};
use crate::handdown::peer::Peer;
use crate::handover::message::{MAX_SESSION, Message, Moved, Takes};
use crate::handover::moving::{Along, Moving};
use crate::sockets::listeners::Listeners;
use crate::sockets::reserve;
use crate::sys::memfd::{self, Mapped};

/// Connections on their way to the successor.
#[derive(Debug, Default)]
pub(super) struct Moves {
    departing: Option<mpsc::UnboundedReceiver<Departure>>,
    moving: Moving<Kept>,
    /// Nothing reaches the successor any more: what departs now comes back.
    is_cut: bool,
}

/// What this side keeps of a connection on its way.
#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    /// What was read of it, where that is more than a message holds.
    apart: Option<OwnedFd>,
    spoken: &'static str,
    verdict: oneshot::Sender<Verdict>,
}

impl Moves {
    pub(super) fn open(&mut self, takes: Takes, drain: Duration) -> Mover {
        let (mover, departing) = Mover::new(takes, patience(drain));
        *self = Moves { departing: Some(departing), ..Moves::default() };
        mover
    }

    /// The next connection that departs. Cancel safe.
    pub(super) async fn next(&mut self) -> Departure {
        if let Some(departing) = &mut self.departing
            && let Some(departure) = departing.recv().await
        {
            return departure;
        }
        std::future::pending().await
    }

    /// Takes this one, and whatever departs together with it: they go in one message.
    pub(super) fn depart(&mut self, departure: Departure) {
        let mut next = Some(departure);
        while let Some(departure) = next {
            self.depart_alone(departure);
            next = self.departing.as_mut().and_then(|departing| departing.try_recv().ok());
        }
    }

    fn depart_alone(&mut self, Departure { fd, listener, mut along, spoken, verdict }: Departure) {
        let mut kept = Kept { fd, apart: None, spoken, verdict };
        if self.is_cut {
            return kept.comes_back();
        }
        let mut length = None;
        if along.length() > MAX_SESSION {
            match set_apart(&mut along) {
                Ok((fd, bytes)) => (kept.apart, length) = (Some(fd), Some(bytes)),
                Err(error) => {
                    say!(debug: %error, "no memory for what moves with a connection");
                    return kept.comes_back();
                }
            }
        }
        self.moving.depart_with(listener, along, length, kept);
    }

    /// Sends what can be sent; the rest waits for room in the channel.
    pub(super) fn send(&mut self, attempt: Option<&Attempt>) {
        let Some(Attempt { step: Step::Running { peer, .. }, .. }) = attempt else { return };
        while let Some(outcome) = self.moving.send_next(|message, kept| {
            let fds = kept.iter().flat_map(|kept| [Some(&kept.fd), kept.apart.as_ref()]).flatten();
            let fds: Vec<_> = fds.map(AsFd::as_fd).collect();
            peer.send_with(message, &fds)
        }) {
            match outcome {
                Ok(()) => {}
                Err(error) if is_for_later(&error) => return,
                Err(error) => {
                    say!(debug: %error, "connections cannot be moved any more");
                    // What was sent stays the successor's until it answers or dies.
                    self.is_cut = true;
                    self.moving.unsent().into_iter().for_each(Kept::comes_back);
                }
            }
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.moving.is_empty()
    }

    /// How many were sent, and wait in the channel for all that is known here.
    pub(super) fn unanswered(&self) -> usize {
        self.moving.unanswered()
    }

    /// Whether something waits for room in the channel.
    pub(super) fn is_stuck(&self) -> bool {
        self.moving.has_waiting()
    }

    /// These went on in the successor. Returns what was spoken on each.
    pub(super) fn taken(&mut self, ids: &[u64]) -> Vec<&'static str> {
        let taken = self.moving.answered(ids);
        let give_back = |Kept { fd, spoken, verdict, .. }| {
            // If nobody waits any more, nobody needs the duplicate either.
            let _ = verdict.send(Verdict::Taken(fd));
            spoken
        };
        taken.into_iter().map(give_back).collect()
    }

    pub(super) fn refused(&mut self, ids: &[u64]) {
        self.moving.answered(ids).into_iter().for_each(Kept::comes_back);
    }

    /// Nobody else reads what is on its way: the successor is dead.
    pub(super) fn lost(&mut self) {
        self.is_cut = true;
        self.moving.lost().into_iter().for_each(Kept::comes_back);
    }
}

impl Kept {
    fn comes_back(self) {
        let _ = self.verdict.send(Verdict::Kept(self.fd));
    }
}

/// The rest of the drain is for what has to end here after all.
fn patience(drain: Duration) -> Duration {
    (drain / 4).min(LONGEST_PATIENCE)
}

/// A quarter of the default drain. Old code should not serve new requests for longer than that.
const LONGEST_PATIENCE: Duration = Duration::from_secs(15);

/// Puts what was read of a connection into memory that the successor may read: a descriptor, and how long.
fn set_apart(along: &mut Along) -> io::Result<(OwnedFd, u32)> {
    let mut file = memfd::create("heirloom-read")?;
    file.write_all(&along.received)?;
    memfd::seal(&file)?;
    let length = u32::try_from(along.received.len()).map_err(io::Error::other)?;
    along.received = Vec::new();
    Ok((file.into(), length))
}

/// Connections from the predecessor that it has not been answered for.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By the listener that they came from.
    waiting: BTreeMap<u64, Vec<(u64, Arrival)>>,
    refused: Vec<u64>,
}

impl Arrivals {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.refused.is_empty()
    }

    /// A message has arrived. Descriptors that are missing are the last ones: those connections are refused.
    /// So is what would take the last descriptors of this process.
    pub(super) fn push(&mut self, connections: Vec<Moved>, fds: Vec<OwnedFd>, tracker: &Tracker) {
        let mut fds = fds.into_iter();
        let mut next = || fds.next().filter(|fd| !reserve::is_reserved(fd));
        for Moved { id, listener, received, state, session, apart } in connections {
            let fd = next();
            let received = match apart {
                Some(length) => next().and_then(|fd| read_apart(fd, length)),
                None => Some(received),
            };
            match fd.zip(received) {
                Some((fd, received)) => {
                    let handed = Along { received, state, session };
                    let arrival = Arrival { fd, handed, hold: tracker.hold() };
                    self.waiting.entry(listener).or_default().push((id, arrival));
                }
                None => self.refused.push(id),
            }
        }
    }

    /// Gives them to their accept loops, each after it has been answered for; the rest waits for room in the
    /// channel.
    pub(super) fn deliver(&mut self, listeners: &Listeners, predecessor: Option<&Peer>) {
        while let Some((listener, arrivals)) = self.waiting.pop_first() {
            let (ids, arrivals): (Vec<u64>, Vec<Arrival>) = arrivals.into_iter().unzip();
            let tell = || answer(predecessor, &Message::Taken { ids: ids.clone() });
            match listeners.arrive(listener, arrivals, tell) {
                Ok(()) => {}
                Err((arrivals, Some(_full))) => {
                    self.waiting.insert(listener, ids.into_iter().zip(arrivals).collect());
                    return;
                }
                Err((arrivals, None)) => {
                    say!(debug: listener, connections = ids.len(), "nobody accepts what was moved here");
                    // Closed before the predecessor hears of it: it may then read again.
                    drop(arrivals);
                    self.refused.extend(ids);
                }
            }
        }
        let refused = std::mem::take(&mut self.refused);
        if !refused.is_empty() && answer(predecessor, &Message::Refused { ids: refused.clone() }).is_err() {
            self.refused = refused;
        }
    }
}

/// What the predecessor has read of a connection, and put there.
fn read_apart(fd: OwnedFd, length: u32) -> Option<Vec<u8>> {
    match Mapped::sealed(fd, length.into()) {
        Ok(read) => Some(read.to_vec()),
        Err(error) => {
            say!(debug: %error, "what moved with a connection cannot be read");
            None
        }
    }
}

/// `Err` only where there is no room now. A predecessor that is gone needs no answer: what it sent is ours.
fn answer(predecessor: Option<&Peer>, message: &Message) -> io::Result<()> {
    let Some(predecessor) = predecessor else { return Ok(()) };
    match predecessor.send_with(message, &[]) {
        Err(error) if is_for_later(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether there is no room now, and will be.
pub(super) fn is_for_later(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ETOOMANYREFS)
}
