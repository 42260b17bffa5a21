//! What fuzzers feed: everything that reads what another process, a client or a server far away has said.
//! Each function takes any bytes, and panics where something does not hold.
//!
//! It is there for fuzzers (`scripts/fuzz.sh`; they set the cfg) and for a test of its own, which feeds the
//! same with seeds (`seeds/TARGET/`) that it changes a little.

#[cfg(test)]
mod mutations;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::handover::announcement::{Announcement, AnnouncementError};
use crate::handover::message::Message;
use crate::operate::control;
use crate::sockets::stored_name::Stored;

#[cfg(feature = "fetch")]
pub use crate::fetch::fuzzing::{elf, releases};
#[cfg(feature = "http")]
pub use crate::http::fuzzing::{carried, frames, http1, http2, sessions};
#[cfg(feature = "quic")]
pub use crate::quic::fuzzing::{quic_headers, quic_sessions};
#[cfg(feature = "supervisor")]
pub use crate::supervisor::command::fuzzing::{env_file, notices};
#[cfg(feature = "tls")]
pub use crate::tls::fuzzing::{records, tls_carried};
#[cfg(feature = "udp")]
pub use crate::udp::fuzzing::{flow_frames, sorting as datagrams};

/// The value of the variable that announces what is inherited: what was understood is written as it was read,
/// unless it is too long when written out.
pub fn announcement(bytes: &[u8]) {
    let Ok(announcement) = Announcement::decode(OsStr::from_bytes(bytes)) else { return };
    match announcement.encode() {
        Ok(text) => assert_eq!(Announcement::decode(&text), Ok(announcement)),
        // Escaping makes text longer.
        Err(AnnouncementError::TooLong { .. }) => {}
        Err(other) => panic!("{announcement:?} cannot be written: {other}"),
    }
}

/// A packet of the handover channel, with the names, the answers about state and the connections that are in
/// some: what was understood is written as it was read.
pub fn message(bytes: &[u8]) {
    if let Ok(Some(message)) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
    }
}

/// The name of a socket that the service manager has kept.
pub fn stored_name(bytes: &[u8]) {
    let Some(stored) = Stored::decode(&String::from_utf8_lossy(bytes)) else { return };
    let again = Stored::decode(&stored.encode()).expect("our own");
    assert_eq!(again.cookie, stored.cookie);
    assert!(again.name == stored.name || again.name.is_empty());
    assert!(again.requested == stored.requested || again.requested.is_empty());
}

/// Lines on a control socket: as the server reads them, and as its client does.
pub fn control(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(request) = control::Request::decode(line) {
            assert_eq!(control::Request::decode(&request.encode()), Ok(request));
        }
        if let Ok(reply) = control::Reply::decode(line) {
            control::Reply::decode(&reply.encode()).expect("what was understood can be said");
        }
    }
    control::client_hears(bytes);
}
