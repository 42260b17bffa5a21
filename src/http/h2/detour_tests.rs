//! What goes by a detour, wherever it begins and however it comes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::carried::Carried;
use super::super::frame::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, Settings};
use super::*;

/// Frames of requests, on as many streams; bodies of some come between.
fn requests(lengths: &[(usize, bool)]) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    for (at, (length, has_body)) in lengths.iter().enumerate() {
        let stream = at as u32 * 2 + 1;
        let (mut head, mut body) = (Vec::new(), Vec::new());
        let flags = if *has_body { END_HEADERS } else { END_HEADERS | END_STREAM };
        push(&mut head, HEADERS, flags, stream, &vec![at as u8; *length]);
        frames.push((stream, head));
        if *has_body {
            push(&mut body, DATA, END_STREAM, stream, &vec![0xff; *length]);
            frames.push((stream, body));
        }
    }
    // Bodies come late, behind other heads.
    for at in (0..frames.len().saturating_sub(2)).step_by(3) {
        if frames[at].0 == frames[at + 1].0 && frames[at].1[3] == HEADERS && frames[at + 2].1[3] == HEADERS {
            frames.swap(at + 1, at + 2);
        }
    }
    frames
}

fn by_stream(mut bytes: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let mut streams = BTreeMap::<u32, Vec<u8>>::new();
    while let Some(head) = bytes.first_chunk::<HEAD>().map(Head::of) {
        let (frame, rest) = bytes.split_at(head.whole());
        streams.entry(head.stream).or_default().extend(frame);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    streams
}

fn quiet_ledger() -> Followed {
    let carried = Carried {
        client: Settings::default(),
        own: Settings::default(),
        send_window: 65_535,
        receive_window: 65_535,
        last_stream: 0,
    };
    Followed::resumed(&carried)
}

/// Everything that hyper may be given, in pieces of that size.
fn give(detour: &mut Detour, followed: &mut Followed, size: usize, given: &mut Vec<u8>) {
    loop {
        let mut space = vec![0; size];
        let mut buf = ReadBuf::new(&mut space);
        match detour.give(followed, 0, &mut buf) {
            Given::Nothing => return,
            Given::Some | Given::TooMuch => given.extend_from_slice(buf.filled()),
        }
    }
}

fn write_injected(detour: &mut Detour, followed: &mut Followed) {
    detour.wrote_injected(detour.injected().len(), followed);
}

fn ack() -> Vec<u8> {
    let mut ack = Vec::new();
    push(&mut ack, SETTINGS, ACK, 0, &[]);
    ack
}

proptest! {
    /// Given up in the end: hyper has all, of each stream in order, and no ACK that it has not asked for.
    #[test]
    fn all_comes_through_and_no_ack(
        lengths in proptest::collection::vec((0_usize..60, any::<bool>()), 1..12),
        begins in 0_usize..400,
        acked in 0_usize..12,
        piece in 1_usize..90,
        size in 1_usize..90,
    ) {
        let frames = requests(&lengths);
        let all: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let begins = begins.min(all.len());
        let mut followed = quiet_ledger();
        followed.read(&all[..begins], 0);
        let mut given = all[..begins].to_vec();
        let mut detour = Detour::leaving(48 << 10);
        write_injected(&mut detour, &mut followed);
        // The ACK comes between two frames behind that.
        let ends = frames.iter().scan(0, |at, (_, bytes)| { *at += bytes.len(); Some(*at) });
        let mut places: Vec<_> = ends.filter(|end| *end >= begins).collect();
        places.push(all.len());
        let place = places[acked.min(places.len() - 1)];
        let rest = [&all[begins..place], &ack(), &all[place..]].concat();
        for piece in rest.chunks(piece) {
            detour.read(piece);
            give(&mut detour, &mut followed, size, &mut given);
        }
        prop_assert!(detour.is_holding());
        let streams = by_stream(&given);
        prop_assert!(streams.values().map(Vec::len).sum::<usize>() <= all.len());
        prop_assert!(!detour.is_over(&followed));

        detour.give_up(&followed);
        give(&mut detour, &mut followed, size, &mut given);
        write_injected(&mut detour, &mut followed);
        detour.read(&ack());
        give(&mut detour, &mut followed, size, &mut given);
        prop_assert_eq!(by_stream(&given), by_stream(&all));
        prop_assert!(detour.is_over(&followed));
    }

    /// Gone instead: what hyper had and what goes along is all there was.
    #[test]
    fn what_hyper_has_not_had_goes_along(
        lengths in proptest::collection::vec((0_usize..60, any::<bool>()), 1..12),
        piece in 1_usize..90,
    ) {
        let frames = requests(&lengths);
        let all: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let (mut followed, mut given) = (quiet_ledger(), Vec::new());
        let mut detour = Detour::leaving(200);
        write_injected(&mut detour, &mut followed);
        for piece in [ack(), all.clone()].concat().chunks(piece) {
            detour.read(piece);
            give(&mut detour, &mut followed, 50, &mut given);
        }
        prop_assert!(detour.is_quiet(&followed));
        prop_assert!(given.is_empty(), "all are new");
        prop_assert_eq!(detour.is_full(), all.len() > 200);
        prop_assert_eq!(detour.into_unread(), all);
    }
}

#[test]
fn late_frames_are_waited_for_by_one_more_round_trip() {
    let mut followed = quiet_ledger();
    let mut detour = Detour::leaving(48 << 10);
    write_injected(&mut detour, &mut followed);
    detour.read(&ack());
    give(&mut detour, &mut followed, 100, &mut Vec::new());
    assert!(detour.is_quiet(&followed));
    detour.repeat_barrier();
    assert!(!detour.is_quiet(&followed) && detour.is_leaving());
    write_injected(&mut detour, &mut followed);
    assert!(!detour.is_quiet(&followed));
    detour.read(&ack());
    give(&mut detour, &mut followed, 100, &mut Vec::new());
    assert!(detour.is_quiet(&followed));
}

#[test]
fn uploads_that_are_held_leave_window_for_those_that_are_open_and_come_back_as_hyper_bears_them() {
    let mut followed = quiet_ledger();
    let mut given = Vec::new();
    let frame = |kind, flags, stream, payload: &[u8]| {
        let mut frame = Vec::new();
        push(&mut frame, kind, flags, stream, payload);
        frame
    };
    let open = frame(HEADERS, END_HEADERS, 1, b"open");
    followed.read(&open, 0);
    let mut detour = Detour::leaving(1 << 20);
    write_injected(&mut detour, &mut followed);
    let uploads: Vec<u8> = (0..4)
        .flat_map(|at| {
            let head = frame(HEADERS, END_HEADERS, 2 * at + 3, b"held");
            [head, frame(DATA, END_STREAM, 2 * at + 3, &[7; 16_000])].concat()
        })
        .collect();
    detour.read(&[ack(), uploads.clone()].concat());
    give(&mut detour, &mut followed, 5000, &mut given);
    assert!(given.is_empty());
    detour.credit(&mut followed);
    assert_eq!(detour.injected(), frame(WINDOW_UPDATE, 0, 0, &64_000_u32.to_be_bytes()));
    write_injected(&mut detour, &mut followed);
    detour.credit(&mut followed);
    assert!(detour.injected().is_empty(), "it is given back once");

    // All that hyper's window has room for is used by the one that is open.
    let body = (0..4).flat_map(|_| frame(DATA, 0, 1, &[1; 15_000])).collect::<Vec<_>>();
    detour.read(&body);
    give(&mut detour, &mut followed, 5000, &mut given);
    assert_eq!(given, body);
    given.clear();
    detour.give_up(&followed);
    write_injected(&mut detour, &mut followed);
    // The ACK, a PING and another window do not wait; the rest of the body does.
    let ping = frame(PING, 0, 0, &[0; 8]);
    let window = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
    let rest = frame(DATA, END_STREAM, 1, &[2; 500]);
    detour.read(&[ack(), ping.clone(), window.clone(), rest.clone()].concat());
    give(&mut detour, &mut followed, 5000, &mut given);
    let heads = &uploads[..9 + 4];
    assert_eq!(given, [heads, &ping, &window].concat());

    // What hyper gives pays the credit first.
    for (more, told) in [(20_000_u32, None), (40_000, None), (10_000, Some(6_000_u32))] {
        assert!(detour.collects(&followed));
        let update = frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        assert_eq!(detour.collect(&[&update[..], b"more"].concat(), &mut followed), Some(13));
        let told = told.map(|told| frame(WINDOW_UPDATE, 0, 0, &told.to_be_bytes())).unwrap_or_default();
        assert_eq!(detour.injected(), told);
        write_injected(&mut detour, &mut followed);
        give(&mut detour, &mut followed, 5000, &mut given);
    }
    assert!(!detour.collects(&followed) && detour.is_over(&followed));
    let all = [&uploads[..], &rest].concat();
    let [mut given, mut all] = [&given[..], &all[..]].map(by_stream);
    // On the whole connection, and before.
    given.remove(&0);
    all.get_mut(&1).unwrap().splice(0..0, window);
    assert_eq!(given, all);
    assert_eq!(followed.ledger.carried().receive_window, 65_535 + 64_000 + 6_000 - 4 * 16_000 - 60_500);
}
