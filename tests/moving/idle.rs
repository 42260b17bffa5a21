//! Idle connections go on in the successor, and their clients notice nothing.

use std::collections::BTreeMap;

use support::keep::Client;
use support::load::Target;
use support::proc::{Footprint, affordable};
use support::{PATIENCE, Setup, Signal, alone};

#[test]
fn ten_thousand_idle_connections_through_five_restarts() {
    let _alone = alone();
    let count = affordable(10_000);
    let server = Setup::hello().args(&["--probation", "100ms"]).start();
    let mut clients = idle(server.target(), count);
    let mut pid = server.first_pid;
    for restart in 1..=5 {
        let gone;
        (pid, gone) = server.replace(pid, Signal::SIGUSR2);
        println!("restart {restart}: {count} connections, the old process gone {gone:?} after settling");
        let touched = clients.iter().filter(|client| !client.is_untouched()).count();
        assert_eq!(touched, 0, "connections that were closed, or told something");
    }
    assert_eq!(served_by(&mut clients), BTreeMap::from([(pid, count)]));
    assert_eq!(server.generation(), 6);
}

#[test]
fn idle_connections_on_a_unix_socket_and_another_listener() {
    let _alone = alone();
    let setup = Setup::hello().args(&["--probation", "0ms"]);
    let path = format!("unix:{}", setup.dir().join("hello.sock").display());
    let server = setup.listen(&path).listen("127.0.0.1:0").start();
    let mut clients: Vec<_> = server.targets.iter().flat_map(|target| idle(target, 200)).collect();
    let mut pid = server.first_pid;
    for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP] {
        (pid, _) = server.replace(pid, signal);
    }
    assert_eq!(served_by(&mut clients), BTreeMap::from([(pid, clients.len())]));
}

#[test]
fn sessions_keep_their_count_and_their_half_lines() {
    let _alone = alone();
    let server = Setup::bare("echo").start();
    let mut sessions: Vec<_> = (0..200).map(|_| Client::connect(server.target())).collect();
    let mut pid = server.first_pid;
    for restart in 0..5 {
        for session in &mut sessions {
            session.send(format!("whole {restart}\nhalf {restart}"));
            assert_eq!(
                session.read_until(b"\n"),
                format!("{}: whole {restart}\n", 2 * restart + 1).as_bytes()
            );
        }
        (pid, _) = server.replace(pid, Signal::SIGHUP);
        for session in &mut sessions {
            assert!(session.is_untouched());
            session.send(" rest\n");
            let line = format!("{}: half {restart} rest\n", 2 * restart + 2);
            assert_eq!(session.read_until(b"\n"), line.as_bytes());
        }
    }
}

#[test]
fn nothing_grows_with_the_connections_that_came_along() {
    let _alone = alone();
    let server = Setup::hello().args(&["--probation", "0ms"]).start();
    let mut clients = idle(server.target(), 500);
    let (mut pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
    let before = Footprint::at_rest(pid, PATIENCE, |footprint| {
        sockets(footprint) >= clients.len() && footprint.zombies == 0
    });
    for _ in 0..19 {
        (pid, _) = server.replace(pid, Signal::SIGUSR2);
    }
    assert_eq!(Footprint::at_rest(pid, PATIENCE, |footprint| *footprint == before), before);
    assert_eq!(served_by(&mut clients), BTreeMap::from([(pid, clients.len())]));
}

/// Idle connections, half of them without a word so far, the other half after an answer.
fn idle(target: &Target, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(target)).collect();
    for client in clients.iter_mut().step_by(2) {
        client.pid();
    }
    clients
}

/// How many connections each process answers on; all of them, at once, and none is told to close.
fn served_by(clients: &mut [Client]) -> BTreeMap<i32, usize> {
    clients.iter_mut().for_each(|client| client.send(support::keep::request("/pid")));
    let mut counts = BTreeMap::new();
    for client in clients {
        *counts.entry(client.answered_pid()).or_default() += 1;
        assert!(client.is_untouched(), "more than one answer");
    }
    counts
}

fn sockets(footprint: &Footprint) -> usize {
    footprint.fds.get("socket").copied().unwrap_or(0)
}
