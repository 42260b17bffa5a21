//! The command against a supervisor: the PID stays, so one name for the service is enough for ever.

use std::fs;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::forged::Predecessor;
use heirloom::Orphans;
use heirloom::handover::Failure;
use heirloom::handover::announcement::{Announcement, VARIABLE};
use heirloom::handover::message::{Message, Told};
use support::gate::Gate;
use support::load::{Mode, Think};
use support::operator::{Asking, Said, beside, code, heirloom};
use support::{Server, Setup, Signal, alone, beside_others, proc};

#[test]
fn a_restart_tells_each_step_again_and_again() {
    let _alone = alone();
    let server = workers(&["--probation", "200ms"]);
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    load.wait_for_requests(50);
    let pid = server.first_pid.to_string();
    for wait in ["ready", "settled", "drained", "drained"] {
        let old = server.pid();
        let said = heirloom(&["restart", "--pid", &pid, "--wait", wait]).is(code::DONE, &["spawned"]);
        let all = ["spawned", "initialised", "ready", "settled", "drained"];
        let reached = all.iter().position(|step| *step == wait).unwrap();
        assert_eq!(steps(&said), all[..=reached], "{said:#?}");
        let over = said.took.saturating_sub(said.step(wait));
        println!("--wait {wait}: {wait} after {:?}, the command took {over:?} more", said.step(wait));
        // What its accept loop had in hand when it was told to stop, it still answers.
        server.wait_for_other_than(old);
        server.wait_for_exit(old);
        server.wait_for_lines(0, &["worker settled"], 1 + usize::try_from(server.generation()).unwrap() - 1);
    }
    load.stop().assert_none_failed();
}

#[test]
fn asked_of_a_worker_it_is_the_supervisor_that_tells_each_step() {
    let _alone = alone();
    let server = workers(&["--probation", "200ms"]);
    let ask = || heirloom(&["restart", "--pid", &server.pid().to_string(), "--wait", "drained"]);
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    load.wait_for_requests(50);
    for _ in 0..3 {
        let old = server.pid();
        let said = ask().is(code::DONE, &[]);
        assert_eq!(steps(&said), ["spawned", "initialised", "ready", "settled", "drained"], "{said:#?}");
        assert_ne!(server.pid(), old);
        server.wait_for_exit(old);
    }
    // One that is asked for during another is told of its own outcome, and not of that one's.
    let fifo = server.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    server.binary.become_script(&format!("read line < {}; exit 5", fifo.display()));
    let (worker, mark) = (server.pid().to_string(), server.mark());
    let first = beside(&["restart", "--pid", &worker]);
    server.wait_for_line(mark, "worker started");
    let second = beside(&["restart", "--pid", &worker]);
    server.wait_for_line(mark, "another one follows it");
    server.binary.become_example("workers");
    fs::write(&fifo, "\n").unwrap();
    first.join().unwrap().is(code::FAILED, &["status 5"]);
    let said = second.join().unwrap().is(code::DONE, &["this one follows it"]);
    assert_eq!(steps(&said)[1..], ["spawned", "initialised", "ready", "settled"], "{said:#?}");
    load.stop().assert_none_failed();

    let server = workers(&["--veto", "the moon is full"]);
    heirloom(&["restart", "--pid", &server.pid().to_string()]).is(code::REFUSED, &["the moon is full"]);
}

#[test]
fn every_outcome_has_its_exit_status() {
    let _alone = alone();
    let server = workers(&["--start-timeout", "3s", "--probation", "2s"]);
    let pid = server.first_pid.to_string();
    let load = server.load(Mode::new_connections(8, Think::millis(0, 2)));
    let restart = || heirloom(&["restart", "--pid", &pid]);
    let faulty = |fault: &str| {
        server.binary.become_example("faulty");
        fs::write(server.binary.path().with_file_name("fault"), fault).unwrap();
    };
    server.binary.remove();
    restart().is(code::FAILED, &["there is no such file"]);
    server.binary.become_script("exit 5");
    restart().is(code::FAILED, &["status 5"]);
    server.binary.become_script("exec sleep 1000");
    restart().is(code::FAILED, &["not ready after 3s"]);
    faulty("fail-init the cellar is flooded");
    restart().is(code::FAILED, &["the cellar is flooded"]);
    faulty("exit-at-commit");
    restart().is(code::TAKEN_BACK, &["status 0"]);
    server.binary.become_example("workers");
    restart().is(code::DONE, &["serves"]);
    load.stop().assert_none_failed();
    let status = status(&pid);
    assert_eq!(status["restarts"]["failed"], 4, "{status}");
    assert_eq!(status["restarts"]["taken_back"], 1, "{status}");
    assert_eq!(status["restarts"]["settled"], 1, "{status}");
    assert_eq!(status["last_failure"]["outcome"], "taken_back");

    let server = workers(&["--veto", "the moon is full"]);
    let pid = server.first_pid.to_string();
    heirloom(&["restart", "--pid", &pid]).is(code::REFUSED, &["the moon is full"]);
}

#[test]
fn the_status_names_every_worker_and_what_it_still_does() {
    let _shared = beside_others();
    let server = workers(&["--probation", "50ms"]);
    let pid = server.first_pid.to_string();
    let old = server.pid();
    let slow = server.begin("/sleep?duration=10min");
    assert_eq!(server.pid(), old);
    heirloom(&["restart", "--pid", &pid]).is(code::DONE, &[]);
    let status = status(&pid);
    let workers = status["generations"].as_array().unwrap();
    assert_eq!(status["kind"], "supervisor");
    assert_eq!(status["pid"], server.first_pid);
    assert_eq!(status["serving"], server.pid());
    assert_eq!((&workers[0]["pid"], &workers[0]["role"]), (&old.into(), &"draining".into()), "{status}");
    assert_eq!(workers[0]["detail"]["oldest"][0]["state"], "busy", "its own socket tells: {status}");
    assert_eq!(workers[1]["role"], "serving");
    let table = heirloom(&["status", "--pid", &pid]).is(code::DONE, &["draining", "serving"]);
    println!("{}", table.stdout);
    drop(slow);
}

#[test]
fn two_operators_at_once_and_a_stop_during_a_restart() {
    let _shared = beside_others();
    let server = workers(&["--probation", "300ms"]);
    let pid = server.first_pid.to_string();
    let mut gate = Gate::before_example(&server, "workers");
    let first = Asking::begin(&["restart", "--pid", &pid]).wait_for("spawned");
    let others = [(); 2].map(|()| Asking::begin(&["restart", "--pid", &pid]).wait_for("follows it"));
    gate.open(&server);
    first.end().is(code::DONE, &["serves"]);
    for said in others {
        said.end().is(code::DONE, &["serves"]);
    }
    assert_eq!(server.generation(), 3, "one restart, and one that follows it");
    server.binary.become_script("exec sleep 1000");
    let mark = server.mark();
    let restart = beside(&["restart", "--pid", &pid]);
    server.wait_for_line(mark, "worker started");
    heirloom(&["stop", "--pid", &pid]).is(code::DONE, &["drained"]);
    restart.join().unwrap().is(code::STOPPED, &[]);
    server.wait_for_exit(server.first_pid);
}

#[test]
fn stop_waits_for_requests_and_hammer_does_not() {
    let _shared = beside_others();
    let directory = support::TestDir::new();
    let control = directory.path().join("control").display().to_string();
    let server = workers(&["--control", &control]);
    let mut slow = server.begin("/sleep?duration=1s");
    server.pid();
    let stop = beside(&["stop", "--control", &control]);
    assert!(slow.answer().body.starts_with("Hello"));
    drop(slow);
    stop.join().unwrap().is(code::DONE, &["drained"]);
    assert!(fs::symlink_metadata(&control).is_err(), "the path is gone with the last one");
    heirloom(&["status", "--control", &control]).is(code::NOT_RUNNING, &[]);
    let server = workers(&["--control", &control]);
    let mut slow = server.begin("/sleep?duration=10min");
    server.pid();
    heirloom(&["hammer", "--control", &control]).is(code::DONE, &["drained"]);
    assert_eq!(slow.answer_if_any(), None);
}

#[test]
fn a_workers_end_is_its_own_where_it_is_not_the_service() {
    let _alone = alone();
    let run = [
        support::programs::heirloom().to_str().unwrap(),
        "run",
        "--ready",
        "heirloom",
        "--probation",
        "50ms",
        "--",
    ];
    for server in [workers(&["--probation", "50ms"]), Setup::hello().under(run).start()] {
        server.wait_for_line(0, "worker settled");
        let supervisor = server.first_pid.to_string();
        let old = server.pid();
        // One that drains: what it is told to do instead is what the operator then does.
        let mut slow = server.begin("/sleep?duration=10min");
        assert_eq!(server.pid(), old);
        heirloom(&["restart", "--pid", &supervisor]).is(code::DONE, &[]);
        let new = server.pid();
        let advice = format!("`heirloom hammer --pid {old}`");
        let service = format!("stop its supervisor, process {supervisor}");
        heirloom(&["stop", "--pid", &old.to_string()]).is(code::REFUSED, &[&advice, &service]);
        heirloom(&["hammer", "--pid", &old.to_string()]).is(code::DONE, &["drained"]);
        assert_eq!(slow.answer_if_any(), None);
        server.wait_for_exit(old);
        assert_eq!(server.pid(), new);
        // One that still starts.
        server.binary.become_example("faulty");
        fs::write(server.binary.path().with_file_name("fault"), "init-for-ever").unwrap();
        for how in ["stop", "hammer"] {
            let mark = server.mark();
            let restart = beside(&["restart", "--pid", &supervisor]);
            server.wait_for_line(mark, "worker started");
            let starts = *proc::children(server.first_pid).iter().find(|pid| **pid != new).unwrap();
            let deadline = std::time::Instant::now() + support::PATIENCE;
            // It has no control socket before it has begun.
            while heirloom(&[how, "--pid", &starts.to_string()]).code == code::NO_CONTROL {
                assert!(std::time::Instant::now() < deadline, "{how}: no control socket");
            }
            restart.join().unwrap().is(code::FAILED, &["asked to stop before it was ready"]);
            server.wait_for_exit(starts);
            assert_eq!(server.pid(), new);
        }
        // And the service itself.
        heirloom(&["stop", "--pid", &new.to_string()]).is(code::DONE, &["drained"]);
        server.wait_for_exit(server.first_pid);
    }
}

/// A server whose second worker is watched, its first worker, and the command that waits.
fn on_probation() -> (Server, i32, JoinHandle<Said>) {
    let server = workers(&["--probation", "10min"]);
    let (old, mark) = (server.pid(), server.mark());
    let restart = beside(&["restart", "--pid", &server.first_pid.to_string()]);
    server.wait_for_line(mark, "worker ready worker=2");
    (server, old, restart)
}

#[test]
fn a_restart_whose_old_worker_dies_meanwhile_is_a_restart() {
    let _shared = beside_others();
    let (server, old, restart) = on_probation();
    let supervisor = server.first_pid.to_string();
    proc::signal(old, Signal::SIGKILL);
    restart.join().unwrap().is(code::DONE, &["serves"]);
    let restarts = &status(&supervisor)["restarts"];
    assert_eq!((&restarts["settled"], &restarts["respawned"]), (&1.into(), &0.into()), "{restarts}");
}

#[test]
fn a_restart_whose_new_worker_dies_on_probation_is_no_respawn() {
    let _shared = beside_others();
    let (server, old, restart) = on_probation();
    let supervisor = server.first_pid.to_string();
    let new = *proc::children(server.first_pid).iter().find(|pid| **pid != old).expect("a new worker");
    proc::signal(new, Signal::SIGKILL);
    restart.join().unwrap().is(code::TAKEN_BACK, &["SIGKILL"]);
    let restarts = &status(&supervisor)["restarts"];
    assert_eq!((&restarts["taken_back"], &restarts["respawned"]), (&1.into(), &0.into()), "{restarts}");
    assert_eq!(server.pid(), old);
}

#[test]
fn heirloom_run_is_operated_by_its_own_command() {
    let _alone = alone();
    let command = [
        support::programs::heirloom().as_os_str(),
        "run".as_ref(),
        "--ready".as_ref(),
        "heirloom".as_ref(),
        "--probation".as_ref(),
        "100ms".as_ref(),
        "--".as_ref(),
    ];
    let server = Setup::hello().under(command).start();
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    load.wait_for_requests(50);
    let pid = server.first_pid.to_string();
    for _ in 0..3 {
        let old = server.pid();
        assert_ne!(old, server.first_pid);
        heirloom(&["restart", "--pid", &pid, "--wait", "drained"]).is(code::DONE, &["drained"]);
        server.wait_for_exit(old);
    }
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0), "connections move under it as well");
    proc::signal(server.pid(), Signal::SIGKILL);
    server.wait_for_line(0, "the worker that served has died");
    heirloom(&["stop", "--pid", &pid]).is(code::DONE, &["drained"]);
}

#[test]
fn g7_an_older_supervisor_is_asked_without_the_operator() {
    let _shared = beside_others();
    let supervisor = Predecessor::new();
    let announcement = Announcement { supervised: Some(Orphans::Stop), ..supervisor.announcement() };
    let worker = Setup::example("workers").env(VARIABLE, announcement.encode().unwrap()).start();
    let says = |expected: fn(&Message) -> bool| while !expected(&supervisor.hear().expect("more")) {};
    says(|message| matches!(message, Message::Ready { .. }));
    supervisor.say(&Message::Commit { probation: Duration::ZERO });
    supervisor.say(&Message::Settled { restart_again: false });
    let asked = beside(&["restart", "--pid", &worker.first_pid.to_string()]);
    says(|message| *message == Message::Restart);
    let failure = Failure::Died { how: "fell into the cellar".to_owned() };
    supervisor.say(&Message::Restarted(Told::Failed(failure)));
    asked.join().unwrap().is(code::FAILED, &["fell into the cellar"]);
}

fn steps(said: &Said) -> Vec<&str> {
    said.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn workers(args: &[&str]) -> Server {
    let server = Setup::example("workers").args(args).start();
    server.wait_for_line(0, "worker settled");
    server
}

fn status(pid: &str) -> serde_json::Value {
    let said = heirloom(&["status", "--json", "--pid", pid]).is(code::DONE, &[]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}
