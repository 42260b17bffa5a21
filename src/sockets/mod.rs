//! Listening sockets: what to listen on, which of them there are, and how connections are accepted from them.
//!
//! [`listen`] says what a program wants. [`listeners`] finds it among what was inherited, or binds it;
//! [`socket`] is one of them. [`accept`] is the accept loop of a runtime, [`blocking`] that of a thread.

pub(crate) mod accept;
pub(crate) mod blocking;
mod holder;
pub(crate) mod inherited;
pub(crate) mod listen;
pub(crate) mod listen_error;
pub(crate) mod listeners;
pub(crate) mod reserve;
pub(crate) mod socket;
pub(crate) mod stored_name;
