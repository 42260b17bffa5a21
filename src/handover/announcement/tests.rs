//! What is written is read again, and nothing else is taken for an announcement.

use super::*;
use crate::handover::history::{FailureKind, PastFailure};
use crate::handover::moves::Moves;
use proptest::prelude::*;

fn example() -> Announcement {
    Announcement {
        pid_file: Some(8),
        sockets: vec![
            AnnouncedSocket {
                fd: 3,
                cookie: 1001,
                kind: "tcp".into(),
                name: "web".into(),
                requested: "127.0.0.1:0".into(),
                address: "127.0.0.1:43210".into(),
                lock: None,
            },
            AnnouncedSocket {
                fd: 4,
                cookie: 1002,
                kind: "unix".into(),
                name: String::new(),
                requested: OsString::from_vec(b"unix:/run/\xff".to_vec()),
                address: OsString::from_vec(b"unix:/run/\xff".to_vec()),
                lock: Some(5),
            },
        ],
        ..Announcement::new(2, 4711, 7, (6, 3001), "/srv/my app/hello".into(), "/srv".into())
    }
}

fn example_with_history() -> Announcement {
    let last_failure =
        PastFailure { kind: FailureKind::TakenBack, at: 1_700_000_000_000, reason: "it fell".into() };
    let history = History {
        born: 1_600_000_000_000,
        settled: 1,
        failed: 2,
        taken_back: 3,
        refused: 4,
        moved: 5,
        aborted: 6,
        asked: 1_700_000_000_001,
        last_failure: Some(last_failure),
        moves: Moves::default(),
    };
    Announcement { control: Some(11), history: Some(history), ..example() }
}

fn example_with_moves() -> Announcement {
    let mut example = example_with_history();
    let moves = Moves {
        moved: [("http1+tls".into(), 3), ("stream".into(), 2)].into(),
        unmoved: [("busy".into(), 1)].into(),
    };
    example.history.as_mut().expect("a history").moves = moves;
    example
}

fn example_with_state() -> Announcement {
    let named = |fd, name: &str| AnnouncedDescriptor { fd, identity: (259, 70_000), name: name.into() };
    Announcement { gives_state: true, descriptors: vec![named(9, "access log"), named(10, "")], ..example() }
}

fn example_of_a_supervisor() -> Announcement {
    let peer = AnnouncedPeer { channel: (9, 3002), pidfd: 10, pid: 4712 };
    Announcement { supervised: Some(Orphans::ServeOn), peer: Some(peer), ..example() }
}

/// As release 0.1 writes it. Never edit it; add a line for a new release.
const RECORDED: &str = "1 generation=2 predecessor=4711 pidfd=7 channel=6/3001 program=%2fsrv%2fmy%20app%2fhello \
     directory=%2fsrv pid-file=8 socket=3/1001/tcp/web/127.0.0.1:0/127.0.0.1:43210/ \
     socket=4/1002/unix//unix:%2frun%2f%ff/unix:%2frun%2f%ff/5";

/// What 0.1 adds to it where there is state and there are descriptors. Never edit it either.
const RECORDED_STATE: &str = " state=1 fd=9/259/70000/access%20log fd=10/259/70000/";

/// What 0.1 adds to it under a supervisor. Never edit it either.
const RECORDED_SUPERVISOR: &str = " orphans=serve-on peer=9/3002/10/4712";

/// And where that goes on with operators. Never edit it either.
const RECORDED_OPERATORS: &str = " operators=1";

/// And where there is a control socket. Never edit it either.
const RECORDED_HISTORY: &str =
    " control=11 history=1600000000000/1/2/3/4/5/6/1700000000001/2/1700000000000/it%20fell";

/// And where connections have moved. Never edit it either.
const RECORDED_MOVES: &str = " moves=http1+tls:3,stream:2/busy:1";

/// With the numbers and cookies of a long life.
fn listening(count: usize, address: impl Fn(usize) -> String, lock: bool) -> Announcement {
    let count = i32::try_from(count).unwrap();
    let sockets = (0..count).map(|at| {
        let address: OsString = address(usize::try_from(at).unwrap()).into();
        AnnouncedSocket {
            fd: 100 + at,
            cookie: 10_000_000,
            kind: "tcp".into(),
            name: String::new(),
            requested: address.clone(),
            address,
            lock: lock.then_some(100 + count + at),
        }
    });
    Announcement { sockets: sockets.collect(), ..example_with_history() }
}

#[test]
fn thousands_of_sockets_fit_and_a_few_are_written_as_ever() {
    let ipv4 = |at| format!("127.0.0.1:{}", 10_000 + at);
    for count in [FEW, FEW + 1, 1500, 1900] {
        let many = listening(count, ipv4, false);
        let value = many.encode().unwrap();
        assert_eq!(value.to_str().unwrap().contains(SAME_WORD), count > FEW);
        assert_eq!(Announcement::decode(&value).unwrap(), many);
    }
    // The longest paths that there are.
    let path = |at| format!("unix:/run/{at:0>97}");
    let many = listening(500, path, true);
    assert_eq!(Announcement::decode(&many.encode().unwrap()).unwrap(), many);
    assert!(many.sockets.iter().map(AnnouncedSocket::length).sum::<usize>() < MAX_SOCKETS_LENGTH);
    let too_many = listening(MAX_SOCKETS + 1, ipv4, false);
    assert_eq!(too_many.encode(), Err(AnnouncementError::TooMany));
}

/// In between the name and the address.
const SAME_WORD: &str = "/=/";

#[test]
fn what_sockets_may_take_leaves_room_for_the_rest() {
    let named = |fd| AnnouncedDescriptor { fd, identity: (259, 70_000_000), name: "n".repeat(MAX_NAME) };
    let long = OsString::from(format!("/{}", "p".repeat(4095)));
    let rest = Announcement {
        descriptors: (5000..5000 + 64).map(named).collect(),
        program: long.clone(),
        directory: long,
        ..example_with_history()
    };
    let in_full = rest.encode().unwrap().len();
    assert!(in_full + MAX_SOCKETS_LENGTH <= MAX_ANNOUNCEMENT, "{in_full}");
}

#[test]
fn g7_recorded_bytes_are_written_and_read() {
    let supervised = format!("{RECORDED}{RECORDED_SUPERVISOR}");
    assert_eq!(example_of_a_supervisor().encode().unwrap(), *supervised);
    assert_eq!(Announcement::decode(OsStr::new(&supervised)).unwrap(), example_of_a_supervisor());
    let takes_operators = format!("{supervised}{RECORDED_OPERATORS}");
    let example_of_both = Announcement { takes_operators: true, ..example_of_a_supervisor() };
    assert_eq!(example_of_both.encode().unwrap(), *takes_operators);
    assert_eq!(Announcement::decode(OsStr::new(&takes_operators)).unwrap(), example_of_both);
    assert_eq!(example().encode().unwrap(), RECORDED);
    assert_eq!(Announcement::decode(OsStr::new(RECORDED)).unwrap(), example());
    let with_state = format!("{RECORDED}{RECORDED_STATE}");
    assert_eq!(example_with_state().encode().unwrap(), *with_state);
    assert_eq!(Announcement::decode(OsStr::new(&with_state)).unwrap(), example_with_state());
    let with_history = format!("{RECORDED}{RECORDED_HISTORY}");
    assert_eq!(example_with_history().encode().unwrap(), *with_history);
    assert_eq!(Announcement::decode(OsStr::new(&with_history)).unwrap(), example_with_history());
    let with_moves = format!("{with_history}{RECORDED_MOVES}");
    assert_eq!(example_with_moves().encode().unwrap(), *with_moves);
    assert_eq!(Announcement::decode(OsStr::new(&with_moves)).unwrap(), example_with_moves());
    let unreadable = format!("{with_history} moves=3");
    assert_eq!(Announcement::decode(OsStr::new(&unreadable)).unwrap(), example_with_history());
}

#[test]
fn g7_a_history_that_cannot_be_read_is_none() {
    for word in ["history=", "history=1/2", "history=1/2/3/4/5/6/x/8", "history=1/2/3/4/5/6/7/8/1/9/%zz"] {
        let read = Announcement::decode(OsStr::new(&format!("{RECORDED} {word}"))).unwrap();
        assert_eq!(read.history, None, "{word}");
    }
    let newer = format!("{RECORDED}{RECORDED_HISTORY}/more/of/it");
    assert_eq!(Announcement::decode(OsStr::new(&newer)).unwrap(), example_with_history());
    let unknown_kind = format!("{RECORDED} history=1/2/3/4/5/6/7/8/99/9/why");
    let read = Announcement::decode(OsStr::new(&unknown_kind)).unwrap().history.unwrap();
    assert_eq!((read.settled, read.last_failure), (2, None));
}

#[test]
fn g7_an_unknown_key_is_skipped() {
    let newer = format!("{RECORDED} supervisor=12 socket-options=3/4");
    assert_eq!(Announcement::decode(OsStr::new(&newer)).unwrap(), example());
    let newer = format!("{RECORDED} state=2 operators=2");
    assert_eq!(Announcement::decode(OsStr::new(&newer)).unwrap(), example());
}

#[test]
fn what_cannot_be_acted_on_names_the_word() {
    let read = |text: &str| Announcement::decode(OsStr::new(text)).unwrap_err().to_string();
    assert!(read("2 generation=1").contains("version 2"), "{}", read("2 generation=1"));
    assert!(read("").contains("malformed"));
    assert!(read("1 generation=x").contains("generation=x"));
    assert!(read("1 nonsense").contains("nonsense"));
    assert!(read("1 socket=3/1/tcp").contains("socket=3/1/tcp"));
    assert!(read("1 socket=1/1/tcp/a/b/c/").contains("socket=1/1"), "fd 1 is standard output");
    assert!(read("1 generation=2").contains("lacks predecessor"));
    assert!(read("1 fd=9/259/70000").contains("fd=9/259/70000"));
    assert!(read("1 fd=2/1/1/log").contains("fd=2/1/1/log"));
    assert!(read(&format!("1 fd=9/1/1/{}", "n".repeat(MAX_NAME + 1))).contains("fd=9/1/1/nnn"));
    assert!(read(&format!("{RECORDED} fd=8/1/1/log")).contains("fd 8 twice"));
    let many = " fd=9/1/1/log".repeat(MAX_DESCRIPTORS + 1);
    assert!(read(&format!("1{many}")).contains("more than 64 descriptors"));
    assert!(read(&RECORDED.replace("socket=4/", "socket=3/")).contains("fd 3 twice"));
    assert!(read(&RECORDED.replace("pidfd=7", "pidfd=7 pidfd=8")).contains("pidfd=8"));
    assert!(read(&"x".repeat(MAX_ANNOUNCEMENT + 1)).contains("the limit is"));
    let many = " socket=3/1/tcp/a/b/c/".repeat(MAX_SOCKETS + 1);
    assert_eq!(Announcement::decode(OsStr::new(&format!("1{many}"))), Err(AnnouncementError::TooMany));
}

#[test]
fn what_is_over_the_bounds_is_not_written() {
    let mut announcement = example();
    announcement.program = "x".repeat(MAX_ANNOUNCEMENT).into();
    assert!(matches!(announcement.encode(), Err(AnnouncementError::TooLong { .. })));
    announcement.sockets = vec![announcement.sockets[0].clone(); MAX_SOCKETS + 1];
    assert_eq!(announcement.encode(), Err(AnnouncementError::TooMany));
    let mut announcement = example_with_state();
    announcement.descriptors = vec![announcement.descriptors[0].clone(); MAX_DESCRIPTORS + 1];
    assert_eq!(announcement.encode(), Err(AnnouncementError::TooManyDescriptors));
}

proptest! {
    #[test]
    fn any_string_is_read_without_a_panic(text in "(1 )?([a-z]{0,12}=?[ -~é]{0,40} ?){0,8}") {
        let _ = Announcement::decode(OsStr::new(&text));
    }

    #[test]
    fn any_bytes_survive(program in proptest::collection::vec(1u8.., 0..80), name in "\\PC{0,40}") {
        let mut announcement = example_with_state();
        announcement.program = OsString::from_vec(program);
        announcement.descriptors[0].name.clone_from(&name);
        announcement.sockets[0].name = name;
        let decoded = Announcement::decode(&announcement.encode().unwrap());
        prop_assert_eq!(decoded, Ok(announcement));
    }
}
