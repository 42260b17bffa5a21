//! Sessions for 0-RTT, each of which is good once, in one generation.
//!
//! What a client sends with its first packet can be sent again by whoever has seen it. rustls accepts it only
//! with sessions that it takes out of a store as it resumes them. So there is one store, and one generation
//! that has it: it goes over with the table of conversations, when the predecessor has stopped to read and
//! the successor has not begun. Whoever has given it away has none, and keeps none, until it reads again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quinn::rustls::server::{ProducesTickets, StoresServerSessions};
use zeroize::Zeroizing;

/// The longest session in bytes. One has about 100 without a certificate of the client; with one it may be
/// too long, and is not resumed.
const LONGEST: usize = 2 * 1024;
/// The longest name: rustls's have 32.
const LONGEST_NAME: usize = 64;
/// Most sessions, so that all of them fit into what a successor reads.
pub(super) const MOST: usize = 1 << 16;

pub(super) struct Sessions {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// They are another generation's now.
    has_left: bool,
    next: u64,
    sessions: HashMap<Vec<u8>, (u64, Secret)>,
    /// Oldest first.
    order: BTreeMap<u64, Vec<u8>>,
}

type Secret = Zeroizing<Vec<u8>>;

impl Sessions {
    pub(super) fn new(most: usize) -> Sessions {
        Sessions { most: most.clamp(1, MOST), kept: Mutex::default() }
    }

    /// All of them, for the next generation: `[length, 1][name][length, 2][session]`, oldest first. There are
    /// none here from now on.
    pub(super) fn leave(&self) -> Secret {
        let mut kept = self.lock();
        let Kept { sessions, order, .. } = std::mem::take(&mut *kept);
        kept.has_left = true;
        let length =
            order.len() * (3 + LONGEST_NAME) + sessions.values().map(|(_, it)| it.len()).sum::<usize>();
        // Not to be copied about by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        for name in order.into_values() {
            let Some((_, session)) = sessions.get(&name) else { continue };
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(&name);
            bytes.extend_from_slice(&(session.len() as u16).to_le_bytes());
            bytes.extend_from_slice(session);
        }
        bytes
    }

    /// They are this generation's, with what the other one has left; up to what cannot be understood.
    pub(super) fn arrive(&self, mut bytes: &[u8]) {
        let mut kept = self.lock();
        kept.has_left = false;
        while let Some((name, session)) = next(&mut bytes) {
            self.keep(&mut kept, name.to_vec(), session.to_vec());
        }
    }

    fn keep(&self, kept: &mut Kept, name: Vec<u8>, session: Vec<u8>) -> bool {
        let session = Zeroizing::new(session);
        if kept.has_left || session.len() > LONGEST || name.len() > LONGEST_NAME {
            return false;
        }
        let number = kept.next;
        kept.next += 1;
        kept.order.insert(number, name.clone());
        if let Some((before, _)) = kept.sessions.insert(name, (number, session)) {
            kept.order.remove(&before);
        }
        while kept.order.len() > self.most {
            let Some((_, oldest)) = kept.order.pop_first() else { break };
            kept.sessions.remove(&oldest);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing under it can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next name and session.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, after) = rest.split_first()?;
    let (name, after) = after.split_at_checked(usize::from(*length))?;
    let (length, after) = after.split_first_chunk()?;
    let (session, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    Some((name, session))
}

impl StoresServerSessions for Sessions {
    fn put(&self, name: Vec<u8>, session: Vec<u8>) -> bool {
        self.keep(&mut self.lock(), name, session)
    }

    fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.lock().sessions.get(name).map(|(_, session)| session.to_vec())
    }

    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        let (number, session) = kept.sessions.remove(name)?;
        kept.order.remove(&number);
        Some(session.to_vec())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Sessions {
    /// Without the sessions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("kept", &self.lock().order.len()).finish_non_exhaustive()
    }
}

/// Tickets that hold the session would be good more than once.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sessions: &Sessions, name: &str) -> bool {
        sessions.put(name.into(), format!("session {name}").into())
    }

    fn take(sessions: &Sessions, name: &str) -> Option<String> {
        sessions.take(name.as_bytes()).map(|session| String::from_utf8(session).unwrap())
    }

    #[test]
    fn a_session_is_good_once_in_whichever_generation() {
        let (old, new) = (Sessions::new(8), Sessions::new(8));
        assert!(put(&old, "a") && put(&old, "b"));
        assert_eq!(take(&old, "a").as_deref(), Some("session a"));
        assert_eq!(take(&old, "a"), None);
        new.arrive(&old.leave());
        // Neither what it had nor what a handshake under way there would add.
        assert_eq!((take(&old, "b"), put(&old, "c"), take(&old, "c")), (None, false, None));
        assert_eq!((take(&new, "a"), take(&new, "b").as_deref()), (None, Some("session b")));
        assert_eq!(take(&new, "b"), None);
    }

    #[test]
    fn who_reads_again_keeps_sessions_again() {
        let sessions = Sessions::new(8);
        assert!(put(&sessions, "a"));
        drop(sessions.leave());
        assert!(!put(&sessions, "b"));
        sessions.arrive(&[]);
        assert_eq!((take(&sessions, "a"), put(&sessions, "b")), (None, true));
    }

    #[test]
    fn g6_the_oldest_give_way_here_and_after_a_restart() {
        let (old, new) = (Sessions::new(3), Sessions::new(2));
        assert!(["a", "b", "c", "d", "c"].iter().all(|name| put(&old, name)));
        assert_eq!(take(&old, "a"), None);
        new.arrive(&old.leave());
        assert_eq!(
            (take(&new, "b"), take(&new, "d").is_some(), take(&new, "c").is_some()),
            (None, true, true)
        );
        assert!(!old.put(b"long".to_vec(), vec![0; LONGEST + 1]));
        assert!(new.lock().order.is_empty() && new.lock().sessions.is_empty());
    }

    #[test]
    fn g7_the_bytes_are_these_for_ever() {
        let sessions = Sessions::new(8);
        sessions.put(b"ab".to_vec(), b"xyz".to_vec());
        assert_eq!(**sessions.leave(), *b"\x02ab\x03\0xyz");
    }

    #[test]
    fn what_is_cut_short_is_left_out() {
        let whole = b"\x02ab\x03\0xyz\x01c\x01\0x";
        for length in 0..whole.len() {
            let sessions = Sessions::new(8);
            sessions.arrive(&whole[..length]);
            assert_eq!(sessions.lock().order.len(), usize::from(length >= 8), "{length}");
        }
    }
}
