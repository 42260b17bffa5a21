//! Who sent a request, for handlers that ask.

use std::sync::Arc;

use crate::address::Address;
use crate::drain::Entry;

/// The client of a request, in its extensions where [`Config::peer`](super::Config::peer) says so.
#[derive(Clone, Debug)]
pub struct Peer {
    entry: Arc<Entry>,
}

impl Peer {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Peer { entry }
    }

    /// Its address, asked of the kernel now; `None` once the connection is gone.
    pub fn address(&self) -> Option<Address> {
        self.entry.peer()
    }

    /// The number of its connection, as in
    /// [`ConnectionStatus::id`](crate::drain::ConnectionStatus::id).
    pub fn connection_id(&self) -> u64 {
        self.entry.id()
    }
}
