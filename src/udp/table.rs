//! The table of flows: which generation a peer's conversation began with.
//!
//! A flow is a peer's address and port, and where one address has several, an id. It lasts until nothing has
//! come from there for the idle time. The generation that stops reading hands its table to the next one, with
//! what is left of each flow's time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::frame::{FrameError, push_peer, take, take_peer};

/// Most flows at a time. One more peer is served all the same, by whichever generation reads: 2^18 are 20 MB
/// or so, and what a flood of forged addresses may cost.
pub(super) const MOST: usize = 1 << 18;

/// Longest table in bytes: as many flows over IPv6.
pub(super) const MAX_LENGTH: u64 = (MOST * RECORD_V6) as u64;

/// `[generation][age in ms, 4][id]` and an address of 23 bytes.
const RECORD_V6: usize = 8 + 4 + 8 + 23;

/// A flow: the peer, and which of those from its address; 0 if there is but one.
pub(super) type Key = (SocketAddr, u64);

#[derive(Debug)]
pub(super) struct Table {
    idle: Duration,
    flows: HashMap<Key, Flow>,
    /// How many each generation has.
    counts: HashMap<u64, usize>,
    /// When all were looked at last. Each datagram looks at its own.
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    generation: u64,
    seen: Instant,
}

impl Table {
    pub(super) fn new(idle: Duration) -> Table {
        Table { idle, flows: HashMap::new(), counts: HashMap::new(), swept: None }
    }

    /// Whose flow it is, which goes on by this datagram.
    pub(super) fn seen(&mut self, now: Instant, key: Key) -> Option<u64> {
        let flow = self.flows.get_mut(&key)?;
        if now.saturating_duration_since(flow.seen) > self.idle {
            let generation = flow.generation;
            self.flows.remove(&key);
            self.uncount(generation);
            return None;
        }
        flow.seen = now;
        Some(flow.generation)
    }

    /// A flow begins.
    pub(super) fn open(&mut self, now: Instant, key: Key, generation: u64) {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) > self.idle / 2);
        // Full, it is looked through once a second and not for each new peer.
        let is_full = self.flows.len() >= MOST
            && self.swept.is_none_or(|swept| now.saturating_duration_since(swept) > Duration::from_secs(1));
        if is_due || is_full {
            self.sweep(now);
        }
        if self.flows.len() < MOST || self.flows.contains_key(&key) {
            self.insert(key, Flow { generation, seen: now });
        }
    }

    fn insert(&mut self, key: Key, flow: Flow) {
        *self.counts.entry(flow.generation).or_default() += 1;
        if let Some(before) = self.flows.insert(key, flow) {
            self.uncount(before.generation);
        }
    }

    fn uncount(&mut self, generation: u64) {
        if let Some(count) = self.counts.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&generation);
            }
        }
    }

    /// Forgets what is idle.
    pub(super) fn sweep(&mut self, now: Instant) {
        let idle = self.idle;
        self.keep_only(|flow| now.saturating_duration_since(flow.seen) <= idle);
        self.swept = Some(now);
    }

    /// A generation is gone, and its flows with it.
    pub(super) fn forget(&mut self, generation: u64) {
        self.keep_only(|flow| flow.generation != generation);
    }

    fn keep_only(&mut self, is_kept: impl Fn(&Flow) -> bool) {
        self.flows.retain(|_, flow| is_kept(flow));
        self.counts.clear();
        for flow in self.flows.values() {
            *self.counts.entry(flow.generation).or_default() += 1;
        }
    }

    /// When the last flow of a generation will be idle; `None` if it has none.
    pub(super) fn idle_at(&self, generation: u64) -> Option<Instant> {
        let seen = self.flows.values().filter(|flow| flow.generation == generation).map(|flow| flow.seen);
        seen.max().map(|seen| seen + self.idle)
    }

    pub(super) fn count(&self, generation: u64) -> usize {
        self.counts.get(&generation).copied().unwrap_or_default()
    }

    /// For the next generation.
    pub(super) fn encode(&self, now: Instant) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.flows.len() * RECORD_V6);
        for ((peer, id), flow) in &self.flows {
            let age = now.saturating_duration_since(flow.seen);
            if age <= self.idle {
                bytes.extend_from_slice(&flow.generation.to_le_bytes());
                bytes.extend_from_slice(&u32::try_from(age.as_millis()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(&id.to_le_bytes());
                push_peer(&mut bytes, *peer);
            }
        }
        bytes
    }

    /// Takes over what the generation before knew of the generations in `known`. What stands before an error
    /// in it counts.
    pub(super) fn adopt(
        &mut self,
        now: Instant,
        mut bytes: &[u8],
        known: impl Fn(u64) -> bool,
    ) -> Result<(), FrameError> {
        while !bytes.is_empty() && self.flows.len() < MOST {
            let generation = u64::from_le_bytes(take(&mut bytes)?);
            let age = Duration::from_millis(u32::from_le_bytes(take(&mut bytes)?).into());
            let id = u64::from_le_bytes(take(&mut bytes)?);
            let peer = take_peer(&mut bytes)?;
            // A clock that began later than this was seen is a machine that has just started.
            let seen = now.checked_sub(age).unwrap_or(now);
            if known(generation) {
                self.insert((peer, id), Flow { generation, seen });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn peer(port: u16) -> Key {
        (SocketAddr::from(([192, 0, 2, 1], port)), 0)
    }

    #[test]
    fn a_flow_lasts_as_long_as_something_comes() {
        let start = Instant::now();
        let mut table = Table::new(IDLE);
        assert_eq!(table.seen(start, peer(1)), None);
        table.open(start, peer(1), 3);
        assert_eq!(table.seen(start + IDLE, peer(1)), Some(3));
        assert_eq!(table.seen(start + 2 * IDLE, peer(1)), Some(3));
        assert_eq!(table.seen(start + 3 * IDLE + Duration::from_millis(1), peer(1)), None);
        assert_eq!(table.count(3), 0);
    }

    #[test]
    fn the_next_generation_knows_it_and_how_long_it_has_left() {
        let start = Instant::now() + IDLE;
        let mut before = Table::new(IDLE);
        before.open(start, peer(1), 1);
        before.open(start, ("[fe80::1%4]:9".parse().unwrap(), 5), 2);
        before.open(start, peer(2), 7);
        let later = start + IDLE / 2;
        let mut after = Table::new(IDLE);
        after.adopt(later, &before.encode(later), |generation| generation < 3).unwrap();
        assert_eq!((after.count(1), after.count(2), after.count(7)), (1, 1, 0));
        assert_eq!(after.idle_at(1), Some(start + IDLE));
        assert_eq!(after.seen(later, ("[fe80::1%4]:9".parse().unwrap(), 5)), Some(2));
        assert_eq!(after.seen(start + IDLE + Duration::from_millis(1), peer(1)), None);
        let whole = before.encode(later);
        assert_eq!(after.adopt(later, &whole[..whole.len() - 1], |_| true), Err(FrameError::Truncated));
    }

    #[test]
    fn g7_the_bytes_are_these_for_ever() {
        let now = Instant::now();
        let mut table = Table::new(IDLE);
        table.open(now, (SocketAddr::from(([192, 0, 2, 1], 5000)), 9), 3);
        let recorded = b"\x03\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x04\xc0\x00\x02\x01\x88\x13";
        assert_eq!(table.encode(now), recorded);
    }

    #[test]
    fn a_generation_that_is_gone_has_no_flows() {
        let now = Instant::now();
        let mut table = Table::new(IDLE);
        table.open(now, peer(1), 1);
        table.open(now, peer(2), 2);
        table.forget(1);
        assert_eq!((table.seen(now, peer(1)), table.seen(now, peer(2))), (None, Some(2)));
        assert_eq!((table.idle_at(1), table.idle_at(2)), (None, Some(now + IDLE)));
    }

    #[test]
    fn g6_forged_addresses_fill_it_and_no_more() {
        let now = Instant::now();
        let mut table = Table::new(IDLE);
        let forged = |number: u32| (SocketAddr::from((number.to_be_bytes(), 1)), 0);
        (0..=MOST as u32).for_each(|number| table.open(now, forged(number), 1));
        assert_eq!(table.count(1), MOST);
        assert!(table.encode(now).len() as u64 <= MAX_LENGTH);
        table.open(now + 2 * IDLE, peer(1), 1);
        assert_eq!(table.count(1), 1);
    }
}
