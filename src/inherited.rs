//! What this process was started with: a predecessor's announcement, sockets by activation, or nothing.
//!
//! The environment is read once and never changed. An announcement that is not for this process (it reached a
//! grandchild, say) is recognised by its channel's cookie and ignored; one that is, but does not hold, is an error
//! that names the descriptor, since going on would mean to bind beside a server that is alive.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use thiserror::Error;

use crate::address::Address;
use crate::handover::announcement::{
    AnnouncedDescriptor, AnnouncedSocket, Announcement, AnnouncementError, VARIABLE,
};
use crate::handover::history::History;
use crate::handover::message::KeptSocket;
use crate::handover::supervised::Orphans;
use crate::operate::store::Stored;
use crate::sys::channel::Channel;
use crate::sys::environment;
use crate::sys::inherit::{AdoptError, adopt, peek_cookie, peek_identity};
use crate::sys::pidfd::Pidfd;
use crate::sys::socket::{self, FactsError, Kind};

/// Everything that this process was handed.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// From 1.
    pub(crate) generation: u64,
    /// Who handed it over; `None` on a first start. Under a supervisor the worker before this one.
    pub(crate) predecessor: Option<Predecessor>,
    /// Who decides for this process, if it does not for itself.
    pub(crate) supervisor: Option<Superior>,
    /// The sockets, in the order of their announcement; a claimed one leaves a gap.
    pub(crate) sockets: Vec<Option<InheritedSocket>>,
    /// The program's path and start directory, as the first generation found them.
    pub(crate) program: Option<(PathBuf, PathBuf)>,
    /// The lock that owns the pid file.
    pub(crate) pid_file: Option<OwnedFd>,
    /// What else the program handed down.
    pub(crate) descriptors: BTreeMap<String, OwnedFd>,
    /// What came from the service manager's store and is of no use.
    pub(crate) unwanted: Vec<Stored>,
    /// The lock that owns the control socket's stable path.
    #[cfg_attr(not(feature = "control"), expect(dead_code, reason = "closed, so that nobody inherits it"))]
    pub(crate) control: Option<OwnedFd>,
    /// What became of earlier restarts.
    pub(crate) history: History,
}

/// The process before this one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// For people: what acts on it goes through the pidfd.
    pub(crate) pid: u32,
    pub(crate) channel: Channel,
    pub(crate) pidfd: Pidfd,
    /// Whether it can be asked for state.
    pub(crate) gives_state: bool,
}

/// The supervisor of this process.
#[derive(Debug)]
pub(crate) struct Superior {
    pub(crate) pid: u32,
    pub(crate) channel: Channel,
    pub(crate) pidfd: Pidfd,
    pub(crate) orphans: Orphans,
    /// Whether it goes on with operators who want a restart.
    pub(crate) takes_operators: bool,
}

/// A socket that is there to be claimed.
#[derive(Debug)]
pub(crate) struct InheritedSocket {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The address that was asked for, as text; empty with socket activation.
    pub(crate) requested: OsString,
    pub(crate) address: Address,
    pub(crate) lock: Option<OwnedFd>,
    /// Its place in the service manager's store, where an earlier start put it.
    pub(crate) stored: Option<Stored>,
}

/// Why what the environment announces cannot be taken over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The announcement cannot be read.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// `LISTEN_FDS` or `LISTEN_PID` is not a number, or out of range.
    #[error("{variable}={value:?} is not a number that socket activation can mean")]
    Activation {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
    /// An announced descriptor is not open, or cannot be used.
    #[error("cannot inherit the {what} that is announced at fd {fd}")]
    Descriptor {
        /// What it should have been.
        what: &'static str,
        /// Its number.
        fd: RawFd,
        /// What is wrong.
        source: DescriptorError,
    },
}

/// What is wrong with one announced descriptor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// It is closed, or taken already.
    #[error(transparent)]
    Unusable(std::io::Error),
    /// Another socket lies there.
    #[error(
        "another socket lies there than the one that was announced; does a wrapper close or open descriptors?"
    )]
    Another,
    /// Something else than the named descriptor lies there.
    #[error("something else lies there than what was announced; does a wrapper close or open descriptors?")]
    AnotherFile,
    /// The socket is of another kind.
    #[error("it is a {found} socket, and a {announced} socket was announced")]
    Kind {
        /// What was announced.
        announced: String,
        /// What it is.
        found: &'static str,
    },
    /// The socket is bound elsewhere.
    #[error("it is bound to {found}, and {announced} was announced")]
    Address {
        /// What was announced.
        announced: String,
        /// What it is.
        found: String,
    },
    /// A stream socket that does not listen.
    #[error("it is not listening")]
    NotListening,
}

impl Inherited {
    /// Reads the environment. Once per process: descriptors have one owner.
    pub(crate) fn take() -> Result<Inherited, InheritError> {
        if !environment::is_trusted() {
            tracing::debug!("set-user-id: the environment is the caller's, and is not believed");
            return Ok(Inherited::nothing());
        }
        if let Some(value) = env::var_os(VARIABLE).filter(|value| Announcement::is_one(value)) {
            let announcement = Announcement::decode(&value)?;
            if is_for_us(&announcement) {
                return from_predecessor(announcement);
            }
            say!(debug: "{VARIABLE} speaks of another process's sockets; this is a first start");
        }
        let (sockets, unwanted) = from_activation()?;
        let sockets = sockets.into_iter().map(Some).collect();
        Ok(Inherited { sockets, unwanted, ..Inherited::nothing() })
    }

    /// A first start, whatever stands in the environment.
    pub(crate) fn nothing() -> Inherited {
        Inherited {
            generation: 1,
            predecessor: None,
            supervisor: None,
            sockets: Vec::new(),
            program: None,
            pid_file: None,
            descriptors: BTreeMap::new(),
            unwanted: Vec::new(),
            control: None,
            history: History::born_now(),
        }
    }
}

/// Who has handed something to this process; the environment is only looked at.
#[cfg(feature = "supervisor")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parentage {
    /// Nobody.
    First,
    /// A server that replaces itself.
    Successor,
    /// A supervisor.
    Worker,
}

#[cfg(feature = "supervisor")]
pub(crate) fn parentage() -> Parentage {
    let announcement = environment::variable(VARIABLE).and_then(|value| Announcement::decode(&value).ok());
    match announcement.filter(is_for_us) {
        Some(announcement) if announcement.supervised.is_some() => Parentage::Worker,
        Some(_) => Parentage::Successor,
        None => Parentage::First,
    }
}

/// Whether the announced channel lies where it should. A grandchild has the string but not the channel; where the
/// announcer is our parent and the channel is *gone*, something in between closed it, and that is an error that
/// taking it over reports. Unless it adopts orphans: then it is the parent of every grandchild that has become a daemon, and
/// the string is dead.
fn is_for_us(announcement: &Announcement) -> bool {
    let (fd, cookie) = announcement.channel;
    let adopts = announcement.adopts || announcement.predecessor == INIT;
    peek_cookie(fd) == Some(cookie)
        || !adopts && std::os::unix::process::parent_id() == announcement.predecessor
}

/// Adopts orphans whether it wants to or not, and whatever its release says of that.
const INIT: u32 = 1;

fn from_predecessor(announcement: Announcement) -> Result<Inherited, InheritError> {
    let wrong = |what, fd| move |source| InheritError::Descriptor { what, fd, source };
    let (channel, pidfd) = take_process(announcement.channel, announcement.pidfd)?;
    let gives_state = announcement.gives_state;
    let (predecessor, supervisor) = match announcement.supervised {
        None => (Some(Predecessor { pid: announcement.predecessor, channel, pidfd, gives_state }), None),
        Some(orphans) => {
            let peer = announcement.peer.map(|peer| -> Result<_, InheritError> {
                let (channel, pidfd) = take_process(peer.channel, peer.pidfd)?;
                Ok(Predecessor { pid: peer.pid, channel, pidfd, gives_state })
            });
            let predecessor = peer.transpose()?;
            let (pid, takes_operators) = (announcement.predecessor, announcement.takes_operators);
            (predecessor, Some(Superior { pid, channel, pidfd, orphans, takes_operators }))
        }
    };
    let sockets = announcement.sockets.into_iter().map(|announced| {
        let fd = announced.fd;
        inherit_socket(announced).map(Some).map_err(wrong("socket", fd))
    });
    let descriptors =
        announcement.descriptors.into_iter().map(|AnnouncedDescriptor { fd, identity, name }| {
            Ok((name, take_identified(fd, identity).map_err(wrong("descriptor", fd))?))
        });
    Ok(Inherited {
        descriptors: descriptors.collect::<Result<_, InheritError>>()?,
        generation: announcement.generation,
        predecessor,
        supervisor,
        sockets: sockets.collect::<Result<_, _>>()?,
        pid_file: announcement
            .pid_file
            .map(|fd| take(fd).map_err(wrong("pid file's lock", fd)))
            .transpose()?,
        unwanted: Vec::new(),
        program: Some((announcement.program.into(), announcement.directory.into())),
        control: announcement
            .control
            .map(|fd| take(fd).map_err(wrong("control socket's lock", fd)))
            .transpose()?,
        history: announcement.history.unwrap_or_else(History::born_now),
    })
}

/// The channel to another process, and its pidfd.
fn take_process((channel, cookie): (RawFd, u64), pidfd: RawFd) -> Result<(Channel, Pidfd), InheritError> {
    let wrong = |what, fd| move |source| InheritError::Descriptor { what, fd, source };
    let taken = take_socket(channel, cookie)
        .and_then(|fd| Channel::from_fd(fd).map_err(DescriptorError::Unusable))
        .map_err(wrong("handover channel", channel))?;
    let pidfd_taken = take(pidfd)
        .and_then(|fd| Pidfd::from_fd(fd).map_err(DescriptorError::Unusable))
        .map_err(wrong("predecessor's pidfd", pidfd))?;
    Ok((taken, pidfd_taken))
}

fn inherit_socket(announced: AnnouncedSocket) -> Result<InheritedSocket, DescriptorError> {
    let fd = take_socket(announced.fd, announced.cookie)?;
    let (kind, address) = inspect(&fd)?;
    if kind.name() != announced.kind {
        return Err(DescriptorError::Kind { announced: announced.kind, found: kind.name() });
    }
    let found = address.to_os_string();
    if found != announced.address {
        return Err(DescriptorError::Address {
            announced: announced.address.to_string_lossy().into_owned(),
            found: address.to_string(),
        });
    }
    let lock = announced.lock.map(take).transpose()?;
    let (name, requested) = (announced.name, announced.requested);
    Ok(InheritedSocket { fd, kind, name, requested, address, lock, stored: None })
}

/// `LISTEN_FDS` and its companions, as systemd and others set them. Among them are the sockets that an earlier start of this
/// service put into the manager's store; what of those is unusable is left out and named.
fn from_activation() -> Result<(Vec<InheritedSocket>, Vec<Stored>), InheritError> {
    /// The convention's first descriptor.
    const FIRST: RawFd = 3;
    if number("LISTEN_PID")? != Some(std::process::id()) {
        // Whatever the others say, they say it to somebody else.
        return Ok(Default::default());
    }
    let count = number("LISTEN_FDS")?.unwrap_or(0);
    let count = RawFd::try_from(count).ok().filter(|count| *count <= 1024).ok_or_else(|| {
        InheritError::Activation {
            variable: "LISTEN_FDS",
            value: env::var_os("LISTEN_FDS").unwrap_or_default(),
        }
    })?;
    // One name that is no text must not take the others with it.
    let names = env::var_os("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.to_string_lossy();
    let mut names = names.split(':').map(str::to_owned);
    let (mut sockets, mut unwanted) = (Vec::new(), Vec::new());
    for fd in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default();
        let stored = Stored::decode(&name);
        match (activated(fd, name), stored) {
            (Ok(socket), _) => sockets.push(socket),
            // It would be there again at each start.
            (Err(error), Some(stored)) => {
                say!(warn: fd, %error, "leaving out a descriptor that the service manager kept");
                unwanted.push(stored);
            }
            (Err(source), None) => {
                return Err(InheritError::Descriptor { what: "activation socket", fd, source });
            }
        }
    }
    Ok((without_twins(sockets), unwanted))
}

/// A socket of a socket unit that is in the store as well comes twice. The store's are put into the order of their
/// making: the manager's own is another one.
fn without_twins(sockets: Vec<InheritedSocket>) -> Vec<InheritedSocket> {
    let (mut stored, mut kept): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| socket.stored.is_some());
    stored.sort_by_key(|socket| socket.stored.as_ref().map(|stored| stored.cookie));
    for socket in stored {
        let cookie = socket::cookie(socket.fd.as_fd()).ok();
        let is_twin = |other: &&mut InheritedSocket| socket::cookie(other.fd.as_fd()).ok() == cookie;
        match kept.iter_mut().find(is_twin) {
            // The unit file says what it is; the store's name says how to get rid of the other copy.
            Some(twin) => twin.stored = socket.stored,
            None => kept.push(socket),
        }
    }
    kept
}

fn activated(fd: RawFd, name: String) -> Result<InheritedSocket, DescriptorError> {
    let fd = take(fd)?;
    let (kind, address) = inspect(&fd)?;
    let stored = Stored::decode(&name);
    if let Some(Stored { name, requested, .. }) = stored.clone() {
        return Ok(InheritedSocket { fd, kind, name, requested, address, lock: None, stored });
    }
    // systemd calls a socket without FileDescriptorName= after its unit, or "unknown": a name that nobody chose
    // must not keep a listener from being found by its address, so names only ever add a way to match.
    Ok(InheritedSocket { fd, kind, name, requested: OsString::new(), address, lock: None, stored })
}

/// What a supervisor hands to a worker that is there already.
pub(crate) fn offered(fd: OwnedFd, described: KeptSocket) -> Result<InheritedSocket, DescriptorError> {
    let (kind, address) = inspect(&fd)?;
    let KeptSocket { name, requested, .. } = described;
    Ok(InheritedSocket { fd, kind, name, requested, address, lock: None, stored: None })
}

fn number(variable: &'static str) -> Result<Option<u32>, InheritError> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(InheritError::Activation { variable, value }),
    }
}

fn take(fd: RawFd) -> Result<OwnedFd, DescriptorError> {
    adopt(fd).map_err(|error: AdoptError| DescriptorError::Unusable(std::io::Error::other(error)))
}

fn take_socket(fd: RawFd, cookie: u64) -> Result<OwnedFd, DescriptorError> {
    // Looked at before it is taken: what is not ours stays open for its owner.
    match peek_cookie(fd) {
        Some(found) if found != cookie => Err(DescriptorError::Another),
        _ => take(fd),
    }
}

fn take_identified(fd: RawFd, identity: (u64, u64)) -> Result<OwnedFd, DescriptorError> {
    match peek_identity(fd) {
        Some(found) if found != identity => Err(DescriptorError::AnotherFile),
        _ => take(fd),
    }
}

/// What the socket is; an error unless it can serve.
fn inspect(fd: &OwnedFd) -> Result<(Kind, Address), DescriptorError> {
    let facts = socket::facts(fd.as_fd())
        .map_err(|error: FactsError| DescriptorError::Unusable(std::io::Error::other(error)))?;
    if matches!(facts.kind, Kind::Tcp | Kind::UnixStream) && !facts.listening {
        return Err(DescriptorError::NotListening);
    }
    Ok((facts.kind, facts.local))
}
