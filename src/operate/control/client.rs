//! The asking side: blocking, with a deadline on everything.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::message::{MAX_REPLY, Reply, Request};

/// A connection to a control socket: one request, and the replies to it.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    /// What has been read and not returned.
    received: Vec<u8>,
}

/// Why a control socket does not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No process holds the socket.
    #[error("nobody answers at {path:?}: there is no such control socket, or its process has ended")]
    Gone {
        /// The socket.
        path: PathBuf,
    },
    /// It is another user's.
    #[error("no permission to use the control socket {path:?}: run this as root, or as the server's user")]
    NoPermission {
        /// The socket.
        path: PathBuf,
    },
    /// It did not answer in time.
    #[error("the control socket {path:?} has not answered in time")]
    TimedOut {
        /// The socket.
        path: PathBuf,
    },
    /// What it says is no reply.
    #[error("the control socket {path:?} says what is no reply")]
    Garbage {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot use the control socket {path:?}")]
    Other {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Client {
    /// Connects and asks. A server that is stopped, or has too much to do to accept, is waited for until `deadline`.
    ///
    /// # Errors
    ///
    /// The request has not been read then.
    pub fn ask(path: &Path, request: &Request, deadline: Option<Instant>) -> Result<Client, ClientError> {
        let failed = |source| ClientError::from_io(path, source);
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(failed)?;
        // Counts for connecting to a full queue as well.
        socket.set_write_timeout(left(path, deadline)?).map_err(failed)?;
        connect(&socket, path).map_err(failed)?;
        let mut stream = UnixStream::from(OwnedFd::from(socket));
        match stream.write_all(&request.encode()) {
            // It has been turned away, and the reason waits to be read.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            written => written.map_err(failed)?,
        }
        Ok(Client { stream, path: path.to_owned(), received: Vec::new() })
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
