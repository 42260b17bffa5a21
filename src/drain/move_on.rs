//! Moving a connection to the successor, which goes on with it as if it had accepted it.

use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::connection::{Connection, Registration};
use super::entry::{Base, Entry};
use crate::drain::departure::{Departure, Mover, Verdict};
use crate::drain::stream::Stream;
use crate::handover::message::{MAX_APART, MAX_BAGGAGE, MAX_SESSION};
use crate::handover::moving::Along;
use crate::sys::socket::Kind;

impl Connection<Stream> {
    /// Moves the connection to the successor, with `unread`: bytes that were read from it and are not dealt
    /// with, and `state`: what the successor's [`take_state`](Connection::take_state) is to give. The client
    /// notices nothing.
    ///
    /// `Ok` once the successor has it: it comes out of the accept loop of the listener of the same name and
    /// address there. Worth trying once [`draining`](Connection::draining) has resolved; before that, and at
    /// a shutdown without a successor, it is refused at once.
    ///
    /// # Errors
    ///
    /// The connection, with its unread bytes to be read again: there is no successor, it does not listen
    /// there any more, it is older than moving, it has died, or `unread` and `state` are over 16 KiB. Close
    /// it in the way of your protocol.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped before it is done, the connection may be the successor's or closed.
    pub async fn move_on(self, unread: Vec<u8>, state: Option<Vec<u8>>) -> Result<(), Connection<Stream>> {
        self.move_with(Along { received: unread, state, session: None }).await
    }

    /// As [`move_on`](Self::move_on), of a connection that may be in the middle of a session.
    pub(crate) async fn move_with(mut self, mut along: Along) -> Result<(), Connection<Stream>> {
        along.received.extend(self.take_received());
        let entry = self.entry().clone();
        let (registration, stream) = self.into_registered();
        let Some(route) = registration.route(&along) else {
            return Err(Connection::from_registered(registration, stream, along.received));
        };
        let (kind, stage) = (stream.kind(), entry.stage());
        entry.enter(Base::Moving);
        // Deregistered here: from now on nothing in this process reads from it.
        let Ok(fd) = stream.into_fd() else { return Ok(()) };
        // A copy stays here for the case that it comes back.
        let received = along.received.clone();
        let heard = route.depart(fd, along);
        match heard.await {
            Ok(Verdict::Kept(fd)) => {
                entry.could_not_move(REFUSED);
                entry.enter(stage);
                match Stream::from_fd(fd, kind) {
                    Ok(stream) => Err(Connection::from_registered(registration, stream, received)),
                    Err(error) => {
                        say_seldom!(warn: %error, "a connection that came back cannot be registered");
                        Ok(())
                    }
                }
            }
            Ok(Verdict::Taken(fd)) => {
                // In this order: an entry names its descriptor for as long as it is registered.
                drop(registration);
                drop(fd);
                Ok(())
            }
            // The driver lives as long as the process.
            Err(_) => Ok(()),
        }
    }
}

/// The way to the successor of one connection.
#[derive(Debug)]
pub(crate) struct Route {
    mover: Mover,
    /// The cookie of the listening socket that it came from.
    listener: u64,
    /// What is spoken on it, as it is told.
    spoken: &'static str,
}

impl Registration {
    /// `None` for a connection that stays here: there is no successor, or this is too much to send along.
    pub(crate) fn route(&self, along: &Along) -> Option<Route> {
        let entry = &self.entry;
        let in_session = along.session.is_some();
        let (mut bytes, mut limit) = (along.length(), if in_session { MAX_SESSION } else { MAX_BAGGAGE });
        if bytes > limit && in_session && entry.successor_takes_apart() {
            let read = along.received.len();
            (bytes, limit) = if read > MAX_APART { (read, MAX_APART) } else { (bytes - read, MAX_SESSION) };
        }
        if bytes > limit {
            say!(warn:
                connection = entry.id,
                bytes,
                limit,
                "connection stays, since too much would have to move with it"
            );
            entry.could_not_move(TOO_MUCH);
            return None;
        }
        let listener = entry.shared.listener_of(entry);
        let mover =
            entry.shared.mover().filter(|mover| listener != 0 && (mover.takes.sessions || !in_session));
        if mover.is_none() {
            entry.could_not_move(REFUSED);
        }
        let (kind, tls) = entry.told_kind();
        Some(Route { mover: mover?, listener, spoken: kind.name_with(tls) })
    }
}

impl Route {
    /// Sends it off. The verdict comes as [`Mover::depart`] says.
    pub(crate) fn depart(self, fd: OwnedFd, along: Along) -> oneshot::Receiver<Verdict> {
        let (verdict, heard) = oneshot::channel();
        self.mover.depart(Departure { fd, listener: self.listener, along, spoken: self.spoken, verdict });
        heard
    }
}

impl Entry {
    /// It was to go to the successor, and stays.
    pub(crate) fn could_not_move(&self, why: &'static str) {
        self.shared.could_not_move(why);
    }
}

/// Why a connection did not move, as a status and the metrics name it: no successor takes it.
pub(super) const REFUSED: &str = "refused";

/// And that what would have had to go along is over a limit.
pub(crate) const TOO_MUCH: &str = "too_much";

impl Stream {
    fn kind(&self) -> Kind {
        match self {
            Stream::Tcp(_) => Kind::Tcp,
            Stream::Unix(_) => Kind::UnixStream,
        }
    }
}
