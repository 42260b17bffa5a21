//! Connection ids that carry the generation which gave them out.
//!
//! `[random, 8][generation, 4, hidden][check, 6]`. What hides the generation and what checks are parts of one
//! HMAC of the random part, so nobody without the key can tell two ids of one connection from two of
//! different ones, or make one up: of the ids that clients choose at random, one in 2^48 is taken for ours.
//! Only the routing rests on it. A packet that is sent to another generation is still decrypted there or
//! dropped.

use std::sync::atomic::{AtomicU64, Ordering};

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use ring::hmac;

const RANDOM: usize = 8;
const HIDDEN: usize = 4;
const CHECK: usize = 6;

/// How long an id is.
pub(super) const LENGTH: usize = RANDOM + HIDDEN + CHECK;

/// Makes them, and reads them.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    key: hmac::Key,
    generation: u64,
    /// Makes what is random, from a number that is never used twice: no id is made without the system's
    /// random numbers, and they cannot run out on the way.
    seed: hmac::Key,
}

/// The next number; all makers of this process count on one.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Ids {
    /// `seed` is random, and this process's alone.
    pub(super) fn new(key: hmac::Key, seed: &[u8], generation: u64) -> Ids {
        Ids { key, generation, seed: hmac::Key::new(hmac::HMAC_SHA256, seed) }
    }

    pub(super) fn make(&self) -> [u8; LENGTH] {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let random = hmac::sign(&self.seed, &number.to_le_bytes());
        let mut id = [0; LENGTH];
        id[..RANDOM].copy_from_slice(&random.as_ref()[..RANDOM]);
        let (hiding, check) = self.parts(&id[..RANDOM]);
        // Four bytes do for as many restarts as there are seconds in a century.
        let generation = (self.generation as u32).to_le_bytes();
        for (at, byte) in generation.into_iter().enumerate() {
            id[RANDOM + at] = byte ^ hiding[at];
        }
        id[RANDOM + HIDDEN..].copy_from_slice(&check);
        id
    }

    /// Which generation gave it out; `None` if none of ours did.
    pub(super) fn generation(&self, id: &[u8]) -> Option<u64> {
        let id: &[u8; LENGTH] = id.try_into().ok()?;
        let (mut generation, check) = self.parts(&id[..RANDOM]);
        // Whoever finds out by the time that this takes how much of a check is right can reach another
        // generation, and nothing there.
        if check != id[RANDOM + HIDDEN..] {
            return None;
        }
        for (at, byte) in generation.iter_mut().enumerate() {
            *byte ^= id[RANDOM + at];
        }
        Some(u64::from(u32::from_le_bytes(generation)))
    }

    fn parts(&self, random: &[u8]) -> ([u8; HIDDEN], [u8; CHECK]) {
        let signed = hmac::sign(&self.key, random);
        let (mut hiding, mut check) = ([0; HIDDEN], [0; CHECK]);
        hiding.copy_from_slice(&signed.as_ref()[..HIDDEN]);
        check.copy_from_slice(&signed.as_ref()[HIDDEN..HIDDEN + CHECK]);
        (hiding, check)
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.make())
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.generation(id).map(drop).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(key: &[u8], generation: u64) -> Ids {
        Ids::new(hmac::Key::new(hmac::HMAC_SHA256, key), b"seed", generation)
    }

    #[test]
    fn every_generation_reads_what_any_of_them_gave_out() {
        let (first, second) = (ids(b"key", 1), ids(b"key", 70_000));
        for _ in 0..100 {
            assert_eq!(second.generation(&first.make()), Some(1));
            assert_eq!(first.generation(&second.make()), Some(70_000));
        }
        assert_ne!(first.make(), first.make());
        assert_eq!(first.make()[..].len(), first.cid_len());
    }

    #[test]
    fn what_others_choose_is_not_ours() {
        let ours = ids(b"key", 1);
        assert_eq!(ours.generation(&ids(b"another key", 1).make()), None);
        assert_eq!(
            (ours.generation(&[]), ours.generation(&[0; 8]), ours.generation(&[7; LENGTH])),
            (None, None, None)
        );
        let mut id = ours.make();
        id[RANDOM + HIDDEN] ^= 1;
        assert_eq!(ours.generation(&id), None);
        assert!(ours.validate(&ConnectionId::new(&id)).is_err());
    }
}
