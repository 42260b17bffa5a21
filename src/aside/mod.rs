//! What may block, done aside: lines for the log, files, hooks.
//!
//! A reader of the log may stop reading, a disk may hang, and a hook may do either. heirloom's own threads
//! have to hear a stop all the same, so they do none of it themselves. Each [`Aside`] has one thread, which
//! does what it is given in order; code that needs the outcome waits for it with a deadline, and not at all
//! while that thread is known to hang.

pub(crate) mod own_thread;
#[macro_use]
pub(crate) mod say;
pub(crate) mod unheard;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// A queue of things to do, and the thread that does them.
pub(crate) struct Aside {
    name: &'static str,
    /// How many may wait.
    limit: usize,
    /// How long the thread stays with nothing to do; for ever if `None`.
    stay: Option<Duration>,
    stack: usize,
    state: Mutex<State>,
    /// There is more to do, or something has been done.
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// Not before their time, and sooner only if somebody waits for everything.
    later: Vec<(Instant, Job)>,
    /// Somebody works: the thread, or a caller where there can be none.
    is_worked: bool,
    /// Since when the present job is being done.
    since: Option<Instant>,
    given: u64,
    done: u64,
}

/// Files that others read: pid file, status file, control socket, standard error's.
pub(crate) static FILES: Aside = Aside::new("heirloom-files", WAITING, Some(STAY));

/// How long heirloom's own thread waits for a file. A rename takes microseconds, on a busy disk tens of
/// milliseconds; a signal that comes meanwhile is heard so much later.
pub(crate) const FILE: Duration = Duration::from_secs(1);

/// More than a restart and a stop write together. Only a disk that hangs lets so many gather, and then the
/// next ones say nothing that is new.
pub(crate) const WAITING: usize = 64;

/// Long enough for all that a restart has to do; a thread that waits for the next restart costs memory.
pub(crate) const STAY: Duration = Duration::from_secs(1);

impl Aside {
    pub(crate) const fn new(name: &'static str, limit: usize, stay: Option<Duration>) -> Aside {
        let state = State {
            jobs: VecDeque::new(),
            later: Vec::new(),
            is_worked: false,
            since: None,
            given: 0,
            done: 0,
        };
        Aside { name, limit, stay, stack: STACK, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Has `job` done after all that was given before. False if too much waits: then it is not done.
    pub(crate) fn give(&'static self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.lock();
        if state.jobs.len() >= self.limit {
            return false;
        }
        state.jobs.push_back(Box::new(job));
        state.given += 1;
        self.see_to_it(state);
        true
    }

    /// Has `job` done at `due`.
    pub(crate) fn give_later(&'static self, due: Instant, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.later.push((due, Box::new(job)));
        self.see_to_it(state);
    }

    /// What `job` answers, unless that takes longer than `within`: then it is still done, some time.
    pub(crate) fn ask<T: Send + 'static>(
        &'static self,
        within: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let hangs = self.hangs_for(within);
        let (answer, answered) = sync_channel(1);
        let given = self.give(move || drop(answer.send(job())));
        match given && !hangs {
            true => answered.recv_timeout(within).ok(),
            false => answered.try_recv().ok(),
        }
    }

    /// Whether the present job has taken longer than that.
    pub(crate) fn hangs_for(&self, limit: Duration) -> bool {
        self.lock().since.is_some_and(|since| since.elapsed() >= limit)
    }

    /// Waits until all that was given is done, what was for later included; not longer than `within`, and not
    /// at all if the present job has taken as long as that already.
    pub(crate) fn finish(&'static self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        let early: Vec<_> = state.later.drain(..).map(|(_, job)| job).collect();
        state.given += early.len() as u64;
        state.jobs.extend(early);
        let given = state.given;
        if state.done < given {
            self.see_to_it(state);
            state = self.lock();
        }
        while state.done < given && state.since.is_none_or(|since| since.elapsed() < within) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes sure that somebody works. Where no thread can be had, it is the caller, until nothing is left:
    /// what has to be written matters, and without a thread to spare it is as it would be without any of
    /// this.
    fn see_to_it(&'static self, mut state: MutexGuard<'static, State>) {
        if state.is_worked {
            drop(state);
            self.changed.notify_all();
            return;
        }
        state.is_worked = true;
        drop(state);
        let thread = thread::Builder::new().name(self.name.to_owned()).stack_size(self.stack);
        if thread.spawn(|| self.work(self.stay)).is_err() {
            self.work(Some(Duration::ZERO));
        }
    }

    /// Works until there has been nothing to do for so long.
    fn work(&'static self, stay: Option<Duration>) {
        let mut state = self.lock();
        loop {
            state.take_what_is_due(Instant::now());
            let Some(job) = state.jobs.pop_front() else {
                match self.wait(state, stay) {
                    Some(again) => state = again,
                    None => return,
                }
                continue;
            };
            state.since = Some(Instant::now());
            drop(state);
            // Hooks panic, and so does the usual subscriber where standard error is a pipe without a reader.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = self.lock();
            state.since = None;
            state.done += 1;
            self.changed.notify_all();
        }
    }

    /// Until there may be more to do; `None` once it is time to leave.
    fn wait(
        &'static self,
        state: MutexGuard<'static, State>,
        stay: Option<Duration>,
    ) -> Option<MutexGuard<'static, State>> {
        // A caller that works here has other things to do than to wait.
        let is_thread = stay != Some(Duration::ZERO);
        let due = state.later.iter().map(|(due, _)| *due).min().filter(|_| is_thread);
        let limit = due.map(|due| due.saturating_duration_since(Instant::now())).or(stay);
        let Some(limit) = limit else {
            return Some(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let (mut state, waited) =
            self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        let is_idle = state.jobs.is_empty() && (state.later.is_empty() || !is_thread);
        state.is_worked = !(waited.timed_out() && is_idle);
        state.is_worked.then_some(state)
    }

    /// The state is whole at every step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_what_is_due(&mut self, now: Instant) {
        let due = self.later.extract_if(.., |(due, _)| now >= *due).map(|(_, job)| job);
        let before = self.jobs.len();
        self.jobs.extend(due);
        self.given += (self.jobs.len() - before) as u64;
    }
}

/// The program's `tracing` subscriber and its hooks run on it; pages that nobody touches cost nothing.
const STACK: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn it_is_done_in_order_and_through_panics() {
        static HERE: Aside = Aside::new("in-order", 8, Some(SHORT));
        let (said, heard) = mpsc::channel();
        for number in 0..3 {
            let said = said.clone();
            assert!(HERE.give(move || {
                said.send(number).unwrap();
                assert!(number != 1, "a hook that panics");
            }));
        }
        let told = said.clone();
        HERE.give_later(Instant::now() + LONG, move || told.send(3).unwrap());
        HERE.finish(LONG);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "somebody waited, so later was now");
        HERE.give_later(Instant::now() + SHORT, move || said.send(4).unwrap());
        assert_eq!(heard.recv_timeout(LONG), Ok(4));
    }

    #[test]
    fn what_hangs_is_waited_for_once_and_what_is_too_much_is_refused() {
        static HERE: Aside = Aside::new("hangs", 2, Some(SHORT));
        let (release, held) = mpsc::channel::<()>();
        assert_eq!(HERE.ask(SHORT, move || held.recv().is_err()), None);
        while !HERE.hangs_for(SHORT) {
            thread::yield_now();
        }
        // From now on, at once: the answer comes when it may.
        assert_eq!(HERE.ask(SHORT, || 1), None);
        assert!(HERE.give(|| {}));
        assert!(!HERE.give(|| panic!("it was refused")), "it takes more than its limit");
        HERE.finish(SHORT);
        drop(release);
        HERE.finish(LONG);
        assert_eq!(HERE.ask(LONG, || 3), Some(3));
    }

    #[test]
    fn without_a_thread_the_caller_does_it() {
        // No machine has room for its stack.
        static HERE: Aside = {
            let mut aside = Aside::new("no-thread", 8, None);
            aside.stack = 1 << 60;
            aside
        };
        let caller = thread::current().id();
        assert_eq!(HERE.ask(LONG, move || thread::current().id() == caller), Some(true));
        HERE.give_later(Instant::now(), || {});
        assert_eq!(
            HERE.ask(LONG, || HERE.ask(SHORT, || ())),
            Some(None),
            "what it gives itself waits for its turn"
        );
        HERE.finish(LONG);
    }

    #[test]
    fn its_thread_leaves_and_comes_again() {
        static HERE: Aside = Aside::new("leaves", 8, Some(Duration::from_millis(1)));
        for number in 0..20 {
            assert_eq!(HERE.ask(LONG, move || number), Some(number));
            while HERE.lock().is_worked {
                thread::yield_now();
            }
        }
    }
}
