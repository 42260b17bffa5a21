//! Named descriptors of any kind on their way through a process: those that it was handed, and those that it
//! hands down.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::handover::announcement::MAX_DESCRIPTORS;
use crate::handover::state_reply::MAX_NAME;

/// Both, by name.
#[derive(Debug)]
pub(crate) struct Descriptors {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inherited: BTreeMap<String, OwnedFd>,
    /// Shared with a spawn that is under way, so that what is replaced meanwhile stays open until the exec.
    handed_down: BTreeMap<String, Arc<OwnedFd>>,
}

/// A name of more than 255 bytes, which fits into no message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the name {name:?} has {} bytes; use one of at most {MAX_NAME}", name.len())]
pub struct NameTooLong {
    /// The name.
    pub name: String,
}

/// Why a descriptor is not handed down.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandDownError {
    /// Its name cannot be announced.
    #[error(transparent)]
    Name(#[from] NameTooLong),
    /// As many as can be announced are there already.
    #[error(
        "{MAX_DESCRIPTORS} descriptors are handed down already; {name:?} would be one too many: withhold one, or \
         pass several over a Unix socket that is handed down"
    )]
    #[non_exhaustive]
    TooMany {
        /// The name of the one too many.
        name: String,
    },
}

impl Descriptors {
    pub(crate) fn new(inherited: BTreeMap<String, OwnedFd>) -> Descriptors {
        Descriptors { state: Mutex::new(State { inherited, handed_down: BTreeMap::new() }) }
    }

    pub(crate) fn hand_down(&self, name: String, fd: OwnedFd) -> Result<(), HandDownError> {
        let name = checked(name)?;
        let mut state = self.lock();
        if state.handed_down.len() == MAX_DESCRIPTORS && !state.handed_down.contains_key(&name) {
            return Err(HandDownError::TooMany { name });
        }
        let replaced = state.handed_down.insert(name, Arc::new(fd));
        // Closing may wait, for a file on the network say: not under the lock.
        drop(state);
        drop(replaced);
        Ok(())
    }

    pub(crate) fn withhold(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.lock().handed_down.remove(name)
    }

    pub(crate) fn inherited(&self, name: &str) -> Option<OwnedFd> {
        self.lock().inherited.remove(name)
    }

    /// Those whose names begin so.
    #[cfg(feature = "udp")]
    pub(crate) fn inherited_under(&self, beginning: &str) -> Vec<(String, OwnedFd)> {
        let mut state = self.lock();
        let names: Vec<_> =
            state.inherited.keys().filter(|name| name.starts_with(beginning)).cloned().collect();
        names.into_iter().filter_map(|name| state.inherited.remove_entry(&name)).collect()
    }

    /// Closes what nobody has asked for.
    pub(crate) fn close_unclaimed(&self) {
        let unclaimed = std::mem::take(&mut self.lock().inherited);
        for name in unclaimed.keys() {
            say!(info: name, "closing an inherited descriptor that nobody asked for");
        }
    }

    /// What a successor that starts now is handed.
    pub(crate) fn handed_down(&self) -> Vec<(String, Arc<OwnedFd>)> {
        self.lock().handed_down.iter().map(|(name, fd)| (name.clone(), Arc::clone(fd))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is whole before anything that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name, if it fits into a message.
pub(crate) fn checked(name: String) -> Result<String, NameTooLong> {
    if name.len() <= MAX_NAME { Ok(name) } else { Err(NameTooLong { name }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::drops_at_once;
    use std::io::{PipeReader, Read, pipe};

    /// A descriptor, and what finds its end once every copy of it is closed.
    fn watched() -> (OwnedFd, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (writer.into(), reader)
    }

    fn is_closed(mut reader: PipeReader) -> bool {
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        reader.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    fn empty() -> Descriptors {
        Descriptors::new(BTreeMap::new())
    }

    #[test]
    fn an_inherited_one_is_there_once() {
        let _guard = drops_at_once();
        let (fd, reader) = watched();
        let descriptors = Descriptors::new(BTreeMap::from([("log".to_owned(), fd)]));
        assert!(descriptors.inherited("lock").is_none());
        let fd = descriptors.inherited("log").unwrap();
        assert!(descriptors.inherited("log").is_none());
        descriptors.close_unclaimed();
        assert!(!is_closed(reader.try_clone().unwrap()), "it is the program's");
        drop(fd);
        assert!(is_closed(reader));
    }

    #[test]
    fn what_nobody_asks_for_is_closed() {
        let _guard = drops_at_once();
        let (fd, reader) = watched();
        let descriptors = Descriptors::new(BTreeMap::from([("log".to_owned(), fd)]));
        descriptors.close_unclaimed();
        assert!(is_closed(reader));
        assert!(descriptors.inherited("log").is_none());
    }

    #[test]
    fn a_name_means_what_was_handed_down_last() {
        let _guard = drops_at_once();
        let descriptors = empty();
        let ((first, first_reader), (second, second_reader)) = (watched(), watched());
        descriptors.hand_down("log".to_owned(), first).unwrap();
        let spawning = descriptors.handed_down();
        descriptors.hand_down("log".to_owned(), second).unwrap();
        assert!(!is_closed(first_reader.try_clone().unwrap()), "a spawn still hands it down");
        drop(spawning);
        assert!(is_closed(first_reader));
        assert_eq!(descriptors.handed_down().len(), 1);
        drop(descriptors.withhold("log"));
        assert!(is_closed(second_reader));
        assert!(descriptors.handed_down().is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let descriptors = empty();
        for number in 0..MAX_DESCRIPTORS {
            descriptors.hand_down(number.to_string(), watched().0).unwrap();
        }
        let error = descriptors.hand_down("one too many".to_owned(), watched().0).unwrap_err();
        assert!(error.to_string().contains("one too many"), "{error}");
        descriptors.hand_down("0".to_owned(), watched().0).unwrap();
        let error = descriptors.hand_down("n".repeat(MAX_NAME + 1), watched().0).unwrap_err();
        assert!(matches!(error, HandDownError::Name(_)));
    }
}
