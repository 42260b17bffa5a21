//! For [fuzzers](crate::fuzzing): the frames of HTTP/2 connections.

use super::carried::Carried;
use super::follower::Follower;
use super::frame::{HEAD, LARGEST_WINDOW};
use super::ledger::Ledger;
use crate::http::fuzzing::part;

/// Both directions of a connection: its parts as they come, and byte by byte. What is known of it in the end
/// is what a successor reads.
pub fn http2(bytes: &[u8]) {
    let (mut whole, mut by_byte) = (Connection::new(), Connection::new());
    let mut rest = bytes;
    while let Some((how, part)) = part(&mut rest) {
        let is_ours = how & 1 == 1;
        whole.say(is_ours, part);
        part.chunks(1).for_each(|byte| by_byte.say(is_ours, byte));
        assert_eq!(format!("{:?}", whole.ledger), format!("{:?}", by_byte.ledger));
        for (follower, same) in [(&whole.reading, &by_byte.reading), (&whole.writing, &by_byte.writing)] {
            assert_eq!((follower.is_between(), follower.left()), (same.is_between(), same.left()));
            assert!(follower.left() < HEAD + (1 << 24));
        }
    }
    let carried = whole.ledger.carried();
    // One whose client is allowed more than there is, hyper ends.
    if carried.send_window <= LARGEST_WINDOW && carried.receive_window <= LARGEST_WINDOW {
        assert_eq!(Carried::decode(&carried.encode()), Some(carried));
    }
}

struct Connection {
    reading: Follower,
    writing: Follower,
    ledger: Ledger,
}

impl Connection {
    fn new() -> Connection {
        Connection { reading: Follower::default(), writing: Follower::default(), ledger: Ledger::new() }
    }

    fn say(&mut self, is_ours: bool, bytes: &[u8]) {
        let Connection { reading, writing, ledger } = self;
        if is_ours {
            writing.follow(bytes, |head, payload| ledger.wrote(head, payload));
        } else {
            reading.follow(bytes, |head, payload| ledger.read(head, payload, 0));
        }
    }
}
