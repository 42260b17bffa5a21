//! Both ends in one process: the kernel does not mind.

use super::*;
use crate::sys::alone::{alone, drops_at_once, fill_fds, limit_fds, open_fds};
use std::fs::File;
use std::io::{Read, Write};

fn pair() -> (Channel, Channel) {
    let (near, far) = Channel::pair().unwrap();
    (near, Channel::from_fd(far).unwrap())
}

fn message(received: Received) -> (Vec<u8>, Vec<OwnedFd>, bool, bool) {
    match received {
        Received::End => panic!("the end instead of a message"),
        Received::Message { bytes, fds, truncated, fds_lost } => (bytes, fds, truncated, fds_lost),
    }
}

#[test]
fn messages_keep_their_boundaries_and_descriptors() {
    let (near, far) = pair();
    assert_eq!(far.recv().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let (mut reader, mut writer) = io::pipe().unwrap();
    near.send(b"one", &[writer.as_fd()]).unwrap();
    near.send(b"two", &[]).unwrap();
    writer.write_all(b"a").unwrap();
    drop(writer);
    let (bytes, mut fds, truncated, fds_lost) = message(far.recv().unwrap());
    assert_eq!((&bytes[..], fds.len(), truncated, fds_lost), (&b"one"[..], 1, false, false));
    let flags = fcntl(&fds[0], FcntlArg::F_GETFD).unwrap();
    assert_eq!(FdFlag::from_bits_retain(flags), FdFlag::FD_CLOEXEC);
    File::from(fds.remove(0)).write_all(b"b").unwrap();
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "ab");
    let (bytes, fds, ..) = message(far.recv().unwrap());
    assert_eq!((&bytes[..], fds.len()), (&b"two"[..], 0));
    assert_eq!(far.recv().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_bounds_are_reached_and_not_passed() {
    let (near, far) = pair();
    let null = File::open("/dev/null").unwrap();
    let bytes = vec![7; MAX_MESSAGE];
    let fds = vec![null.as_fd(); MAX_FDS];
    near.send(&bytes, &fds).unwrap();
    let (got, got_fds, truncated, fds_lost) = message(far.recv().unwrap());
    assert_eq!((got == bytes, got_fds.len(), truncated, fds_lost), (true, MAX_FDS, false, false));
    let longer = vec![7; MAX_MESSAGE + 1];
    let more = vec![null.as_fd(); MAX_FDS + 1];
    for error in [near.send(&longer, &[]), near.send(b"", &[]), near.send(b"x", &more)] {
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(far.recv().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_longer_message_from_elsewhere_says_that_it_was_cut() {
    let (near, far) = pair();
    let null = File::open("/dev/null").unwrap();
    SockRef::from(&near).send(&vec![7; MAX_MESSAGE + 1]).unwrap();
    near.send(b"next", &[null.as_fd()]).unwrap();
    let (bytes, _, truncated, _) = message(far.recv().unwrap());
    assert_eq!((bytes.len(), truncated), (MAX_MESSAGE, true));
    assert_eq!(message(far.recv().unwrap()).0, b"next");
}

#[test]
fn a_full_queue_blocks_and_recovers() {
    let (near, far) = pair();
    let bytes = vec![7; MAX_MESSAGE];
    let mut sent = 0;
    let error = loop {
        match near.send(&bytes, &[]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    for _ in 0..sent {
        assert_eq!(message(far.recv().unwrap()).0, bytes);
    }
    near.send(&bytes, &[]).unwrap();
}

#[test]
fn what_a_peer_said_before_it_died_is_read_before_the_end() {
    let _guard = drops_at_once();
    let (near, far) = pair();
    far.send(b"last words", &[]).unwrap();
    drop(far);
    assert_eq!(message(near.recv().unwrap()).0, b"last words");
    assert!(matches!(near.recv().unwrap(), Received::End));
    assert!(matches!(near.recv().unwrap(), Received::End));
    assert_eq!(near.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_reset_does_not_hide_the_last_words() {
    let _guard = drops_at_once();
    let (near, far) = pair();
    far.send(b"last words", &[]).unwrap();
    near.send(b"never read", &[]).unwrap();
    drop(far);
    assert_eq!(message(near.recv().unwrap()).0, b"last words");
    assert!(matches!(near.recv().unwrap(), Received::End));
}

#[test]
fn a_reset_with_nothing_said_is_the_end() {
    let _guard = drops_at_once();
    let (near, far) = pair();
    near.send(b"never read", &[]).unwrap();
    drop(far);
    assert!(matches!(near.recv().unwrap(), Received::End));
    assert!(matches!(near.recv().unwrap(), Received::End));
}

#[test]
fn only_a_channel_is_taken_for_one() {
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for fd in [OwnedFd::from(stream), file.into(), udp.into()] {
        let number = fd.as_raw_fd();
        let error = Channel::from_fd(fd).unwrap_err();
        assert!(error.to_string().contains(&format!("fd {number} is not a handover channel")), "{error}");
    }
}

#[test]
fn lost_descriptors_are_said_and_the_others_do_not_leak() {
    alone("sys::channel::tests::lost_descriptors_are_said_and_the_others_do_not_leak", &[], || {
        let null = File::open("/dev/null").unwrap();
        let (near, far) = pair();
        let before = open_fds();
        // Room for 0 to 5 of 5 descriptors.
        limit_fds(64);
        for room in 0..=5 {
            let mut filler = fill_fds();
            filler.truncate(filler.len() - room);
            near.send(b"five", &[null.as_fd(); 5]).unwrap();
            let (bytes, fds, truncated, fds_lost) = message(far.recv().unwrap());
            assert_eq!((&bytes[..], fds.len(), truncated, fds_lost), (&b"five"[..], room, false, room < 5));
            drop(fds);
            drop(filler);
            assert_eq!(open_fds(), before);
        }
        // What nobody reads is closed with the channel.
        near.send(b"unread", &[null.as_fd(); 5]).unwrap();
        drop((near, far));
        assert_eq!(open_fds().len(), before.len() - 2);
    });
}
