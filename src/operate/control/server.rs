//! The clients of a control socket: few, short, and never waited for.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, Sleep};

use super::message::{ErrorCode, MAX_REQUEST, Reply, Request};

/// A control socket that is served. Polled by the driver, among all else.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    /// In the order of their coming.
    clients: Vec<Client>,
    /// Until when nothing is accepted, since accepting has failed.
    resting: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

/// Most clients at a time: two operators, a status on a screen and a monitor or two leave most of them free,
/// and each costs a descriptor of the service.
const CLIENTS: usize = 16;

/// How many there may be with those that another process has had: as many again as one process has.
const ADOPTED: usize = 2 * CLIENTS;

/// How long a client may take to say what it wants. The command says it at once; a person who types JSON into
/// a socket has time for a short line.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections are accepted before others are heard: all the places once over.
const ACCEPTED_AT_ONCE: usize = CLIENTS;

/// How long accepting rests after it has failed: out of descriptors, most likely, and the service needs the
/// next free one more than we do.
const REST: Duration = Duration::from_secs(1);

/// A request, and who wants to hear what becomes of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) follower: Follower,
}

/// A client that listens. It may have gone: then nobody is told, and its descriptor is closed all the same.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    stream: Weak<UnixStream>,
}

#[derive(Debug)]
struct Client {
    /// The only strong one.
    stream: Arc<UnixStream>,
    since: Instant,
    /// What has come of the request; `None` once it is whole.
    received: Option<Vec<u8>>,
}

/// What a client did.
enum Did {
    Ask(Request),
    Leave,
}

impl Server {
    /// Must be called on the driver's runtime.
    pub(crate) fn new(listener: StdListener) -> io::Result<Server> {
        Ok(Server {
            listener: UnixListener::from_std(listener)?,
            clients: Vec::new(),
            resting: None,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        })
    }

    /// The next request. Cancel safe.
    pub(crate) async fn next(&mut self) -> Asked {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Gives up a client without a word, for another process to go on with; `None` if it has gone.
    pub(crate) fn release(&mut self, follower: &Follower) -> Option<OwnedFd> {
        let stream = follower.stream.upgrade()?;
        self.clients.retain(|client| !Arc::ptr_eq(&client.stream, &stream));
        stream.as_fd().try_clone_to_owned().ok()
    }

    /// Goes on with a client that another process has had. Its request was read there.
    ///
    /// # Errors
    ///
    /// It is no client, or one too many; that one has been told so, and to come again.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> io::Result<Follower> {
        let stream = StdStream::from(fd);
        // The other's word is enough for much, but not for a client who may not be one.
        stream.peer_addr()?;
        // Nor for what it does to its readers.
        stream.set_nonblocking(true)?;
        if has_gone(&stream) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let stream = UnixStream::from_std(stream)?;
        if self.clients.len() >= ADOPTED {
            turn_away(&stream, ErrorCode::Busy, "too many operators wait already; come again".to_owned());
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let client = Client { stream: Arc::new(stream), since: Instant::now(), received: None };
        let follower = client.follower();
        self.clients.push(client);
        Ok(follower)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Asked> {
        let now = Instant::now();
        self.accept(cx, now);
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(at) {
            match client.poll(cx, now) {
                Poll::Ready(Did::Ask(request)) => {
                    return Poll::Ready(Asked { request, follower: client.follower() });
                }
                Poll::Ready(Did::Leave) => drop(self.clients.remove(at)),
                Poll::Pending => at += 1,
            }
        }
        let due = self.clients.iter().filter_map(Client::deadline).chain(self.resting).min();
        if let Some(due) = due {
            self.alarm.as_mut().reset(due);
            if self.alarm.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn accept(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.resting.is_some_and(|until| now < until) {
            return;
        }
        self.resting = None;
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, _))) => self.admit(stream, now),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Poll::Ready(Err(error)) => {
                    say_seldom!(warn: %error, "cannot accept on the control socket");
                    self.resting = Some(now + REST);
                    return;
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) {
        let own = nix::unistd::geteuid().as_raw();
        let uid = stream.peer_cred().map(|peer| peer.uid());
        if !uid.is_ok_and(|uid| uid == own || uid == 0) {
            let reason = format!("only root and the user {own}, whose process this is, may operate it");
            turn_away(&stream, ErrorCode::Permission, reason);
            return;
        }
        if self.clients.len() >= CLIENTS {
            // A client that sends its request at once, as the command does, is read before as many others are
            // accepted: so a thousand connections that say nothing keep no operator out, nor waiting. Newest
            // come last.
            let Some(at) = self.clients.iter().position(|client| client.received.is_some()) else {
                let reason = format!("{CLIENTS} clients are connected, which is the limit; come again");
                turn_away(&stream, ErrorCode::Busy, reason);
                return;
            };
            let reason = "others wait, and no request has come; come again".to_owned();
            turn_away(&self.clients.remove(at).stream, ErrorCode::Busy, reason);
        }
        self.clients.push(Client { stream: Arc::new(stream), since: now, received: Some(Vec::new()) });
    }
}

impl Client {
    fn deadline(&self) -> Option<Instant> {
        self.received.as_ref().map(|_| self.since + PATIENCE)
    }

    fn follower(&self) -> Follower {
        Follower { stream: Arc::downgrade(&self.stream) }
    }

    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Did> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return self.refuse(ErrorCode::TooSlow, format!("no request came within {PATIENCE:?}"));
        }
        let mut chunk = [0; 1024];
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Did::Leave);
            }
            let count = match self.stream.try_read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return Poll::Ready(Did::Leave),
            };
            // One request for each connection: a client that says more, or is gone, is not waited for.
            let Some(received) = &mut self.received else { return Poll::Ready(Did::Leave) };
            received.extend_from_slice(&chunk[..count]);
            let end = received.iter().position(|byte| *byte == b'\n');
            if end.unwrap_or(received.len()) > MAX_REQUEST {
                let reason = format!("the request has more than {MAX_REQUEST} bytes");
                return self.refuse(ErrorCode::TooLong, reason);
            }
            if count == 0 && received.is_empty() {
                return Poll::Ready(Did::Leave);
            }
            if end.is_none() && count > 0 {
                continue;
            }
            let line = &received[..end.unwrap_or(received.len())];
            return match Request::decode(line) {
                // It may have waited here for as long as this process was stopped, or out of descriptors: by
                // now its operator has given up, and has been told that nothing was done.
                Ok(request) if has_gone(&self.stream) => {
                    tracing::debug!(?request, "nobody waits for this request any more; it is void");
                    Poll::Ready(Did::Leave)
                }
                Ok(request) => {
                    self.received = None;
                    Poll::Ready(Did::Ask(request))
                }
                Err((code, reason)) => self.refuse(code, reason),
            };
        }
    }

    fn refuse(&self, code: ErrorCode, reason: String) -> Poll<Did> {
        turn_away(&self.stream, code, reason);
        Poll::Ready(Did::Leave)
    }
}

impl Follower {
    /// Whether somebody is still there.
    pub(crate) fn is_there(&self) -> bool {
        self.stream.strong_count() > 0
    }

    /// For another process to go on with, if somebody is still there.
    pub(crate) fn connection(&self) -> Option<Arc<UnixStream>> {
        self.stream.upgrade()
    }

    /// Says it at once. A client that has not read what was said before has stopped reading, and is let go.
    pub(crate) fn tell(&self, reply: &Reply) {
        if let Some(stream) = self.stream.upgrade() {
            tell(&stream, reply);
        }
    }

    /// Says it, and that this is all.
    pub(crate) fn end_with(&self, reply: &Reply) {
        if let Some(stream) = self.stream.upgrade() {
            tell(&stream, reply);
            // What was said is still read; our own side hears the end, and drops it.
            hang_up(&stream);
        }
    }
}

fn turn_away(stream: &UnixStream, code: ErrorCode, reason: String) {
    tell(stream, &Reply::Error { code, reason });
    hang_up(stream);
}

fn tell(stream: &UnixStream, reply: &Reply) {
    let line = reply.encode();
    // Not through the runtime: it would not write before it has heard that it can, and the process may end
    // before.
    let sent = SockRef::from(stream).send_with_flags(&line, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    if !sent.is_ok_and(|sent| sent == line.len()) {
        hang_up(stream);
    }
}

/// Closed on the other side, or its process is gone: one that has closed its writing side alone still hears.
fn has_gone(stream: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let _ = poll(&mut watched, PollTimeout::ZERO);
    watched[0].revents().is_some_and(|seen| seen.intersects(gone))
}

fn hang_up(stream: &UnixStream) {
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Both);
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
