//! A page in headless Chromium that asks and asks, across five restarts.
//!
//! Where it is not installed the test says so and passes, unless `CI=true`.

use std::collections::BTreeSet;

use support::beside::{Beside, is_installed};
use support::chromium::chromium;
use support::load::Target;
use support::{Setup, Signal, alone, proc};

#[test]
fn a_page_that_asks_across_five_restarts() {
    if !is_installed("chromium", "--version") {
        return;
    }
    let _alone = alone();
    let server = Setup::example("web").args(&["--probation", "200ms"]).start();
    let mark = server.mark();
    let mut command = chromium(&server.dir().join("profile"));
    command.arg(format!("http://{}/page?generations=6", server.target()));
    let mut chromium = Beside::start(&mut command);
    let Target::Tcp(address) = *server.target() else { unreachable!("it listens on TCP") };
    let mut seen = BTreeSet::new();
    for restarts in 0..5 {
        // Each generation has answered the page before the next one comes.
        server.wait_for_lines(mark, &["the page says new pid"], restarts + 1);
        seen.extend(proc::clients_of(address.port()));
        let old = server.pid();
        server.restart(if restarts % 2 == 0 { Signal::SIGHUP } else { Signal::SIGUSR2 });
        server.wait_for_exit(old);
    }
    let report = server.wait_for_line(mark, "the page says report");
    println!("{report}");
    let left = proc::clients_of(address.port());
    assert_eq!((number(&report, "pids="), number(&report, "failed=")), (6, 0), "{report}");
    // A browser repeats by itself what fails on a connection that it has used before: it shows in a new connection.
    println!("{} connections: {} at the end", seen.len(), left.len());
    assert!(!seen.is_empty() && seen.is_subset(&left), "{seen:?}, then {left:?}");
    chromium.end().unwrap();
}

fn number(report: &str, name: &str) -> u64 {
    let after = report.split(name).nth(1).and_then(|rest| rest.split(' ').next());
    after.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {name} in {report}"))
}
