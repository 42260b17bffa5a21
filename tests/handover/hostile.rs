//! The other side of the handover says what it must not say, or nothing: neither side is harmed by it.

use std::fs;
use std::net::{TcpListener, TcpStream};

use crate::forged::{self, Predecessor, hand_down};
use heirloom::handover::message::{MAX_MESSAGE, Message, OPTIONAL, Takes, VERSION};
use support::load::{Mode, Report, Think};
use support::{Server, Setup, Signal, alone, beside_others, says};

#[test]
fn a_successor_that_babbles_before_it_is_ready_is_killed() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "100ms"]).start();
    let load = server.load(Mode::new_connections(8, Think::millis(0, 2)));
    load.wait_for_requests(50);
    for what in ["garbage", "oversized", "future", "unknown", "babble"] {
        hostile(&server, &format!("before {what}"));
        let mark = server.mark();
        let line = server.restart_in_vain(Signal::SIGHUP);
        assert!(line.contains("broke the protocol"), "{what}: {line}");
        println!("{line}");
        let said = server.lines(mark, "cannot be understood").len();
        assert!((1..FEW).contains(&said), "{what}: {said} lines of it in the log");
    }
    recovers(&server);
    load.wait_for_requests(50);
    finish(load);
}

#[test]
fn a_successor_that_says_nothing_of_use_before_it_is_ready_runs_out_of_time() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "100ms", "--start-timeout", "3s"]).start();
    let load = server.load(Mode::new_connections(8, Think::millis(0, 2)));
    hostile(&server, "before skipped");
    let line = server.restart_in_vain(Signal::SIGHUP);
    assert!(line.contains("was not ready after 3s"), "{line}");
    recovers(&server);
    load.wait_for_requests(50);
    finish(load);
}

#[test]
fn a_successor_that_babbles_once_it_is_ready_is_not_heard() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "100ms"]).start();
    let load = server.load(Mode::new_connections(8, Think::millis(0, 2)));
    load.wait_for_requests(50);
    for what in ["garbage", "oversized", "future", "unknown", "babble", "skipped", "ready"] {
        hostile(&server, &format!("after {what}"));
        let (old, mark) = (server.pid(), server.mark());
        server.restart(Signal::SIGHUP);
        server.wait_for_line(mark, "successor settled");
        server.wait_for_exit(old);
        let said = server.lines(mark, "cannot be understood").len() + server.lines(mark, "out of turn").len();
        assert!(said < FEW, "{what}: {said} lines of it in the log");
        // What a hostile one starts must not be hostile as well.
        recovers(&server);
    }
    finish(load);
}

#[test]
fn a_predecessor_that_does_not_answer_is_left() {
    unanswered(|_| {});
}

#[test]
fn a_predecessor_that_hangs_up_is_left() {
    unanswered(Predecessor::hang_up);
}

#[test]
fn a_predecessor_that_babbles_is_left() {
    unanswered(|predecessor| {
        predecessor.say_bytes(&[0xA5; 300]);
        predecessor.say_bytes(&[VERSION; MAX_MESSAGE + 1]);
        predecessor.say_bytes(&[VERSION + 1, 4]);
        predecessor.say_bytes(&[VERSION, OPTIONAL - 1]);
        // Its own words, back to it.
        predecessor.say(&Message::Ready { unclaimed: vec![], takes: Takes::default(), answers: false });
        predecessor.say(&Message::Leaving);
    });
}

#[test]
fn a_predecessor_that_floods_is_left() {
    unanswered(|predecessor| predecessor.flood(&[0xA5; 300], FLOOD));
    unanswered(|predecessor| predecessor.flood(&[VERSION, OPTIONAL], FLOOD));
    unanswered(|predecessor| predecessor.flood(&Message::Stop.encode(), FLOOD));
}

#[test]
fn a_predecessor_that_dies_is_taken_over_from() {
    let _alone = alone();
    let mut predecessor = Predecessor::mortal();
    let (listener, server) = successor_of(&predecessor);
    // What waited for the predecessor is served by its successor.
    let waiting = server.target().clone();
    let client = std::thread::spawn(move || support::load::fetch(&waiting, "/generation", support::PATIENCE));
    assert_eq!(
        predecessor.hear(),
        Some(Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true })
    );
    predecessor.die();
    assert_eq!(client.join().unwrap().expect("an answer").body, "2");
    assert_eq!(server.pid(), server.first_pid);
    drop((predecessor, listener));
}

#[test]
fn a_predecessor_that_babbles_in_probation_is_not_heard() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let (listener, server) = successor_of(&predecessor);
    assert_eq!(
        predecessor.hear(),
        Some(Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true })
    );
    predecessor.say_bytes(&[0xA5; 300]);
    predecessor.say(&Message::Commit { probation: std::time::Duration::from_secs(60) });
    assert_eq!(server.generation(), 2);
    predecessor.say_bytes(&[VERSION + 1, 5]);
    predecessor.say(&Message::Failed { reason: "nonsense".to_owned() });
    predecessor.say(&Message::Settled { restart_again: false });
    // Settled, and so free to restart.
    server.restart(Signal::SIGUSR2);
    assert_eq!(server.generation(), 3);
    drop((predecessor, listener));
}

/// Lines in a log that a person overlooks nothing else for.
const FEW: usize = 100;

/// Far more than a channel buffers.
const FLOOD: usize = 5_000;

/// The successor says READY, is not told to accept, and leaves at its start deadline with nothing taken.
fn unanswered(disturb: impl FnOnce(&mut Predecessor) + Send) {
    let _alone = alone();
    let mut predecessor = Predecessor::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    hand_down(&listener);
    let address = listener.local_addr().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let value = predecessor.announces(vec![forged::tcp(&listener, address)]);
    let setup = Setup::hello().listen(&address.to_string()).args(&["--start-timeout", "1s"]);
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| setup.env("HEIRLOOM", value).run());
        assert_eq!(
            predecessor.hear(),
            Some(Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true })
        );
        disturb(&mut predecessor);
        ended.join().unwrap()
    });
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("hello: the predecessor did not answer"), "{ended:#?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    assert!(ended.stderr.lines().count() < FEW, "the log is flooded: {} bytes", ended.stderr.len());
    assert!(!ended.status.success());
    listener.set_nonblocking(true).unwrap();
    listener.accept().expect("nothing was taken");
}

fn successor_of(predecessor: &Predecessor) -> (TcpListener, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    hand_down(&listener);
    let address = listener.local_addr().unwrap();
    let value = predecessor.announces(vec![forged::tcp(&listener, address)]);
    (listener, Setup::hello().listen(&address.to_string()).env("HEIRLOOM", value).start())
}

fn hostile(server: &Server, fault: &str) {
    server.binary.become_example("hostile");
    fs::write(server.binary.path().with_file_name("fault"), fault).unwrap();
}

/// A good binary again: the next restart works.
fn recovers(server: &Server) {
    server.binary.become_example("hello");
    let (old, mark) = (server.pid(), server.mark());
    server.restart(Signal::SIGUSR2);
    server.wait_for_exit(old);
    assert_eq!(server.lines(mark, says::FAILED), Vec::<String>::new());
}

fn finish(load: support::load::Load) {
    let report = load.stop();
    println!("{}\n{report}", Report::HEADER);
    report.assert_none_failed();
}
