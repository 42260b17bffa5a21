//! G1 and G2: twenty restarts under each kind of load, and not one request fails.

use support::load::{Load, Look, Mode, Report, Target, Think};
use support::{Server, Setup, Signal, alone};

#[test]
fn new_connection_each_without_think_time() {
    let _alone = alone();
    restarts_under_load(&Setup::hello().start(), Mode::new_connections(16, Think::NONE), 20);
}

#[test]
fn new_connection_each_with_think_time() {
    let _alone = alone();
    restarts_under_load(&quick(), Mode::new_connections(16, Think::millis(0, 10)), 20);
}

#[test]
fn keep_alive_with_think_time() {
    twenty_restarts_unseen(Mode::keep_alive(64, Think::millis(0, 20)));
}

#[test]
fn keep_alive_without_think_time() {
    twenty_restarts_unseen(Mode::keep_alive(64, Think::NONE));
}

#[test]
fn keep_alive_that_sends_a_round_trip_after_its_look() {
    twenty_restarts_unseen(Mode::keep_alive_late(64, Think::millis(0, 20)));
}

#[test]
fn keep_alive_that_never_looks() {
    let blind = |think| Mode::KeepAlive { clients: 64, think, look: Look::Never };
    twenty_restarts_unseen(blind(Think::millis(0, 20)));
    twenty_restarts_unseen(blind(Think::NONE));
}

#[test]
fn on_a_unix_socket() {
    let _alone = alone();
    let setup = Setup::hello();
    let path = format!("unix:{}", setup.dir().join("hello.sock").display());
    let server = setup.listen(&path).start();
    restarts_under_load(&server, Mode::new_connections(16, Think::millis(0, 10)), 5);
}

#[test]
fn on_several_listeners_at_once() {
    let _alone = alone();
    let server = Setup::hello().listen("127.0.0.1:0").listen("127.0.0.1:0").listen("[::1]:0").start();
    let loads = server.targets.iter();
    let loads: Vec<_> = loads
        .map(|target: &Target| Load::start(target, Mode::keep_alive(8, Think::millis(0, 5)), "/"))
        .collect();
    restart(&server, 5);
    for load in loads {
        load.wait_for_requests(50);
        load.stop().assert_none_failed();
    }
}

#[test]
fn a_long_request_outlives_three_restarts() {
    let _alone = alone();
    let server = quick();
    let load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.try_get("/sleep?duration=5s"));
        load.wait_for_requests(50);
        // Without waiting for the first generation, which the long request keeps.
        for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP] {
            server.restart(signal);
        }
        let answer = slow.join().unwrap().expect("an answer to the long request");
        assert!(answer.body.starts_with("Hello"), "{answer:?}");
    });
    load.stop().assert_none_failed();
    assert_eq!(server.generation(), 4);
    server.wait_for_exit(server.first_pid);
}

/// No client of these has to connect again: its connection goes from process to process.
fn twenty_restarts_unseen(mode: Mode) {
    let _alone = alone();
    let server = quick();
    let report = restarts_under_load(&server, mode, 20);
    assert_eq!((report.reconnects, report.told_to_close), (0, 0), "reconnects, and told to close");
}

fn restarts_under_load(server: &Server, mode: Mode, count: usize) -> Report {
    let load = server.load(mode);
    load.wait_for_requests(100);
    let first = server.pid();
    restart(server, count);
    load.wait_for_requests(100);
    let report = load.stop();
    println!("{}\n{report}   ({count} restarts)", Report::HEADER);
    report.assert_none_failed();
    assert_eq!(server.generation(), 1 + count as u64);
    assert_ne!(server.pid(), first);
    report
}

/// HUP and USR2 in turn, each after the generation before has drained.
fn restart(server: &Server, count: usize) {
    for signal in [Signal::SIGHUP, Signal::SIGUSR2].into_iter().cycle().take(count) {
        let old = server.pid();
        server.restart(signal);
        server.wait_for_exit(old);
    }
}

/// With a short probation: twenty of the default length take twenty seconds.
fn quick() -> Server {
    Setup::hello().args(&["--probation", "100ms"]).start()
}
