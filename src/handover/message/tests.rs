//! Recorded bytes, what may be skipped and what not, and any bytes at all.

use super::*;
use crate::handover::reason::{Failure, Refusal};
use crate::handover::state_reply::Withheld;
use proptest::prelude::*;

/// Bytes as release 0.1 writes them. Never edit a line; add lines for new releases.
fn recorded() -> Vec<(Message, &'static [u8])> {
    vec![
        (Message::Ready { unclaimed: vec![], takes: Takes::default(), answers: false }, b"\x01\x01"),
        (
            Message::Ready {
                unclaimed: vec![],
                takes: Takes { moves: true, ..Takes::default() },
                answers: false,
            },
            b"\x01\x01\x80\0\0\0\0",
        ),
        (
            Message::Ready {
                unclaimed: vec![],
                takes: Takes { moves: true, ..Takes::default() },
                answers: true,
            },
            b"\x01\x01\x80\0\0\0\0\x81\0\0\0\0",
        ),
        (
            Message::Ready {
                unclaimed: vec![],
                takes: Takes { moves: true, sessions: true, ..Takes::default() },
                answers: true,
            },
            b"\x01\x01\x80\0\0\0\0\x82\0\0\0\0\x81\0\0\0\0",
        ),
        (
            Message::Ready { unclaimed: vec![], takes: Takes { apart: false, ..Takes::ALL }, answers: true },
            b"\x01\x01\x80\0\0\0\0\x82\0\0\0\0\x83\0\0\0\0\x81\0\0\0\0",
        ),
        (
            Message::HandOver { unclaimed: vec![], takes: Takes { apart: false, ..Takes::ALL } },
            b"\x01\x0d\x80\0\0\0\0\x82\0\0\0\0\x83\0\0\0\0",
        ),
        (
            Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true },
            b"\x01\x01\x80\0\0\0\0\x82\0\0\0\0\x83\0\0\0\0\x85\0\0\0\0\x81\0\0\0\0",
        ),
        (
            Message::HandOver { unclaimed: vec![], takes: Takes::ALL },
            b"\x01\x0d\x80\0\0\0\0\x82\0\0\0\0\x83\0\0\0\0\x85\0\0\0\0",
        ),
        (
            Message::Move {
                connections: vec![Moved {
                    id: 1,
                    listener: 2,
                    received: vec![],
                    state: None,
                    session: Some(b"go on".to_vec().into()),
                    apart: Some(66_051),
                }],
            },
            b"\x01\x07\x05\x26\0\0\0\
            \x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0\0\x05\0\0\0go on\x03\x02\x01\0",
        ),
        (Message::Accepting, b"\x01\x87"),
        (Message::Probe, b"\x01\x88"),
        (
            Message::Restarted(Told::TakenBack(Failure::Silent { after: Duration::from_secs(5) })),
            b"\x01\x83\x0e\x06\0\0\0\x03\x085000",
        ),
        (
            Message::Move {
                connections: vec![
                    Moved {
                        id: 1,
                        listener: 258,
                        received: b"GE".to_vec(),
                        state: None,
                        session: None,
                        apart: None,
                    },
                    Moved {
                        id: 2,
                        listener: 3,
                        received: vec![],
                        state: Some(b"s".to_vec()),
                        session: None,
                        apart: None,
                    },
                ],
            },
            b"\x01\x07\x05\x35\0\0\0\
            \x01\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x02\0\0\0GE\x00\0\0\0\0\
            \x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\x01\x01\0\0\0s",
        ),
        (
            Message::HandOver {
                unclaimed: vec![],
                takes: Takes { moves: true, sessions: true, ..Takes::default() },
            },
            b"\x01\x0d\x80\0\0\0\0\x82\0\0\0\0",
        ),
        (
            Message::Move {
                connections: vec![
                    Moved {
                        id: 1,
                        listener: 2,
                        received: b"r".to_vec(),
                        state: None,
                        session: Some(b"go on".to_vec().into()),
                        apart: None,
                    },
                    Moved {
                        id: 3,
                        listener: 4,
                        received: vec![],
                        state: Some(b"s".to_vec()),
                        session: Some(vec![].into()),
                        apart: None,
                    },
                ],
            },
            b"\x01\x07\x05\x41\0\0\0\
            \x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0r\x02\0\0\0\0\x05\0\0\0go on\
            \x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\x03\x01\0\0\0s\0\0\0\0",
        ),
        (Message::Taken { ids: vec![1, 2] }, b"\x01\x08\x06\x10\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"),
        (Message::Refused { ids: vec![3] }, b"\x01\x09\x06\x08\0\0\0\x03\0\0\0\0\0\0\0"),
        (
            Message::Ready { unclaimed: vec![0, 258], takes: Takes::default(), answers: false },
            b"\x01\x01\x01\x04\0\0\0\x00\x00\x02\x01",
        ),
        (Message::Failed { reason: "no config".into() }, b"\x01\x02\x02\x09\0\0\0no config"),
        (Message::Leaving, b"\x01\x03"),
        (
            Message::Commit { probation: Duration::from_secs(1) },
            b"\x01\x04\x04\x08\0\0\0\xe8\x03\0\0\0\0\0\0",
        ),
        (Message::Settled { restart_again: false }, b"\x01\x05"),
        (Message::Settled { restart_again: true }, b"\x01\x05\x03\0\0\0\0"),
        (Message::Stop, b"\x01\x06"),
        (
            Message::StateRequest { id: 258, name: "sessions".into(), at_end: false },
            b"\x01\x81\x07\x08\0\0\0\x02\x01\0\0\0\0\0\0\x08\x08\0\0\0sessions",
        ),
        (
            Message::StateRequest { id: 1, name: "s".into(), at_end: true },
            b"\x01\x81\x07\x08\0\0\0\x01\0\0\0\0\0\0\0\x08\x01\0\0\0s\x09\0\0\0\0",
        ),
        (
            Message::State { id: 1, answer: StateAnswer::Given { tag: 3, length: 258 } },
            b"\x01\x82\x07\x08\0\0\0\x01\0\0\0\0\0\0\0\
            \x0a\x0c\0\0\0\x03\0\0\0\x02\x01\0\0\0\0\0\0",
        ),
        (
            Message::State {
                id: 1,
                answer: StateAnswer::Withheld(Withheld::TimedOut { after: Duration::from_secs(1) }),
            },
            b"\x01\x82\x07\x08\0\0\0\x01\0\0\0\0\0\0\0\x0b\x09\0\0\0\x04\xe8\x03\0\0\0\0\0\0",
        ),
        (Message::Successor { pid: 258 }, b"\x01\x0a\x0c\x04\0\0\0\x02\x01\0\0"),
        (Message::Pause { unclaimed: vec![] }, b"\x01\x0b"),
        (Message::Pause { unclaimed: vec![258] }, b"\x01\x0b\x0d\x08\0\0\0\x02\x01\0\0\0\0\0\0"),
        (Message::Resume, b"\x01\x0c"),
        (
            Message::HandOver { unclaimed: vec![3], takes: Takes { moves: true, ..Takes::default() } },
            b"\x01\x0d\x0d\x08\0\0\0\x03\0\0\0\0\0\0\0\x80\0\0\0\0",
        ),
        (Message::Restart, b"\x01\x0e"),
        (Message::Restarted(Told::Stopped), b"\x01\x83\x0e\x02\0\0\0\x04\0"),
        (
            Message::Restarted(Told::Failed(Failure::Died { how: "was killed".into() })),
            b"\x01\x83\x0e\x0c\0\0\0\x02\x03was killed",
        ),
        (
            Message::Restarted(Told::TakenBack(Failure::TimedOut { after: Duration::from_secs(1) })),
            b"\x01\x83\x0e\x06\0\0\0\x03\x041000",
        ),
        (
            Message::Restarted(Told::Failed(Failure::NotFound { reason: "no a.out".into() })),
            b"\x01\x83\x0e\x0a\0\0\0\x02\x06no a.out",
        ),
        (
            Message::Restarted(Told::Failed(Failure::NotExecutable { reason: "no ELF".into() })),
            b"\x01\x83\x0e\x08\0\0\0\x02\x07no ELF",
        ),
        (Message::Restarted(Told::Refused(Refusal::Disabled)), b"\x01\x83\x0e\x02\0\0\0\x01\x06"),
        (
            Message::Keep(KeptSocket {
                kind: "tcp".into(),
                name: "web".into(),
                requested: "127.0.0.1:0".into(),
            }),
            b"\x01\x0f\x0f\x17\0\0\0\x03\0tcp\x03\0web\x0b\x00127.0.0.1:0",
        ),
        (Message::HandDown { name: "log".into() }, b"\x01\x10\x08\x03\0\0\0log"),
        (Message::Withhold { name: "log".into() }, b"\x01\x11\x08\x03\0\0\0log"),
        (Message::Hammer, b"\x01\x12"),
        (
            Message::Drained { took: Duration::from_secs(1), moved: 2, aborted: 3, moves: Moves::default() },
            b"\x01\x86\x10\x18\0\0\0\xe8\x03\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
        ),
        (
            Message::Drained {
                took: Duration::from_secs(1),
                moved: 2,
                aborted: 3,
                moves: Moves { moved: [("http1".into(), 2)].into(), unmoved: [("busy".into(), 1)].into() },
            },
            b"\x01\x86\x10\x18\0\0\0\xe8\x03\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
              \x84\x0e\0\0\0http1:2/busy:1",
        ),
        (Message::Followers, b"\x01\x85"),
        (Message::Words { text: "oh no".into() }, b"\x01\x84\x11\x05\0\0\0oh no"),
    ]
}

#[test]
fn g7_recorded_bytes_are_written_and_read() {
    for (message, bytes) in recorded() {
        assert_eq!(message.encode(), bytes, "{message:?}");
        assert_eq!(Message::decode(bytes), Ok(Some(message)));
    }
}

#[test]
fn g7_what_may_be_skipped_is_skipped() {
    assert_eq!(Message::decode(b"\x01\x80anything"), Ok(None));
    assert_eq!(Message::decode(b"\x01\x06\x80\x02\0\0\0hi"), Ok(Some(Message::Stop)));
}

#[test]
fn what_may_not_be_skipped_is_an_error() {
    use MessageError::*;
    assert_eq!(Message::decode(b""), Err(Truncated));
    assert_eq!(Message::decode(b"\x01"), Err(Truncated));
    assert_eq!(Message::decode(b"\x02\x01"), Err(Version { version: 2 }));
    assert_eq!(Message::decode(b"\x01\x63"), Err(Kind { kind: 99 }));
    assert_eq!(Message::decode(b"\x01\x04\x09\0\0\0\0"), Err(Field { kind: 4, tag: 9 }));
    assert_eq!(Message::decode(b"\x01\x02\x02\xff\xff\xff\xff"), Err(Truncated));
    assert_eq!(Message::decode(b"\x01\x01\x01\x01\0\0\0x"), Err(Field { kind: 1, tag: 1 }));
    let twice = b"\x01\x05\x03\0\0\0\0\x03\0\0\0\0";
    assert_eq!(Message::decode(twice), Err(Field { kind: 5, tag: 3 }));
    let long = [b"\x01\x81\x08\x00\x01\0\0".as_slice(), &[b'n'; 256]].concat();
    assert_eq!(Message::decode(&long), Err(Field { kind: 129, tag: 8 }));
    assert_eq!(Message::decode(b"\x01\x81\x08\x01\0\0\0\xff"), Err(Field { kind: 129, tag: 8 }));
    assert_eq!(Message::decode(b"\x01\x82\x07\x01\0\0\0x"), Err(Field { kind: 130, tag: 7 }));
    assert_eq!(Message::decode(b"\x01\x82\x0a\x01\0\0\0x"), Err(Field { kind: 130, tag: 10 }));
    assert_eq!(Message::decode(b"\x01\x82\x0b\0\0\0\0"), Err(Field { kind: 130, tag: 11 }));
    assert_eq!(Message::decode(&vec![1; MAX_MESSAGE + 1]), Err(TooLong { length: MAX_MESSAGE + 1 }));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let reason = "é".repeat(MAX_REASON);
    let Ok(Some(Message::Failed { reason })) = Message::decode(&Message::Failed { reason }.encode()) else {
        panic!("a reason of any length is a message");
    };
    assert_eq!(reason, "é".repeat(MAX_REASON / 2));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some(message)) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
        }
    }

    #[test]
    fn any_message_survives_the_wire(
        unclaimed in proptest::collection::vec(any::<u16>(), 0..MAX_SOCKETS),
        reason in ".{0,200}",
        restart_again: bool,
        millis: u64,
        name in "\\PC{0,60}",
        tag: u32,
    ) {
        let withheld = |why| Message::State { id: millis, answer: StateAnswer::Withheld(why) };
        for message in [
            Message::Ready { unclaimed, takes: Takes { moves: restart_again, ..Takes::default() }, answers: false },
            Message::StateRequest { id: millis, name, at_end: restart_again },
            Message::State { id: millis, answer: StateAnswer::Given { tag, length: millis } },
            withheld(Withheld::Failed { reason: reason.clone() }),
            withheld(Withheld::TooLarge { limit: millis }),
            withheld(Withheld::TimedOut { after: Duration::from_millis(millis) }),
            Message::Drained {
                took: Duration::from_millis(millis),
                moved: millis,
                aborted: 0,
                moves: Moves { moved: [("http1".into(), millis)].into(), unmoved: [].into() },
            },
            Message::Words { text: reason.clone() },
            Message::Failed { reason },
            Message::Settled { restart_again },
            Message::Commit { probation: Duration::from_millis(millis) },
        ] {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
        }
    }
}
