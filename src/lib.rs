//! Restart a network server without a single client noticing.

#[cfg(not(target_os = "linux"))]
compile_error!("heirloom needs Linux 5.4 or newer: it rests on pidfd, SO_COOKIE and SOCK_SEQPACKET");

mod address;
pub mod drain;
mod ending;
mod event;
pub mod guarantees;
pub mod handover;
#[cfg(feature = "http")]
pub mod http;
mod inherited;
mod listen;
mod listener;
mod listeners;
mod operate;
mod program;
mod restarter;
mod signals;
pub mod stream;
mod sys;

pub use address::Address;
pub use ending::{Ending, Reason};
pub use event::Event;
pub use handover::{Failure, Refusal};
pub use inherited::{DescriptorError, InheritError};
pub use listen::{IntoListen, Listen, ListenParseError};
pub use listener::Listener;
pub use listeners::ListenError;
pub use operate::pid_file::PidFileError;
pub use restarter::{Builder, Outcome, ReadyError, RestartError, Restarter, StartError};
pub use signals::{Reaction, Signal, SignalMap};
