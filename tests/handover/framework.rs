//! A framework that accepts by itself, in `Restarter::run_with`.

use support::keep::{Client, request};
use support::{Server, Setup, Signal, beside_others, proc};

#[test]
fn g2_what_a_framework_has_in_flight_is_answered_through_restarts() {
    let _shared = beside_others();
    let server = start(&[]);
    let mut pid = server.first_pid;
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..5).map(|_| waiting(&server)).collect();
        let (next, _) = server.replace(pid, Signal::SIGUSR2);
        for client in &mut clients {
            assert_eq!(client.answer().body, pid.to_string());
        }
        pid = next;
    }
    let mut client = waiting(&server);
    proc::signal(pid, Signal::SIGTERM);
    assert_eq!(client.answer().body, pid.to_string());
    server.wait_for_exit(pid);
}

#[test]
fn who_serves_without_a_word_is_told() {
    let _shared = beside_others();
    let server = start(&["--serve-first"]);
    assert_eq!(server.pid(), server.first_pid, "it does serve");
    server.wait_for_line(0, "never said that it is ready");
}

#[test]
fn a_loop_that_ends_by_itself_stops_the_service_and_one_that_fails_is_told() {
    let _shared = beside_others();
    let ended = Setup::example("framework").listen("127.0.0.1:0").args(&["--ends"]).run();
    assert!(ended.stderr.contains("has ended by itself"), "{}", ended.stderr);
    let failed = Setup::example("framework").listen("127.0.0.1:0").args(&["--fails"]).run();
    assert!(failed.stderr.contains("no accept loop today"), "{}", failed.stderr);
}

fn start(args: &[&str]) -> Server {
    Setup::example("framework").listen("127.0.0.1:0").args(args).start()
}

/// A client whose request has arrived, with one answered before it in the same write.
fn waiting(server: &Server) -> Client {
    let mut client = Client::connect(server.target());
    client.send([request("/pid"), request("/drained")].concat());
    client.answered_pid();
    client
}
