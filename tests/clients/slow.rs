//! Clients that are slow, silent or endless, at a restart: none holds the old process beyond its deadline, none makes the
//! others fail. Those that only wait, or have not finished asking, move.

use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use support::load::{Load, Mode, Think};
use support::slow::{Client, Endless, LARGE, Trickle};
use support::{Server, Setup, Signal, alone};

#[test]
fn g5_one_that_stops_reading_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let mut client = Client::connect(&server);
    client.stop_reading();
    let old = held_until_the_deadline(&server, 1);
    println!("cut {} bytes of its answer short", LARGE - client.read_to_the_end().min(LARGE));
    assert_ne!(server.pid(), old);
}

#[test]
fn g5_a_body_a_byte_at_a_time_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let client = Client::connect(&server);
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let sender = Trickle::of(&client, b'x', Duration::from_millis(10));
    held_until_the_deadline(&server, 1);
    assert!(!sender.end(), "it is taken on and on");
}

#[test]
fn g5_http2_streams_that_never_end_are_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let endless = Endless::begin(&server, 3);
    // One connection, however many streams.
    held_until_the_deadline(&server, 1);
    endless.are_cut();
}

#[test]
fn a_head_a_byte_a_second_moves_and_is_answered_where_it_ends() {
    let _alone = alone();
    let server = patient();
    let mut client = Client::connect(&server);
    client.send("GET /pid HTTP/1.1\r\nHost: t");
    let sender = Trickle::of(&client, b't', Duration::from_secs(1));
    // It goes on asking all the while: each generation has it in part from the one before.
    let new = [(); 4].map(|()| held_by_nobody(&server))[3];
    assert!(sender.end(), "it is closed");
    client.send("\r\n\r\n");
    assert_eq!(client.answer(), new.to_string());
    client.send("GET /pid HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer(), new.to_string(), "kept, with what it asks next");
}

#[test]
fn heads_in_part_and_preconnects_move_and_wait_as_long_as_they_like() {
    let _alone = alone();
    let server = patient();
    let begun = ["", "G", "P", "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /pid HTTP/1.1\r\nX-"];
    let mut clients = begun.map(|begun| {
        let client = Client::connect(&server);
        client.send(begun);
        client
    });
    assert_eq!(clients[3].answer(), "Hello World");
    held_by_nobody(&server);
    let new = held_by_nobody(&server);
    let rest = [
        "GET /pid HTTP/1.1\r\nHost: test\r\n\r\n",
        "ET /pid HTTP/1.1\r\nHost: test\r\n\r\n",
        "OST /pid HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody",
        "Thing: 1\r\nHost: test\r\n\r\n",
    ];
    for (client, rest) in clients.iter_mut().zip(rest) {
        client.send(rest);
        assert_eq!(client.answer(), new.to_string(), "to what ended with {rest:?}");
    }
}

#[test]
fn g2_one_that_reads_slowly_has_all_its_answer_before_the_deadline() {
    let _alone = alone();
    let server = patient();
    let mut client = Client::connect(&server);
    client.stop_reading();
    let mark = server.mark();
    let old = server.pid();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "draining connections");
    assert_eq!(client.read_large(), LARGE);
    // It has moved by the time that it asks again: nothing was in flight.
    server.wait_for_exit(old);
    assert!(matches!(server.exit_status(old), WaitStatus::Exited(_, 0)));
    client.send("GET /generation HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer(), "2");
}

#[test]
fn a_head_too_long_to_move_is_answered_here_or_cut() {
    let _alone = alone();
    let server = start();
    // Above what goes along with a connection, below what a head may have.
    let long = format!("GET /generation HTTP/1.1\r\nHost: test\r\nX-Long: {}", "x".repeat(20 << 10));
    let mut ends = Client::connect(&server);
    ends.send(&long);
    let never_ends = Client::connect(&server);
    never_ends.send(&long);
    let mut answered = None;
    let mark = server.mark();
    held_until_the_deadline_while(&server, 1, || {
        // Each of them knows by then that it is to say goodbye.
        server.wait_for_lines(mark, &["connection stays, since too much would have to move"], 2);
        ends.send("y\r\n\r\n");
        let (head, length) = ends.head();
        answered = Some((head, ends.body(length)));
    });
    let (head, body) = answered.expect("an answer");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, b"1");
}

#[test]
fn g5_one_that_asks_and_asks_and_reads_nothing_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let client = Client::connect(&server);
    client.ask_until_nothing_goes_out();
    held_until_the_deadline(&server, 1);
}

#[test]
fn g5_an_http2_client_that_never_reacts_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let mut client = Client::connect(&server);
    // No streams, and no answer to the ping that follows the first GOAWAY.
    client.send(HTTP2_HELLO);
    // It has read all that: these are its own.
    assert_eq!(client.body(4)[3], SETTINGS);
    held_until_the_deadline(&server, 1);
}

#[test]
fn an_http2_preface_in_part_moves() {
    let _alone = alone();
    let server = patient();
    let mut client = Client::connect(&server);
    client.send(&HTTP2_HELLO[..18]);
    held_by_nobody(&server);
    client.send(&HTTP2_HELLO[18..]);
    // Three bytes of length, then the kind: the server's own settings come first.
    assert_eq!(client.body(4)[3], SETTINGS);
}

#[test]
fn g5_all_of_them_at_once() {
    let _alone = alone();
    let server = start();
    let mut deaf = Client::connect(&server);
    deaf.stop_reading();
    let body = Client::connect(&server);
    body.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let body_sender = Trickle::of(&body, b'x', Duration::from_millis(10));
    let endless = Endless::begin(&server, 10);
    let mut head = Client::connect(&server);
    head.send("GET /generation HTTP/1.1\r\nHost: t");
    let head_sender = Trickle::of(&head, b't', Duration::from_millis(300));
    let mut silent = Client::connect(&server);
    held_until_the_deadline(&server, 3);
    assert!(!body_sender.end(), "it is taken on and on");
    endless.are_cut();
    assert!(head_sender.end(), "it is closed");
    head.send("\r\n\r\n");
    assert_eq!(head.answer(), "2");
    silent.send("GET /generation HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(silent.answer(), "2");
}

/// A restart under load that `count` clients stand in the way of; returns the process that they held.
fn held_until_the_deadline(server: &Server, count: usize) -> i32 {
    held_until_the_deadline_while(server, count, || ())
}

/// The same, with something to be done when the drain has begun.
fn held_until_the_deadline_while(server: &Server, count: usize, at_drain: impl FnOnce()) -> i32 {
    let (old, exit) = restart_under_load(server, |mark| {
        server.wait_for_line(mark, "draining connections");
        at_drain();
        let line = server.wait_for_line(mark, "the hammer fell");
        assert!(line.ends_with(&format!("the hammer fell aborted={count}")), "{line}");
    });
    assert!(matches!(exit.status, WaitStatus::Exited(_, 124)), "{exit:?}");
    // From before the drain began, so it is no less on any machine.
    assert!(exit.held > DEADLINE && exit.held < LATEST, "{exit:?}");
    old
}

/// A restart under load that no client stands in the way of; returns the new process.
fn held_by_nobody(server: &Server) -> i32 {
    let (_, exit) =
        restart_under_load(server, |mark| drop(server.wait_for_line(mark, "draining connections")));
    // One that is held until the deadline says so in its status.
    assert!(matches!(exit.status, WaitStatus::Exited(_, 0)), "{exit:?}");
    server.pid()
}

/// How the old process ended, and how long after it was asked to restart.
#[derive(Debug)]
struct Exit {
    status: WaitStatus,
    held: Duration,
}

fn restart_under_load(server: &Server, until: impl FnOnce(usize)) -> (i32, Exit) {
    let load: Load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    load.wait_for_requests(100);
    let (old, mark, began) = (server.pid(), server.mark(), Instant::now());
    server.restart(Signal::SIGUSR2);
    until(mark);
    server.wait_for_exit(old);
    let held = began.elapsed();
    load.wait_for_requests(100);
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    (old, Exit { status: server.exit_status(old), held })
}

fn start() -> Server {
    Setup::example("web").args(&["--drain-timeout", "2s", "--probation", "100ms"]).start()
}

/// For tests in which nobody is held until the deadline.
fn patient() -> Server {
    Setup::example("web").args(&["--drain-timeout", "60s", "--probation", "100ms"]).start()
}

/// As given to the server: long enough that what is not held ends well before it.
const DEADLINE: Duration = Duration::from_secs(2);

/// Below the default deadline of 60 s, which is what a server would keep to that has not heard of its own.
const LATEST: Duration = Duration::from_secs(45);

/// The preface, and settings without a setting: nine bytes of a frame's head.
const HTTP2_HELLO: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";

/// RFC 9113, section 6.5.
const SETTINGS: u8 = 4;
