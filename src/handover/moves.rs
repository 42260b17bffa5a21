//! What became of connections that were to move, by name: told from generation to generation, and by a worker
//! to its supervisor.
//!
//! Plain figures for people: nothing here decides anything, and what cannot be read is left out.

use std::collections::BTreeMap;

/// How many there were, by what was spoken on them, and by why they stayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moves {
    /// Those that went on in a successor.
    pub moved: BTreeMap<String, u64>,
    /// Those that were to, and stayed.
    pub unmoved: BTreeMap<String, u64>,
}

impl Moves {
    /// Of one process.
    pub(crate) fn of(moved: &BTreeMap<&'static str, u64>, unmoved: &BTreeMap<&'static str, u64>) -> Moves {
        let [moved, unmoved] = [moved, unmoved].map(|counts| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        });
        Moves { moved, unmoved }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.unmoved.is_empty()
    }

    /// Adds those of one more process.
    pub(crate) fn add(&mut self, more: &Moves) {
        for (sums, counts) in [(&mut self.moved, &more.moved), (&mut self.unmoved, &more.unmoved)] {
            for (name, count) in counts {
                // A peer of another release, or a rogue, is not to make these grow with each generation.
                if sums.len() < MOST_NAMES || sums.contains_key(name) {
                    let sum = sums.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
    }

    /// `http1:3,websocket+tls:1/busy:2`, of characters that stand for themselves in an announcement.
    pub(super) fn encode(&self) -> String {
        [&self.moved, &self.unmoved].map(encode).join("/")
    }

    /// `None` for what cannot be read. What a later release writes behind it is passed over.
    pub(super) fn decode(text: &str) -> Option<Moves> {
        let mut parts = text.split('/');
        Some(Moves { moved: decode(parts.next()?)?, unmoved: decode(parts.next()?)? })
    }
}

fn encode(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name}:{count}")).collect();
    counts.join(",")
}

fn decode(text: &str) -> Option<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (name, count) = word.split_once(':')?;
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'+');
        if name.is_empty()
            || name.len() > LONGEST_NAME
            || !name.bytes().all(fits)
            || counts.len() == MOST_NAMES
        {
            return None;
        }
        counts.insert(name.to_owned(), count.parse().ok()?);
    }
    Some(counts)
}

/// There are a dozen kinds, and fewer reasons.
const MOST_NAMES: usize = 20;

/// In bytes; the longest so far is `websocket+tls`.
const LONGEST_NAME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(moved: &[(&str, u64)], unmoved: &[(&str, u64)]) -> Moves {
        let [moved, unmoved] = [moved, unmoved]
            .map(|counts| counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect());
        Moves { moved, unmoved }
    }

    #[test]
    fn what_is_written_is_read() {
        for (moves, text) in [
            (
                moves(&[("http1", 3), ("websocket+tls", 1)], &[("too_much", 2)]),
                "http1:3,websocket+tls:1/too_much:2",
            ),
            (moves(&[], &[("busy", u64::MAX)]), "/busy:18446744073709551615"),
            (moves(&[], &[]), "/"),
        ] {
            assert_eq!(moves.encode(), text);
            assert_eq!(Moves::decode(text), Some(moves.clone()));
            assert_eq!(Moves::decode(&format!("{text}/more/of it")), Some(moves));
        }
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let many: Vec<_> = (0..=MOST_NAMES).map(|at| format!("kind{at}:1")).collect();
        let long = format!("{}:1/", "x".repeat(LONGEST_NAME + 1));
        for text in [
            "",
            "http1:1",
            "http1/",
            "http1:x/",
            "http 1:1/",
            "HTTP:1/",
            ":1/",
            &long,
            &format!("{}/", many.join(",")),
        ] {
            assert_eq!(Moves::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn sums_have_bounds() {
        let mut sums = moves(&[("http1", u64::MAX)], &[]);
        sums.add(&moves(&[("http1", 1)], &[("busy", 1)]));
        assert_eq!(sums, moves(&[("http1", u64::MAX)], &[("busy", 1)]));
        for at in 0..100 {
            sums.add(&moves(&[(&format!("kind{at}"), 1)], &[]));
        }
        assert_eq!(sums.moved.len(), MOST_NAMES);
        sums.add(&moves(&[], &[("busy", 1)]));
        assert_eq!(sums.unmoved["busy"], 2);
    }
}
