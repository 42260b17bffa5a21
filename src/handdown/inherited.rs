//! What this process was started with: a predecessor's announcement, sockets by activation, or nothing.
//!
//! The environment is read once and never changed. An announcement that is not for this process (it reached a
//! grandchild, say) is recognised by its channel's cookie and ignored; one that is, but does not hold, is an
//! error that names the descriptor, since going on would mean to bind beside a server that is alive.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use thiserror::Error;

use super::activation::from_activation;
use crate::handover::announcement::{AnnouncedDescriptor, Announcement, AnnouncementError, VARIABLE};
use crate::handover::history::History;
use crate::handover::supervised::Orphans;
use crate::sockets::inherited::{DescriptorError, InheritedSocket, inherit_socket, take, take_socket};
use crate::sockets::stored_name::Stored;
use crate::sys::channel::Channel;
use crate::sys::environment;
use crate::sys::inherit::{peek_cookie, peek_identity};
use crate::sys::pidfd::Pidfd;

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

/// Why what the environment announces cannot be taken over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The announcement cannot be read.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// `LISTEN_FDS` or `LISTEN_PID` is not a number, or out of range.
    #[error("{variable}={value:?} is not a number that socket activation can mean")]
    #[non_exhaustive]
    Activation {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
    /// An announced descriptor is not open, or cannot be used.
    #[error("cannot inherit the {what} that is announced at fd {fd}")]
    #[non_exhaustive]
    Descriptor {
        /// What it should have been.
        what: &'static str,
        /// Its number.
        fd: RawFd,
        /// What is wrong.
        source: DescriptorError,
    },
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

/// Whether the announced channel lies where it should. A grandchild has the string but not the channel; where
/// the announcer is our parent and the channel is *gone*, something in between closed it, and that is an
/// error that taking it over reports. Unless it adopts orphans: then it is the parent of every grandchild
/// that has become a daemon, and the string is dead.
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

fn take_identified(fd: RawFd, identity: (u64, u64)) -> Result<OwnedFd, DescriptorError> {
    match peek_identity(fd) {
        Some(found) if found != identity => Err(DescriptorError::AnotherFile),
        _ => take(fd),
    }
}
