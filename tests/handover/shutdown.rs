//! Stopping without a successor: the layer above hears it first, the queue is served, the rest is told goodbye.

use std::io::{Read, Write};
use std::net::TcpStream;

use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc};

#[test]
fn g5_readiness_turns_first_and_everything_is_still_served() {
    let _shared = beside_others();
    let server = Setup::example("stopping").listen("127.0.0.1:0").args(&["--notice", "3s"]).start();
    let mut slow = open(&server, "/sleep");
    assert_eq!(server.get("/ready"), "true");
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(mark, "stopping notice=3s");
    // Still accepting, and still answering the prober, who is told no.
    assert_eq!(server.get("/ready"), "false");
    assert_eq!(server.get("/"), "Hello World");
    server.wait_for_line(mark, "draining");
    // The request in flight holds the process, which says so.
    let line = server.wait_for_line(mark, "still draining");
    assert!(line.contains("left=1") && line.contains("http1 busy from 127.0.0.1"), "{line}");
    assert_eq!(status(&mut slow), "200");
    server.wait_for_exit(server.first_pid);
    assert!(matches!(server.exit_status(server.first_pid), nix::sys::wait::WaitStatus::Exited(_, 0)));
}

#[test]
fn g5_the_hammer_is_counted_and_in_the_exit_status() {
    let _shared = beside_others();
    let server = Setup::example("stopping").listen("127.0.0.1:0").args(&["--deadline", "200ms"]).start();
    let mut held = open(&server, "/forever");
    server.get("/held");
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(mark, "the hammer fell aborted=1");
    server.wait_for_exit(server.first_pid);
    assert!(matches!(server.exit_status(server.first_pid), nix::sys::wait::WaitStatus::Exited(_, 124)));
    let mut rest = Vec::new();
    let _ = held.read_to_end(&mut rest);
    assert!(rest.is_empty(), "an aborted request has no answer: {rest:?}");
}

fn open(server: &Server, path: &str) -> TcpStream {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let mut stream = TcpStream::connect(address).expect("accepting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).expect("open");
    stream
}

fn status(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and a close");
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}
