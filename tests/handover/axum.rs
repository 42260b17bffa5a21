//! An ordinary axum program with five changed lines loses nothing.

use support::load::{Mode, Think};
use support::{Setup, Signal, beside_others, proc};

#[test]
fn an_axum_program_with_five_changed_lines_loses_nothing() {
    let _shared = beside_others();
    let server = Setup::bare("axum").listen("127.0.0.1:0").start();
    let new = server.load(Mode::new_connections(8, Think::millis(0, 5)));
    let kept = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    let mut serving = server.first_pid;
    for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGHUP] {
        proc::signal(serving, signal);
        let successor = server.wait_for_child(serving);
        server.wait_for_exit(serving);
        serving = successor;
        new.wait_for_requests(50);
    }
    for load in [new, kept] {
        let report = load.stop();
        println!("{report}   (5 restarts)");
        report.assert_none_failed();
        assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    }
}
