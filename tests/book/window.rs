//! What the guide promises of its longer programs: a counter that loses nothing, goodbyes in good order.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::keep::{Client, request};
use support::load::{Expect, Load, Mode, Target, Think, fetch};
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc};
use tungstenite::Message;

use crate::programs::target;

#[test]
fn the_counter_of_the_guide_loses_nothing() {
    let _shared = beside_others();
    let (server, target) = start("book-state-1");
    let mode = Mode::keep_alive(8, Think::millis(0, 2));
    let load = Load::start_expecting(&target, mode, "/", Expect::Number, PATIENCE);
    let mut serving = server.first_pid;
    for _ in 0..3 {
        load.wait_for_requests(load.report().requests + 200);
        proc::signal(serving, Signal::SIGUSR2);
        let successor = server.wait_for_child(serving);
        server.wait_for_exit(serving);
        serving = successor;
    }
    let report = load.stop();
    report.assert_none_failed();
    // The last one to have drained has told what it has counted, or does so in a moment.
    let count = || fetch(&target, "/", PATIENCE).unwrap().body.parse::<u64>().unwrap();
    let (mut asked, deadline) = (1, Instant::now() + PATIENCE);
    loop {
        let counted = count();
        if counted == report.requests + asked {
            return;
        }
        assert!(counted < report.requests + asked, "{counted} of {} + {asked}", report.requests);
        assert!(Instant::now() < deadline, "{counted} of {} + {asked}", report.requests);
        asked += 1;
    }
}

#[test]
fn what_moves_counts_on_in_the_next_process() {
    let _shared = beside_others();
    let (lines, at_lines) = start("book-connections-1");
    let (sockets, at_sockets) = start("book-connections-2");
    let Target::Tcp(address) = at_sockets else { unreachable!("TCP") };
    let mut client = Client::connect(&at_lines);
    let stream = TcpStream::connect(address).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/count"), stream).unwrap();
    for count in 1..=3 {
        client.send("a\nb");
        assert_eq!(client.read_until(b"a\n"), format!("{}: a\n", 2 * count - 1).as_bytes());
        socket.send(Message::text("a")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(count.to_string()));
        if count == 1 {
            for server in [&lines, &sockets] {
                proc::signal(server.first_pid, Signal::SIGUSR2);
                server.wait_for_exit(server.first_pid);
            }
        }
        client.send("c\n");
        assert_eq!(client.read_until(b"c\n"), format!("{}: bc\n", 2 * count).as_bytes());
    }
}

#[test]
fn handlers_that_hear_of_the_restart_end_in_good_order() {
    let _shared = beside_others();
    let (server, target) = start("book-around-2");
    let Target::Tcp(address) = target else { unreachable!("TCP") };
    let mut ticks = Client::connect(&target);
    ticks.send(request("/ticks"));
    ticks.read_until(b"data: 1");
    let stream = TcpStream::connect(address).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/echo"), stream).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));

    proc::signal(server.first_pid, Signal::SIGUSR2);
    // The last chunk of a stream that has an end.
    ticks.read_until(b"\r\n0\r\n\r\n");
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1012);
    let _ = socket.flush();
    drop((ticks, socket));
    // Long before the drain deadline of 60 s.
    assert!(proc::wait_for_exit(server.first_pid, Duration::from_secs(20)));
}

fn start(name: &str) -> (Server, Target) {
    let server = Setup::example(name).lines(0).start();
    let target = target(&[server.first_pid]);
    (server, target)
}
