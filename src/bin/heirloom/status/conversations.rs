//! Conversations over datagrams, by generation.

use std::collections::BTreeMap;

use heirloom::control::ServiceStatus;

pub(crate) struct Conversations(BTreeMap<String, u64>);

impl Conversations {
    /// A generation knows best how many it has itself. Of one that was not asked, or does not answer, the one
    /// that reads the socket knows.
    pub(crate) fn of(status: &ServiceStatus) -> Conversations {
        let (mut own, mut told) = (BTreeMap::new(), BTreeMap::new());
        for generation in &status.generations {
            let number = generation.generation.to_string();
            for flows in generation.detail.iter().flat_map(|detail| &detail.flows) {
                add(&mut own, &number, flows.by_generation.get(&number).copied().unwrap_or_default());
                for (other, count) in flows.by_generation.iter().filter(|_| flows.reads) {
                    add(&mut told, other, *count);
                }
            }
        }
        told.extend(own);
        Conversations(told)
    }

    pub(crate) fn of_generation(&self, generation: u64) -> u64 {
        self.0.get(&generation.to_string()).copied().unwrap_or_default()
    }

    pub(crate) fn has_any(&self) -> bool {
        self.0.values().any(|count| *count > 0)
    }
}

fn add(counts: &mut BTreeMap<String, u64>, generation: &str, more: u64) {
    let count = counts.entry(generation.to_owned()).or_default();
    // Whatever a server says.
    *count = count.saturating_add(more);
}
