//! Whether a worker that counts as ready accepts: a server that ignores the sockets that it is handed leaves
//! its clients hanging in the kernel's queue, and looks well from outside.
//!
//! What is known is how long each queue is, from time to time. One that was never found shorter than before,
//! and never empty, is one that nobody accepts from, or that a server far beyond its limits does; both are
//! worth a line in the log.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::sys::address::Address;
use crate::sys::socket;
use crate::sys::waiting::waiting;

/// The queues of the listening sockets that one worker was handed.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
    next: Instant,
    is_ready: bool,
    generation: u64,
    newest: Newest,
}

/// The newest worker's generation: it is the one to speak, since they share the queues.
pub(crate) type Newest = Arc<AtomicU64>;

#[derive(Debug)]
struct Queue {
    fd: Arc<OwnedFd>,
    address: Address,
    number: RawFd,
    length: u32,
    /// How often in a row it was found not empty, and no shorter than before.
    stuck: u32,
    /// Whether it was ever found shorter.
    moves: bool,
    was_told: bool,
}

impl Queues {
    /// `handed`: the sockets, and under which number the worker has each.
    pub(crate) fn new(
        handed: impl Iterator<Item = (Arc<OwnedFd>, Address, RawFd)>,
        generation: u64,
        newest: &Newest,
    ) -> Queues {
        newest.fetch_max(generation, Ordering::Relaxed);
        let listens = |fd: &OwnedFd| socket::facts(fd.as_fd()).is_ok_and(|facts| facts.listening);
        let queues = handed.filter(|(fd, ..)| listens(fd)).map(|(fd, address, number)| Queue {
            fd,
            address,
            number,
            length: 0,
            stuck: 0,
            moves: false,
            was_told: false,
        });
        Queues {
            queues: queues.collect(),
            next: Instant::now() + STARTING,
            is_ready: false,
            generation,
            newest: Arc::clone(newest),
        }
    }

    /// Looks again and again, and never returns. Cancel safe.
    pub(super) async fn watch(&mut self) {
        while !self.queues.is_empty() && !self.is_replaced() {
            sleep_until(self.next).await;
            self.look();
            if self.is_ready {
                self.tell(|queue| queue.stuck >= STUCK);
            }
            self.next = Instant::now() + if self.is_ready { PERIOD } else { STARTING };
        }
        std::future::pending().await
    }

    /// The worker counts as ready from now on. If that was found out without it, by the clock, what waits
    /// since its start is told at once.
    pub(super) fn ready(&mut self, by_the_clock: bool) {
        self.is_ready = true;
        if by_the_clock && !self.is_replaced() {
            self.look();
            // Seen twice, since somebody may have come this very moment.
            self.tell(|queue| queue.stuck > 1 && !queue.moves);
        }
    }

    fn look(&mut self) {
        for queue in &mut self.queues {
            let length = waiting(queue.fd.as_fd(), &queue.address).unwrap_or(0);
            queue.stuck = if length > 0 && length >= queue.length { queue.stuck + 1 } else { 0 };
            queue.moves |= length < queue.length;
            queue.length = length;
        }
    }

    fn tell(&mut self, is_stuck: fn(&Queue) -> bool) {
        for queue in &mut self.queues {
            let is_stuck = is_stuck(queue);
            let Queue { address, number, length, .. } = queue;
            if is_stuck && !queue.was_told {
                queue.was_told = true;
                say!(warn: waiting = length, "nobody accepts at {address}: connections wait there, and do not get fewer. The server \
                    has that socket at fd {number} (LISTEN_FDS, SERVER_STARTER_PORT) and must accept there, not bind an address itself");
            } else if queue.stuck == 0 && std::mem::take(&mut queue.was_told) {
                say!(info: "connections are accepted again at {address}");
            }
        }
    }

    fn is_replaced(&self) -> bool {
        self.newest.load(Ordering::Relaxed) != self.generation
    }
}

/// Between two looks while a worker starts, which is often enough for several within the second that a start
/// takes by the clock.
const STARTING: Duration = Duration::from_millis(100);

/// Between two looks later: rare enough to cost an idle supervisor nothing that could be measured, often
/// enough that somebody who tries a new server still looks at its log.
const PERIOD: Duration = Duration::from_secs(1);

/// A server that is busy with one long request at a time takes one out within these seconds, or should be
/// told of.
const STUCK: u32 = 3;
