//! The supervisor in library mode: its process stays, its workers come and go, and no client notices.

use support::load::{Look, Mode, Report, Think, fetch};
use support::{PATIENCE, Setup, Signal, alone, beside_others, proc};

#[test]
fn twenty_restarts_new_connections() {
    twenty_restarts(Mode::new_connections(16, Think::millis(0, 10)));
}

#[test]
fn twenty_restarts_keep_alive() {
    let modes = [
        Mode::keep_alive(32, Think::millis(0, 20)),
        Mode::keep_alive(32, Think::NONE),
        Mode::KeepAlive { clients: 32, think: Think::millis(0, 20), look: Look::Never },
    ];
    for mode in modes {
        let report = twenty_restarts(mode);
        assert_eq!((report.reconnects, report.told_to_close), (0, 0), "reconnects, and told to close");
    }
}

fn twenty_restarts(mode: Mode) -> Report {
    let _alone = alone();
    let server = Setup::example("workers").args(&["--probation", "100ms"]).start();
    let load = server.load(mode);
    load.wait_for_requests(100);
    // To the supervisor, and to the worker: it is the same.
    for restart in 0..20 {
        let old = server.pid();
        assert_ne!(old, server.first_pid, "the supervisor serves nothing itself");
        let (signal, to) = match restart % 3 {
            0 => (Signal::SIGHUP, server.first_pid),
            1 => (Signal::SIGUSR2, server.first_pid),
            _ => (Signal::SIGUSR2, old),
        };
        proc::signal(to, signal);
        server.wait_for_other_than(old);
        server.wait_for_exit(old);
    }
    load.wait_for_requests(100);
    let report = load.stop();
    println!("{}\n{report}   (20 restarts)", Report::HEADER);
    report.assert_none_failed();
    assert_eq!(server.generation(), 21);
    assert!(!proc::wait_for_exit(server.first_pid, std::time::Duration::ZERO));
    proc::assert_reaped(server.first_pid, PATIENCE);
    report
}

#[test]
fn state_and_descriptors_go_from_worker_to_worker() {
    let _shared = beside_others();
    let server = Setup::example("workers").args(&["--probation", "50ms"]).start();
    let first = server.wait_for_line(0, "first fd false");
    assert!(first.contains(&format!("of Some({})", server.first_pid)), "{first}");
    for generation in 2..=4 {
        let (old, mark) = (server.pid(), server.mark());
        server.restart(Signal::SIGHUP);
        server.wait_for_line(mark, "first fd true");
        server.wait_for_exit(old);
        let expected: String = (1..=generation).map(|worker| format!("{worker},")).collect();
        assert_eq!(server.get("/history"), expected);
    }
    // Nothing of the dead one's state is left, but its descriptor is.
    let (old, mark) = (server.pid(), server.mark());
    proc::signal(old, Signal::SIGKILL);
    server.wait_for_other_than(old);
    server.wait_for_line(mark, "first fd true");
    assert_eq!(server.get("/history"), "5,");
}

#[test]
fn g1_a_listener_that_is_made_during_a_restart_is_the_new_workers_to_have() {
    let _shared = beside_others();
    let server = Setup::example("workers").args(&["--probation", "50ms"]).start();
    server.wait_for_line(0, "worker settled worker=1");
    let fifo = server.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let program = support::binary::example_path("workers");
    server.binary.become_script(&format!(
        "read line < {}; exec {} \"$@\"",
        fifo.display(),
        program.display()
    ));
    let (old, mark) = (server.pid(), server.mark());
    proc::signal(server.first_pid, Signal::SIGUSR2);
    server.wait_for_line(mark, "worker started");
    let address = server.get("/listen?127.0.0.1:0");
    server.wait_for_line(mark, &format!("keeping a worker's socket for those after it address={address}"));
    assert_eq!(fetch(&address.parse().unwrap(), "/generation", PATIENCE).unwrap().body, "1");
    std::fs::write(&fifo, "\n").unwrap();
    server.wait_for_line(mark, "worker settled worker=2");
    server.wait_for_exit(old);
    // Nobody accepts there; the queue stands.
    let waiting = std::thread::spawn({
        let target = address.parse().unwrap();
        move || fetch(&target, "/generation", PATIENCE)
    });
    assert_eq!(server.get(&format!("/listen?{address}")), address, "not in use by another");
    assert_eq!(waiting.join().unwrap().unwrap().body, "2");
    server.binary.become_example("workers");
}

#[test]
fn a_worker_restarts_from_inside_and_hears_the_outcome() {
    let _shared = beside_others();
    let server = Setup::example("workers").args(&["--probation", "50ms"]).start();
    let told = server.get("/restart");
    assert_eq!(told, format!("Settled {{ pid: {} }}", server.pid()));
    server.binary.become_script("exit 7");
    let told = server.get("/restart");
    assert!(told.contains("exited with status 7"), "{told}");
    server.binary.become_example("workers");
    assert!(server.get("/restart").starts_with("Settled"));
    assert_eq!(server.generation(), 4, "the failed one counts");
}

#[test]
fn a_worker_stops_the_service_from_inside() {
    let _shared = beside_others();
    let server = Setup::example("workers").start();
    assert_eq!(server.get("/shutdown"), "stopping");
    assert_eq!(exit_code(&server), 0);
    assert!(server.try_get("/").is_err());
}

#[test]
fn term_lets_requests_finish_and_removes_what_was_made() {
    let _shared = beside_others();
    let setup = Setup::example("workers");
    let (socket, pid_file) = (setup.dir().join("a.sock"), setup.dir().join("pid"));
    let server = setup.listen(&format!("unix:{}", socket.display())).arg("--pid-file").arg(&pid_file).start();
    let recorded = || std::fs::read_to_string(&pid_file).unwrap().trim().parse::<i32>().unwrap();
    // The file is written before that is said.
    server.wait_for_line(0, "worker ready");
    assert_eq!(recorded(), server.first_pid);
    server.restart(Signal::SIGUSR2);
    assert_eq!(recorded(), server.first_pid);
    let mut slow = server.begin("/sleep?duration=1s");
    // Served in order: the slow one is in by now.
    server.pid();
    proc::signal(server.first_pid, Signal::SIGTERM);
    assert!(slow.answer().body.starts_with("Hello"));
    drop(slow);
    assert_eq!(exit_code(&server), 0);
    assert!(!socket.exists() && !pid_file.exists());
}

#[test]
fn a_second_term_is_the_hammer_and_the_exit_code_says_so() {
    let _shared = beside_others();
    let server = Setup::example("workers").start();
    let mut slow = server.begin("/sleep?duration=10min");
    server.pid();
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(mark, "draining");
    proc::signal(server.first_pid, Signal::SIGTERM);
    assert_eq!(slow.answer_if_any(), None);
    assert_eq!(exit_code(&server), 124);
}

#[test]
fn ctrl_c_reaches_everybody_and_is_one_request() {
    let _shared = beside_others();
    let server = Setup::example("workers").start();
    let mut slow = server.begin("/sleep?duration=1s");
    let worker = server.pid();
    for pid in [worker, server.first_pid] {
        proc::signal(pid, Signal::SIGINT);
    }
    assert!(slow.answer().body.starts_with("Hello"));
    drop(slow);
    assert_eq!(exit_code(&server), 0);
}

#[test]
fn restarts_can_be_vetoed_or_turned_off() {
    let _shared = beside_others();
    let server = Setup::example("workers").args(&["--veto", "the moon is full"]).start();
    let told = server.get("/restart");
    assert!(told.contains("vetoed: the moon is full"), "{told}");
    let server = Setup::example("workers").args(&["--restarts", "off"]).start();
    let (old, mark) = (server.pid(), server.mark());
    proc::signal(server.first_pid, Signal::SIGHUP);
    server.wait_for_line(mark, "restarts are turned off");
    assert_eq!(server.pid(), old);
    proc::signal(old, Signal::SIGKILL);
    server.wait_for_other_than(old);
}

#[test]
fn the_example() {
    let _alone = alone();
    let server = Setup::bare("supervised").start();
    server.wait_for_line(0, &format!("restart me with: kill -USR2 {}", server.first_pid));
    let load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    for _ in 0..3 {
        let old = server.pid();
        proc::signal(server.first_pid, Signal::SIGUSR2);
        server.wait_for_other_than(old);
        server.wait_for_exit(old);
    }
    assert_eq!(server.get("/"), "Hello from generation 4\n");
    load.stop().assert_none_failed();
}

#[test]
fn the_same_program_without_a_supervisor() {
    let _shared = beside_others();
    let server = Setup::example("workers").args(&["--supervised", "false"]).start();
    assert_eq!(server.pid(), server.first_pid);
    server.wait_for_line(0, "of None");
    server.restart(Signal::SIGHUP);
    server.wait_for_exit(server.first_pid);
}

#[test]
fn a_server_without_a_supervisor_is_not_given_one_by_a_restart() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    server.binary.become_example("workers");
    for _ in 0..2 {
        let (old, mark) = (server.pid(), server.mark());
        server.restart(Signal::SIGHUP);
        server.wait_for_line(mark, "so this one has none");
        server.wait_for_exit(old);
    }
}

#[test]
fn what_the_parent_binds_is_bound_before_anything_starts() {
    let _shared = beside_others();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Setup::example("workers").args(&["--parent-listens", &address]).run();
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("is in use by process") && ended.stderr.contains(&address),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("worker"), "{}", ended.stdout);
    drop(taken);
    let server = Setup::example("workers").args(&["--parent-listens", &address]).listen(&address).start();
    server.restart(Signal::SIGHUP);
    assert_eq!(server.target().to_string(), address);
}

#[test]
fn signals_of_the_programs_own_are_passed_on() {
    let _shared = beside_others();
    let server = Setup::example("workers").start();
    let worker = server.pid();
    proc::signal(server.first_pid, Signal::SIGUSR1);
    server.wait_for_line(0, &format!("worker {worker} has USR1"));
}

#[test]
fn a_worker_that_is_told_to_go_is_replaced() {
    let _alone = alone();
    let server = Setup::example("workers").start();
    let load = server.load(Mode::new_connections(16, Think::millis(0, 2)));
    load.wait_for_requests(100);
    for _ in 0..5 {
        let old = server.pid();
        proc::signal(old, Signal::SIGTERM);
        server.wait_for_other_than(old);
        server.wait_for_exit(old);
    }
    load.wait_for_requests(100);
    load.stop().assert_none_failed();
}

#[test]
fn listeners_come_and_go_with_the_program() {
    let _shared = beside_others();
    let server = Setup::example("workers")
        .args(&["--probation", "50ms"])
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0")
        .start();
    let program = support::binary::example_path("workers");
    let [kept, dropped] = [0, 1].map(|index| server.targets[index].to_string());
    let run = |listens: &str, count: usize| {
        server.binary.become_script(&format!("exec '{}' --probation 50ms {listens}", program.display()));
        let (old, mark) = (server.pid(), server.mark());
        server.restart(Signal::SIGHUP);
        server.wait_for_exit(old);
        let lines = server.wait_for_lines(mark, &[support::says::LISTENING], count);
        lines
            .iter()
            .map(|line| line.split(support::says::LISTENING).nth(1).unwrap().trim().to_owned())
            .collect()
    };
    let now: Vec<String> = run("--listen 127.0.0.1:0 --listen [::1]:0", 2);
    assert_eq!(now[0], kept);
    assert!(std::net::TcpStream::connect(&dropped).is_err(), "nobody serves it any more");
    let later: Vec<String> = run("--listen 127.0.0.1:0 --listen [::1]:0", 2);
    assert_eq!(later, now, "what a worker has bound stays");
}

fn exit_code(server: &support::Server) -> i32 {
    match server.exit_status(server.first_pid) {
        nix::sys::wait::WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}
