//! A generation that says what none would say: another one loses what it could have had from it, and nothing
//! else.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::AsFd;
use std::task::{Context, Poll, Waker};

use super::Meta;
use super::frame::{self, LEFT, TABLE};
use super::inbox::Inbox;
use super::older::{Older, Word};
use super::table::MAX_LENGTH;
use crate::sys::channel::Channel;
use crate::sys::memfd;

fn unsealed(bytes: &[u8]) -> File {
    let mut file = memfd::create("test").unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn sealed(bytes: &[u8]) -> File {
    let file = unsealed(bytes);
    memfd::seal(&file).unwrap();
    file
}

/// An older generation as the newest one has it, and its end, which says anything.
fn older() -> (Older, Channel) {
    let (near, far) = Channel::pair().unwrap();
    (Older::new(1, "older".to_owned(), far).unwrap(), near)
}

#[tokio::test]
async fn frames_that_cannot_be_understood_are_counted_and_the_next_one_arrives() {
    let (mut inbox, down) = Inbox::new().unwrap();
    let newer = Channel::from_fd(down).unwrap();
    let meta = Meta { peer: ([192, 0, 2, 1], 7).into(), local: None, ecn: 0, length: 3, segment: 3 };
    let mut good = Vec::new();
    frame::begin(&mut good);
    frame::push(&mut good, &meta, b"abc");
    let mut cut = good.clone();
    cut.extend_from_slice(b"\x04\x01");
    for bytes in [&b"\x01\x01\x09"[..], b"x", &frame::announce(TABLE, 5), &[9; 1000], &cut, &good] {
        newer.send(bytes, &[]).unwrap();
    }
    let (mut arrived, mut waker) = (Vec::new(), Context::from_waker(Waker::noop()));
    let mut storage = [0; 64];
    while arrived.len() < 2 {
        let (mut buffers, mut metas) = ([IoSliceMut::new(&mut storage)], [Meta::empty()]);
        match inbox.poll(&mut waker, &mut buffers, &mut metas, |_| {}).unwrap() {
            Poll::Ready(count) => {
                assert_eq!((count, metas[0]), (1, meta));
                arrived.push(buffers[0][..metas[0].length].to_vec());
            }
            Poll::Pending => tokio::task::yield_now().await,
        }
    }
    assert_eq!(arrived, [b"abc", b"abc"]);
    assert_eq!(inbox.garbled, 2);
}

#[test]
fn a_table_that_is_none_is_not_read() {
    let unsealed = unsealed(b"12345");
    let short = sealed(b"short");
    for (length, file) in [(5, None), (5, Some(&unsealed)), (6, Some(&short)), (MAX_LENGTH + 1, Some(&short))]
    {
        let (mut older, near) = older();
        let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        near.send(&frame::announce(LEFT, length), &files).unwrap();
        near.send(&frame::announce(TABLE, length), &files).unwrap();
        let word = older.word();
        assert!(matches!(word, Word::Table { table: None, left: None }), "{length}: {word:?}");
    }
}

#[test]
fn what_is_left_belongs_to_the_table_after_it() {
    let (mut older, near) = older();
    for (kind, bytes) in [(LEFT, b"old"), (TABLE, b"one"), (LEFT, b"new"), (TABLE, b"two")] {
        near.send(&frame::announce(kind, 3), &[sealed(bytes).as_fd()]).unwrap();
    }
    let Word::Table { table: Some(table), left: Some(left) } = older.word() else { panic!("a table") };
    assert_eq!((&*table, &*left), (&b"two"[..], &b"new"[..]));
}

#[test]
fn one_that_never_ceases_to_talk_is_as_good_as_gone() {
    let (mut older, near) = older();
    while near.send(b"x", &[]).is_ok() {}
    assert!(matches!(older.word(), Word::Gone));
}

#[test]
fn a_count_is_the_last_one_and_no_word_to_act_on() {
    let (mut older, near) = older();
    for bytes in [&frame::count(7)[..], &[1, 4, 9], &frame::count(3), &frame::announce(TABLE, 9)] {
        near.send(bytes, &[]).unwrap();
    }
    assert!(matches!(older.word(), Word::Table { table: None, left: None }));
    assert_eq!(older.counted(), Some(3));
    near.send(&frame::count(u64::MAX), &[]).unwrap();
    assert!(matches!(older.word(), Word::None));
    assert_eq!(older.counted(), Some(usize::MAX));
}

#[cfg(feature = "quic")]
#[test]
fn counts_that_nobody_reads_do_not_pile_up() {
    let (inbox, down) = Inbox::new().unwrap();
    let mut newest = Older::new(1, String::new(), down).unwrap();
    for conversations in [9, 8, 7] {
        inbox.count(conversations).unwrap();
    }
    inbox.tell(b"table").unwrap();
    assert!(matches!(newest.word(), Word::Table { .. }));
    assert_eq!(newest.counted(), Some(9));
    inbox.count(6).unwrap();
    assert!(matches!(newest.word(), Word::None));
    assert_eq!(newest.counted(), Some(6));
}

#[tokio::test]
async fn what_nobody_has_read_comes_back() {
    let (inbox, down) = Inbox::new().unwrap();
    inbox.leave(b"sessions").unwrap();
    inbox.tell(b"table").unwrap();
    assert_eq!(inbox.take_back().as_deref(), Some(&b"sessions"[..]));
    assert_eq!(inbox.take_back().as_deref(), None);
    // A successor that has read it keeps it.
    inbox.leave(b"sessions").unwrap();
    inbox.tell(b"table").unwrap();
    assert!(matches!(Older::new(1, String::new(), down).unwrap().word(), Word::Table { .. }));
    assert_eq!(inbox.take_back().as_deref(), None);
}
