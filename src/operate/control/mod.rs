//! The control socket: how an operator asks a process, and how the process answers while it is busy.
//!
//! Each process has a socket of its own, `PID.heirloom`, in a directory that only its owner may enter. The command finds
//! it from the process id: the kernel tells which sockets a process holds (`/proc/PID/fd`), and where those are bound
//! (`/proc/PID/net/unix`). So nothing needs to be configured, on either side, and a socket that a killed process left
//! behind is never mistaken for one that answers. With [`control_at`](crate::Builder::control_at) a symbolic link leads
//! to the socket of the process that serves; it is swapped by a rename, where the pid file is rewritten.
//!
//! # Hazards
//!
//! It is served on heirloom's own thread, which has better things to do. So a client is answered at once or not at all:
//! what does not fit into its socket's buffer ends the connection, nothing is queued here. Clients are few
//! ([`server`]), a request is short ([`MAX_REQUEST`](message::MAX_REQUEST)) and must come soon, and there is one for
//! each connection. Any user but the owner and root is turned away: by the directory, by the socket's mode, and by the
//! credentials that the kernel gives for the other side.
//!
//! The asking side looks as closely ([`client`], [`trust`]): a process of another user can have bound a socket anywhere and
//! put a link in its place, and root who asks that process must not be led to a server of root's own.

pub(crate) mod client;
pub(crate) mod find;
pub(crate) mod message;
pub(crate) mod place;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod trust;

use std::time::Duration;

use self::message::Request;
pub(crate) use self::server::{Asked, Follower, Server};
use self::status::ServiceStatus;

/// What a control socket operates. None of it waits: what comes later is told to the follower as it happens.
pub(crate) trait Operated {
    /// What is going on.
    fn status(&mut self) -> ServiceStatus;
    /// Restarts, and tells each step.
    fn restart(&mut self, follower: Follower);
    /// Tells each step of the restart that was passed on to this process, or how it ended.
    fn follow(&mut self, follower: Follower);
    /// Stops the service.
    fn stop(&mut self, within: Option<Duration>, follower: Follower);
    /// Aborts what is left.
    fn hammer(&mut self, follower: Follower);
}

impl Asked {
    /// Has it done.
    pub(crate) fn put_to(self, operated: &mut impl Operated) {
        let Asked { request, follower } = self;
        match request {
            Request::Status => {
                let status = operated.status();
                follower.end_with(&message::Reply::Status(Box::new(status)));
            }
            Request::Restart => operated.restart(follower),
            Request::Follow => operated.follow(follower),
            Request::Stop { within_ms } => operated.stop(within_ms.map(Duration::from_millis), follower),
            Request::Hammer => operated.hammer(follower),
        }
    }
}
