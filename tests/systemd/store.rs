//! Under a real systemd that keeps the listening sockets: their queues outlive a crash, a hang and a cold restart, and what
//! nobody wants does not stay.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::load::{Load, Mode, Target, Think};
use support::systemd::{Systemd, answered_by_another, ask, queue};
use support::{PATIENCE, alone};

#[test]
fn a_process_that_hangs_is_replaced_and_its_queue_is_served() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let section = format!("{KEPT}WatchdogSec=4\n");
    let unit = systemd.service("watchdog", "--listen 127.0.0.1:0 --probation 50ms", &section);
    unit.start();
    // The pings come from the new one from here on; without them it would be killed in this time.
    assert!(unit.reload());
    std::thread::sleep(Duration::from_millis(4500)); // allow: sleep
    let (pid, target) = (unit.pid(), unit.target());
    assert_eq!((unit.main_pid(), unit.show("NRestarts")), (pid, "0".to_owned()));
    unit.kill("STOP", pid);
    answered_by_another(&unit, queue(&target), pid);
    assert_eq!((unit.show("NRestarts"), unit.target()), ("1".into(), target), "port 0 stays what it was");

    // A process that lives, and a runtime that does not: the health says so.
    let pid = unit.pid();
    let _frozen = ask(&unit.target(), "/freeze");
    unit.wait_for_word("frozen");
    answered_by_another(&unit, queue(&unit.target()), pid);
    assert_eq!(unit.show("NRestarts"), "2");
}

#[test]
fn a_supervisor_that_is_killed_with_all_its_workers_loses_no_queued_connection() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let under = "run --ready heirloom --probation 50ms";
    let unit = systemd.service_under("supervised", under, "--listen 127.0.0.1:0", KEPT);
    unit.start();
    assert!(unit.reload());
    let (pid, target) = (unit.pid(), unit.target());
    unit.kill("STOP", pid);
    let waiting = queue(&target);
    // All of them: a worker alone would stop in order, and answer these itself.
    systemd.expect(&["systemctl", "kill", "--signal=KILL", &unit.name]);
    answered_by_another(&unit, waiting, pid);
    assert_eq!((unit.show("NRestarts"), unit.target()), ("1".into(), target));
}

#[test]
fn a_process_that_crashes_is_replaced_and_its_queue_is_served() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("crash", "--listen 127.0.0.1:0 --listen b=127.0.0.1:0 --probation 50ms", KEPT);
    let socket = unit.dir().join("socket");
    std::fs::write(unit.dir().join("bin/listen"), format!("unix:{}", socket.display())).unwrap();
    unit.start();
    let targets = unit.targets();
    assert_eq!((targets.len(), unit.show("NFileDescriptorStore")), (3, "3".to_owned()));
    for restarts in 1..=2 {
        let pid = unit.pid();
        // The whole process, so that nobody takes from the queue before it dies.
        unit.kill("STOP", pid);
        let waiting: Vec<_> = targets.iter().flat_map(queue).collect();
        unit.kill("KILL", pid);
        answered_by_another(&unit, waiting, pid);
        assert_eq!(unit.show("NRestarts"), restarts.to_string());
        assert_eq!(unit.targets()[targets.len() * restarts..], targets, "the same listeners, in order");
        assert_eq!(unit.show("NFileDescriptorStore"), "3");
    }
}

#[test]
fn a_crash_while_the_predecessor_drains_is_noticed() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("orphan", "--listen 127.0.0.1:0 --probation 50ms", KEPT);
    unit.start();
    let _held = ask(&unit.target(), "/sleep/60000");
    assert!(unit.reload());
    let pid = unit.pid();
    unit.kill("STOP", pid);
    let waiting = queue(&unit.target());
    let mark = systemd.mark();
    unit.kill("KILL", pid);
    // Its parent drains on and is not the manager, which would not know for as long as that takes.
    systemd.wait_for_line(mark, "Watchdog request");
    answered_by_another(&unit, waiting, pid);
    assert_eq!((unit.show("NRestarts"), unit.main_pid()), ("1".to_owned(), unit.pid()));
}

#[test]
fn a_listener_that_is_dropped_leaves_the_store() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("drops", "--listen 127.0.0.1:0 --probation 50ms", KEPT);
    let beside = unit.dir().join("bin/listen");
    std::fs::write(&beside, "b=127.0.0.1:0").unwrap();
    unit.start();
    assert_eq!(unit.show("NFileDescriptorStore"), "2");
    let dropped = unit.target();
    std::fs::remove_file(&beside).unwrap();
    // ExecReload takes the address that was told last.
    let restart = || {
        let old = unit.show("MainPID");
        unit.kill("USR2", old.parse().expect("a process id"));
        unit.wait_for("MainPID", |pid| pid != old);
    };
    restart();
    unit.wait_for("NFileDescriptorStore", |count| count == "1");
    let Target::Tcp(address) = dropped else { panic!("a TCP listener") };
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "somebody still listens on {address}");
    }
    // And one that a later start does not want.
    std::fs::write(&beside, "c=127.0.0.1:0").unwrap();
    restart();
    unit.wait_for("NFileDescriptorStore", |count| count == "2");
    std::fs::remove_file(&beside).unwrap();
    unit.kill("KILL", unit.main_pid());
    unit.wait_for("NRestarts", |count| count == "1");
    unit.wait_for("NFileDescriptorStore", |count| count == "1");
}

#[test]
fn a_listener_that_ends_leaves_the_store_unless_its_program_ends() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let section = KEPT.replace("RestartSec=0", "RestartSec=3");
    let unit = systemd.service("ends", "--listen 127.0.0.1:0 --listen b=127.0.0.1:0", &section);
    unit.start();
    let targets = unit.targets();
    // By the other one: an answer to this would have to pass the loop that ends.
    ask(&targets[0], "/drop").answer();
    unit.wait_for("NFileDescriptorStore", |count| count == "1");
    // `main` returns an error, and drops the other listener on its way.
    let pid = unit.main_pid();
    ask(&targets[0], "/fail").answer();
    unit.wait_for("SubState", |state| state == "auto-restart");
    answered_by_another(&unit, queue(&targets[0]), pid);
}

#[test]
fn a_predecessor_that_is_killed_on_the_way_ends_the_unit_and_it_starts_again() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("killed", "--listen 127.0.0.1:0 --probation 60s", KEPT);
    unit.start();
    let (target, first) = (unit.target(), unit.main_pid());
    unit.kill("USR2", first);
    unit.wait_for_word("accepting generation=2");
    unit.kill("KILL", first);
    unit.wait_for("MainPID", |pid| pid != "0" && pid != first.to_string());
    unit.wait_for("ActiveState", |state| state == "active");
    assert_eq!((unit.target(), unit.main_pid()), (target, unit.pid()));
    println!("{} restarts by systemd", unit.show("NRestarts"));
}

#[test]
fn a_changed_address_is_not_in_its_own_way() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("changes", "--init-delay 0ms", KEPT);
    let beside = unit.dir().join("bin/listen");
    std::fs::write(&beside, "127.0.0.1:0").unwrap();
    unit.start();
    let Target::Tcp(address) = unit.target() else { panic!("a TCP listener") };
    // The same to the kernel, and another address.
    let mapped = format!("[::ffff:127.0.0.1]:{}", address.port());
    std::fs::write(&beside, &mapped).unwrap();
    systemd.expect(&["systemctl", "restart", &unit.name]);
    assert_eq!(unit.target().to_string(), mapped);
    assert_eq!((unit.pid(), unit.show("NFileDescriptorStore")), (unit.main_pid(), "1".to_owned()));
}

#[test]
fn a_cold_restart_keeps_the_queue_too() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let unit = systemd.service("cold", "--listen 127.0.0.1:0", KEPT);
    let socket = unit.dir().join("socket");
    std::fs::write(unit.dir().join("bin/listen"), format!("unix:{}", socket.display())).unwrap();
    unit.start();
    let targets = unit.targets();
    let load = Load::start(&targets[0], Mode::new_connections(8, Think::millis(0, 5)), "/");
    load.wait_for_requests(100);
    for _ in 0..3 {
        systemd.expect(&["systemctl", "restart", &unit.name]);
        load.wait_for_requests(50);
        // The path is made anew each time, since the service that ends takes it away.
        assert_eq!(ask(&targets[1], "/generation").answer().lines().last(), Some("1"));
        assert_eq!(unit.show("NFileDescriptorStore"), "2");
    }
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert_eq!(unit.targets()[6..], targets);
}

#[test]
fn what_connects_before_the_first_start_is_served() {
    let Some(systemd) = Systemd::get() else { return };
    let _alone = alone();
    let name = format!("@heirloom-activated-{}", std::process::id());
    let unit = systemd.service("activated", &format!("--listen unix:{name} --probation 50ms"), KEPT);
    let socket = "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=";
    systemd.install("activated.socket", &format!("{socket}{name}\n"));
    systemd.expect(&["systemctl", "start", "activated.socket"]);
    assert_eq!(unit.show("ActiveState"), "inactive");
    let target: Target = format!("unix:{name}").parse().unwrap();
    let waiting: Vec<_> = (0..5).map(|_| ask(&target, "/generation")).collect();
    for connection in waiting {
        assert_eq!(connection.answer().lines().last(), Some("1"));
    }
    let first = unit.show("MainPID");
    unit.kill("USR2", unit.main_pid());
    unit.wait_for("MainPID", |pid| pid != first);
    unit.wait_for("StatusText", |status| status.starts_with("serving, generation 2"));
    // From its socket unit and from the store: one and the same.
    let pid = unit.main_pid();
    unit.kill("STOP", pid);
    let waiting = queue(&target);
    unit.kill("KILL", pid);
    answered_by_another(&unit, waiting, pid);
    assert_eq!(unit.show("NFileDescriptorStore"), "1");
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    // Its number is the last but one; the flags are those of a listener.
    let listening =
        sockets.lines().find(|line| line.ends_with(&name) && line.contains(" 00010000 ")).unwrap();
    let inode = format!("socket:[{}]", listening.split_whitespace().rev().nth(1).unwrap());
    let held = systemd.descriptors(unit.main_pid());
    assert_eq!(held.iter().filter(|target| **target == inode).count(), 1, "{inode} among {held:?}");
    systemd.expect(&["systemctl", "stop", "activated.socket"]);
}

/// Started again at once, with the listeners that it had.
const KEPT: &str = "Restart=on-failure\nRestartSec=0\nFileDescriptorStoreMax=8\n";
