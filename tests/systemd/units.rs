//! Under a real systemd: reloads that clients do not notice and that fail when they fail, the right main process, stops
//! in time, and the units that we ship.

use std::time::{Duration, Instant};

use support::load::{Load, Mode, Think};
use support::systemd::{Systemd, Unit, answered_by_another, ask, queue};
use support::{Port, TestDir, alone};

#[test]
fn twenty_reloads_under_load() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("reloads", "--listen 127.0.0.1:0 --probation 50ms", "");
    unit.start();
    assert_eq!(unit.show("StatusText"), "serving, generation 1");
    let load = Load::start(&unit.target(), Mode::keep_alive(16, Think::millis(0, 10)), "/");
    load.wait_for_requests(100);
    // Of each kind of descriptor, how many: the load's own come and go.
    let mut held = Vec::new();
    for generation in 2..=21 {
        assert!(unit.reload(), "reload to generation {generation}");
        // At once: the manager knew before the reload was over.
        assert_eq!(unit.main_pid(), unit.pid());
        assert_eq!(unit.generation(), generation);
        let descriptors = systemd.descriptors(unit.main_pid());
        held.push(descriptors.iter().filter(|target| !target.starts_with("socket:")).count());
    }
    // A predecessor that drains is held on to while it does: of some, the one before is gone.
    assert!(held[10..].iter().min() <= held[..10].iter().min(), "{held:?}");
    load.wait_for_requests(100);
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert_eq!((unit.show("ActiveState"), unit.show("NRestarts")), ("active".to_owned(), "0".to_owned()));
}

#[test]
fn a_supervisor_is_the_main_process_for_ever() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let under = "run --ready heirloom --probation 50ms";
    let arguments = "--listen 127.0.0.1:0 --probation 50ms";
    let unit = systemd.service_under("supervisor", under, arguments, "");
    unit.start();
    let main = unit.main_pid();
    assert_ne!(unit.pid(), main);
    let load = Load::start(&unit.target(), Mode::keep_alive(16, Think::millis(0, 10)), "/");
    load.wait_for_requests(100);
    for generation in 2..=6 {
        assert!(unit.reload(), "reload to generation {generation}");
        assert_eq!((unit.main_pid(), unit.generation()), (main, generation));
        unit.wait_for("StatusText", |status| status == format!("serving, generation {generation}"));
    }
    let old = unit.pid();
    unit.binary.become_script("exit 7");
    assert!(!unit.reload(), "a reload that must fail");
    // The command's answer and the manager's go by different ways.
    unit.wait_for("StatusText", |status| {
        status.contains("the last restart failed") && status.contains("status 7")
    });
    assert_eq!((unit.main_pid(), unit.pid()), (main, old));
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert_eq!((unit.show("ActiveState"), unit.show("NRestarts")), ("active".to_owned(), "0".to_owned()));
    unit.stop();
    assert_eq!(unit.show("Result"), "success");
}

#[test]
fn g3_a_failed_reload_is_reported_and_changes_nothing() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("fails", "--listen 127.0.0.1:0 --probation 3s", "");
    unit.start();
    let (first, pid) = (unit.main_pid(), unit.pid());
    assert_eq!(first, pid);
    let carries_on = |unit: &Unit, why: &str| {
        assert!(!unit.reload(), "a reload that must fail");
        assert_eq!((unit.main_pid(), unit.pid()), (pid, pid));
        assert_eq!((unit.show("ActiveState"), unit.show("SubState")), ("active".into(), "running".into()));
        unit.wait_for("StatusText", |status| {
            status.starts_with("serving, generation 1; the last restart ") && status.contains(why)
        });
    };
    unit.binary.become_script("exit 7");
    carries_on(&unit, "failed: the successor exited with status 7");
    // Taken back after it was ready: the manager has seen nothing of it but the reload.
    unit.binary.become_example("faulty");
    std::fs::write(unit.dir().join("bin/fault"), "die-at-commit").unwrap();
    carries_on(&unit, "taken back: the successor was killed by");
    unit.binary.become_example("unit");
    assert!(unit.reload());
    assert_eq!((unit.main_pid(), unit.generation()), (unit.pid(), 2));
    // Perhaps with a word on the drain of the one before.
    assert!(unit.show("StatusText").starts_with("serving, generation 2"));
}

#[test]
fn a_signal_moves_the_main_process_and_a_drain_is_told() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("signals", "--listen 127.0.0.1:0 --probation 50ms", "");
    unit.start();
    let first = unit.main_pid();
    let slow = ask(&unit.target(), "/sleep/4000");
    unit.kill("USR2", first);
    let status = unit.wait_for("StatusText", |status| status.contains("drains"));
    assert!(
        status.starts_with("serving, generation 2; generation 1 drains: 1 connection left, "),
        "{status}"
    );
    assert_eq!(unit.main_pid(), unit.pid());
    assert!(slow.answer().ends_with("slept"));
    unit.wait_for("StatusText", |status| status == "serving, generation 2; generation 1 has drained");
    assert_eq!(unit.show("ActiveState"), "active");
}

#[test]
fn the_main_process_alone_may_be_heard() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let section = "NotifyAccess=main\nFileDescriptorStoreMax=4\nWatchdogSec=10\n";
    let unit = systemd.service("access", "--listen 127.0.0.1:0 --probation 50ms", section);
    unit.start();
    for generation in 2..=4 {
        assert!(unit.reload());
        assert_eq!((unit.main_pid(), unit.generation()), (unit.pid(), generation));
        let status = unit.show("StatusText");
        assert!(status.starts_with(&format!("serving, generation {generation}")), "{status}");
    }
    // Each socket once, however many generations stored it.
    assert_eq!(unit.show("NFileDescriptorStore"), "1");
    // What is not admitted is the predecessor's word on its own drain, and nothing else.
    let refused = systemd.lines("reception only permitted for main PID");
    println!("{} refused: {refused:?}", refused.len());
}

#[test]
fn g5_a_stop_takes_as_long_as_the_drain_and_no_longer() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    // Less than the request needs: what the drain takes is asked for.
    let unit = systemd.service("stops", "--listen 127.0.0.1:0 --shutdown 40s", "TimeoutStopSec=1\n");
    unit.start();
    let slow = ask(&unit.target(), "/sleep/4000");
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| unit.stop());
        unit.wait_for("StatusText", |status| status.starts_with("stopping: 1 connection left, "));
        assert!(slow.answer().ends_with("slept"));
    });
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!((unit.show("Result"), unit.show("ActiveState")), ("success".into(), "inactive".into()));

    // The hammer, and its exit status. The old generation, which drains, goes with the new one.
    let arguments = "--listen 127.0.0.1:0 --probation 50ms --shutdown 500ms";
    let unit = systemd.service("hammered", arguments, "TimeoutStopSec=20\nSuccessExitStatus=124\n");
    unit.start();
    let old = ask(&unit.target(), "/sleep/40000");
    assert!(unit.reload());
    let new = ask(&unit.target(), "/sleep/40000");
    let began = Instant::now();
    unit.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!((old.answer(), new.answer()), (String::new(), String::new()));
    assert_eq!((unit.show("Result"), unit.show("ActiveState")), ("success".into(), "inactive".into()));
}

#[test]
fn g2_a_stop_after_a_reload_drains() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("drains", "--listen 127.0.0.1:0 --probation 50ms", "");
    unit.start();
    stops_in_order_after_a_reload(&unit);

    // One that ends by itself is not asked to stop, and is no failure for that.
    unit.start();
    assert!(unit.reload());
    unit.kill("TERM", unit.main_pid());
    unit.wait_for("ActiveState", |state| state == "inactive");
    assert_eq!(unit.show("Result"), "success");
}

#[test]
fn a_start_takes_as_long_as_it_may() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("slow", "--listen 127.0.0.1:0 --init-delay 3s", "TimeoutStartSec=2s\n");
    unit.start();
    assert_eq!((unit.show("ActiveState"), unit.show("NRestarts")), ("active".into(), "0".into()));
}

#[test]
fn a_manager_that_hangs_is_not_waited_for_and_a_take_back_meanwhile_is_seen_right() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("hangs", "--listen 127.0.0.1:0 --probation 50ms", "");
    unit.start();
    let (first, load) =
        (unit.pid(), Load::start(&unit.target(), Mode::keep_alive(8, Think::millis(0, 10)), "/"));
    // It dies after it was announced, and before that was read.
    systemd.freeze(true);
    unit.kill("USR2", first);
    let successor = number_after(&unit, "successor started pid=");
    unit.wait_for_word("accepting generation=2");
    std::thread::sleep(Duration::from_millis(500)); // allow: sleep (nobody says that the announcement is on its way)
    unit.kill("KILL", successor);
    unit.wait_for_word("taken back");
    load.wait_for_requests(50);
    systemd.freeze(false);
    unit.wait_for("StatusText", |status| status.contains("taken back"));
    assert_eq!((unit.main_pid(), unit.pid(), unit.show("ActiveState")), (first, first, "active".to_owned()));
    load.stop();

    // It lives, and systemd comes back after its predecessor is gone.
    let load = Load::start(&unit.target(), Mode::keep_alive(8, Think::millis(0, 10)), "/");
    systemd.freeze(true);
    unit.kill("USR2", first);
    unit.wait_for_word("generation 1 ended");
    load.wait_for_requests(50);
    systemd.freeze(false);
    let main = unit.wait_for("MainPID", |pid| pid != first.to_string());
    load.wait_for_requests(50);
    assert_eq!((main, unit.show("ActiveState")), (unit.pid().to_string(), "active".to_owned()));
    load.stop().assert_none_failed();
}

#[test]
fn the_units_that_we_ship_work() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.shipped("server", |text| text.replace("0.0.0.0:8080", "127.0.0.1:0"));
    unit.start();
    assert!(unit.reload());
    assert_eq!((unit.main_pid(), unit.generation()), (unit.pid(), 2));
    let pid = unit.pid();
    unit.kill("STOP", pid);
    let waiting = queue(&unit.target());
    unit.kill("KILL", pid);
    answered_by_another(&unit, waiting, pid);
    stops_in_order_after_a_reload(&unit);

    // systemd takes no port 0.
    let port = Port::kept();
    let address = port.address();
    let unit = systemd.shipped("server-activated", |text| text.replace("0.0.0.0:80", &address));
    let socket = include_str!("../../examples/deploy/systemd/server-activated.socket");
    let socket = socket.replace("0.0.0.0:80", &address).replace("[Unit]", "[Unit]\nDefaultDependencies=no");
    systemd.install("server-activated.socket", &socket);
    systemd.expect(&["systemctl", "start", "server-activated.socket"]);
    let waiting = ask(&address.parse().unwrap(), "/generation");
    assert_eq!(waiting.answer().lines().last(), Some("1"));
    assert!(unit.reload());
    assert_eq!((unit.main_pid(), unit.generation()), (unit.pid(), 2));
    systemd.expect(&["systemctl", "stop", "server-activated.socket"]);
}

/// To many servers a second stop signal means at once: with systemd's own KillMode it comes right behind the first.
#[test]
fn g2_a_stop_of_any_server_is_one_signal_and_a_success() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let script = concat!("/usr/bin/python3 ", env!("CARGO_MANIFEST_DIR"), "/tests/foreign/once.py");
    let ours = |text: String| {
        text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("/usr/local/bin/any-server", script)
    };
    let unit = systemd.shipped("any-server", ours);
    for round in 1..=3 {
        unit.start();
        let path = format!("/slow/{round}");
        let waiting = ask(&unit.target(), &path);
        unit.wait_for_word(&format!("was asked for {path}"));
        unit.stop();
        assert_eq!(waiting.answer().lines().last(), Some("answer"), "round {round}");
        assert_eq!(unit.show("Result"), "success", "it ended by SIGTERM, which is its way");
    }
}

#[test]
fn systemd_has_nothing_to_say_against_the_units_that_we_ship() {
    // The one that knows all that is in them.
    let Some(systemd) = Systemd::of_version(NOTIFY_RELOAD) else { return };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/deploy/systemd");
    let verify = |path: &str| {
        let said = systemd.run(&["systemd-analyze", "verify", "--man=no", path]);
        String::from_utf8_lossy(&said.stderr).into_owned()
    };
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let said = verify(path.to_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        // The programs are not installed here.
        let mut lines =
            said.lines().filter(|line| line.contains(name) && !line.contains("is not executable"));
        assert!(lines.next().is_none(), "{said}");
        count += 1;
    }
    assert_eq!(count, 5);
    // It would have said so.
    let wrong = TestDir::new();
    let wrong = wrong.path().join("wrong.service");
    std::fs::write(&wrong, "[Service]\nType=notify-relaod\nExecStart=/bin/true\n").unwrap();
    let said = verify(wrong.to_str().unwrap());
    assert!(said.contains("notify-relaod"), "{said}");
}

/// Whatever a unit pulls in: systemd-tmpfiles empties /tmp.
#[test]
fn what_it_keeps_and_clears_is_not_the_machines() {
    let Some(systemd) = Systemd::get() else { return };
    for place in ["/tmp", "/run", "/var", "/var/tmp"] {
        let name = format!("{place}/heirloom-of-the-machine-{}", std::process::id());
        let own = format!("{place}/heirloom-of-the-test-{}", std::process::id());
        std::fs::write(&name, "").expect("root may write there");
        let is_seen = systemd.run(&["test", "-e", &name]).status.success();
        std::fs::remove_file(&name).expect("a file to remove");
        assert!(!is_seen, "{place} is the machine's");
        systemd.expect(&["touch", &own]);
        assert!(!std::path::Path::new(&own).exists(), "{place} is the machine's");
    }
    // What the tests read and write is where it was.
    let dir = TestDir::new();
    systemd.expect(&["touch", &dir.path().join("written").display().to_string()]);
    assert!(dir.path().join("written").exists());
}

#[test]
fn notify_reload_has_no_word_for_a_failure() {
    let Some(systemd) = Systemd::of_version(NOTIFY_RELOAD) else { return };
    let _alone = alone();
    let unit = systemd
        .shipped("server-notify-reload", |text| text.replace("0.0.0.0:8080", "127.0.0.1:0 --probation 50ms"));
    unit.start();
    let load = Load::start(&unit.target(), Mode::keep_alive(8, Think::millis(0, 10)), "/");
    for generation in 2..=21 {
        assert!(unit.reload(), "reload to generation {generation}");
        assert_eq!((unit.main_pid(), unit.generation()), (unit.pid(), generation));
    }
    let report = load.stop();
    println!("systemd {}: {report}", systemd.version);
    report.assert_none_failed();
    unit.binary.become_script("exit 7");
    assert!(unit.reload(), "it cannot fail");
    let status = unit.show("StatusText");
    assert!(status.contains("the last restart failed"), "{status}");
    // Taken back after it was ready.
    unit.binary.become_example("faulty");
    std::fs::write(unit.dir().join("bin/fault"), "die-at-commit").unwrap();
    let pid = unit.pid();
    assert!(unit.reload(), "it cannot fail");
    let status = unit.show("StatusText");
    assert!(status.contains("the last restart was taken back"), "{status}");
    assert_eq!((unit.main_pid(), unit.pid()), (pid, pid));
    assert_eq!((unit.generation(), unit.show("ActiveState")), (21, "active".to_owned()));
    unit.binary.become_example("unit");
    stops_in_order_after_a_reload(&unit);
}

#[test]
fn notify_reload_of_a_supervisor() {
    let Some(systemd) = Systemd::of_version(NOTIFY_RELOAD) else { return };
    let _alone = alone();
    let under = "run --ready heirloom --probation 50ms";
    let arguments = "--listen 127.0.0.1:0 --probation 50ms";
    let unit = systemd.service_under("reloaded", under, arguments, "Type=notify-reload\n");
    unit.start();
    let main = unit.main_pid();
    let load = Load::start(&unit.target(), Mode::keep_alive(8, Think::millis(0, 10)), "/");
    for generation in 2..=6 {
        assert!(unit.reload(), "reload to generation {generation}");
        assert_eq!((unit.main_pid(), unit.generation()), (main, generation));
    }
    load.stop().assert_none_failed();
    unit.binary.become_script("exit 7");
    assert!(unit.reload(), "it cannot fail");
    let status = unit.show("StatusText");
    assert!(status.contains("the last restart failed"), "{status}");
    assert_eq!((unit.main_pid(), unit.generation()), (main, 6));
}

/// Systemd does not wait for a main process that was not its own child when it heard of it, if it is alone in its unit.
fn stops_in_order_after_a_reload(unit: &Unit) {
    let first = unit.main_pid();
    assert!(unit.reload());
    unit.wait_for_exit(first);
    let slow = ask(&unit.target(), "/sleep/700");
    std::thread::scope(|scope| {
        scope.spawn(|| unit.stop());
        assert!(slow.answer().ends_with("slept"), "{}", unit.name);
    });
    assert_eq!((unit.show("Result"), unit.show("ActiveState")), ("success".into(), "inactive".into()));
}

/// What stands behind these words in the log, once they are there.
fn number_after(unit: &Unit, words: &str) -> i32 {
    unit.wait_for_word(words);
    let log = unit.log();
    let digits = log.rsplit(words).next().and_then(|rest| rest.split(' ').next());
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no number after {words:?} in {log}"))
}

/// The first systemd that knows `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;
