//! What a fuzzer feeds: the frames of another generation, and datagrams to sort.

use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use super::Meta;
use super::classifier::{Classifier, Judge, Owner};
use super::frame;
use super::sorting::Sorting;
use super::table::Table;

/// A frame of another generation: what was understood is written as it was read. And the same bytes as a
/// table.
pub fn flow_frames(bytes: &[u8]) {
    let mut rest = frame::records(bytes);
    let (mut again, mut count) = (Vec::new(), 0);
    frame::begin(&mut again);
    while let Ok(Some((meta, contents))) = frame::next(&mut rest) {
        assert!(meta.length == contents.len() && meta.segment <= meta.length);
        frame::push(&mut again, &meta, contents);
        count += 1;
    }
    let mut rest = frame::records(&again);
    for _ in 0..count {
        frame::next(&mut rest).expect("our own").expect("as many");
    }
    assert!(rest.is_empty());
    let now = Instant::now();
    let mut table = Table::new(Duration::from_secs(30));
    let _ = table.adopt(now, bytes, |generation| generation < 8);
    let mut other = Table::new(Duration::from_secs(30));
    other.adopt(now, &table.encode(now), |_| true).expect("our own");
    let _ = frame::announced(bytes);
}

/// Datagrams, coalesced as the first byte says, of which each says whose it is: none is lost and none twice.
pub fn sorting(bytes: &[u8]) {
    let Some((segment, bytes)) = bytes.split_first() else { return };
    let owner = |bytes: &[u8]| match bytes.first() {
        Some(number @ 1..=9) => Owner::Generation(u64::from(*number)),
        Some(0) | None => Owner::New,
        Some(_) => Owner::Unknown,
    };
    let judge = Judge::new(Classifier::by(move |bytes, _| owner(bytes)));
    let mut sorting = Sorting::new(5, judge, [2, 4]);
    let mut storage = bytes.to_vec();
    let segment = usize::from(*segment).min(bytes.len());
    let mut metas = [Meta { length: bytes.len(), segment, ..Meta::empty() }];
    let mut seen = Vec::new();
    let mut datagrams = 0;
    let kept = {
        let mut buffers = [IoSliceMut::new(&mut storage)];
        sorting.sort(Instant::now(), &mut buffers, &mut metas, 1, |generation, meta, bytes| {
            assert!(generation == 2 || generation == 4);
            assert_eq!(meta.length, bytes.len());
            datagrams += meta.datagrams();
            seen.extend_from_slice(bytes);
        })
    };
    if kept == 1 {
        datagrams += metas[0].datagrams();
        seen.extend_from_slice(&storage[..metas[0].length]);
    }
    let mut before = bytes.to_vec();
    before.sort_unstable();
    seen.sort_unstable();
    assert_eq!(before, seen);
    let whole = Meta { length: bytes.len(), segment, ..Meta::empty() };
    assert_eq!(datagrams, whole.datagrams());
}
