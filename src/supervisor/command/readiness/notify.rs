//! The socket in `NOTIFY_SOCKET`, as one worker uses it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify as News, mpsc};

use super::family::{belongs, was_left_by};
use super::notice::{Notice, parse};
use crate::supervisor::making::{MainProcess, Words};
use crate::sys::notify::{NotifySocket, Told};
use crate::sys::pidfd::Pidfd;
use crate::sys::watched::watch;

/// What one worker says. Each worker has a socket of its own, so that what an old one says late is never
/// taken for a new one's word.
///
/// It is heard by two: by the watch, as it comes, and by the driver, which asks for the last word of a worker
/// that has ended. What the driver takes from the socket before the runtime has looked there wakes nobody by
/// itself (epoll looks once more before it tells), so it is told as [`news`](Self::news).
#[derive(Debug)]
pub(crate) struct Heard {
    socket: Arc<NotifySocket>,
    worker: i32,
    generation: u64,
    extensions: mpsc::UnboundedSender<(u64, Duration)>,
    state: Mutex<State>,
    news: News,
}

#[derive(Debug, Default)]
struct State {
    notices: VecDeque<Notice>,
    main: Option<MainProcess>,
    strangers: u64,
    /// Whether there was nothing left to hear.
    is_empty: bool,
}

/// The same, waited for. Within a runtime only.
#[derive(Debug)]
pub(super) struct Notify {
    readable: AsyncFd<Arc<NotifySocket>>,
    heard: Arc<Heard>,
}

impl Heard {
    /// `extensions`: where it goes that the worker wants more time.
    pub(super) fn new(
        socket: NotifySocket,
        worker: i32,
        generation: u64,
        extensions: mpsc::UnboundedSender<(u64, Duration)>,
    ) -> Heard {
        let (state, news) = (Mutex::default(), News::new());
        Heard { socket: Arc::new(socket), worker, generation, extensions, state, news }
    }

    /// Takes what was sent by now. An error is the socket's; that there is nothing is none.
    fn hear(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_empty = false;
        // A sender that is faster than we read must not hold us for ever.
        for _ in 0..QUEUED {
            match self.socket.recv() {
                Ok(told) => self.take(&mut state, told),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.is_empty = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(state)
    }

    fn take(&self, state: &mut State, told: Told) {
        match told.sender {
            // Asked before the barrier is answered: after that, systemd-notify ends.
            Some(sender) if self.is_ours(state, sender) => {
                for notice in parse(&told.bytes) {
                    self.note(state, notice);
                }
            }
            sender => {
                state.strangers += 1;
                if state.strangers == 1 {
                    say!(warn: ?sender, worker = self.worker, "a stranger's notification was ignored; further ones are counted");
                }
            }
        }
        // What it asked to be kept is not, and what it asked to be waited for has been heard.
        drop(told.fds);
    }

    fn note(&self, state: &mut State, notice: Notice) {
        match notice {
            Notice::MainPid(pid) if pid == self.worker => state.main = None,
            Notice::MainPid(pid) => {
                // Held first and judged then: the number cannot come to mean another process in between.
                let is_ours = |_: &Pidfd| self.is_ours(state, pid) || was_left_by(pid, self.generation);
                let held = Pidfd::open(pid).ok().filter(is_ours);
                match held {
                    Some(pidfd) => state.main = Some(MainProcess { pid, pidfd: Arc::new(pidfd) }),
                    None => {
                        say!(warn: pid, worker = self.worker, "MAINPID= names a process that is not the worker's; it is ignored");
                    }
                }
            }
            // Nobody listens any more: the service has ended.
            Notice::Extend(time) => drop(self.extensions.send((self.generation, time))),
            notice => {
                state.notices.push_back(notice);
                self.news.notify_one();
            }
        }
    }

    /// A main process that has left the worker's group and outlived its parents is still the worker's.
    fn is_ours(&self, state: &State, pid: i32) -> bool {
        let main = state.main.as_ref().map(|main| main.pid);
        belongs(pid, self.worker) || main.is_some_and(|main| belongs(pid, main))
    }
}

impl Words for Heard {
    fn main(&self) -> Option<MainProcess> {
        self.hear().ok()?.main.clone()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let strangers = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).strangers;
        if strangers > 1 {
            say!(warn: strangers, worker = self.worker, "so many notifications of strangers were ignored");
        }
    }
}

impl Notify {
    pub(super) fn new(heard: Arc<Heard>) -> io::Result<Notify> {
        Ok(Notify { readable: watch(Arc::clone(&heard.socket))?, heard })
    }

    /// The next thing that it says. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Notice> {
        loop {
            let is_empty = {
                let mut state = self.heard.hear()?;
                if let Some(notice) = state.notices.pop_front() {
                    return Ok(notice);
                }
                state.is_empty
            };
            if is_empty {
                tokio::select! {
                    // Cleared before the next look: what comes after that look makes it ready again.
                    ready = self.readable.readable() => ready?.clear_ready(),
                    () = self.heard.news.notified() => {}
                }
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// As many datagrams as a socket holds by default (net.unix.max_dgram_qlen), several times over.
const QUEUED: usize = 64;
