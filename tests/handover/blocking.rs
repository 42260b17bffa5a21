//! Programs without a runtime: a thread that blocks in accept stops when its process hands over, and one that waits for the
//! next request lets its connection go.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc};

#[test]
fn blocking_threads_accept_until_their_process_hands_over() {
    let _shared = beside_others();
    let server = start();
    let mut pids = Vec::new();
    for _ in 0..3 {
        let mut early = connect(&server);
        let old: i32 = ask(&mut early).parse().expect("a pid");
        early.get_mut().write_all(b"hel").expect("open");
        let mark = server.mark();
        proc::signal(old, Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        // What was begun is served to its end, and a new one is the successor's; then there is nothing more to wait for.
        let new = ask(&mut connect(&server));
        assert_ne!(new, old.to_string());
        early.get_mut().write_all(b"lo\n").expect("open");
        assert_eq!(answer(&mut early), old.to_string());
        server.wait_for_exit(old);
        assert_eq!(ask(&mut early), new, "it has moved");
        pids.push(old);
    }
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[test]
fn g2_idle_connections_of_blocking_threads_move() {
    let _shared = beside_others();
    let server = start();
    let mut idle: Vec<_> = (0..10).map(|_| connect(&server)).collect();
    let mut old: i32 = ask(&mut idle[0]).parse().expect("a pid");
    for _ in 0..3 {
        proc::signal(old, Signal::SIGUSR2);
        // Well before the drain deadline, or this would have run out of patience.
        server.wait_for_exit(old);
        let pids: Vec<_> = idle.iter_mut().map(ask).collect();
        assert!(pids.iter().all(|pid| *pid == pids[0] && *pid != old.to_string()), "{pids:?}");
        old = pids[0].parse().expect("a pid");
    }
}

#[test]
fn g2_clients_of_blocking_threads_notice_no_restart() {
    const RESTARTS: usize = 20;
    let _shared = beside_others();
    let server = start();
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = connect(&server);
                while !is_over.load(Ordering::Relaxed) {
                    ask(&mut connection);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut old: i32 = ask(&mut connect(&server)).parse().expect("a pid");
        for _ in 0..RESTARTS {
            proc::signal(old, Signal::SIGUSR2);
            server.wait_for_exit(old);
            old = ask(&mut connect(&server)).parse().expect("a pid");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{RESTARTS} restarts, {} answers", answers.into_inner());
}

#[test]
fn g5_an_idle_client_of_a_blocking_thread_holds_no_stop() {
    let _shared = beside_others();
    let server = start();
    let (mut asks_again, mut silent) = (connect(&server), connect(&server));
    let pid: i32 = ask(&mut asks_again).parse().expect("a pid");
    ask(&mut silent);
    let mark = server.mark();
    proc::signal(pid, Signal::SIGTERM);
    server.wait_for_line(mark, "draining");
    assert_eq!(ask(&mut asks_again), pid.to_string(), "a request that was on its way");
    let mut end = String::new();
    assert_eq!(silent.read_line(&mut end).expect("a goodbye"), 0);
    assert_eq!(server.exit_status(pid), WaitStatus::Exited(Pid::from_raw(pid), 0));
}

fn start() -> Server {
    Setup::example("blocking").listen("127.0.0.1:0").args(&["--probation", "50ms"]).start()
}

fn connect(server: &Server) -> BufReader<TcpStream> {
    let Target::Tcp(address) = server.target() else { panic!("a TCP listener") };
    let stream = TcpStream::connect::<SocketAddr>(*address).expect("never refused");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    BufReader::new(stream)
}

/// What stands before the line that comes back.
fn ask(connection: &mut BufReader<TcpStream>) -> String {
    connection.get_mut().write_all(b"hello\n").expect("open");
    answer(connection)
}

fn answer(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).expect("an answer");
    line.strip_suffix(" hello\n").unwrap_or_else(|| panic!("{line:?}")).to_owned()
}
