//! Listeners through restarts: kept, added, dropped, changed, handed down by somebody else, or accepted from by a loop
//! that is not ours.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::forged::hand_down;
use support::binary::TestDir;
use support::load::{Load, Mode, Report, Target, Think, fetch};
use support::{PATIENCE, Port, Server, Setup, Signal, alone, beside_others, proc, says};

#[test]
fn port_0_keeps_its_port_and_two_of_them_their_order() {
    let _shared = beside_others();
    let server =
        Setup::hello().listen("127.0.0.1:0").listen("127.0.0.1:0").args(&["--probation", "50ms"]).start();
    for _ in 0..3 {
        restart(&server);
    }
    let lines = server.wait_for_lines(0, &[says::LISTENING], 8);
    assert_ne!(lines[0], lines[1]);
    assert_eq!(lines, [&lines[..2]; 4].concat());
}

#[test]
fn every_kind_at_once() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = format!("unix:{}", directory.path().join("hello.sock").display());
    let hidden = format!("unix:@heirloom-test-{}", std::process::id());
    let kinds = ["127.0.0.1:0", "[::1]:0", &path, &hidden];
    let setup = kinds.iter().fold(Setup::hello(), |setup, address| setup.listen(address));
    let server = setup.args(&["--probation", "50ms"]).start();
    for generation in 2..=4 {
        restart(&server);
        for target in &server.targets {
            assert_eq!(ask(target, "/generation"), generation.to_string(), "{target}");
        }
    }
}

#[test]
fn one_that_is_added() {
    let _shared = beside_others();
    let server = named(&["web 127.0.0.1:0"], "50ms");
    let mark = server.mark();
    write(&server, &["admin 127.0.0.1:0", "web 127.0.0.1:0"]);
    restart(&server);
    let lines = server.wait_for_lines(mark, &[says::LISTENING], 2);
    let added = target(&lines[0]);
    assert_ne!(&added, server.target());
    assert_eq!(&target(&lines[1]), server.target());
    assert_eq!((ask(&added, "/"), ask(server.target(), "/")), ("admin".to_owned(), "web".to_owned()));
    restart(&server);
    assert_eq!((ask(&added, "/generation"), ask(&added, "/")), ("3".to_owned(), "admin".to_owned()));
}

#[test]
fn one_that_is_dropped_serves_its_queue_and_frees_its_place() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("old.sock");
    let unix = format!("{}", path.display());
    let kept = Port::kept();
    let old = format!("old {}", kept.address());
    let server = named(&["web 127.0.0.1:0", &old, &format!("older unix:{unix}")], "3s");
    let (first, mark) = (server.pid(), server.mark());
    write(&server, &["web 127.0.0.1:0"]);
    let load = Load::start(server.target(), Mode::new_connections(4, Think::millis(0, 5)), "/pid");
    let clients: Vec<_> = std::thread::scope(|scope| {
        let targets = server.targets[1..].iter().flat_map(|target| [target; 20]);
        let clients = targets.map(|target| scope.spawn(move || fetch(target, "/pid", PATIENCE)));
        let clients: Vec<_> = clients.collect();
        assert_ne!(server.restart(Signal::SIGHUP), first);
        // On probation: the dropped ones are still the predecessor's to serve.
        for target in &server.targets[1..] {
            assert_eq!(ask(target, "/pid"), first.to_string());
        }
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    clients.into_iter().for_each(|answer| assert_eq!(answer.unwrap().body, first.to_string()));
    server.wait_for_line(mark, "successor settled");
    server.wait_for_exit(first);
    let Target::Tcp(address) = &server.targets[1] else { panic!("TCP") };
    TcpListener::bind(address).expect("the port is free again");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the path or its lock stayed behind");
    load.wait_for_requests(20);
    finish(load, 0);
}

#[test]
fn a_name_whose_address_changed() {
    let _shared = beside_others();
    let kept = [Port::kept(), Port::kept()];
    let [old, new] = kept.each_ref().map(Port::address);
    let server = named(&["main 127.0.0.1:0", &format!("web {old}")], "50ms");
    write(&server, &["main 127.0.0.1:0", &format!("web {new}")]);
    restart(&server);
    assert_eq!(ask(&new.parse().unwrap(), "/"), "web");
    TcpListener::bind(&old).expect("the old port is free again");
}

#[test]
fn what_a_failed_successor_bound_is_gone_and_what_it_inherited_is_not() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let own = format!("own unix:{}", directory.path().join("own.sock").display());
    let new = directory.path().join("new.sock");
    let server = named(&["web 127.0.0.1:0", &own], "50ms");
    let kept = Port::kept();
    let port = kept.address();
    let with = |last: &str| {
        let lines =
            ["web 127.0.0.1:0", &own, &format!("tcp {port}"), &format!("unix unix:{}", new.display())];
        write(&server, &[&lines[..], &[last]].concat());
    };
    with("fail the cellar is flooded");
    let line = server.restart_in_vain(Signal::SIGHUP);
    assert!(line.contains("the cellar is flooded"), "{line}");
    assert_eq!(names_in(&directory), ["own.sock", "own.sock.lock"]);
    TcpListener::bind(&port).expect("the port is free again");
    assert_eq!(ask(&server.targets[1], "/generation"), "1");

    with("die");
    server.restart_in_vain(Signal::SIGHUP);
    TcpListener::bind(&port).expect("the port is free again");
    assert_eq!(ask(&server.targets[1], "/generation"), "1");

    // What a killed one left is taken over by the next.
    with("- 127.0.0.1:0");
    restart(&server);
    assert_eq!(ask(&Target::Unix(new), "/generation"), "2");
    assert_eq!(ask(&server.targets[1], "/generation"), "2");
}

#[test]
fn activation_by_address() {
    let _alone = alone();
    let directory = TestDir::new();
    let (tcp, unix, path) = activation(&directory);
    let server = activated(Setup::hello(), "", [tcp.as_raw_fd(), unix.as_raw_fd()])
        .listen(&tcp.local_addr().unwrap().to_string())
        .listen(&format!("unix:{}", path.display()))
        .args(&["--probation", "50ms"])
        .start();
    drop((tcp, unix));
    activated_through_restarts(&server);
}

#[test]
fn activation_by_name() {
    let _alone = alone();
    let directory = TestDir::new();
    let (tcp, unix, _) = activation(&directory);
    let address = tcp.local_addr().unwrap().to_string();
    // In another order, and with addresses that are not theirs: the names alone count.
    let setup = Setup::example("listeners");
    fs::write(setup.dir().join("bin/listen"), "web 127.0.0.1:1\nadmin unix:/nowhere\n").unwrap();
    let server = activated(setup, "LISTEN_FDNAMES=admin:web", [unix.as_raw_fd(), tcp.as_raw_fd()])
        .lines(2)
        .args(&["--probation", "50ms"])
        .start();
    drop((tcp, unix));
    assert_eq!(server.target().to_string(), address);
    activated_through_restarts(&server);
    assert_eq!([0, 1].map(|at| ask(&server.targets[at], "/")), ["web", "admin"]);
}

#[test]
fn a_udp_socket() {
    let _shared = beside_others();
    let server = named(&["web 127.0.0.1:0", "dns 127.0.0.1:0 udp"], "50ms");
    let Target::Tcp(address) = server.targets[1] else { panic!("an address") };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let answered_by = || {
        client.send_to(b"who", address).unwrap();
        let mut buffer = [0; 100];
        let length = client.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).parse::<i32>().unwrap()
    };
    assert_eq!(answered_by(), server.first_pid);
    for _ in 0..3 {
        restart(&server);
        assert_eq!(answered_by(), server.pid());
    }
}

#[test]
fn a_unix_path_goes_with_the_last_generation() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.sock");
    let server =
        Setup::hello().listen(&format!("unix:{}", path.display())).args(&["--probation", "50ms"]).start();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    let made = inode();
    for _ in 0..2 {
        restart(&server);
        assert_eq!(inode(), made);
    }
    stop(&server);
    assert_eq!(names_in(&directory), Vec::<String>::new());
}

#[test]
fn a_unix_path_that_became_another_s_is_left_alone() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.sock");
    let server = Setup::hello()
        .listen("127.0.0.1:0")
        .listen(&format!("unix:{}", path.display()))
        .args(&["--probation", "50ms"])
        .start();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    restart(&server);
    stop(&server);
    assert_eq!(names_in(&directory), ["hello.sock"]);
    std::os::unix::net::UnixStream::connect(&path).expect("the other server is unharmed");
}

#[test]
fn a_unix_path_that_somebody_removed_is_made_again() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.sock");
    let setup = Setup::hello().listen("127.0.0.1:0").listen(&format!("unix:{}", path.display()));
    let server = setup.args(&["--probation", "50ms"]).start();
    // What a cleaning job takes: the socket, or all that it does not know.
    for (removed, generation) in
        [(&["hello.sock"][..], "2"), (&["hello.sock", "hello.sock.lock"], "3"), (&[], "4")]
    {
        removed.iter().for_each(|name| fs::remove_file(directory.path().join(name)).unwrap());
        restart(&server);
        assert_eq!(ask(&server.targets[1], "/generation"), generation);
        assert_eq!(names_in(&directory), ["hello.sock", "hello.sock.lock"]);
    }
    stop(&server);
    assert_eq!(names_in(&directory), Vec::<String>::new());
}

#[test]
fn g3_a_failed_successor_leaves_a_removed_path_as_it_was() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let line = format!("web unix:{}", directory.path().join("web.sock").display());
    let server = named(&["- 127.0.0.1:0", &line], "50ms");
    fs::remove_file(directory.path().join("web.sock")).unwrap();
    write(&server, &["- 127.0.0.1:0", &line, "fail on purpose"]);
    server.restart_in_vain(Signal::SIGHUP);
    assert_eq!(names_in(&directory), ["web.sock.lock"]);
    // One that is killed cannot tidy up: the next one finds its socket dead, and knows that it is not the predecessor's.
    write(&server, &["- 127.0.0.1:0", &line, "die"]);
    server.restart_in_vain(Signal::SIGHUP);
    assert_eq!(names_in(&directory), ["web.sock", "web.sock.lock"]);
    write(&server, &["- 127.0.0.1:0", &line]);
    restart(&server);
    assert_eq!(ask(&server.targets[1], "/"), "web");
    stop(&server);
    assert_eq!(names_in(&directory), Vec::<String>::new());
}

#[test]
fn an_accept_loop_on_a_thread() {
    foreign("std", 0);
}

/// Its own goodbye closes fresh connections, and each of those closes can cost a request (`Listener::into_tokio`).
#[test]
fn an_accept_loop_of_axum() {
    foreign("axum", RESTARTS * CLIENTS as u64);
}

const RESTARTS: u64 = 5;
const CLIENTS: usize = 2;

fn foreign(how: &str, lost: u64) {
    let _shared = beside_others();
    let server = named(&[&format!("web 127.0.0.1:0 {how}")], "50ms");
    let load = Load::start(server.target(), Mode::new_connections(CLIENTS, Think::millis(1, 5)), "/pid");
    load.wait_for_requests(20);
    for _ in 0..RESTARTS {
        let old = server.pid();
        proc::signal(old, Signal::SIGHUP);
        server.wait_for_exit(old);
        load.wait_for_requests(20);
    }
    let report = load.report();
    assert!(report.bodies.len() > RESTARTS as usize, "too few generations answered: {:?}", report.bodies);
    finish(load, lost);
}

fn activation(directory: &TestDir) -> (TcpListener, UnixListener, PathBuf) {
    let path = directory.path().join("activated.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    hand_down(&tcp);
    hand_down(&unix);
    (tcp, unix, path)
}

/// As a service manager starts it: these two at 3 and 4. By way of numbers that are neither.
fn activated(setup: Setup, names: &str, [third, fourth]: [RawFd; 2]) -> Setup {
    let before = format!("export LISTEN_PID=$$ LISTEN_FDS=2 {names}; exec 100<&{third} 101<&{fourth};");
    setup.by_shell(&before, "3<&100 4<&101 100<&- 101<&-")
}

fn activated_through_restarts(server: &Server) {
    for generation in 1..=3 {
        for target in &server.targets {
            assert_eq!(ask(target, "/generation"), generation.to_string(), "{target}");
        }
        let pid = server.pid();
        let environment = proc::environment(pid);
        let activated = environment.keys().filter(|name| name.starts_with("LISTEN_")).count();
        assert_eq!(activated > 0, generation == 1, "{environment:?}");
        restart(server);
    }
}

/// The example `listeners`, with these lines in its file.
#[test]
fn more_than_a_thousand() {
    const LISTENERS: usize = 1100;
    let _alone = alone();
    let setup = Setup::example("listeners").by_shell("ulimit -n $(ulimit -Hn);", "");
    fs::write(setup.dir().join("bin/listen"), ["- 127.0.0.1:0"; LISTENERS].join("\n")).unwrap();
    let server = setup.lines(LISTENERS).args(&["--probation", "50ms"]).start();
    for generation in 2..=3 {
        restart(&server);
        for target in server.targets.iter().step_by(LISTENERS / 10).chain(server.targets.last()) {
            assert_eq!(ask(target, "/generation"), generation.to_string(), "{target}");
        }
    }
}

/// O_NONBLOCK belongs to the open file description that all generations share.
#[test]
fn g3_a_successor_leaves_the_flags_of_a_blocking_accept_loop_alone() {
    let _shared = beside_others();
    let server = named(&["web 127.0.0.1:0 accept"], "1h");
    let (first, mark) = (server.pid(), server.mark());
    // The first request is had by the accept that was entered before; the ones after it tell what has become of the flag.
    let serves = || (0..3).for_each(|_| assert_eq!(ask(server.target(), "/pid"), first.to_string()));
    write(&server, &["fail on purpose"]);
    proc::signal(first, Signal::SIGHUP);
    server.wait_for_line(mark, "restart failed");
    serves();
    // One whose accept loop is heirloom's: on probation it leaves the socket to the loop that cannot be paused.
    write(&server, &["web 127.0.0.1:0"]);
    let mark = server.mark();
    proc::signal(first, Signal::SIGHUP);
    server.wait_for_line(mark, "successor ready");
    server.wait_for_line(mark, "accepting");
    serves();
    proc::signal(server.wait_for_child(first), Signal::SIGKILL);
    server.wait_for_line(mark, "taken back");
    serves();
}

#[test]
fn an_accept_loop_may_become_heirloom_s_and_back() {
    let _shared = beside_others();
    let server = named(&["web 127.0.0.1:0 accept"], "50ms");
    for lines in
        ["web 127.0.0.1:0", "web 127.0.0.1:0 accept", "web 127.0.0.1:0 accept", "web 127.0.0.1:0 axum"]
    {
        write(&server, &[lines]);
        restart(&server);
        (0..3).for_each(|_| assert_eq!(ask(server.target(), "/pid"), server.pid().to_string(), "{lines}"));
    }
}

fn named(lines: &[&str], probation: &str) -> Server {
    let setup = Setup::example("listeners");
    fs::write(setup.dir().join("bin/listen"), lines.join("\n")).unwrap();
    setup.lines(lines.len()).args(&["--probation", probation]).start()
}

fn write(server: &Server, lines: &[&str]) {
    fs::write(server.binary.path().with_file_name("listen"), lines.join("\n")).unwrap();
}

fn restart(server: &Server) {
    let old = server.pid();
    server.restart(Signal::SIGHUP);
    server.wait_for_exit(old);
}

fn stop(server: &Server) {
    let pid = server.pid();
    proc::signal(pid, Signal::SIGTERM);
    server.wait_for_exit(pid);
}

fn ask(target: &Target, path: &str) -> String {
    fetch(target, path, PATIENCE).unwrap_or_else(|error| panic!("{path} from {target}: {error}")).body
}

fn target(line: &str) -> Target {
    line.split(says::LISTENING).nth(1).unwrap().trim().parse().unwrap()
}

fn names_in(directory: &TestDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn finish(load: Load, lost: u64) {
    let report = load.stop();
    println!("{}\n{report}", Report::HEADER);
    report.assert_lost_at_most(lost);
}
