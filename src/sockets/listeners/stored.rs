//! Listeners that the service manager keeps beside this process: what of them is no use any more.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Listeners, State};
use crate::sockets::inherited::InheritedSocket;
use crate::sockets::listen::Listen;
use crate::sockets::listen_error::ListenError;
use crate::sockets::socket::{self, Socket};
use crate::sockets::stored_name::Stored;
use crate::sys::address::Address;
use crate::sys::{self, socket::Kind};

impl Listeners {
    /// The service ends. What has no path stays with the service manager, if that keeps it: the next start
    /// goes on with the queue. Without its path a socket is of no use to anybody.
    pub(super) fn give_up_place(&self, socket: &Socket) {
        if socket.lock_fd().is_some() {
            self.service.closed(&socket.kept());
        }
        socket.give_up_place();
    }

    /// What the service manager kept from before the address was changed must not be in the way of the new
    /// one: it is closed, here and there, if it has the same port. Whether there was any.
    pub(super) fn make_room(&self, state: &mut State, listen: &Listen) -> bool {
        let Some(port) = listen.address.inet().map(|address| address.port()) else { return false };
        let is_in_the_way = |socket: &mut InheritedSocket| {
            // One of a socket unit stays open there, whatever is done here.
            let is_stored = socket.stored.is_some() && !socket.requested.is_empty();
            is_stored && socket.address.inet().is_some_and(|address| address.port() == port)
        };
        let slots = state.inherited.iter_mut();
        let removed: Vec<_> = slots.filter_map(|slot| slot.take_if(is_in_the_way)).collect();
        for socket in &removed {
            say!(info: address = %socket.address, instead = %listen.address, "closing a socket that was kept, its address has changed");
        }
        let any = !removed.is_empty();
        removed
            .into_iter()
            .filter_map(|socket| socket.stored)
            .for_each(|stored| self.service.unwanted(stored.encode()));
        if any {
            self.service.wait();
        }
        any
    }

    /// A Unix socket that the service manager kept, but whose path is gone or somebody else's, is not to be
    /// found there.
    pub(super) fn if_reachable(&self, mut inherited: InheritedSocket) -> Option<InheritedSocket> {
        match (&inherited.stored, &inherited.address) {
            // Of a socket unit, the path is the unit's.
            (Some(_), Address::UnixPath(path)) if !inherited.requested.is_empty() => {
                inherited.lock = socket::regain_place(path);
                if inherited.lock.is_none() {
                    inherited.stored.into_iter().for_each(|stored| self.service.unwanted(stored.encode()));
                    return None;
                }
                Some(inherited)
            }
            _ => Some(inherited),
        }
    }
}

/// Binds what another process is about to let go of. Asks and asks, since nobody says when it has: systemd
/// closes what was stored on a thread of its own, after it has answered.
pub(super) fn bind_soon(listen: &Listen, kind: Kind) -> Result<Socket, ListenError> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match Socket::bind(listen, kind) {
            Err(ListenError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            bound => return bound,
        }
    }
}

/// Under which name the service manager has a socket that nobody claims: as an earlier start said it, or as
/// the predecessor did.
pub(super) fn stored_place(socket: &InheritedSocket) -> Option<Stored> {
    let InheritedSocket { fd, name, requested, stored, .. } = socket;
    let by_predecessor = || {
        let cookie = sys::socket::cookie(fd.as_fd()).ok()?;
        (!requested.is_empty()).then(|| Stored { cookie, name: name.clone(), requested: requested.clone() })
    };
    stored.clone().or_else(by_predecessor)
}

/// A close takes microseconds, and a thread's start on a busy machine milliseconds; a socket that is still
/// there then is somebody else's, and the start is to fail while its operator is looking.
const LETTING_GO: Duration = Duration::from_secs(1);
