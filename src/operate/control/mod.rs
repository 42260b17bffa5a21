//! Operating a process from outside: the control socket, and how to ask it.
//!
//! A server that was started with [`Builder::control`](crate::Builder::control) answers on a Unix socket that
//! only its own user and root can use, from heirloom's own thread, so also while its program is busy. The
//! command `heirloom` asks it; so can any program, since it is one JSON object a line both ways:
//!
//! ```text
//! > {"heirloom":1,"do":"restart"}
//! < {"heirloom":1,"event":"starting"}
//! < {"heirloom":1,"event":"spawned","pid":4723,"after_ms":0.62}
//! < {"heirloom":1,"event":"initialised","pid":4723,"after_ms":9.1}
//! < {"heirloom":1,"event":"ready","pid":4723,"after_ms":9.13}
//! < {"heirloom":1,"event":"settled","pid":4723,"after_ms":1009.8}
//! ```
//!
//! [`Request`] is what can be asked and [`Reply`] what is answered. Members and events are added over time;
//! what a reader does not know it passes over. There is one request for each connection, of at most
//! [`MAX_REQUEST`] bytes, within five seconds. A client that does not read its replies is let go, and so is
//! one that closes its writing side. At most 16 are served at a time: the newest takes the place of the one
//! that has said nothing for longest, and where all have asked for something it is told `busy`. A request is
//! void once its client has gone: what was given up is not done later.
//!
//! # Who answers
//!
//! A path can lead elsewhere than it seems: another user's process can bind a socket and put a link in its
//! place. So the kernel is asked who is at the other end, before anything is said. [`Client::ask_process`]
//! asks that process alone, and [`Client::ask`] a process of root, of this user, or of the user who owns what
//! the path leads through. [`process_in`] looks at a pid file with the same eyes.
//!
//! # How it is found
//!
//! Each process has a socket of its own, `PID.heirloom`, in a directory that only its owner may enter. The
//! command finds it from the process id: the kernel tells which sockets a process holds (`/proc/PID/fd`), and
//! where those are bound (`/proc/PID/net/unix`). So nothing needs to be configured, on either side, and a
//! socket that a killed process left behind is never mistaken for one that answers. With
//! [`control_at`](crate::Builder::control_at) a symbolic link leads to the socket of the process that serves;
//! it is swapped by a rename, where the pid file is rewritten.
//!
//! # Examples
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//! use heirloom::control::{Client, Reply, Request, socket_of};
//!
//! # fn example(pid: u32) -> Result<(), Box<dyn std::error::Error>> {
//! let deadline = Some(Instant::now() + Duration::from_secs(60));
//! let mut client = Client::ask_process(pid, &socket_of(pid)?, &Request::Restart, deadline)?;
//! while let Some(reply) = client.next(deadline)? {
//!     match reply {
//!         Reply::Settled { pid, .. } => println!("{pid} serves"),
//!         Reply::Failed(lost) | Reply::TakenBack(lost) => println!("{pid} serves on: {}", lost.reason),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

// It is served on heirloom's own thread, which has better things to do. So a client is answered at once or
// not at all: what does not fit into its socket's buffer ends the connection, nothing is queued here. Any
// user but the owner and root is turned away: by the directory, by the socket's mode, and by the credentials
// that the kernel gives for the other side.

pub(crate) mod client;
pub(crate) mod find;
pub(crate) mod message;
mod operated;
pub(crate) mod place;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod trust;

#[cfg(any(test, fuzzing))]
pub(crate) use self::client::client_hears;
pub use self::client::{Client, ClientError, Distrust, Expected, Peer};
pub use self::find::{FindError, halted, process_in, socket_of};
pub use self::message::{ErrorCode, Lost, MAX_REPLY, MAX_REQUEST, Reply, Request, VERSION};
pub use self::place::{ControlError, sibling};
pub use self::status::{
    ConnectionDetail, FlowsDetail, GenerationDetail, GenerationStatus, Moved, OLDEST, PastFailure,
    PastRestart, RestartStatus, Restarts, Role, ServiceStatus,
};

pub(crate) use self::operated::Operated;
pub(crate) use self::server::{Asked, Follower, Server};
