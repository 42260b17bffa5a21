//! What ends the workers of a supervisor that was killed, whatever they have done to their credentials.
//!
//! The kernel signals a child at its parent's death, but forgets to as soon as the child changes its user or
//! its group, as servers do that start as root; and it signals once for each thread of the dying parent that
//! takes the child over on the way, while to most servers a second signal means "at once". So a process of
//! its own ([`process`]) holds the supervisor and its workers by pidfd and does nothing until the supervisor
//! is gone. The supervisor starts it with the first worker, tells it of each, and starts another if it dies:
//! no child depends on it, and two processes must be killed at once for a worker to be left alone.
//!
//! One for all workers, and no fork of the supervisor: it costs an exec, and about a megabyte of memory.

mod process;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::spawner::all_signals;
use crate::aside::own_thread::on_own_thread;
use crate::sys::channel::Channel;
use crate::sys::pidfd::Pidfd;
use crate::sys::spawn::{Spawn, Spawned, kill_and_reap, spawn};
use crate::sys::watched::watch;

pub(super) use process::watch_over;

/// What it is to do, as its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// The signal that workers are sent.
    pub(super) stop: i32,
    /// How long after that they are killed.
    pub(super) within: Duration,
}

/// The supervisor's side.
#[derive(Debug)]
pub(super) struct Watcher {
    orders: Orders,
    /// A program that calls [`become_worker`](super::become_worker).
    shim: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// Those that are alive, for a watcher that replaces a dead one.
    workers: Vec<Worker>,
    is_over: bool,
}

#[derive(Debug)]
struct Worker {
    pid: i32,
    pidfd: OwnedFd,
    told_by: ToldBy,
}

/// Who sends a worker its stop signal when the supervisor has been killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldBy {
    Watcher,
    /// There was no watcher when it was started. Unless it has changed its user since.
    Kernel,
}

#[derive(Debug)]
struct Running {
    channel: Channel,
    process: Spawned,
}

impl Watcher {
    pub(super) fn new(shim: PathBuf, orders: Orders) -> Watcher {
        Watcher { orders, shim, state: Mutex::default() }
    }

    /// Who is to tell a worker that is about to be started. Blocks for the exec of a watcher, if it takes
    /// one.
    pub(super) fn tells(&self) -> ToldBy {
        let mut state = self.lock();
        state.forget_the_dead();
        if state.running.is_none() {
            state.running = self.try_to_start(&state.workers);
        }
        if state.running.is_some() { ToldBy::Watcher } else { ToldBy::Kernel }
    }

    /// A worker is about to execute its program. Blocks as [`tells`](Self::tells) does.
    pub(super) fn add(&self, pid: i32, pidfd: &Pidfd, told_by: ToldBy) {
        match pidfd.as_fd().try_clone_to_owned() {
            Ok(pidfd) => self.try_again(Some(Worker { pid, pidfd, told_by })),
            Err(error) => say!(warn: pid, %error, "a worker will not be ended if this process is killed"),
        }
    }

    /// Starts another one whenever it is gone; never returns. Within a runtime.
    pub(super) async fn keep(self: Arc<Watcher>) {
        loop {
            let end = self
                .lock()
                .running
                .as_ref()
                .and_then(|running| running.process.pidfd.as_fd().try_clone_to_owned().ok());
            match end.and_then(|pidfd| Pidfd::from_fd(pidfd).and_then(watch).ok()) {
                Some(end) => drop(end.readable().await),
                None => tokio::time::sleep(AGAIN).await,
            }
            let watcher = Arc::clone(&self);
            // On a thread of its own: an exec may hang.
            match on_own_thread("heirloom-watch", move || watcher.try_again(None)) {
                Ok(done) => drop(done.await),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// No worker is left. Kills and reaps it.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        if let Some(running) = state.running.take() {
            kill_and_reap(running.process.pid);
        }
    }

    fn try_again(&self, new: Option<Worker>) {
        let mut state = self.lock();
        state.forget_the_dead();
        let told = match (&state.running, &new) {
            (Some(running), Some(worker)) => tell(&running.channel, worker).is_ok(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        state.workers.extend(new);
        if told || state.workers.is_empty() || state.is_over {
            return;
        }
        if let Some(deaf) = state.running.take() {
            kill_and_reap(deaf.process.pid);
        }
        state.running = self.try_to_start(&state.workers);
    }

    fn try_to_start(&self, workers: &[Worker]) -> Option<Running> {
        let started = self.start(workers);
        if let Err(error) = &started {
            say!(warn: %error, "nobody watches over the workers: those that change their user outlive this process if it is killed");
        }
        started.ok()
    }

    fn start(&self, workers: &[Worker]) -> io::Result<Running> {
        let (channel, far) = Channel::pair()?;
        // Before it is there: from its first moment on it knows them.
        workers.iter().try_for_each(|worker| tell(&channel, worker))?;
        let own = Pidfd::own()?;
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        let streams = [0, 1, 2].map(|number| (nothing.as_fd(), number));
        let process = spawn(&Spawn {
            program: self.shim.clone(),
            argv: self.orders.encode(),
            env: Vec::new(),
            directory: Some("/".into()),
            fds: streams
                .into_iter()
                .chain([(far.as_fd(), process::CHANNEL), (own.as_fd(), process::SUPERVISOR)])
                .collect(),
            // It is no party to what is sent to the supervisor's group.
            blocked: all_signals(),
            defaults: all_signals(),
        })
        .map_err(io::Error::other)?;
        Ok(Running { channel, process })
    }

    /// The state is whole at every step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_the_dead(&mut self) {
        self.workers.retain(|worker| is_alive(&worker.pidfd));
        self.running.take_if(|running| !matches!(running.process.pidfd.reap(), Ok(None)));
    }
}

fn tell(channel: &Channel, worker: &Worker) -> io::Result<()> {
    let [first, second, third, fourth] = worker.pid.to_ne_bytes();
    let by_kernel = u8::from(worker.told_by == ToldBy::Kernel);
    channel.send(&[first, second, third, fourth, by_kernel], &[worker.pidfd.as_fd()])
}

impl Orders {
    fn encode(self) -> Vec<OsString> {
        vec![NAME.into(), self.stop.to_string().into(), self.within.as_millis().to_string().into()]
    }

    pub(super) fn decode(mut arguments: impl Iterator<Item = OsString>) -> Option<Orders> {
        let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
        let (stop, within) = (number()?, number()?);
        Some(Orders { stop: stop.try_into().ok()?, within: Duration::from_millis(within) })
    }
}

fn is_alive(pidfd: &OwnedFd) -> bool {
    let held = pidfd.try_clone().and_then(Pidfd::from_fd);
    held.is_ok_and(|pidfd| !matches!(pidfd.has_exited(), Ok(true)))
}

/// Its own name, by which it knows itself.
pub(super) const NAME: &str = "heirloom: watches over the workers of its supervisor";

/// A watcher that cannot be started (no process or thread is left, say) is tried for as seldom as costs
/// nothing.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = Orders { stop: 37, within: Duration::from_millis(9500) };
        assert_eq!(Orders::decode(orders.encode().into_iter().skip(1)), Some(orders));
        for words in [&["15"][..], &["x", "1"], &["15", "-1"]] {
            assert_eq!(Orders::decode(words.iter().map(OsString::from)), None, "{words:?}");
        }
    }
}
