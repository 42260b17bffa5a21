//! Session tickets whose keys can be handed on.
//!
//! A ticket is the session, sealed by the server and kept by the client. rustls's own ticketers make their
//! keys at the start and show them to nobody, so every restart would turn all clients' tickets into waste
//! paper, and each of them would come with a full handshake at once. These keys go to the successor with the
//! rest.
//!
//! A ticket is `name of the key, 16 bytes | nonce, 12 bytes | AES-256-GCM(session)`. The newest key seals;
//! older ones still open until what they sealed has expired.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio_rustls::rustls::server::ProducesTickets;

/// How long a key seals before the next one takes over. A key that leaks gives away the sessions of this
/// time; RFC 5077 leaves it to us, and half a day is what large servers use.
const SEALS_FOR: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a ticket is worth, and so how long a key still opens after it has ceased to seal.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// What seals and opens: a key of AES-256, and the name under which tickets refer to it.
const KEY: usize = 32;
const NAME: usize = 16;
/// One key in the export: its name, itself, and when it was made (seconds since 1970, little endian).
const EXPORTED: usize = NAME + KEY + 8;
/// Most keys that are kept: the one that seals, and those of the lifetime before. More come from nowhere but
/// a mistake.
const KEYS: usize = 4;

/// The keys that seal session tickets. Clones share them.
///
/// Give it to rustls as [`ServerConfig::ticketer`](tokio_rustls::rustls::ServerConfig::ticketer);
/// [`Tls`](super::Tls) does so by itself.
#[derive(Clone)]
pub struct TicketKeys {
    keys: Arc<Mutex<Vec<TicketKey>>>,
    random: SystemRandom,
}

/// Why handed down keys cannot be used. They are left alone then, and clients make full handshakes.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketKeysError {
    /// No whole number of keys, or too many.
    #[error("{length} bytes are not the session ticket keys of a predecessor")]
    Malformed {
        /// How long they are.
        length: usize,
    },
    /// The system has no random numbers to give.
    #[error("the system's random number generator failed; no session ticket key can be made")]
    Random,
}

struct TicketKey {
    name: [u8; NAME],
    secret: [u8; KEY],
    made: u64,
    seal: LessSafeKey,
}

impl TicketKeys {
    /// One new key.
    pub fn new() -> Result<TicketKeys, TicketKeysError> {
        let keys = TicketKeys { keys: Arc::default(), random: SystemRandom::new() };
        let first = keys.make(now())?;
        keys.lock().push(first);
        Ok(keys)
    }

    /// What a successor needs to go on with them. It is secret: who has it can read the sessions.
    pub fn export(&self) -> Vec<u8> {
        let keys = self.lock();
        keys.iter()
            .flat_map(|key| [&key.name[..], &key.secret[..], &key.made.to_le_bytes()].concat())
            .collect()
    }

    /// Goes on with a predecessor's keys instead of its own.
    pub fn import(&self, exported: &[u8]) -> Result<(), TicketKeysError> {
        let malformed = TicketKeysError::Malformed { length: exported.len() };
        let (keys, rest) = exported.as_chunks::<EXPORTED>();
        if !rest.is_empty() || keys.is_empty() || keys.len() > KEYS {
            return Err(malformed);
        }
        *self.lock() = keys.iter().map(TicketKey::read).collect();
        Ok(())
    }

    fn make(&self, made: u64) -> Result<TicketKey, TicketKeysError> {
        let (mut name, mut secret) = ([0; NAME], [0; KEY]);
        self.random.fill(&mut name).map_err(|_| TicketKeysError::Random)?;
        self.random.fill(&mut secret).map_err(|_| TicketKeysError::Random)?;
        Ok(TicketKey::new(name, secret, made))
    }

    /// Lets the next key take over when it is time. Without random numbers the old one goes on: its tickets
    /// are as good.
    fn rotate(&self, now: u64) {
        let mut keys = self.lock();
        let newest = keys.last().map_or(0, |key| key.made);
        if now >= newest.saturating_add(SEALS_FOR.as_secs())
            && let Ok(next) = self.make(now)
        {
            keys.push(next);
            keys.retain(|key| key.made.saturating_add((SEALS_FOR + LIFETIME).as_secs()) > now);
        }
    }

    fn encrypt_at(&self, now: u64, session: &[u8]) -> Option<Vec<u8>> {
        self.rotate(now);
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let keys = self.lock();
        let key = keys.last()?;
        let mut sealed = session.to_vec();
        let sealed_for = Aad::from(&key.name);
        key.seal
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), sealed_for, &mut sealed)
            .ok()?;
        Some([&key.name[..], &nonce[..], &sealed[..]].concat())
    }

    fn decrypt_at(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.lock();
        let in_time = |key: &&TicketKey| key.made.saturating_add((SEALS_FOR + LIFETIME).as_secs()) > now;
        let key = keys.iter().filter(in_time).find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.seal.open_in_place(nonce, Aad::from(name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TicketKey>> {
        // Every update is whole before anything that can panic.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(now(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(now(), cipher)
    }
}

impl TicketKey {
    fn new(name: [u8; NAME], secret: [u8; KEY], made: u64) -> TicketKey {
        let key = UnboundKey::new(&AES_256_GCM, &secret).expect("a key of AES-256 has 32 bytes");
        TicketKey { name, secret, made, seal: LessSafeKey::new(key) }
    }

    fn read(exported: &[u8; EXPORTED]) -> TicketKey {
        let (mut name, mut secret, mut made) = ([0; NAME], [0; KEY], [0; 8]);
        name.copy_from_slice(&exported[..NAME]);
        secret.copy_from_slice(&exported[NAME..NAME + KEY]);
        made.copy_from_slice(&exported[NAME + KEY..]);
        TicketKey::new(name, secret, u64::from_le_bytes(made))
    }
}

impl fmt::Debug for TicketKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.lock().len()).finish_non_exhaustive()
    }
}

/// By the clock on the wall, since it is compared over processes.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn a_successor_opens_what_its_predecessor_sealed() {
        let (old, new) = (TicketKeys::new().unwrap(), TicketKeys::new().unwrap());
        let ticket = old.encrypt(b"a session").unwrap();
        assert_eq!(new.decrypt(&ticket), None, "a stranger's");
        new.import(&old.export()).unwrap();
        assert_eq!(new.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(old.decrypt(&new.encrypt(b"another").unwrap()).as_deref(), Some(&b"another"[..]));
    }

    #[test]
    fn keys_take_turns_and_expire() {
        let keys = TicketKeys::new().unwrap();
        let start = now();
        let ticket = keys.encrypt_at(start, b"a session").unwrap();
        let later = keys.encrypt_at(start + DAY / 2, b"a session").unwrap();
        assert_ne!(ticket[..NAME], later[..NAME], "sealed with the next key");
        assert!(keys.decrypt_at(start + DAY / 2, &ticket).is_some());
        assert!(keys.decrypt_at(start + DAY, &ticket).is_none(), "its time is over");
        for day in 2..20 {
            keys.encrypt_at(start + day * DAY / 2, b"a session").unwrap();
        }
        assert!(keys.export().len() <= KEYS * EXPORTED);
    }

    #[test]
    fn what_is_not_a_ticket_or_not_keys_is_refused() {
        let keys = TicketKeys::new().unwrap();
        let mut ticket = keys.encrypt(b"a session").unwrap();
        *ticket.last_mut().unwrap() ^= 1;
        for wrong in [&ticket[..], &ticket[..20], &[], &[0; 100]] {
            assert_eq!(keys.decrypt(wrong), None);
        }
        for wrong in [0, 1, EXPORTED - 1, EXPORTED * (KEYS + 1)] {
            assert_eq!(keys.import(&vec![0; wrong]), Err(TicketKeysError::Malformed { length: wrong }));
        }
        assert!(!format!("{keys:?}").contains("secret"));
    }
}
