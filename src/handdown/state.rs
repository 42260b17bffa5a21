//! State of the program's own on its way to the successor: written into sealed memory there, mapped here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::handdown::descriptors::NameTooLong;
use crate::handover::state_reply::Withheld;
use crate::sys::memfd::{self, Mapped};

/// State that the predecessor gave: its bytes, mapped and not copied, for as long as this value lives.
///
/// Nobody can change them any more, nor take them away: the memory is sealed, which was checked before it was
/// mapped. What they *say* is another process's word, of another version of the program: look at the
/// [tag](Self::tag) first, and read them as carefully as a file.
#[derive(Debug)]
pub struct State {
    tag: u32,
    bytes: Mapped,
}

/// Where a provider writes its state, straight into the memory that the successor will map.
///
/// Small writes are gathered, large ones go through as they are. At the limit
/// ([`Builder::state_limit`](crate::Builder::state_limit)) a write fails, and so does the whole.
#[derive(Debug)]
pub struct StateWriter {
    file: BufWriter<File>,
    written: u64,
    limit: u64,
    is_over: bool,
}

/// Why there is no state although there could be: the predecessor is asked, and does not give it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The name cannot be asked for.
    #[error(transparent)]
    Name(#[from] NameTooLong),
    /// The provider wrote more than the predecessor allows, or it is more than this process allows.
    #[error("the state {name:?} is over the limit of {limit} bytes; raise it with Builder::state_limit")]
    #[non_exhaustive]
    TooLarge {
        /// The state's name.
        name: String,
        /// In bytes.
        limit: u64,
    },
    /// The provider panicked; the predecessor's output says where.
    #[error("the predecessor's provider of the state {name:?} panicked")]
    #[non_exhaustive]
    Panicked {
        /// The state's name.
        name: String,
    },
    /// The provider was not done in the time that the predecessor gives it.
    #[error(
        "the predecessor's provider of the state {name:?} was not done after {after:?}; raise it with \
         Builder::state_timeout"
    )]
    #[non_exhaustive]
    TimedOut {
        /// The state's name.
        name: String,
        /// How long it was given.
        after: Duration,
    },
    /// The provider is at work for an earlier request, perhaps of an earlier successor.
    #[error("the predecessor's provider of the state {name:?} is still at work for an earlier request")]
    #[non_exhaustive]
    Busy {
        /// The state's name.
        name: String,
    },
    /// The provider failed, or the predecessor is out of memory or descriptors.
    #[error("the predecessor cannot give the state {name:?}: {reason}")]
    #[non_exhaustive]
    Failed {
        /// The state's name.
        name: String,
        /// In the predecessor's words.
        reason: String,
    },
    /// The predecessor is gone, and its state with it.
    #[error("the predecessor is gone, and the state {name:?} with it")]
    #[non_exhaustive]
    PredecessorDied {
        /// The state's name.
        name: String,
    },
    /// The predecessor lives and does not answer.
    #[error(
        "the predecessor has not answered for the state {name:?} in {after:?}; it may be stopped or overloaded"
    )]
    #[non_exhaustive]
    Unanswered {
        /// The state's name.
        name: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// What came is not to be trusted, or did not come whole: not sealed, of another length than announced,
    /// without its descriptor (this process may be at its limit).
    #[error("what the predecessor gave as the state {name:?} cannot be used")]
    #[non_exhaustive]
    Unusable {
        /// The state's name.
        name: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A bug in heirloom: its thread is gone.
    #[error("heirloom's thread is gone")]
    DriverGone,
}

impl State {
    /// The program's own version of the bytes, as the predecessor gave it with its provider.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    pub(crate) fn new(tag: u32, bytes: Mapped) -> State {
        State { tag, bytes }
    }
}

impl Deref for State {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for State {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl StateWriter {
    fn new(name: &str, limit: u64) -> io::Result<StateWriter> {
        // A memfd's own name is bounded by what is left of 255 bytes, and has no zero byte in it.
        let label: String = name.chars().filter(|char| *char != '\0').take(LABEL).collect();
        let file = BufWriter::with_capacity(GATHER, memfd::create(&label)?);
        Ok(StateWriter { file, written: 0, limit, is_over: false })
    }

    /// Seals what was written.
    fn finish(self) -> io::Result<(File, u64)> {
        let StateWriter { file, written, .. } = self;
        let file = file.into_inner().map_err(|error| error.into_error())?;
        memfd::seal(&file)?;
        Ok((file, written))
    }

    fn admit(&mut self, bytes: usize) -> io::Result<()> {
        let after = u64::try_from(bytes).ok().and_then(|bytes| self.written.checked_add(bytes));
        self.is_over |= after.is_none_or(|after| after > self.limit);
        if self.is_over { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    }
}

impl Write for StateWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.admit(bytes.len())?;
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Everything that this process provides, by name, and whether it is for the end.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    by_name: Mutex<BTreeMap<(String, bool), Arc<Provider>>>,
}

/// How the program writes one state.
pub(crate) struct Provider {
    tag: u32,
    write: Box<WriteState>,
    /// One call at a time: a provider that hangs costs one thread, however often it is asked.
    is_busy: AtomicBool,
}

type WriteState = dyn Fn(&mut StateWriter) -> io::Result<()> + Send + Sync;

/// What a provider has written.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) tag: u32,
    pub(crate) length: u64,
    pub(crate) file: File,
}

impl Providers {
    pub(crate) fn set(
        &self,
        name: String,
        at_end: bool,
        tag: u32,
        write: impl Fn(&mut StateWriter) -> io::Result<()> + Send + Sync + 'static,
    ) {
        let provider = Arc::new(Provider { tag, write: Box::new(write), is_busy: AtomicBool::new(false) });
        let replaced = self.lock().insert((name, at_end), provider);
        // What it holds is the program's, whose drop may call back.
        drop(replaced);
    }

    pub(crate) fn remove(&self, name: &str, at_end: bool) {
        let removed = self.lock().remove(&(name.to_owned(), at_end));
        drop(removed);
    }

    pub(crate) fn find(&self, name: &str, at_end: bool) -> Option<Arc<Provider>> {
        self.lock().get(&(name.to_owned(), at_end)).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, bool), Arc<Provider>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider {
    /// Reserves the provider for one call; `None` while another one is on.
    pub(crate) fn reserve(self: Arc<Provider>) -> Option<Reserved> {
        // What a call writes to is its own: nothing is published through the flag.
        let was_busy = self.is_busy.swap(true, Ordering::Relaxed);
        (!was_busy).then(|| Reserved(self))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("tag", &self.tag)
            .field("is_busy", &self.is_busy)
            .finish_non_exhaustive()
    }
}

/// The right to one call of a provider.
#[derive(Debug)]
pub(crate) struct Reserved(Arc<Provider>);

impl Reserved {
    /// Blocks for as long as the program takes.
    pub(crate) fn call(self, name: &str, limit: u64) -> Result<Snapshot, Withheld> {
        let failed = |error: io::Error| Withheld::Failed { reason: error.to_string() };
        let mut writer = StateWriter::new(name, limit).map_err(failed)?;
        // Of what a panic leaves half done nothing is used: the writer is dropped with its file.
        let called = catch_unwind(AssertUnwindSafe(|| (self.0.write)(&mut writer)));
        match called {
            Err(_) => Err(Withheld::Panicked),
            Ok(_) if writer.is_over => Err(Withheld::TooLarge { limit }),
            Ok(Err(error)) => Err(failed(error)),
            Ok(Ok(())) => {
                let (file, length) = writer.finish().map_err(failed)?;
                Ok(Snapshot { tag: self.0.tag, length, file })
            }
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Relaxed);
    }
}

/// How many bytes of small writes are gathered into one system call. Beyond this a copy costs more than the
/// call.
const GATHER: usize = 64 * 1024;

/// How many characters of a state's name are shown in /proc: of four bytes each they stay below the kernel's
/// 249.
const LABEL: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(write: impl Fn(&mut StateWriter) -> io::Result<()> + Send + Sync + 'static) -> Arc<Provider> {
        let providers = Providers::default();
        providers.set("sessions".to_owned(), false, 7, write);
        providers.find("sessions", false).unwrap()
    }

    fn call(provider: &Arc<Provider>, limit: u64) -> Result<State, Withheld> {
        let reserved = Arc::clone(provider).reserve().unwrap();
        let Snapshot { tag, length, file } = reserved.call("sessions", limit)?;
        Ok(State::new(tag, Mapped::sealed(file.into(), length).unwrap()))
    }

    #[test]
    fn what_a_provider_writes_is_what_is_mapped() {
        let big = vec![5_u8; 3 * GATHER];
        let expected = [b"small".as_slice(), &big, b"end"].concat();
        let provider = provider(move |out| {
            out.write_all(b"small")?;
            out.write_all(&big)?;
            out.write_all(b"end")
        });
        let state = call(&provider, 1 << 20).unwrap();
        assert_eq!(state.tag(), 7);
        assert!(*state == *expected);
        assert!(*call(&provider, 1 << 20).unwrap() == *expected, "it can be asked again");
    }

    #[test]
    fn a_provider_may_not_exceed_the_limit() {
        let exact = provider(|out| out.write_all(&[0; 8]));
        assert_eq!(call(&exact, 8).unwrap().len(), 8);
        assert_eq!(call(&exact, 7).unwrap_err(), Withheld::TooLarge { limit: 7 });
        let stubborn = provider(|out| {
            let _ = out.write_all(&[0; 6]);
            let _ = out.write_all(&[0; 6]);
            out.write_all(&[0; 1])
        });
        assert_eq!(call(&stubborn, 8).unwrap_err(), Withheld::TooLarge { limit: 8 });
    }

    #[test]
    fn a_provider_may_fail_and_panic() {
        let fails = provider(|_| Err(io::Error::other("the cache is locked")));
        let reason = "the cache is locked".to_owned();
        assert_eq!(call(&fails, 8).unwrap_err(), Withheld::Failed { reason });
        let panics = provider(|_| panic!("as told"));
        assert_eq!(call(&panics, 8).unwrap_err(), Withheld::Panicked);
        assert_eq!(call(&panics, 8).unwrap_err(), Withheld::Panicked, "and it is free again");
    }

    #[test]
    fn a_provider_has_one_call_at_a_time() {
        let provider = provider(|_| Ok(()));
        let reserved = Arc::clone(&provider).reserve().unwrap();
        assert!(Arc::clone(&provider).reserve().is_none());
        drop(reserved);
        assert!(Arc::clone(&provider).reserve().is_some());
    }

    #[test]
    fn a_name_means_the_provider_that_was_set_last() {
        let providers = Providers::default();
        providers.set("s".to_owned(), false, 1, |_| Ok(()));
        providers.set("s".to_owned(), false, 2, |_| Ok(()));
        assert_eq!(providers.find("s", false).unwrap().tag, 2);
        assert!(providers.find("s", true).is_none(), "the end has its own");
        providers.remove("s", false);
        assert!(providers.find("s", false).is_none());
    }

    #[test]
    fn any_name_can_be_shown() {
        for name in ["", "a\0b", &"é".repeat(200), &"💾".repeat(60)] {
            StateWriter::new(name, 0).unwrap();
        }
    }
}
