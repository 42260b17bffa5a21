//! The asking side: blocking, with a deadline on everything.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::message::{MAX_REPLY, Reply, Request};
use super::trust::Guides;

/// A connection to a control socket: one request, and the replies to it.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    peer: Peer,
    /// What has been read and not returned.
    received: Vec<u8>,
}

/// Who answers at a control socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The process; `None` in a PID namespace that cannot be seen from here.
    pub process: Option<u32>,
    /// The user that it was when it made the socket.
    pub user: u32,
}

/// Who may answer: nobody else is sent the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The process to which the path leads, unless the way there belongs to another user and the process does
    /// not belong to that user: root must not be sent to its own server by a link of theirs.
    #[default]
    Anybody,
    /// This process, and then it does not matter by which way.
    Process(u32),
    /// As [`Anybody`](Expected::Anybody), and this user, who has named the path, could have bent it as well.
    NamedBy(u32),
}

/// Why a control socket does not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No process holds the socket.
    #[error("nobody answers at {path:?}: there is no such control socket, or its process has ended")]
    #[non_exhaustive]
    Gone {
        /// The socket.
        path: PathBuf,
    },
    /// It is another user's.
    #[error("no permission to use the control socket {path:?}: run this as root, or as the server's user")]
    #[non_exhaustive]
    NoPermission {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody else answers than who was meant. Nothing was asked.
    #[error("the control socket {path:?} is not trusted, and nothing was asked: {why}")]
    #[non_exhaustive]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the process that answers.
        why: Distrust,
    },
    /// It did not answer in time.
    #[error("the control socket {path:?} has not answered in time")]
    #[non_exhaustive]
    TimedOut {
        /// The socket.
        path: PathBuf,
    },
    /// What it says is no reply.
    #[error("the control socket {path:?} says what is no reply")]
    #[non_exhaustive]
    Garbage {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot use the control socket {path:?}")]
    #[non_exhaustive]
    Other {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the process that answers is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It is another process.
    #[error("process {} answers there, and not process {wanted}", answers.unwrap_or_default())]
    #[non_exhaustive]
    Process {
        /// Who answers.
        answers: Option<u32>,
        /// Who was meant.
        wanted: u32,
    },
    /// Somebody who may have bent the path is not who answers.
    #[error(
        "user {guide} decides where it leads, and a process of user {answers} answers; name the process that is meant with --pid"
    )]
    #[non_exhaustive]
    User {
        /// Who answers.
        answers: u32,
        /// Who owns a directory or a link on the way, or has named the path.
        guide: u32,
    },
}

impl Client {
    /// Connects and asks. A server that is stopped, or has too much to do to accept, is waited for until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// The request has not been read then.
    pub fn ask(path: &Path, request: &Request, deadline: Option<Instant>) -> Result<Client, ClientError> {
        Client::ask_only(Expected::Anybody, path, request, deadline)
    }

    /// As [`ask`](Self::ask), and this process alone: `path` is its [`socket_of`](super::find::socket_of).
    ///
    /// # Errors
    ///
    /// The request has not been read then.
    pub fn ask_process(
        pid: u32,
        path: &Path,
        request: &Request,
        deadline: Option<Instant>,
    ) -> Result<Client, ClientError> {
        Client::ask_only(Expected::Process(pid), path, request, deadline)
    }

    /// As [`ask`](Self::ask), if it is who is expected that answers.
    ///
    /// # Errors
    ///
    /// The request has not been read then.
    pub fn ask_only(
        expected: Expected,
        path: &Path,
        request: &Request,
        deadline: Option<Instant>,
    ) -> Result<Client, ClientError> {
        let failed = |source| ClientError::from_io(path, source);
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(failed)?;
        // Counts for connecting to a full queue as well.
        socket.set_write_timeout(left(path, deadline)?).map_err(failed)?;
        // Before it is connected: see `trust`.
        let mut guides = Guides::default();
        if !matches!(expected, Expected::Process(_)) {
            guides = Guides::on(path).map_err(failed)?;
        }
        connect(&socket, path).map_err(failed)?;
        let peer = peer_of(&socket).map_err(failed)?;
        if let Some(why) = distrust(peer, expected, guides) {
            return Err(ClientError::Stranger { path: path.to_owned(), why });
        }
        let mut stream = UnixStream::from(OwnedFd::from(socket));
        match stream.write_all(&request.encode()) {
            // It has been turned away, and the reason waits to be read.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            written => written.map_err(failed)?,
        }
        Ok(Client { stream, path: path.to_owned(), peer, received: Vec::new() })
    }

    /// Who answers.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The next reply; `None` when nothing more will come.
    ///
    /// # Errors
    ///
    /// None came by `deadline`; a later call may wait again. Or what came is no reply.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<Reply>, ClientError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let reply = Reply::decode(&line[..end]);
                return reply.map(Some).map_err(|error| self.garbage(io::Error::other(error)));
            }
            if self.received.len() > MAX_REPLY {
                return Err(self.garbage(io::ErrorKind::FileTooLarge.into()));
            }
            let left = left(&self.path, deadline)?;
            self.stream.set_read_timeout(left).map_err(|source| ClientError::from_io(&self.path, source))?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) if self.received.is_empty() => return Ok(None),
                Ok(0) => return Err(self.garbage(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Its process was killed, and our request was not read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(ClientError::from_io(&self.path, error)),
            }
        }
    }

    fn garbage(&self, source: io::Error) -> ClientError {
        ClientError::Garbage { path: self.path.clone(), source }
    }
}

/// For a fuzzer: a client hears that, and then the end.
#[cfg(any(test, fuzzing))]
pub(crate) fn client_hears(bytes: &[u8]) {
    let (stream, mut server) = UnixStream::pair().expect("two descriptors");
    server.set_write_timeout(Some(Duration::from_millis(1))).expect("above zero");
    // Not more than the kernel holds.
    let _ = server.write_all(&bytes[..bytes.len().min(32 * 1024)]);
    drop(server);
    let peer = Peer { process: None, user: 0 };
    let mut client = Client { stream, path: PathBuf::from("fuzz"), peer, received: Vec::new() };
    for _ in 0..=bytes.len() {
        match client.next(None) {
            Ok(None) => return,
            Err(ClientError::Garbage { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return;
            }
            Ok(Some(_)) | Err(ClientError::Garbage { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("more lines than bytes");
}

impl ClientError {
    fn from_io(path: &Path, source: io::Error) -> ClientError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::Gone { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::NoPermission { path },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut { path },
            _ => ClientError::Other { path, source },
        }
    }
}

fn peer_of(socket: &Socket) -> io::Result<Peer> {
    let found = getsockopt(socket, PeerCredentials)?;
    let process = u32::try_from(found.pid()).ok().filter(|pid| *pid > 0);
    Ok(Peer { process, user: found.uid() })
}

fn distrust(peer: Peer, expected: Expected, mut guides: Guides) -> Option<Distrust> {
    match expected {
        Expected::Process(wanted) => {
            let Peer { process: answers, .. } = peer;
            return (answers != Some(wanted)).then_some(Distrust::Process { answers, wanted });
        }
        Expected::NamedBy(user) => guides.add(user),
        Expected::Anybody => {}
    }
    guides.stranger_to(peer.user).map(|guide| Distrust::User { answers: peer.user, guide })
}

/// What is left of the time; `None` without a deadline.
fn left(path: &Path, deadline: Option<Instant>) -> Result<Option<Duration>, ClientError> {
    let Some(deadline) = deadline else { return Ok(None) };
    match deadline.saturating_duration_since(Instant::now()) {
        // For the system zero means for ever, and below a microsecond is zero.
        left if left < Duration::from_micros(1) => Err(ClientError::TimedOut { path: path.to_owned() }),
        left => Ok(Some(left)),
    }
}

fn connect(socket: &Socket, path: &Path) -> io::Result<()> {
    if path.as_os_str().as_bytes().len() < LONGEST {
        return socket.connect(&SockAddr::unix(path)?);
    }
    // By a shorter name: through the directory, held open.
    let directory = path.parent().unwrap_or(Path::new("/"));
    let held = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
    let number = held.as_raw_fd();
    let short =
        Path::new("/proc/self/fd").join(number.to_string()).join(path.file_name().unwrap_or_default());
    socket.connect(&SockAddr::unix(short)?)
}

/// What the kernel takes for the path of a socket, with its end.
const LONGEST: usize = 108;
