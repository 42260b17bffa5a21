//! Asking a worker from outside whether it is ready, until it is.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::sys::address::Address;

/// What the last attempt found, for the report that none passed.
pub(crate) type Complaint = Arc<Mutex<Option<String>>>;

/// One kind of question.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Whether connections are accepted at one of these.
    Connect(Vec<Address>),
    /// Whether it says yes at one of these.
    Get {
        at: Vec<SocketAddr>,
        path: String,
        /// Whether nobody but the worker can answer: then the first question simply waits in the kernel's
        /// queue until the worker gets to it.
        alone: bool,
    },
}

impl Check {
    /// Asks until the answer is yes. Nothing tells when it would be: asking again and again is all there is.
    pub(crate) async fn until_passed(&self, complaint: &Complaint) {
        // In turn, with the same pause: a name's addresses are few.
        for turn in 0.. {
            let attempt = async {
                match self {
                    Check::Connect(addresses) => connect(in_turn(addresses, turn)?).await,
                    Check::Get { at, path, .. } => get(*in_turn(at, turn)?, path).await,
                }
            };
            let outcome = match self {
                Check::Get { alone: true, .. } => attempt.await,
                _ => timeout(ATTEMPT, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            };
            match outcome {
                Ok(()) => return,
                Err(error) => {
                    *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
            }
            sleep(PAUSE).await;
        }
    }
}

fn in_turn<T>(addresses: &[T], turn: usize) -> io::Result<&T> {
    let at = turn.checked_rem(addresses.len()).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(&addresses[at])
}

async fn connect(address: &Address) -> io::Result<()> {
    match address {
        Address::Inet(address) => drop(TcpStream::connect(address).await?),
        Address::UnixPath(path) => drop(UnixStream::connect(path).await?),
        Address::UnixAbstract(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            // A Unix connect is done, or refused, at once.
            drop(std::os::unix::net::UnixStream::connect_addr(&address)?);
        }
        Address::Unnamed => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(())
}

async fn get(at: SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: heirloom\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The first line is enough. A server that sends none within so many bytes does not speak HTTP.
    while !answer.contains(&b'\n') && answer.len() < LINE {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") && is_success(status) => Ok(()),
        _ => Err(io::Error::other(format!("GET {path} was answered with {:?}", line.trim_end()))),
    }
}

fn is_success(status: &str) -> bool {
    status.len() == 3 && status.starts_with('2')
}

/// Between two questions: short beside any start that takes long enough to be asked twice, and next to no
/// load.
const PAUSE: Duration = Duration::from_millis(50);

/// A server that takes longer to say that it is ready is asked again; it may have lost the question.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Longer than any status line.
const LINE: usize = 1024;
