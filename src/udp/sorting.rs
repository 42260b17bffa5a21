//! The machine: what was read is kept, or goes to an older generation. No socket, no clock.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::time::Instant;

use super::Meta;
use super::classifier::{Judge, Owner};
use super::frame::FrameError;

#[derive(Debug)]
pub(super) struct Sorting {
    generation: u64,
    judge: Judge,
    /// The older generations that can be reached.
    reached: BTreeSet<u64>,
    /// Datagrams that nobody knew.
    pub(super) unknown: u64,
}

impl Sorting {
    pub(super) fn new(generation: u64, judge: Judge, reached: impl IntoIterator<Item = u64>) -> Sorting {
        Sorting { generation, judge, reached: reached.into_iter().collect(), unknown: 0 }
    }

    /// Leaves in the first buffers what is for this generation, and says how many those are. The rest goes to
    /// `forward`, in order, with the generation that it belongs to.
    ///
    /// A buffer of coalesced datagrams may hold some of both: one peer can have several conversations over
    /// one address.
    pub(super) fn sort(
        &mut self,
        now: Instant,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [Meta],
        count: usize,
        mut forward: impl FnMut(u64, &Meta, &[u8]),
    ) -> usize {
        let mut kept = 0;
        for index in 0..count {
            let meta = metas[index];
            let Some(length) = self.sort_one(now, &mut buffers[index], &meta, &mut forward) else { continue };
            metas[kept] = Meta { length, segment: meta.segment.min(length), ..meta };
            buffers.swap(kept, index);
            kept += 1;
        }
        kept
    }

    /// How many bytes of a buffer are kept, if any datagram is.
    fn sort_one(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        meta: &Meta,
        forward: &mut impl FnMut(u64, &Meta, &[u8]),
    ) -> Option<usize> {
        if meta.length == 0 {
            return match self.place(now, &[], meta) {
                None => Some(0),
                Some(generation) => {
                    forward(generation, meta, &[]);
                    None
                }
            };
        }
        let segment = if meta.segment == 0 { meta.length } else { meta.segment };
        let mut kept = None;
        // The run of datagrams for one older generation that has not been forwarded yet.
        let mut run: Option<(u64, usize)> = None;
        let mut begin = 0;
        while begin < meta.length {
            let end = (begin + segment).min(meta.length);
            let place = self.place(now, &buffer[begin..end], meta);
            if let Some((generation, from)) = run.take_if(|(generation, _)| place != Some(*generation)) {
                forward(generation, &Meta { length: begin - from, segment, ..*meta }, &buffer[from..begin]);
            }
            match place {
                Some(generation) => {
                    run.get_or_insert((generation, begin));
                }
                None => {
                    let at = kept.unwrap_or(0);
                    if at != begin {
                        buffer.copy_within(begin..end, at);
                    }
                    kept = Some(at + end - begin);
                }
            }
            begin = end;
        }
        if let Some((generation, from)) = run {
            let meta = Meta { length: meta.length - from, segment, ..*meta };
            forward(generation, &meta, &buffer[from..from + meta.length]);
        }
        kept
    }

    /// The older generation that it is for; `None` if it is for this one.
    fn place(&mut self, now: Instant, bytes: &[u8], meta: &Meta) -> Option<u64> {
        let (owner, key) = self.judge.owner(now, bytes, meta.peer);
        match owner {
            Owner::New => {}
            Owner::Generation(own) if own == self.generation => return None,
            Owner::Generation(older) if self.reached.contains(&older) => return Some(older),
            Owner::Generation(_) | Owner::Unknown => self.unknown += 1,
        }
        self.judge.open(now, key, self.generation);
        None
    }

    /// What a newer generation has forwarded goes on here.
    pub(super) fn arrived(&mut self, now: Instant, meta: &Meta) {
        // By their addresses alone; ids are in the table of those that read.
        if let Judge::ByPeer(table) = &mut self.judge {
            table.open(now, (meta.peer, 0), self.generation);
        }
    }

    /// An older generation is gone.
    pub(super) fn forget(&mut self, generation: u64) {
        self.reached.remove(&generation);
        if let Some(table) = self.judge.table_mut() {
            table.forget(generation);
        }
    }

    /// The generation before hands over what it knows.
    pub(super) fn adopt(&mut self, now: Instant, bytes: &[u8]) -> Result<(), FrameError> {
        let reached = &self.reached;
        match self.judge.table_mut() {
            Some(table) => table.adopt(now, bytes, |generation| reached.contains(&generation)),
            None => Ok(()),
        }
    }

    /// For the generation after this one.
    pub(super) fn encode(&self, now: Instant) -> Vec<u8> {
        self.judge.table().map(|table| table.encode(now)).unwrap_or_default()
    }

    /// When the last of this generation's own flows is idle; `None` if there is none, or none is known.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        self.judge.complete_table()?.idle_at(self.generation)
    }

    /// Forgets what is idle by now.
    pub(super) fn sweep(&mut self, now: Instant) {
        if let Some(table) = self.judge.table_mut() {
            table.sweep(now);
        }
    }

    /// Whether nothing can come for this generation once another one reads, as far as it knows.
    pub(super) fn knows_of_none(&self) -> bool {
        match &self.judge {
            Judge::Requests => true,
            Judge::ByPeer(table) => table.count(self.generation) == 0,
            _ => false,
        }
    }

    /// Flows of a generation; `None` where none are counted.
    pub(super) fn flows(&self, generation: u64) -> Option<usize> {
        Some(self.judge.complete_table()?.count(generation))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Classifier;
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn meta(peer: SocketAddr, length: usize, segment: usize) -> Meta {
        Meta { peer, local: None, ecn: 0, length, segment }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// The first byte of a datagram is its generation's number; 0 begins, and `?` nobody knows.
    fn by_first_byte(generation: u64, reached: &[u64]) -> Sorting {
        let classifier = Classifier::by(|bytes, _| match bytes.first() {
            Some(b'?') => Owner::Unknown,
            Some(0) | None => Owner::New,
            Some(number) => Owner::Generation(u64::from(*number)),
        });
        Sorting::new(generation, Judge::new(classifier), reached.iter().copied())
    }

    type Forwarded = Vec<(u64, usize, Vec<u8>)>;

    fn sort(sorting: &mut Sorting, given: &[(&[u8], usize)]) -> (Vec<Vec<u8>>, Forwarded) {
        let mut storage: Vec<Vec<u8>> = given.iter().map(|(bytes, _)| bytes.to_vec()).collect();
        let mut buffers: Vec<_> = storage.iter_mut().map(|bytes| IoSliceMut::new(bytes)).collect();
        let mut metas: Vec<_> =
            given.iter().map(|(bytes, segment)| meta(peer(1), bytes.len(), *segment)).collect();
        let mut forwarded = Vec::new();
        let kept = sorting.sort(Instant::now(), &mut buffers, &mut metas, given.len(), |to, meta, bytes| {
            assert_eq!(meta.length, bytes.len());
            forwarded.push((to, meta.segment, bytes.to_vec()));
        });
        let kept = (0..kept).map(|index| buffers[index][..metas[index].length].to_vec()).collect();
        (kept, forwarded)
    }

    #[test]
    fn own_and_new_ones_stay_and_older_ones_go() {
        let mut sorting = by_first_byte(3, &[1, 2]);
        let given: [(&[u8], usize); 5] =
            [(b"\x01a", 2), (b"\x00b", 2), (b"\x02c", 2), (b"\x03d", 2), (b"", 0)];
        let (kept, forwarded) = sort(&mut sorting, &given);
        assert_eq!(kept, [b"\x00b".to_vec(), b"\x03d".to_vec(), Vec::new()]);
        assert_eq!(forwarded, [(1, 2, b"\x01a".to_vec()), (2, 2, b"\x02c".to_vec())]);
        assert_eq!(sorting.unknown, 0);
    }

    #[test]
    fn coalesced_ones_part_and_stay_in_order() {
        let mut sorting = by_first_byte(3, &[1, 2]);
        let (kept, forwarded) =
            sort(&mut sorting, &[(b"\x01a\x01b\x03c\x02d\x03e\x01", 2), (b"\x01x\x01y", 2)]);
        assert_eq!(kept, [b"\x03c\x03e".to_vec()]);
        let to_first = [(1, 2, b"\x01a\x01b".to_vec()), (2, 2, b"\x02d".to_vec()), (1, 2, b"\x01".to_vec())];
        assert_eq!(forwarded[..3], to_first);
        assert_eq!(forwarded[3], (1, 2, b"\x01x\x01y".to_vec()));
    }

    #[test]
    fn what_nobody_knows_is_for_the_one_that_reads() {
        let mut sorting = by_first_byte(3, &[2]);
        let (kept, forwarded) = sort(&mut sorting, &[(b"\x01a", 2), (b"?", 1), (b"\x09", 1)]);
        assert_eq!((kept.len(), forwarded.len(), sorting.unknown), (3, 0, 3));
        sorting.forget(2);
        let (kept, forwarded) = sort(&mut sorting, &[(b"\x02", 1)]);
        assert_eq!((kept.len(), forwarded.len(), sorting.unknown), (1, 0, 4));
    }

    #[test]
    fn by_peer_a_conversation_stays_where_it_began() {
        let idle = Duration::from_secs(1);
        let now = Instant::now();
        let mut first = Sorting::new(1, Judge::new(Classifier::by_peer(idle)), []);
        let one = |sorting: &mut Sorting, now, port| {
            let (mut storage, mut forwarded) = ([0_u8; 1], None);
            let mut metas = [meta(peer(port), 1, 1)];
            let buffers = &mut [IoSliceMut::new(&mut storage)];
            let kept = sorting.sort(now, buffers, &mut metas, 1, |to, _, _| forwarded = Some(to));
            assert_eq!(kept == 0, forwarded.is_some());
            forwarded
        };
        assert_eq!(one(&mut first, now, 1), None);
        let mut second = Sorting::new(2, Judge::new(Classifier::by_peer(idle)), [1]);
        second.adopt(now, &first.encode(now)).unwrap();
        assert_eq!((one(&mut second, now, 1), one(&mut second, now, 2)), (Some(1), None));
        let mut third = Sorting::new(3, Judge::new(Classifier::by_peer(idle)), [1, 2]);
        third.adopt(now, &second.encode(now)).unwrap();
        assert_eq!([1, 2, 3].map(|port| one(&mut third, now, port)), [Some(1), Some(2), None]);
        // The first one ends: its peer begins anew.
        third.forget(1);
        assert_eq!((one(&mut third, now, 1), third.flows(3)), (None, Some(2)));
        assert_eq!(one(&mut third, now + 3 * idle, 2), None);
        assert!(!third.knows_of_none() && Sorting::new(1, Judge::Requests, []).knows_of_none());
    }
}
