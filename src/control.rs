//! Operating a process from outside: the control socket, and how to ask it.
//!
//! A server that was started with [`Builder::control`](crate::Builder::control) answers on a Unix socket that only its
//! own user and root can use, from heirloom's own thread, so also while its program is busy. The command `heirloom` asks
//! it; so can any program, since it is one JSON object a line both ways:
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
//! [`Request`] is what can be asked and [`Reply`] what is answered. Members and events are added over time; what a reader
//! does not know it passes over. There is one request for each connection, of at most [`MAX_REQUEST`] bytes, within five
//! seconds. A client that does not read its replies is let go, and so is one that closes its writing side. At most 16 are
//! served at a time: the newest takes the place of the one that has said nothing for longest, and where all have asked for
//! something it is told `busy`. A request is void once its client has gone: what was given up is not done later.
//!
//! # Who answers
//!
//! A path can lead elsewhere than it seems: another user's process can bind a socket and put a link in its place. So the
//! kernel is asked who is at the other end, before anything is said. [`Client::ask_process`] asks that process alone, and
//! [`Client::ask`] a process of root, of this user, or of the user who owns what the path leads through.
//! [`process_in`] looks at a pid file with the same eyes.
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

pub use crate::operate::control::client::{Client, ClientError, Distrust, Expected, Peer};
pub use crate::operate::control::find::{FindError, halted, process_in, socket_of};
pub use crate::operate::control::message::{
    ErrorCode, Lost, MAX_REPLY, MAX_REQUEST, Reply, Request, VERSION,
};
pub use crate::operate::control::place::{ControlError, sibling};
pub use crate::operate::control::status::{
    ConnectionStatus, GenerationDetail, GenerationStatus, Moved, OLDEST, PastFailure, PastRestart,
    RestartStatus, Restarts, Role, ServiceStatus,
};
