//! Nothing is left of five hundred moves of each kind, by the same program that makes more of them:
//! `scripts/leak-test.sh`.

use std::process::Command;
use std::thread;

use super::{secure, start};
use support::beside::is_installed;
use support::{alone, programs};

#[test]
fn g6_nothing_is_left_of_five_hundred_moves_of_each_kind() {
    if !is_installed("python3", "--version") {
        return;
    }
    let _alone = alone();
    let round = |is_over_tls: bool| {
        let server = if is_over_tls { secure::start().0 } else { start("live") };
        let mut command = Command::new("python3");
        command.arg(programs::checkout("scripts/leak-load.py")).args([
            &server.target().to_string(),
            "50",
            "10",
        ]);
        let output = command.args(is_over_tls.then_some("--tls")).output().expect("a program");
        let shown = String::from_utf8_lossy(&output.stdout);
        println!("{shown}");
        assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    };
    // Each with a server of its own, at the same time.
    thread::scope(|scope| {
        for is_over_tls in [false, true] {
            let round = &round;
            scope.spawn(move || round(is_over_tls));
        }
    });
}
