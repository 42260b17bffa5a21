//! What a service keeps for a connection goes with it, or the connection stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::keep::{Client, request};
use support::{Server, Setup, Signal, Turn, alone};

#[test]
fn each_connection_keeps_its_count_through_five_restarts_under_load() {
    let (_alone, server) = mover();
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(server.target())).collect();
    let ended = AtomicBool::new(false);
    let counts: Vec<u32> = thread::scope(|scope| {
        let counting: Vec<_> = clients
            .chunks_mut(10)
            .map(|clients| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !ended.load(Ordering::Relaxed) {
                        count += 1;
                        for client in &mut *clients {
                            let answer = client.get("/count");
                            assert!(!answer.closes && answer.body == count.to_string(), "{answer:?}");
                        }
                    }
                    count
                })
            })
            .collect();
        let mut pid = server.first_pid;
        for _ in 0..5 {
            (pid, _) = server.replace(pid, Signal::SIGUSR2);
        }
        ended.store(true, Ordering::Relaxed);
        counting.into_iter().map(|counting| counting.join().unwrap()).collect()
    });
    println!("{counts:?} requests on each connection");
    assert_eq!(server.generation(), 6);
}

#[test]
fn a_count_that_nobody_asks_for_goes_on_all_the_same() {
    let (_alone, server) = mover();
    let mut client = Client::connect(server.target());
    assert_eq!(client.get("/count").body, "1");
    let mut pid = server.first_pid;
    for _ in 0..3 {
        (pid, _) = server.replace(pid, Signal::SIGHUP);
    }
    assert!(client.is_untouched());
    assert_eq!(client.get("/count").body, "2");
}

#[test]
fn a_connection_with_too_much_stays_and_the_log_says_so() {
    let (_alone, server) = mover();
    let mut hoarder = Client::connect(server.target());
    hoarder.get("/hoard");
    let mut other = Client::connect(server.target());
    other.get("/count");
    let mark = server.mark();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "too much would have to move");
    told_to_close(&mut hoarder, server.first_pid);
    server.wait_for_exit(server.first_pid);
    assert_eq!(other.get("/count").body, "2");
}

#[test]
fn a_service_can_have_one_connection_stay() {
    let (_alone, server) = mover();
    let mut staying = Client::connect(server.target());
    staying.get("/stay");
    let mut other = Client::connect(server.target());
    other.get("/count");
    server.restart(Signal::SIGUSR2);
    told_to_close(&mut staying, server.first_pid);
    server.wait_for_exit(server.first_pid);
    assert_eq!(other.get("/count").body, "2");
}

/// With the answer to a request that is not lost.
fn told_to_close(client: &mut Client, pid: i32) {
    client.send(request("/drained"));
    let answer = client.answer();
    assert!(answer.closes && answer.body == pid.to_string(), "{answer:?}");
    client.wait_for_close();
}

fn mover() -> (Turn, Server) {
    let alone = alone();
    let server = Setup::example("mover").args(&["--probation", "100ms", "--idle-linger", "50s"]).start();
    (alone, server)
}
