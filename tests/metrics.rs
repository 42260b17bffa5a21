//! What a recorder of metrics hears of restarts, in real processes.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone};

#[test]
fn every_restart_is_counted_by_whoever_lives_to_tell() {
    let _alone = alone();
    let server = Setup::example("metered").listen("127.0.0.1:0").args(&["--probation", "50ms"]).start();
    let first = shown_at_start(&server);
    assert_eq!(first["heirloom_generation{}"], 1.0);
    assert_eq!(first["heirloom_restarts_total{outcome=settled}"], 0.0);

    server.binary.become_script("exit 7");
    server.restart_in_vain(Signal::SIGUSR2);
    // It is in the log, and is counted next.
    let (name, deadline) = ("heirloom_restarts_total{outcome=failed}", Instant::now() + PATIENCE);
    let mut failed = 0.0;
    while failed == 0.0 {
        assert!(Instant::now() < deadline, "it is never counted");
        failed += shown(&server).get(name).copied().unwrap_or_default();
    }
    assert_eq!(failed, 1.0);
    server.binary.become_example("metered");

    let idle: Vec<_> = (0..3).map(|_| idle_connection(&server)).collect();
    let (old, mark) = (server.pid(), server.mark());
    server.restart(Signal::SIGUSR2);
    server.wait_for_exit(old);
    // What the predecessor alone knows.
    let metric = |name: &str| {
        let line = server.wait_for_line(mark, &format!("metric 1 {name} "));
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{line}"))
    };
    // And perhaps one whose client has just gone.
    assert!(metric("heirloom_connections_moved_total{}") >= 3.0);
    for name in ["restart_ready", "restart_settled", "drain"] {
        assert_eq!(metric(&format!("heirloom_{name}_seconds{{}} count")), 1.0, "{name}");
    }
    // And what only grows, however many processes tell it.
    let next = shown_at_start(&server);
    assert_eq!(next["heirloom_generation{}"], 2.0);
    assert_eq!(next["heirloom_restarts_total{outcome=settled}"], 1.0);
    assert!(next["heirloom_start_seconds{}"] > 0.0);
    // Once a second: the three, and perhaps the one that asks.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = shown(&server);
        if now.get("heirloom_connections{}").is_some_and(|count| (3.0..=4.0).contains(count)) {
            break;
        }
        assert!(Instant::now() < deadline, "{now:?}");
        // allow: sleep (until it is counted again)
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(idle);
}

/// A client that was answered once, and stays.
fn idle_connection(server: &Server) -> TcpStream {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let mut stream = TcpStream::connect(address).expect("accepting");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"Hello World") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    stream
}

/// What a process has recorded when it has begun to accept, the last of it told by its name: a client can be faster.
fn shown_at_start(server: &Server) -> BTreeMap<String, f64> {
    let (mut seen, deadline) = (BTreeMap::<String, f64>::new(), Instant::now() + PATIENCE);
    while seen.get("heirloom_start_seconds{}").is_none_or(|seconds| *seconds == 0.0) {
        assert!(Instant::now() < deadline, "{seen:?}");
        for (name, value) in shown(server) {
            let sum = seen.entry(name).or_default();
            *sum += value;
        }
    }
    seen
}

/// What was recorded since this was last asked.
fn shown(server: &Server) -> BTreeMap<String, f64> {
    let text = server.get("/metrics");
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}
