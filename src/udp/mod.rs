//! UDP whose conversations go on in the generation that they began with.
//!
//! Two processes that read one UDP socket each get some of its datagrams, as the kernel likes. That does for
//! requests that stand by themselves; for a conversation it is the end. [`Flows`] is a UDP socket that is
//! handed down like a listener, with one reader at a time: the newest generation. What belongs to an older
//! one it forwards there, with where it came from, where it was sent to, its congestion mark and its size.
//! The older one answers on the socket itself.
//!
//! ```no_run
//! use heirloom::udp::Classifier;
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     let flows = restarter.flows("127.0.0.1:7002", Classifier::by_peer(Duration::from_secs(30)))?;
//!     tokio::spawn(async move {
//!         let mut datagram = [0; 2048];
//!         // Receives nothing before the predecessor has stopped, and ends with the last conversation.
//!         while let Some((length, peer)) = flows.recv_from(&mut datagram).await {
//!             let _ = flows.send_to(&datagram[..length], peer).await;
//!         }
//!     });
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! [`docs::udp`](crate::docs::udp) is the chapter on it.

mod classifier;
mod core;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod home;
mod inbox;
mod older;
mod outbound;
pub(crate) mod protocol;
#[cfg(test)]
mod rogue;
mod sorting;
mod status;
mod table;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn_udp::{EcnCodepoint, RecvMeta};
use tokio::sync::Mutex;

#[cfg(feature = "quic")]
pub(crate) use classifier::Conversation;
pub use classifier::{Classifier, Owner};
pub use status::{FlowsStatus, GenerationFlows};

use self::classifier::Judge;
use self::core::{Core, Options};
use self::home::Home;
use self::inbox::Inbox;
use self::older::Older;
use self::protocol::Protocol;
use self::sorting::Sorting;
use crate::handdown::descriptors::HandDownError;
use crate::sockets::listen_error::ListenError;
use crate::sockets::listeners::Listeners;
use crate::sockets::socket::{Reader, Socket};

/// A UDP socket whose datagrams reach the generation that they belong to; from
/// [`Restarter::flows`](crate::Restarter::flows).
///
/// Share it with an [`Arc`] to send from several tasks. Dropping it closes the socket here: what newer
/// generations would forward is not for this one any more.
#[derive(Debug)]
pub struct Flows {
    core: Arc<Core>,
    listeners: Arc<Listeners>,
    home: Arc<dyn Home>,
    /// Under which the way to this generation is handed down.
    name: String,
    address: SocketAddr,
    /// What was read at once and not asked for yet.
    batch: Mutex<Batch>,
}

/// What is known of a datagram, or of several that came at once from one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// Where it came from.
    pub peer: SocketAddr,
    /// The address of this machine that it was sent to.
    pub local: Option<IpAddr>,
    /// Its congestion mark: the two bits of ECN.
    pub ecn: u8,
    /// How many bytes there are.
    pub length: usize,
    /// How long each datagram is; the last one may be shorter. As `length` if there is one.
    pub segment: usize,
}

/// A datagram to send, or several of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Where it goes.
    pub peer: SocketAddr,
    /// The address of this machine that it is sent from; the kernel's choice without. An answer comes from
    /// where the question went to, which matters on a socket that is bound to all addresses.
    pub local: Option<IpAddr>,
    /// The two bits of ECN.
    pub ecn: u8,
    /// How long each datagram is, if `bytes` are several. At most [`Flows::max_send_segments`].
    pub segment: Option<usize>,
    /// What is sent.
    pub bytes: &'a [u8],
}

/// What one read of the socket gave.
#[derive(Debug)]
struct Batch {
    buffer: Vec<u8>,
    metas: [Meta; BATCH],
    count: usize,
    /// The next one: in which buffer, and where in it.
    at: (usize, usize),
}

/// How many datagrams (or runs of coalesced ones) one read takes.
const BATCH: usize = 16;

/// The most that the kernel gives in one buffer.
const ROOM: usize = 64 * 1024;

impl Flows {
    pub(crate) fn new(
        socket: Arc<Socket>,
        listeners: Arc<Listeners>,
        (generation, home): (u64, Arc<dyn Home>),
        inherited: Vec<(String, std::os::fd::OwnedFd)>,
        classifier: Classifier,
        (fragments, protocol): (bool, Option<Arc<dyn Protocol>>),
    ) -> Result<Flows, ListenError> {
        let failed = |source| ListenError::Bind { address: socket.address.clone(), source };
        let (inbox, down) = Inbox::new().map_err(failed)?;
        let name = name(socket.cookie, generation);
        hand_down(&*home, name.clone(), down).map_err(failed)?;
        let older = reached(&*home, generation, inherited).map_err(failed)?;
        let sorting =
            Sorting::new(generation, Judge::new(classifier), older.iter().map(|older| older.generation));
        // One that is inherited and nobody's flows is read by a plain predecessor until this one settles.
        let coalesces = !socket.was_inherited() || !older.is_empty();
        let address = socket.address.inet().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let options = Options { protocol, fragments, coalesces };
        let core =
            Arc::new(Core::new(socket, generation, Arc::clone(&home), options, sorting, (inbox, older)));
        let reader: Weak<dyn Reader> = Arc::downgrade(&core) as _;
        listeners.reader_begins(&core.socket, reader);
        Ok(Flows { core, listeners, home, name, address, batch: Mutex::new(Batch::new()) })
    }

    /// Where it is bound. If port 0 was asked for, this has the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Receives one datagram: its length, and where it came from. What is longer than `buffer` is cut. `None`
    /// once nothing more can come: another generation reads, and the conversations of this one are idle.
    ///
    /// Waits while it is not this generation's turn, as [`Listener::accept`](crate::Listener::accept) does.
    /// Errors of the socket are told in the log, and it goes on.
    ///
    /// With [`Classifier::by`] heirloom does not know of conversations, and this does not end before the
    /// process does. With [`Classifier::requests`] it ends as soon as a successor has settled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no datagram is lost when the future is dropped.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.recv(buffer).await.map(|meta| (meta.length, meta.peer))
    }

    /// As [`recv_from`](Self::recv_from), with all that is known of the datagram.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no datagram is lost when the future is dropped.
    pub async fn recv(&self, buffer: &mut [u8]) -> Option<Meta> {
        // Those who wait beside each other are served in turn.
        let mut batch = self.batch.lock().await;
        loop {
            if let Some(meta) = batch.next(buffer) {
                return Some(meta);
            }
            let read = std::future::poll_fn(|cx| self.poll_batch(cx, &mut batch)).await;
            match read {
                Ok(Some(count)) => (batch.count, batch.at) = (count, (0, 0)),
                Ok(None) => return None,
                Err(error) => {
                    say_seldom!(warn: %error, address = %self.address, "cannot receive datagrams, trying again");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn poll_batch(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<Option<usize>>> {
        // Asked for when it is needed: half of those who make one receive by `poll_recv`.
        batch.buffer.resize(BATCH * ROOM, 0);
        let Batch { buffer, metas, .. } = batch;
        let mut parts = buffer.chunks_mut(ROOM);
        let mut buffers: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        let ready = self.core.poll_recv(cx, &mut buffers, metas);
        if let Poll::Ready(Ok(Some(count))) = ready {
            // Buffers may have changed places, and the parts of the batch have not.
            let starts: Vec<usize> = buffers[..count].iter().map(|part| part.as_ptr() as usize).collect();
            let origin = buffer.as_ptr() as usize;
            for (index, start) in starts.into_iter().enumerate() {
                let start = start - origin;
                buffer.copy_within(start..start + metas[index].length, index * ROOM);
            }
        }
        ready
    }

    /// Receives as many datagrams as there are buffers, without waiting: for protocols that drive their own
    /// input. Coalesced datagrams share a buffer, so each should hold 64 KiB; what is longer is cut. The
    /// buffers may change places. `None` as in [`recv_from`](Self::recv_from).
    ///
    /// One task at a time: the last that has polled is woken.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [Meta],
    ) -> Poll<io::Result<Option<usize>>> {
        self.core.poll_recv(cx, buffers, metas)
    }

    /// Sends one datagram.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is sent, or it is not.
    pub async fn send_to(&self, bytes: &[u8], peer: SocketAddr) -> io::Result<()> {
        self.send(&Transmit { peer, local: None, ecn: 0, segment: None, bytes }).await
    }

    /// Sends one datagram, or several of one size.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is sent, or it is not.
    pub async fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        loop {
            match self.try_send(transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.core.writable().await?,
                sent => return sent,
            }
        }
    }

    /// As [`send`](Self::send), without waiting: `WouldBlock` while the socket's buffer is full.
    pub fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.core.try_send(&transmit.as_quinn())
    }

    /// As quinn's own socket: what cannot be sent for another reason than a full buffer is lost, as on a path
    /// that takes no datagrams of this size.
    #[cfg(feature = "quic")]
    pub(crate) fn try_send_for_quinn(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        match self.core.try_send(transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                if error.raw_os_error() != Some(libc::EMSGSIZE) {
                    say_seldom!(debug: %error, peer = %transmit.destination, "a datagram cannot be sent");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Tells the generation that reads how many conversations this one has.
    #[cfg(feature = "quic")]
    pub(crate) fn tell_count(&self, conversations: usize) {
        self.core.tell_count(conversations);
    }

    /// Waits until the socket's buffer may have room.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.core.writable().await
    }

    /// How many datagrams one [`Transmit`] may have.
    pub fn max_send_segments(&self) -> usize {
        self.core.max_segments().0
    }

    /// How many datagrams one buffer of [`poll_recv`](Self::poll_recv) may have.
    pub fn max_recv_segments(&self) -> usize {
        self.core.max_segments().1
    }

    /// Whether the network may part a datagram into fragments.
    pub fn may_fragment(&self) -> bool {
        self.core.may_fragment()
    }

    /// How many conversations there are, and what was forwarded and dropped.
    pub fn status(&self) -> FlowsStatus {
        self.core.status()
    }

    pub(crate) fn status_source(&self) -> Weak<dyn StatusSource> {
        Arc::downgrade(&self.core) as _
    }
}

/// What the status of a process is put together from.
pub(crate) trait StatusSource: std::fmt::Debug + Send + Sync {
    fn status(&self) -> FlowsStatus;
}

impl StatusSource for Core {
    fn status(&self) -> FlowsStatus {
        Core::status(self)
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.home.withhold(&self.name);
        // Once another generation has it, it is not this one's to give up.
        if !self.core.has_left() {
            self.listeners.forget(&self.core.socket);
        }
    }
}

impl Meta {
    /// One that says nothing, to be filled in.
    pub fn empty() -> Meta {
        Meta { peer: SocketAddr::from(([0; 4], 0)), local: None, ecn: 0, length: 0, segment: 0 }
    }

    /// How many datagrams it is about.
    pub fn datagrams(&self) -> u64 {
        let count = if self.segment == 0 { 1 } else { self.length.div_ceil(self.segment).max(1) };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn of(received: &RecvMeta) -> Meta {
        let RecvMeta { addr, len, stride, ecn, dst_ip, .. } = *received;
        let ecn = ecn.map_or(0, |ecn| ecn as u8);
        Meta { peer: addr, local: dst_ip, ecn, length: len, segment: stride.min(len) }
    }
}

impl Transmit<'_> {
    fn as_quinn(&self) -> quinn_udp::Transmit<'_> {
        quinn_udp::Transmit {
            destination: self.peer,
            ecn: EcnCodepoint::from_bits(self.ecn),
            contents: self.bytes,
            segment_size: self.segment,
            src_ip: self.local,
        }
    }
}

impl Batch {
    fn new() -> Batch {
        Batch { buffer: Vec::new(), metas: [Meta::empty(); BATCH], count: 0, at: (0, 0) }
    }

    fn next(&mut self, into: &mut [u8]) -> Option<Meta> {
        let (index, begin) = self.at;
        if index >= self.count {
            return None;
        }
        let meta = self.metas[index];
        let end = if meta.segment == 0 { meta.length } else { (begin + meta.segment).min(meta.length) };
        self.at = if end >= meta.length { (index + 1, 0) } else { (index, end) };
        let length = (end - begin).min(into.len());
        let start = index * ROOM + begin;
        into[..length].copy_from_slice(&self.buffer[start..start + length]);
        Some(Meta { length, segment: length, ..meta })
    }
}

/// How long to wait after an error that time alone can mend.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The ways to the generations before, as far as somebody is there.
fn reached(
    home: &dyn Home,
    generation: u64,
    inherited: Vec<(String, std::os::fd::OwnedFd)>,
) -> io::Result<Vec<Older>> {
    let mut reached = Vec::new();
    for (name, fd) in inherited {
        let number = name.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
        // One of this number is of a successor that died before: this one is in its place.
        let Some(number) = number.filter(|number| *number < generation) else { continue };
        let down = fd.try_clone()?;
        let Ok(older) = Older::new(number, name.clone(), fd) else { continue };
        // Handed on even if it is gone: then it is found so later, and withheld, which a supervisor hears.
        hand_down(home, name, down)?;
        reached.push(older);
    }
    reached.sort_by_key(|older: &Older| older.generation);
    Ok(reached)
}

/// The beginning of the names under which a socket's ways are handed down.
pub(crate) fn names(cookie: u64) -> String {
    format!("heirloom-flows/{cookie:x}/")
}

fn name(cookie: u64, generation: u64) -> String {
    format!("{}{generation}", names(cookie))
}

fn hand_down(home: &dyn Home, name: String, fd: std::os::fd::OwnedFd) -> io::Result<()> {
    home.hand_down(name, fd).map_err(|error: HandDownError| io::Error::other(error))
}
