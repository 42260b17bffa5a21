//! What the workers to come are handed: sockets and descriptors that outlive every worker.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::handover::announcement::MAX_DESCRIPTORS;
use crate::handover::message::{KeptSocket, MAX_SOCKETS};
use crate::handover::supervise::Worker;
use crate::operate::service::Kept;
use crate::operate::service::Service;
use crate::sockets::inherited::InheritedSocket;
use crate::sockets::listen::Listen;
use crate::sockets::listen_error::ListenError;
use crate::sockets::listeners::Listeners;
use crate::sockets::socket::Socket;
use crate::sys::socket::{self, Kind};

/// Sockets in the order of their coming, and descriptors by name.
#[derive(Debug)]
pub(super) struct Store {
    /// Owns the paths of Unix sockets, and gives them up at the end. Nobody accepts here.
    listeners: Listeners,
    /// By cookie: those that are the supervisor's by its own configuration, and stay even if no worker wants
    /// them.
    own: BTreeSet<u64>,
    /// By cookie: who has bound the others.
    binders: BTreeMap<u64, Worker>,
    descriptors: BTreeMap<String, Arc<OwnedFd>>,
}

/// Why a socket is not kept. The worker that bound it serves on; only the workers after it will have to bind
/// it anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("the message came without its descriptor")]
    NoDescriptor,
    #[error("there are {MAX_SOCKETS} sockets already")]
    TooMany,
    #[error("it is no socket that can be handed down")]
    Unfit(#[source] io::Error),
}

impl Store {
    /// With the sockets that this process was started with.
    pub(super) fn new(inherited: Vec<InheritedSocket>, service: Arc<Service>) -> io::Result<Store> {
        let listeners = Listeners::new(Vec::new(), service);
        for socket in inherited {
            listeners.add(Socket::keep(socket)?);
        }
        let own = listeners.open().iter().map(|socket| socket.cookie).collect();
        Ok(Store { listeners, own, binders: BTreeMap::new(), descriptors: BTreeMap::new() })
    }

    /// Binds a socket, unless it came by activation.
    pub(super) fn bind(&mut self, listen: &Listen, kind: Kind) -> Result<(), ListenError> {
        let is_there = |socket: &Arc<Socket>| socket.kind == kind && socket.address == listen.address;
        if !self.listeners.open().iter().any(is_there) {
            let socket = self.listeners.inherit_or_bind(listen, kind)?;
            self.own.insert(socket.cookie);
        }
        Ok(())
    }

    /// Paths that somebody has removed are made again: the next worker is to be found there.
    pub(super) fn make_lost_again(&mut self) {
        for (old, new) in self.listeners.make_lost_again() {
            if self.own.remove(&old) {
                self.own.insert(new);
            }
            if let Some(binder) = self.binders.remove(&old) {
                self.binders.insert(new, binder);
            }
        }
    }

    pub(super) fn sockets(&self) -> Vec<Arc<Socket>> {
        self.listeners.open()
    }

    /// As the service manager keeps them.
    pub(super) fn kept(&self) -> Vec<Kept> {
        self.listeners.kept()
    }

    pub(super) fn descriptors(&self) -> Vec<(String, Arc<OwnedFd>)> {
        self.descriptors.iter().map(|(name, fd)| (name.clone(), Arc::clone(fd))).collect()
    }

    /// Keeps what a worker has bound; `None` if it is there already. Its fds: the socket, and the lock of its
    /// path.
    pub(super) fn keep(
        &mut self,
        binder: Worker,
        announced: KeptSocket,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Arc<Socket>>, KeepError> {
        let mut fds = fds.into_iter();
        let fd = fds.next().ok_or(KeepError::NoDescriptor)?;
        let open = self.listeners.open();
        if open.len() == MAX_SOCKETS {
            return Err(KeepError::TooMany);
        }
        let cookie = socket::cookie(fd.as_fd()).map_err(KeepError::Unfit)?;
        if open.iter().any(|socket| socket.cookie == cookie) {
            return Ok(None);
        }
        let facts = socket::facts(fd.as_fd()).map_err(|error| KeepError::Unfit(io::Error::other(error)))?;
        let KeptSocket { name, requested, .. } = announced;
        let (kind, address, lock) = (facts.kind, facts.local, fds.next());
        say!(info: %address, name, "keeping a worker's socket for those after it");
        let kept = Socket::keep(InheritedSocket { fd, kind, name, requested, address, lock, stored: None });
        let kept = self.listeners.add(kept.map_err(KeepError::Unfit)?);
        self.binders.insert(kept.cookie, binder);
        Ok(Some(kept))
    }

    /// A worker that was to replace another one has failed, and what it alone has listened on goes with it:
    /// nobody accepts there, and the next one is free to bind the address in another way.
    pub(super) fn take_back(&mut self, failed: Worker) {
        let of_it = self.binders.iter().filter(|(_, binder)| **binder == failed);
        let bound: Vec<u64> = of_it.map(|(cookie, _)| *cookie).collect();
        self.drop_sockets(&bound);
    }

    /// The worker that serves does not want these, and nobody else has them any more.
    pub(super) fn drop_sockets(&mut self, unwanted: &[u64]) {
        let is_dropped = |cookie: u64| unwanted.contains(&cookie) && !self.own.contains(&cookie);
        for socket in self.listeners.open().iter().filter(|socket| is_dropped(socket.cookie)) {
            say!(info: address = %socket.address, "dropping a socket that no worker uses");
            self.listeners.forget(socket);
            self.binders.remove(&socket.cookie);
            // A client that connects by the path from now on is refused at once.
            socket.give_up_place();
        }
    }

    /// Keeps a descriptor under a name, in the place of what it meant before. Whether there was room.
    pub(super) fn hand_down(&mut self, name: String, fd: OwnedFd) -> bool {
        let fits = self.descriptors.len() < MAX_DESCRIPTORS || self.descriptors.contains_key(&name);
        if fits {
            self.descriptors.insert(name, Arc::new(fd));
        }
        fits
    }

    pub(super) fn withhold(&mut self, name: &str) {
        self.descriptors.remove(name);
    }

    /// The end: closes everything and removes the paths.
    pub(super) fn close(&mut self) {
        self.listeners.close();
        self.descriptors.clear();
    }
}
