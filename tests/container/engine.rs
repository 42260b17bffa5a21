//! The image and the manifests that we ship, in real containers: restarts that clients do not notice, by the command and by a
//! signal, stops in time, orphans, a read-only file system, and what Kubernetes would do to a pod.

use std::time::{Duration, Instant};

use support::engine::{Container, Dockerfile, Engine, target};
use support::load::{Load, Mode, Report, Think, fetch};
use support::systemd::ask;
use support::{PATIENCE, alone};
use yaml_rust2::{Yaml, YamlLoader};

#[test]
fn twenty_restarts_of_the_image_as_it_is() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    // Two at once: as the image is, each restart takes 2 s, until a worker that says nothing counts as ready and through its
    // probation.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut container = engine.start();
            container.enter();
            restarts("by the command", &container, || {
                let (status, said) = container.restart();
                assert_eq!(status, 0, "{said}");
            });
            assert_eq!(container.stop(10).0, 0);
        });
        scope.spawn(|| {
            let mut container = match engine.publishes {
                true => engine.run(&["--publish", "8080:8080"], &[]),
                false => {
                    eprintln!("!!! this kernel translates no addresses: NOT by a published port");
                    engine.start()
                }
            };
            match engine.publishes {
                true => engine.enter(),
                false => container.enter(),
            }
            restarts("by a signal", &container, || {
                let mark = container.mark();
                container.kill("HUP");
                container.wait_for_line(mark, "worker settled");
            });
            assert_eq!(container.stop(10).0, 0);
        });
    });
}

/// Ten restarts under load, in a container that is as the Dockerfile says.
fn restarts(how: &str, container: &Container, restart: impl Fn()) {
    let dockerfile = Dockerfile::read();
    let command = [dockerfile.words("ENTRYPOINT"), dockerfile.words("CMD")].concat();
    let user = dockerfile.all("USER")[0].split(':').next().unwrap();
    container.wait_for_line(0, "worker settled");
    let loads = [
        container.load(Mode::keep_alive(8, Think::millis(0, 10))),
        container.load(Mode::keep_alive_late(8, Think::millis(0, 10))),
        container.load(Mode::new_connections(4, Think::millis(0, 10))),
    ];
    let mut workers = vec![container.worker()];
    for _ in 0..10 {
        let mark = container.mark();
        restart();
        container.wait_for_line(mark, OLD_GONE);
        workers.push(container.worker());
        assert_eq!(container.first_command(), command);
    }
    for pid in [1, *workers.last().unwrap()] {
        let uids = container.status_of(pid, "Uid").expect("a process");
        assert!(uids.split_whitespace().all(|uid| uid == user), "{uids}");
    }
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 11, "each of them another process");
    println!("{how}:\n{}", Report::HEADER);
    for report in loads.map(Load::stop) {
        println!("{report}");
        report.assert_none_failed();
    }
}

#[test]
fn g3_a_failed_restart_changes_nothing() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    let container = engine.start();
    container.enter();
    container.wait_for_line(0, "worker settled");
    let load = container.load(Mode::keep_alive(8, Think::millis(0, 10)));
    let (worker, server) = (container.worker(), "/usr/local/bin/server");
    container.exec_as_root(&["mv", server, "/usr/local/bin/good"]);
    let (status, said) = container.restart();
    println!("{said}");
    assert_eq!(status, FAILED, "{said}");
    container.exec_as_root(&[
        "sh",
        "-c",
        &format!("printf '#!/bin/sh\\nexit 7\\n' >{server} && chmod 755 {server}"),
    ]);
    let (status, said) = container.restart();
    println!("{said}");
    assert_eq!(status, FAILED, "{said}");
    assert!(said.contains("status 7"), "{said}");
    let mark = container.mark();
    container.kill("HUP");
    container.wait_for_line(mark, "failed");
    assert_eq!(container.worker(), worker);
    load.stop().assert_none_failed();

    // A worker that dies is replaced; the container does not end with it.
    container.exec_as_root(&["mv", "/usr/local/bin/good", server]);
    container.exec_as_root(&["sh", "-c", &format!("kill -KILL {worker}")]);
    assert_ne!(container.worker(), worker);
    let (status, said) = container.restart();
    assert_eq!(status, 0, "{said}");
}

#[test]
fn g5_a_stop_finishes_what_is_in_flight_and_takes_no_longer_than_it_may() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut container = engine.start();
            container.enter();
            let slow = ask(&target(), "/sleep/2000");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (status, after) = container.stop(10);
                    println!("one request of 2 s in flight: status {status} after {after:?}");
                    assert_eq!(status, 0);
                });
                assert!(slow.answer().ends_with("slept"));
            });
        });
        scope.spawn(|| {
            let mut container = engine.start();
            container.enter();
            let endless = ask(&target(), "/sleep/60000");
            // More than `docker stop` gives, so that a slow machine is seen as such, and not as the engine's SIGKILL.
            let (status, after) = container.stop(30);
            println!("a request without an end: status {status} after {after:?}");
            assert_eq!((status, endless.answer()), (HAMMERED, String::new()));
            assert!(after < Duration::from_secs(20), "{after:?}");
        });
    });
}

#[test]
fn orphans_are_reaped() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    let container = engine.start();
    let output = container.exec(&["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"]);
    let orphan: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a process id");
    assert_eq!(container.status_of(orphan, "PPid").as_deref(), Some("1"), "PID 1 has taken it in");
    container.exec_as_root(&["sh", "-c", &format!("kill {orphan}")]);
    let deadline = Instant::now() + PATIENCE;
    // Somebody else's child: there is only asking. One that nobody reaps stays as a zombie.
    while let Some(state) = container.status_of(orphan, "State") {
        assert!(Instant::now() < deadline, "process {orphan} is still there: {state}");
        std::thread::sleep(Duration::from_millis(10)); // allow: sleep (between looks)
    }
}

#[test]
fn root_is_told_what_it_lacks() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    let options = ["--network", "none", "--entrypoint"];
    let entry =
        ["heirloom", "run", "--pid-file", "/tmp/pid", "--listen", "0.0.0.0:8080", "--"].map(str::to_owned);
    let container = engine
        .run(&[&options[..], &[&entry_point(&entry)]].concat(), &["server", "--listen", "0.0.0.0:8080"]);
    // The engine leaves root without CAP_SYS_PTRACE: it may not look at the server, which is another user's.
    for target in [["--pid", "1"], ["--pid-file", "/tmp/pid"]] {
        let output = container.exec_as("0", &["heirloom", "status", target[0], target[1]]);
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        assert_eq!(output.status.code(), Some(NO_PERMISSION), "{said}");
    }
}

#[test]
fn on_a_read_only_file_system_without_any_right() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    let options = ["--network", "none", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"];
    let options = [&options[..], &["--security-opt", "no-new-privileges"]].concat();
    // With a place for the control socket.
    let with_place = [&options[..], &["--tmpfs", "/tmp"]].concat();
    let container = engine.run(&with_place, &[]);
    container.enter();
    container.wait_for_line(0, "worker settled");
    let (worker, mark) = (container.worker(), container.mark());
    let (status, said) = container.restart();
    assert_eq!(status, 0, "{said}");
    container.wait_for_line(mark, OLD_GONE);
    assert_ne!(container.worker(), worker);
    assert_eq!(container.lines("no place for a control socket"), Vec::<String>::new());
    drop(container);

    // Without one it says so, serves, and obeys signals.
    let container = engine.run(&options, &[]);
    container.enter();
    container.wait_for_line(0, "worker settled");
    assert_eq!(container.lines("no place for a control socket").len(), 2, "supervisor and worker");
    let worker = container.worker();
    let (status, said) = container.restart();
    println!("{said}");
    assert_eq!(status, NO_CONTROL, "{said}");
    let mark = container.mark();
    container.kill("HUP");
    container.wait_for_line(mark, OLD_GONE);
    assert_ne!(container.worker(), worker);
}

#[test]
fn a_container_that_was_killed_leaves_nothing_in_the_way() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    // A volume that outlives the container, as a pod's do; the next one's PID 1 has the same number.
    let entry = [
        "heirloom",
        "run",
        "--probation",
        "50ms",
        "--pid-file",
        "/tmp/pid",
        "--control",
        "/tmp/control",
        "--listen",
        "0.0.0.0:8080",
        "--",
    ];
    let entry = entry_point(&entry.map(str::to_owned));
    let options = [
        "--network",
        "none",
        "--read-only",
        "--read-only-tmpfs=false",
        "--volume",
        "left:/tmp",
        "--entrypoint",
        &entry,
    ];
    for _ in 0..2 {
        let mut container = engine.run(&options, &["server", "--listen", "0.0.0.0:8080"]);
        for target in [["--pid-file", "/tmp/pid"], ["--control", "/tmp/control"], ["--pid", "1"]] {
            let output = container.exec(&["heirloom", "restart", target[0], target[1]]);
            assert!(output.status.success(), "{target:?}: {output:?}");
        }
        container.kill("KILL");
        assert_eq!(container.wait(), 128 + 9);
    }
}

#[test]
fn what_kubernetes_does_to_a_pod() {
    let Some(engine) = Engine::get() else { return };
    let _alone = alone();
    let deployment = &YamlLoader::load_from_str(DEPLOYMENT).unwrap()[0];
    let pod = &deployment["spec"]["template"]["spec"];
    let manifest = &pod["containers"][0];
    let mut container = start_pod(engine, pod);
    container.enter();
    assert_eq!(container.first_command(), [list(&manifest["command"]), list(&manifest["args"])].concat());
    container.wait_for_line(0, "worker settled");

    // Probes as often as they can be, through a restart in place.
    let load = container.load(Mode::keep_alive(8, Think::millis(0, 10)));
    let probes = ["readinessProbe", "livenessProbe"].map(|name| {
        let path = manifest[name]["httpGet"]["path"].as_str().expect("a path");
        Load::start(&target(), Mode::new_connections(1, Think::millis(5, 5)), path)
    });
    let (status, said) = container.restart();
    assert_eq!(status, 0, "{said}");
    for report in probes.map(Load::stop) {
        println!("probes: {report}");
        report.assert_none_failed();
    }

    // The end: preStop, during which it serves, then the stop signal, and SIGKILL when the grace period is over.
    let began = Instant::now();
    let pre_stop = container.exec(&list_of_str(&list(&manifest["lifecycle"]["preStop"]["exec"]["command"])));
    assert!(pre_stop.status.success(), "{pre_stop:?}");
    let report = load.stop();
    println!("until the end of preStop: {report}");
    report.assert_none_failed();
    assert_eq!(fetch(&target(), "/ready", PATIENCE).unwrap().status, 200);
    let slow = ask(&target(), "/sleep/2000");
    let grace = pod["terminationGracePeriodSeconds"].as_i64().expect("a number");
    let grace = Duration::from_secs(u64::try_from(grace).unwrap());
    let (status, _) = container.stop((grace - began.elapsed()).as_secs());
    println!("status {status} after {:?} of {grace:?}", began.elapsed());
    assert!(slow.answer().ends_with("slept"));
    assert_eq!(status, 0);
}

/// What the manifest says of its container, as options of the engine.
fn start_pod(engine: &'static Engine, pod: &Yaml) -> Container {
    let manifest = &pod["containers"][0];
    let user = pod["securityContext"]["runAsUser"].as_i64().expect("a user").to_string();
    let mut options = vec!["--network", "none", "--user", &user];
    let context = &manifest["securityContext"];
    if context["readOnlyRootFilesystem"].as_bool() == Some(true) {
        options.extend(["--read-only", "--read-only-tmpfs=false"]);
    }
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        options.extend(["--security-opt", "no-new-privileges"]);
    }
    let dropped = context["capabilities"]["drop"].as_vec().map_or(vec![], |list| list.iter().collect());
    options.extend(dropped.iter().flat_map(|right| ["--cap-drop", right.as_str().expect("a right")]));
    // Each of its volumes is empty here, and in memory.
    for mount in manifest["volumeMounts"].as_vec().expect("mounts") {
        options.extend(["--tmpfs", mount["mountPath"].as_str().expect("a path")]);
    }
    let command = entry_point(&list(&manifest["command"]));
    options.extend(["--entrypoint", &command]);
    engine.run(&options, &list_of_str(&list(&manifest["args"])))
}

/// A list as the engine takes an entry point.
fn entry_point(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(","))
}

fn list(words: &Yaml) -> Vec<String> {
    words.as_vec().expect("a list").iter().map(|word| word.as_str().expect("a string").to_owned()).collect()
}

fn list_of_str(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

const DEPLOYMENT: &str = include_str!("../../examples/deploy/kubernetes/deployment.yaml");

/// What the supervisor says of a worker that has drained: from then on another one answers.
const OLD_GONE: &str = "a worker is gone";

/// The command's exit status for a restart that failed before it was ready.
const FAILED: i32 = 7;

/// The command's exit status for a process that it may not ask.
const NO_PERMISSION: i32 = 4;

/// The command's exit status where there is no control socket.
const NO_CONTROL: i32 = 5;

/// A server's exit status when it had to abort something.
const HAMMERED: i32 = 124;
