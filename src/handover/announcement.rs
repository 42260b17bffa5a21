//! The announcement: the one environment variable that tells a successor what it was handed.
//!
//! ```text
//! HEIRLOOM=1 generation=2 predecessor=4711 pidfd=6 channel=5/3001
//!     socket=3/1001/tcp//127.0.0.1:0/127.0.0.1:43210 ...
//! ```
//!
//! The first word is the version. Then come `key=value` words, whose values are percent-encoded where they
//! hold anything unusual; a key that the reader does not know is skipped, so that releases can add keys (G7).
//! Every socket stands there with its cookie, a number that the kernel gives to each socket once: a process
//! that was not handed these very sockets (a grandchild that inherited the string) sees that by itself and
//! ignores the string.

mod draft;
mod error;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use draft::Draft;
pub use error::AnnouncementError;

use super::history::History;
use super::message::{MAX_SOCKETS, cut};
use super::percent;
use super::state_reply::MAX_NAME;
use super::supervised::Orphans;

/// The environment variable that holds the announcement.
pub const VARIABLE: &str = "HEIRLOOM";
/// The version that this release writes, and the only one so far.
pub const VERSION: u32 = 1;
/// Longest announcement in bytes: the kernel takes 128 KiB for one string of the environment, name included.
pub const MAX_ANNOUNCEMENT: usize = 120 * 1024;
/// Most bytes of it that sockets may take, at their [shortest](AnnouncedSocket::length). The rest is for
/// paths of 4 KiB, 64 descriptors with names of 255 bytes, and the history.
pub const MAX_SOCKETS_LENGTH: usize = 88 * 1024;
/// Up to so many sockets are written out in full, as every release reads them. With more, or where they would
/// not fit, an address that was asked for is not written out if it is the one that the socket has.
const FEW: usize = 512;
/// Stands in that place: no address is written so. A reader that does not know it matches the socket by its
/// address.
const SAME: &str = "=";
/// Most named descriptors that one process may hand down: with the longest names they fill half an
/// announcement.
pub const MAX_DESCRIPTORS: usize = 64;

/// What a predecessor hands down, and where in the successor's file descriptor table it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The successor's generation, from 2.
    pub generation: u64,
    /// The predecessor's process id.
    pub predecessor: u32,
    /// A pidfd of the predecessor: readable when it is gone.
    pub pidfd: i32,
    /// The handover channel, and its cookie.
    pub channel: (i32, u64),
    /// The program that was started, by the path that the predecessor resolved at its own start.
    pub program: OsString,
    /// The directory that the first generation was started in, unresolved.
    pub directory: OsString,
    /// The lock that owns the pid file.
    pub pid_file: Option<i32>,
    /// The sockets, in order; [`Message::Ready`](super::message::Message::Ready) names them by index.
    pub sockets: Vec<AnnouncedSocket>,
    /// Whether the predecessor answers a [`StateRequest`](super::message::Message::StateRequest).
    pub gives_state: bool,
    /// What else the program hands down.
    pub descriptors: Vec<AnnouncedDescriptor>,
    /// Whether `predecessor`, `pidfd` and `channel` are a supervisor's, which decides from the first to the
    /// last; and what to do without it.
    pub supervised: Option<Orphans>,
    /// Under a supervisor: the worker to replace, which connections and state come from.
    pub peer: Option<AnnouncedPeer>,
    /// Under a supervisor: whether a [`Restart`](super::message::Message::Restart) may come with the
    /// connection of the operator who wants it.
    pub takes_operators: bool,
    /// Whether `predecessor` is the parent of orphans as well, which were never handed anything.
    pub adopts: bool,
    /// The lock that owns the control socket's stable path.
    pub control: Option<i32>,
    /// What became of earlier restarts.
    pub history: Option<History>,
}

/// The worker that a supervisor's new worker is to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedPeer {
    /// The channel to it, and its cookie.
    pub channel: (i32, u64),
    /// Its pidfd.
    pub pidfd: i32,
    /// Its process id, for people.
    pub pid: u32,
}

/// One descriptor that is handed down by name, of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedDescriptor {
    /// Its number in the successor.
    pub fd: i32,
    /// The device and the inode of what is behind it, as fstat gives them: what a number means shows in
    /// nothing else.
    pub identity: (u64, u64),
    /// The name that the program gave it.
    pub name: String,
}

/// One socket that is handed down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedSocket {
    /// Its number in the successor.
    pub fd: i32,
    /// Its SO_COOKIE.
    pub cookie: u64,
    /// `tcp`, `unix` or `udp`.
    pub kind: String,
    /// The name that the user gave it; empty without one.
    pub name: String,
    /// The address that was asked for (`127.0.0.1:0`).
    pub requested: OsString,
    /// The address that it has (`127.0.0.1:43210`).
    pub address: OsString,
    /// The lock that owns a Unix socket's path.
    pub lock: Option<i32>,
}

impl Announcement {
    /// Of a predecessor that hands down nothing but the channel.
    pub fn new(
        generation: u64,
        predecessor: u32,
        pidfd: i32,
        channel: (i32, u64),
        program: OsString,
        directory: OsString,
    ) -> Announcement {
        Announcement {
            generation,
            predecessor,
            pidfd,
            channel,
            program,
            directory,
            pid_file: None,
            sockets: Vec::new(),
            gives_state: false,
            descriptors: Vec::new(),
            supervised: None,
            peer: None,
            takes_operators: false,
            adopts: false,
            control: None,
            history: None,
        }
    }

    /// Whether it looks like one, of whatever release: a version and then `key=value` words. The variable's
    /// name is a natural one, and what somebody else keeps in it is nothing to stumble over.
    pub fn is_one(value: &OsStr) -> bool {
        let mut words = value.as_bytes().split(|byte| *byte == b' ');
        let version = words.next().unwrap_or_default();
        let is_number = !version.is_empty() && version.iter().all(u8::is_ascii_digit);
        is_number && words.any(|word| word.contains(&b'='))
    }

    /// The variable's value.
    pub fn encode(&self) -> Result<OsString, AnnouncementError> {
        if self.sockets.len() > MAX_SOCKETS {
            return Err(AnnouncementError::TooMany);
        }
        if self.descriptors.len() > MAX_DESCRIPTORS {
            return Err(AnnouncementError::TooManyDescriptors);
        }
        let in_full = self.text(false);
        let is_in_full = self.sockets.len() <= FEW && in_full.len() <= MAX_ANNOUNCEMENT;
        let text = if is_in_full { in_full } else { self.text(true) };
        if text.len() > MAX_ANNOUNCEMENT {
            return Err(AnnouncementError::TooLong { length: text.len() });
        }
        Ok(text.into())
    }

    fn text(&self, shortened: bool) -> String {
        let (channel, cookie) = self.channel;
        let mut text = format!(
            "{VERSION} generation={} predecessor={} pidfd={} channel={channel}/{cookie} program={} directory={}",
            self.generation,
            self.predecessor,
            self.pidfd,
            escape(self.program.as_bytes()),
            escape(self.directory.as_bytes()),
        );
        if let Some(fd) = self.pid_file {
            text += &format!(" pid-file={fd}");
        }
        for socket in &self.sockets {
            text += " socket=";
            text += &socket.encode(shortened);
        }
        if self.gives_state {
            text += " state=1";
        }
        for AnnouncedDescriptor { fd, identity: (device, inode), name } in &self.descriptors {
            text += &format!(" fd={fd}/{device}/{inode}/{}", escape(name.as_bytes()));
        }
        text += match self.supervised {
            Some(Orphans::Stop) => " orphans=stop",
            Some(Orphans::ServeOn) => " orphans=serve-on",
            None => "",
        };
        if let Some(AnnouncedPeer { channel: (channel, cookie), pidfd, pid }) = self.peer {
            text += &format!(" peer={channel}/{cookie}/{pidfd}/{pid}");
        }
        if self.takes_operators {
            text += " operators=1";
        }
        if self.adopts {
            text += " adopts=1";
        }
        if let Some(fd) = self.control {
            text += &format!(" control={fd}");
        }
        if let Some(history) = &self.history {
            text += &format!(" history={}", history.encode(escape));
            if !history.moves.is_empty() {
                text += &format!(" moves={}", history.moves.encode());
            }
        }
        text
    }

    /// Reads the variable's value.
    pub fn decode(value: &OsStr) -> Result<Announcement, AnnouncementError> {
        if value.len() > MAX_ANNOUNCEMENT {
            return Err(AnnouncementError::TooLong { length: value.len() });
        }
        let text = value.to_str().ok_or_else(|| malformed(&value.to_string_lossy()))?;
        let mut words = text.split_ascii_whitespace();
        let version = words.next().unwrap_or_default();
        match version.parse() {
            Ok(VERSION) => {}
            Ok(version) => return Err(AnnouncementError::Version { version }),
            Err(_) => return Err(malformed(version)),
        }
        let mut draft = Draft::default();
        for word in words {
            draft.take(word)?;
        }
        draft.finish()
    }
}

impl AnnouncedSocket {
    /// How many bytes it takes in an announcement that holds many.
    pub fn length(&self) -> usize {
        " socket=".len() + self.encode(true).len()
    }

    fn encode(&self, shortened: bool) -> String {
        let lock = self.lock.map(|fd| fd.to_string()).unwrap_or_default();
        let requested = match shortened && self.requested == self.address {
            true => SAME.to_owned(),
            false => escape(self.requested.as_bytes()),
        };
        format!(
            "{}/{}/{}/{}/{}/{}/{lock}",
            self.fd,
            self.cookie,
            self.kind,
            escape(self.name.as_bytes()),
            requested,
            escape(self.address.as_bytes()),
        )
    }

    fn decode(value: &str) -> Option<AnnouncedSocket> {
        let mut parts = value.split('/');
        let mut socket = AnnouncedSocket {
            fd: descriptor(parts.next()?)?,
            cookie: parts.next()?.parse().ok()?,
            kind: parts.next()?.to_owned(),
            name: String::from_utf8(percent::unescape(parts.next()?)?).ok()?,
            requested: OsString::from_vec(percent::unescape(parts.next()?)?),
            address: OsString::from_vec(percent::unescape(parts.next()?)?),
            lock: match parts.next()? {
                "" => None,
                fd => Some(descriptor(fd)?),
            },
        };
        if socket.requested == SAME {
            socket.requested.clone_from(&socket.address);
        }
        Some(socket)
    }
}

impl AnnouncedDescriptor {
    fn decode(value: &str) -> Option<AnnouncedDescriptor> {
        let mut parts = value.split('/');
        let fd = descriptor(parts.next()?)?;
        let identity = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let name = String::from_utf8(percent::unescape(parts.next()?)?).ok()?;
        (name.len() <= MAX_NAME).then_some(AnnouncedDescriptor { fd, identity, name })
    }
}

impl AnnouncedPeer {
    fn decode(value: &str) -> Option<AnnouncedPeer> {
        let (rest, pid) = value.rsplit_once('/')?;
        let (rest, pidfd) = rest.rsplit_once('/')?;
        Some(AnnouncedPeer { channel: channel(rest)?, pidfd: descriptor(pidfd)?, pid: pid.parse().ok()? })
    }
}

fn channel(value: &str) -> Option<(i32, u64)> {
    let (fd, cookie) = value.split_once('/')?;
    Some((descriptor(fd)?, cookie.parse().ok()?))
}

/// A number that can be a handed down descriptor: 0, 1 and 2 never are.
fn descriptor(value: &str) -> Option<i32> {
    value.parse().ok().filter(|fd| *fd >= 3)
}

fn malformed(word: &str) -> AnnouncementError {
    AnnouncementError::Malformed { word: cut(word, 100).to_owned() }
}

/// All but what could be mistaken for the announcement's own punctuation stands as it is.
fn escape(bytes: &[u8]) -> String {
    percent::escape(
        bytes,
        |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b':' | b'-' | b'_' | b'[' | b']' | b'@'),
    )
}

#[cfg(test)]
mod tests;
