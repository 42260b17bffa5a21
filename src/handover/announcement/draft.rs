//! An announcement as it is read, word by word.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{
    AnnouncedDescriptor, AnnouncedPeer, AnnouncedSocket, Announcement, AnnouncementError, MAX_DESCRIPTORS,
    channel, descriptor, malformed,
};
use crate::handover::history::History;
use crate::handover::message::MAX_SOCKETS;
use crate::handover::moves::Moves;
use crate::handover::percent;
use crate::handover::supervised::Orphans;

/// An announcement whose keys have not all been seen.
#[derive(Default)]
pub(super) struct Draft {
    generation: Option<u64>,
    predecessor: Option<u32>,
    pidfd: Option<i32>,
    channel: Option<(i32, u64)>,
    program: Option<OsString>,
    directory: Option<OsString>,
    pid_file: Option<i32>,
    sockets: Vec<AnnouncedSocket>,
    gives_state: bool,
    descriptors: Vec<AnnouncedDescriptor>,
    supervised: Option<Orphans>,
    peer: Option<AnnouncedPeer>,
    takes_operators: bool,
    adopts: bool,
    control: Option<i32>,
    history: Option<History>,
    moves: Moves,
}

impl Draft {
    pub(super) fn take(&mut self, word: &str) -> Result<(), AnnouncementError> {
        let (key, value) = word.split_once('=').ok_or_else(|| malformed(word))?;
        let understood = match key {
            "generation" => set(&mut self.generation, value.parse().ok()),
            "predecessor" => set(&mut self.predecessor, value.parse().ok()),
            "pidfd" => set(&mut self.pidfd, descriptor(value)),
            "channel" => set(&mut self.channel, channel(value)),
            "program" => set(&mut self.program, percent::unescape(value).map(OsString::from_vec)),
            "directory" => set(&mut self.directory, percent::unescape(value).map(OsString::from_vec)),
            "pid-file" => set(&mut self.pid_file, descriptor(value)),
            "socket" if self.sockets.len() == MAX_SOCKETS => return Err(AnnouncementError::TooMany),
            "socket" => AnnouncedSocket::decode(value).map(|socket| self.sockets.push(socket)).is_some(),
            // What a release that writes another value does is for that one to say; this one cannot ask it.
            "state" => {
                self.gives_state = value == "1";
                true
            }
            "fd" if self.descriptors.len() == MAX_DESCRIPTORS => {
                return Err(AnnouncementError::TooManyDescriptors);
            }
            "orphans" => set(
                &mut self.supervised,
                Some(if value == "serve-on" { Orphans::ServeOn } else { Orphans::Stop }),
            ),
            "peer" => set(&mut self.peer, AnnouncedPeer::decode(value)),
            "operators" => {
                self.takes_operators = value == "1";
                true
            }
            "adopts" => {
                self.adopts = value == "1";
                true
            }
            "fd" => AnnouncedDescriptor::decode(value).map(|fd| self.descriptors.push(fd)).is_some(),
            "control" => set(&mut self.control, descriptor(value)),
            // Only figures: in a form that this release does not know, it goes without.
            "history" => {
                self.history = History::decode(value, percent::unescape);
                true
            }
            "moves" => {
                self.moves = Moves::decode(value).unwrap_or_default();
                true
            }
            _ => true,
        };
        if understood { Ok(()) } else { Err(malformed(word)) }
    }

    pub(super) fn finish(self) -> Result<Announcement, AnnouncementError> {
        let missing = |key| AnnouncementError::Missing { key };
        let announcement = Announcement {
            generation: self.generation.ok_or(missing("generation"))?,
            predecessor: self.predecessor.ok_or(missing("predecessor"))?,
            pidfd: self.pidfd.ok_or(missing("pidfd"))?,
            channel: self.channel.ok_or(missing("channel"))?,
            program: self.program.ok_or(missing("program"))?,
            directory: self.directory.ok_or(missing("directory"))?,
            pid_file: self.pid_file,
            sockets: self.sockets,
            gives_state: self.gives_state,
            descriptors: self.descriptors,
            supervised: self.supervised,
            peer: self.peer,
            takes_operators: self.takes_operators,
            adopts: self.adopts,
            control: self.control,
            history: self.history.map(|history| History { moves: self.moves, ..history }),
        };
        let mut seen = BTreeSet::from([announcement.pidfd]);
        let sockets = announcement.sockets.iter().flat_map(|socket| [Some(socket.fd), socket.lock]);
        let named = announcement.descriptors.iter().map(|named| named.fd);
        let peer = announcement.peer.into_iter().flat_map(|peer| [peer.channel.0, peer.pidfd]);
        let own = [Some(announcement.channel.0), announcement.pid_file, announcement.control];
        let own = own.into_iter().flatten().chain(peer);
        for fd in sockets.flatten().chain(own).chain(named) {
            if !seen.insert(fd) {
                return Err(AnnouncementError::Twice { fd });
            }
        }
        Ok(announcement)
    }
}

/// Fills `slot`; false when there is nothing to fill it with, or when it is full.
fn set<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    slot.is_none() && {
        *slot = value;
        slot.is_some()
    }
}
