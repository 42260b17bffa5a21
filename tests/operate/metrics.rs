//! What a recorder of metrics hears of restarts, in real processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use heirloom::control::{Client, Reply, Request, ServiceStatus, socket_of};
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone, beside_others, proc};

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

#[test]
fn a_supervisor_counts_what_becomes_of_its_workers() {
    let _shared = beside_others();
    let setup = Setup::example("metered_parent");
    let veto = setup.dir().join("veto");
    let server = setup.arg("--veto").arg(&veto).start();
    let mut scraped = Scraped::of(&server);
    server.wait_for_line(0, "worker settled worker=1");
    assert_eq!(scraped.now("generation{}"), 1.0);
    for outcome in ["settled", "failed", "taken_back", "refused"] {
        assert_eq!(scraped.now(&format!("restarts_total{{outcome={outcome}}}")), 0.0, "{outcome}");
    }

    server.binary.become_script("exit 7");
    server.restart_in_vain(Signal::SIGUSR2);
    server.binary.become_example("metered_parent");
    fs::write(&veto, "").unwrap();
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGUSR2);
    server.wait_for_line(mark, "restart refused");
    fs::remove_file(&veto).unwrap();
    assert_eq!(scraped.now("restarts_total{outcome=failed}"), 1.0);
    assert_eq!(scraped.now("restarts_total{outcome=refused}"), 1.0);

    let idle: Vec<_> = (0..3).map(|_| idle_connection(&server)).collect();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(0, "a worker is gone worker=1 ");
    assert_eq!(scraped.now("restarts_total{outcome=settled}"), 1.0);
    assert_eq!(scraped.now("generation{}"), 3.0);
    for name in ["restart_ready", "restart_settled", "drain"] {
        assert_eq!(scraped.now(&format!("{name}_seconds{{}} count")), 1.0, "{name}");
    }
    assert_eq!(scraped.now("connections_moved_total{}"), 3.0);
    assert_eq!(scraped.now("connections_moved_by_kind_total{kind=http1}"), 3.0);
    let status = status(&server);
    let last = status.last_restart.clone().expect("a restart");
    assert!(last.time_to_ready_ms.is_some() && last.drain_ms.is_some(), "{status:?}");
    assert_eq!((last.moved, last.aborted), (Some(3), Some(0)));

    proc::signal(server.pid(), Signal::SIGKILL);
    server.wait_for_line(0, "worker settled worker=4");
    drop(idle);
    assert_eq!(scraped.now("respawns_total{}"), 1.0);
    assert_eq!(scraped.now("restart_ready_seconds{} count"), 1.0, "no restart");
    // It is what the status tells.
    let status = self::status(&server);
    let told = status.restarts;
    let counted = |outcome: &str| scraped.seen[&format!("restarts_total{{outcome={outcome}}}")] as u64;
    assert_eq!(
        (told.settled, told.failed, told.taken_back, told.refused),
        (counted("settled"), counted("failed"), counted("taken_back"), counted("refused")),
    );
    assert_eq!((told.respawned, status.connections.moved, status.connections.aborted), (1, 3, 0));
    assert_eq!(status.connections.by_kind, BTreeMap::from([("http1".to_owned(), 3)]));
    assert_eq!(status.generations.iter().map(|worker| worker.generation).collect::<Vec<_>>(), [4]);
    assert_eq!(status.last_restart, None, "the worker that serves comes from none");
}

/// What a supervisor has recorded, as often as it was looked at: each look sets it to zero there.
struct Scraped {
    address: String,
    seen: BTreeMap<String, f64>,
}

impl Scraped {
    fn of(server: &Server) -> Scraped {
        let line = server.wait_for_line(0, "metrics at ");
        let address = line.rsplit(' ').next().expect("an address").to_owned();
        Scraped { address, seen: BTreeMap::new() }
    }

    fn now(&mut self, name: &str) -> f64 {
        let mut text = String::new();
        TcpStream::connect(&self.address).unwrap().read_to_string(&mut text).expect("lines");
        for (name, value) in numbers(&text) {
            let name =
                name.strip_prefix("heirloom_supervisor_").unwrap_or_else(|| panic!("{name}")).to_owned();
            let is_gauge = name.starts_with("generation");
            let so_far = self.seen.entry(name).or_default();
            match is_gauge {
                true if value > 0.0 => *so_far = value,
                true => {}
                false => *so_far += value,
            }
        }
        *self.seen.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.seen))
    }
}

fn status(server: &Server) -> ServiceStatus {
    let socket = socket_of(u32::try_from(server.first_pid).unwrap()).expect("a control socket");
    let deadline = Some(Instant::now() + PATIENCE);
    match Client::ask(&socket, &Request::Status, deadline).unwrap().next(deadline) {
        Ok(Some(Reply::Status(status))) => *status,
        other => panic!("{other:?}"),
    }
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
    numbers(&server.get("/metrics")).collect()
}

fn numbers(text: &str) -> impl Iterator<Item = (String, f64)> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
}
