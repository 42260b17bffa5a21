//! The supervisor in library mode: its process stays, its workers come and go, and no client notices.

mod support;

use support::load::{Look, Mode, Report, Think};
use support::{Setup, Signal, alone, proc};

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
    let server = Setup::example("supervised").args(&["--probation", "100ms"]).start();
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
    assert_eq!(proc::zombies(server.first_pid), 0);
    report
}
