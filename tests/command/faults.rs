//! `heirloom run` when things end: on request, by themselves, by force, and not at all.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::load::{Load, Mode, Think};
use support::python::system_python;
use support::run::{Running, Setup, foreign};
use support::{PATIENCE, Port, Signal, alone, beside_others, proc};

fn quick() -> Setup {
    Setup::new().options(&[
        "--ready",
        "notify",
        "--probation",
        "50ms",
        "--backoff",
        "10ms",
        "--backoff-ceiling",
        "40ms",
    ])
}

fn serving(setup: Setup) -> Running {
    let running = setup.env("WORKER_READY", "notify").worker();
    running.wait_for_line(0, "worker settled worker=1");
    running
}

fn shell(setup: Setup, script: &str) -> Running {
    setup.spawn(&["sh", "-c", script].map(OsStr::new))
}

#[test]
fn the_exit_status_is_the_workers() {
    let _shared = beside_others();
    let running = serving(quick().env("WORKER_STATUS", "7"));
    running.signal(Signal::SIGTERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(7));
    // Killed by the stop signal.
    for (name, number) in [("QUIT", 3), ("RTMIN+3", 37)] {
        let running =
            shell(quick().options(&["--ready", "after=10ms", "--stop-signal", name]), "exec sleep 1000");
        running.wait_for_line(0, "worker settled");
        running.signal(Signal::SIGINT);
        let (status, _) = running.end();
        assert_eq!(status.code(), Some(128 + number), "{name}");
    }
}

/// It serves all the while, as any server does that has opened its socket, and never says that it is ready.
fn serving_in_silence(silent: &str, options: &[&str]) -> Running {
    let setup = Setup::new().listen().options(&["--ready", "notify"]).options(options);
    let until = setup.dir().join("go");
    let script = foreign("asyncio_server.py");
    let setup = setup.env("SILENT", silent).env("HOLD_UNTIL", until);
    setup.command(&[system_python().as_ref(), script.as_os_str()])
}

/// Requests until this generation has one.
fn held_by(running: &Running, generation: &str) -> Vec<std::thread::JoinHandle<bool>> {
    let says = format!("holding a request in {generation}");
    let mut requests = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while running.lines(0, &says).is_empty() {
        assert!(Instant::now() < deadline, "{says:?} is never said");
        let target = running.target().clone();
        let held = running.lines(0, "holding a request in").len();
        requests.push(std::thread::spawn(move || support::load::fetch(&target, "/hold", PATIENCE).is_ok()));
        // Whoever gets it.
        running.wait_for_lines(0, "holding a request in", held + 1);
    }
    requests
}

fn all_are_answered(running: &Running, requests: Vec<std::thread::JoinHandle<bool>>) {
    fs::write(running.dir().join("go"), "").unwrap();
    let count = requests.len();
    let answered = requests.into_iter().map(|one| one.join().unwrap()).filter(|is| *is).count();
    assert_eq!(answered, count, "requests were cut off");
}

#[test]
fn g2_a_worker_that_serves_before_it_counts_as_ready_finishes_when_the_service_stops() {
    let _shared = beside_others();
    let first = serving_in_silence("1", &[]);
    let requests = held_by(&first, "1");
    first.signal(Signal::SIGTERM);
    first.wait_for_line(0, "stopping");
    all_are_answered(&first, requests);
    first.end();
    let second = serving_in_silence("2", &[]);
    second.wait_for_line(0, "worker settled worker=1");
    second.signal(Signal::SIGHUP);
    let requests = held_by(&second, "2");
    second.signal(Signal::SIGTERM);
    second.wait_for_line(0, "stopping");
    all_are_answered(&second, requests);
    second.end();
}

#[test]
fn g3_a_worker_that_serves_and_misses_its_start_timeout_finishes_what_it_has() {
    let _shared = beside_others();
    let running = serving_in_silence("2", &["--start-timeout", "10s"]);
    running.wait_for_line(0, "worker settled worker=1");
    running.signal(Signal::SIGHUP);
    let requests = held_by(&running, "2");
    running.wait_for_line(0, "restart failed");
    all_are_answered(&running, requests);
    running.wait_for_line(0, "a worker is gone worker=2");
    assert_eq!(running.get("/generation"), "1");
}

#[test]
fn other_signals_go_to_the_worker_that_serves() {
    let _shared = beside_others();
    let running = serving(quick().listen());
    running.restart();
    for (signal, name) in [
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGTTIN, "TTIN"),
    ] {
        running.signal(signal);
        running.wait_for_line(0, &format!("worker 2 has {name}"));
    }
    // Real-time ones, the first and the last included; nix has no names for them.
    for (number, name) in [(34, "RTMIN"), (37, "RTMIN+3"), (64, "RTMAX")] {
        let sent = Command::new("sh").args(["-c", &format!("kill -{number} {}", running.pid)]).status();
        assert!(sent.unwrap().success());
        running.wait_for_line(0, &format!("worker 2 has {name}"));
    }
    assert!(running.lines(0, "worker 1 has").is_empty());
    assert_eq!(running.get("/generation"), "2");
}

#[test]
fn a_worker_that_is_stopped_does_not_count_as_ready_and_stops_in_order() {
    let _shared = beside_others();
    let setup = quick().options(&["--ready", "after=10ms"]);
    let running = shell(setup, "echo I am $$; kill -STOP $$; exec sleep 1000");
    let worker = running.wait_for_line(0, "I am ");
    let worker: i32 = worker.rsplit(' ').next().unwrap().parse().unwrap();
    running.wait_for_line(0, "is stopped by SIGSTOP: it does not count as ready");
    assert!(running.lines(0, "worker ready").is_empty());
    proc::signal(worker, Signal::SIGCONT);
    running.wait_for_line(0, "worker settled");
    proc::signal(worker, Signal::SIGSTOP);
    running.wait_for_line(0, "is stopped by SIGSTOP: it answers nobody");
    running.signal(Signal::SIGTERM);
    let (status, lines) = running.end();
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "{lines:?}");
}

#[test]
fn a_queued_signals_value_goes_on_to_the_worker() {
    let _shared = beside_others();
    let script = "import ctypes\n\
                  libc, RTMIN, info, waited = ctypes.CDLL(None), 34, (ctypes.c_int * 32)(), ctypes.create_string_buffer(128)\n\
                  libc.sigaddset(waited, RTMIN)\n\
                  libc.sigprocmask(0, waited, None)\n\
                  print('waiting', flush=True)\n\
                  while libc.sigwaitinfo(waited, info) == RTMIN: print('it has', info[6], flush=True)\n";
    let setup = quick().options(&["--ready", "after=10ms"]);
    let running = setup.spawn(&[system_python().as_ref(), "-c".as_ref(), script.as_ref()]);
    running.wait_for_line(0, "worker settled");
    running.wait_for_line(0, "waiting");
    for value in [4711, 42] {
        let queue =
            ["--queue", &value.to_string(), "--signal", "34", &running.pid.to_string()].map(str::to_owned);
        assert!(Command::new("/bin/kill").args(queue).status().unwrap().success());
        running.wait_for_line(0, &format!("it has {value}"));
    }
}

#[test]
fn a_worker_that_does_not_stop_is_killed_with_what_it_has_started() {
    let _shared = beside_others();
    let setup = quick().options(&[
        "--drain-timeout",
        "100ms",
        "--stop-delay",
        "100ms",
        "--shutdown-timeout",
        "100ms",
    ]);
    let running = serving(setup.listen().env("WORKER_STUBBORN", "1"));
    let old: i32 = running.get("/pid").parse().unwrap();
    assert_eq!(proc::children(old).len(), 1, "it has a child that ignores TERM as well");
    let others = running.others();
    running.restart();
    running.wait_for_line(0, "did not go in time");
    for pid in others {
        assert!(proc::wait_for_exit(pid, PATIENCE / 6), "pid {pid} outlives its worker");
    }
    running.signal(Signal::SIGTERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(128 + Signal::SIGKILL as i32));
}

#[test]
fn a_second_stop_is_at_once() {
    let _shared = beside_others();
    let running =
        serving(quick().options(&["--shutdown-timeout", "1h"]).listen().env("WORKER_STUBBORN", "1"));
    running.signal(Signal::SIGTERM);
    running.wait_for_line(0, "reaction=Stop");
    running.signal(Signal::SIGINT);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(128 + Signal::SIGKILL as i32));
}

#[test]
fn what_cannot_be_started_is_said_and_ends_the_supervisor() {
    let _alone = alone();
    let directory = support::TestDir::new();
    let (script, text) = (directory.path().join("heirloom-script"), directory.path().join("heirloom-text"));
    fs::write(&script, "#!/nowhere/interpreter\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(&text, "").unwrap();
    let (folder, circle) = (directory.path().join("heirloom-folder"), directory.path().join("circle"));
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let path = std::env::join_paths([directory.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for (program, code, words) in [
        (OsStr::new("/nowhere/server"), 127, "no such file"),
        (OsStr::new("no-such-program-at-all"), 127, "no such file"),
        (script.as_os_str(), 126, "interpreter"),
        (OsStr::new("heirloom-script"), 126, "interpreter"),
        (text.as_os_str(), 126, "permission"),
        (OsStr::new("heirloom-text"), 126, "permission"),
        (folder.as_os_str(), 126, "permission"),
        (OsStr::new("heirloom-folder"), 127, "no such file"),
        (circle.as_os_str(), 126, "cannot be executed"),
    ] {
        for ready in ["after=1s", "heirloom"] {
            let setup = quick().options(&["--ready", ready]).env("PATH", &path);
            let (status, lines) = setup.spawn(&[program]).end();
            let said = lines.join("\n");
            assert_eq!(status.code(), Some(code), "{said}");
            let last =
                lines.iter().find(|line| line.starts_with("heirloom: ")).unwrap_or_else(|| panic!("{said}"));
            assert!(last.contains(&*program.to_string_lossy()) && last.contains(words), "{last}");
        }
    }
    let (status, lines) = quick().options(&["--env-dir", "/nowhere/env"]).spawn(&[OsStr::new("true")]).end();
    assert_eq!(status.code(), Some(1));
    assert!(
        lines.iter().any(|line| line.starts_with("heirloom: ") && line.contains("/nowhere/env")),
        "{lines:?}"
    );
}

#[test]
fn an_address_that_is_given_twice_is_said_to_be() {
    let _shared = beside_others();
    let kept = Port::kept();
    let port = kept.address();
    let twice = quick().options(&["--listen", &port, "--listen", &format!("again={port}")]);
    let (status, lines) = twice.spawn(&[OsStr::new("true")]).end();
    assert_eq!(status.code(), Some(1));
    let said = lines.join("\n");
    assert!(said.contains(&format!("{port} is to be listened on twice")), "{said}");
    // Twice any port is two ports, and over UDP the same one is another.
    let any = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--ready", "after=10ms"];
    let running = shell(quick().options(&any), "exec sleep 1000");
    running.wait_for_line(0, "worker settled");
}

#[test]
fn readiness_is_learnt_in_each_way() {
    let _shared = beside_others();
    // Where the workers listen by themselves, beside each other: of it the test keeps the port.
    let own = on_a_shared_port();
    let address = own.local_addr().expect("its address").as_socket().expect("an address and a port");
    for (way, worker) in [
        ("after=50ms", ""),
        ("notify", "notify"),
        ("fd", "fd"),
        ("fd=9", "fd"),
        ("http=/", ""),
        (&*format!("tcp={address}"), ""),
        (&*format!("http={address}/"), ""),
    ] {
        let setup = quick().options(&["--ready", way]).listen().env("WORKER_READY", worker);
        let running = setup.env("WORKER_PORT", address.port().to_string()).worker();
        running.wait_for_line(0, "worker settled worker=1");
        running.restart();
        assert_eq!(running.get("/generation"), "2", "{way}");
    }
}

/// A socket that does not listen, on a port that others may bind as well.
fn on_a_shared_port() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into()).expect("a port");
    socket
}

#[test]
fn one_that_is_never_ready_is_killed_and_the_old_one_serves_on() {
    let _shared = beside_others();
    // Ready only when this file is there.
    let setup = quick().options(&["--ready", "fd", "--start-timeout", "3s"]).listen();
    let go = setup.dir().join("go");
    fs::write(&go, "").unwrap();
    let script = format!(
        "if [ -e {} ]; then how=serve; else how=/hang; fi; exec {} {} $how",
        go.display(),
        system_python(),
        foreign("worker.py").display()
    );
    let running = setup.env("WORKER_READY", "fd").command(&["sh", "-c", &script].map(OsStr::new));
    running.wait_for_line(0, "worker settled worker=1");
    let serving: i32 = running.get("/pid").parse().unwrap();
    fs::remove_file(&go).unwrap();
    let mark = running.mark();
    running.signal(Signal::SIGUSR2);
    let line = running.wait_for_line(mark, "restart failed");
    assert!(line.contains("not ready after 3s"), "{line}");
    // It accepts until it has obeyed, and what it has accepted then is its own affair.
    running.wait_for_line(mark, "a worker is gone worker=2");
    assert_eq!(running.get("/generation"), "1");
    running.wait_for_others(&[serving]);
    fs::write(&go, "").unwrap();
    running.restart();
    assert_eq!(running.get("/generation"), "3");
}

#[test]
fn a_check_at_a_shared_socket_is_refused_before_anything_starts() {
    let _shared = beside_others();
    let kept = Port::kept();
    let port = kept.address();
    let setup = quick().options(&["--listen", &port, "--ready", &format!("http={port}/")]);
    let (status, lines) = setup.spawn(&[OsStr::new("true")]).end();
    assert_eq!(status.code(), Some(1));
    let said = lines.join("\n");
    assert!(said.contains("old worker") && said.contains("http=/path"), "{said}");
}

#[test]
fn a_killed_worker_is_replaced_and_nobody_is_refused() {
    let _alone = alone();
    let running = serving(quick().listen());
    let load = Load::start(running.target(), Mode::new_connections(4, Think::millis(0, 5)), "/");
    load.wait_for_requests(50);
    for generation in 1..=3 {
        let pid: i32 = running.get("/pid").parse().unwrap();
        proc::signal(pid, Signal::SIGKILL);
        running.wait_for_line(0, &format!("worker settled worker={}", generation + 1));
        load.wait_for_requests(20);
    }
    let report = load.stop();
    println!("{report}   (3 kills)");
    assert_eq!(report.count(support::load::Failure::Refused), 0);
    report.assert_lost_at_most(3 * 4);
    proc::assert_reaped(running.pid, PATIENCE);
}

#[test]
fn a_program_that_keeps_dying_gives_way_to_the_last_good_one() {
    let _alone = alone();
    let directory = support::TestDir::new();
    let program = directory.path().join("server");
    let install = |from: &str| {
        let draft = directory.path().join("draft");
        fs::copy(from, &draft).unwrap();
        fs::rename(draft, &program).unwrap();
    };
    install("/bin/sleep");
    let setup = quick().options(&["--ready", "after=20ms"]);
    let running = setup.spawn(&[program.as_os_str(), OsStr::new("1000")]);
    running.restart();
    install("/bin/false");
    for worker in running.others() {
        proc::signal(worker, Signal::SIGKILL);
    }
    let mark = running.mark_after(0, "going back to the last good one");
    running.wait_for_line(mark, "worker settled");
    let worker = running.others()[0];
    assert!(proc::executable(worker).unwrap().to_string_lossy().ends_with("(deleted)"));
    assert!(fs::read(format!("/proc/{worker}/cmdline")).unwrap().starts_with(program.as_os_str().as_bytes()));
    install("/bin/sleep");
    running.restart();
    let worker = running.others()[0];
    assert_eq!(proc::executable(worker).unwrap(), program);
}

#[test]
fn when_the_supervisor_is_killed_the_worker_stops_or_serves_on() {
    let _shared = beside_others();
    let running = serving(quick().listen());
    let worker: i32 = running.get("/pid").parse().unwrap();
    running.signal(Signal::SIGKILL);
    running.wait_for_line(0, "worker 1 stops");
    assert!(proc::wait_for_exit(worker, PATIENCE / 6), "pid {worker} is still there");
    let (status, _) = running.end();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));

    let running = serving(quick().options(&["--leave-running"]).listen());
    let worker: i32 = running.get("/pid").parse().unwrap();
    running.signal(Signal::SIGKILL);
    assert!(proc::wait_for_exit(running.pid, PATIENCE / 6));
    assert_eq!(running.get("/pid"), worker.to_string());
    assert!(running.lines(0, "worker 1 stops").is_empty());
}

/// The kernel's signal at a parent's death does not outlive a change of user.
#[test]
fn a_worker_with_a_user_of_its_own_ends_with_a_killed_supervisor() {
    let _shared = beside_others();
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("!!! NOT tested: only root can have workers of another user");
    }
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    for watcher_dies_first in [false, true] {
        let running = at_death(&as_nobody, "trap 'echo it stops; exit' TERM");
        if watcher_dies_first {
            replace_watcher(running.pid);
        }
        killed(&running);
        assert_eq!(running.wait_for_line(0, "it stops"), "it stops");
    }
    killed(&at_death(&as_nobody, "trap '' TERM"));
}

#[test]
fn a_worker_of_a_killed_supervisor_is_told_once_and_killed_in_the_end() {
    let _shared = beside_others();
    let running = at_death(&[], "trap 'echo it stops' TERM");
    killed(&running);
    assert_eq!(running.lines(0, "it stops").len(), 1);
}

/// Between the start of its process and that of its program, too.
#[test]
fn a_worker_that_has_not_begun_ends_with_a_killed_supervisor() {
    let _alone = alone();
    // So long that the process which looks through it is found meanwhile.
    let path = "/n:".repeat(40_000) + "/usr/bin:/bin";
    let setup = quick().options(&["--ready", "after=10ms"]).env("PATH", path);
    let running = shell(setup, "exec sleep 1000");
    let (deadline, mut missed) = (Instant::now() + PATIENCE, 0);
    let held = loop {
        assert!(Instant::now() < deadline, "no worker is found before its program runs");
        // Once it leads a group of its own: of the supervisor's, what is stopped ends with that one (SIGHUP, by the kernel).
        let leads = |pid: &i32| {
            let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(*pid)));
            group.is_ok_and(|group| group.as_raw() == *pid)
        };
        let Some(pid) = called(running.pid, SHIM).into_iter().find(leads) else {
            // It was too fast: another one.
            if running.lines(0, "worker settled").len() > missed {
                missed += 1;
                running.signal(Signal::SIGHUP);
            }
            continue;
        };
        proc::signal_if_there(pid, Signal::SIGSTOP);
        if proc::is_stopped_within(pid, PATIENCE / 10) && called(running.pid, SHIM).contains(&pid) {
            break pid;
        }
        proc::signal_if_there(pid, Signal::SIGCONT);
    };
    running.signal(Signal::SIGKILL);
    assert!(proc::wait_for_exit(running.pid, PATIENCE / 6));
    // Nobody may know of it, and then nobody else does this.
    proc::signal_if_there(held, Signal::SIGCONT);
    assert!(proc::wait_for_exit(held, PATIENCE / 6), "pid {held} outlives its supervisor");
}

#[test]
fn nothing_watches_over_a_supervisor_that_is_gone_or_whose_workers_serve_on() {
    let _shared = beside_others();
    let running = at_death(&[], "trap exit TERM");
    let watchers = watchers(running.pid);
    assert_eq!(watchers.len(), 1);
    running.signal(Signal::SIGTERM);
    running.end();
    assert!(proc::wait_for_exit(watchers[0], PATIENCE / 10), "the watcher is still there");
    let running = shell(quick().options(&["--ready", "after=10ms", "--leave-running"]), "exec sleep 1000");
    running.wait_for_line(0, "worker settled");
    assert!(self::watchers(running.pid).is_empty());
}

/// A worker that does this at its start, and then waits for ever.
fn at_death(under: &[&str], script: &str) -> Running {
    let setup = quick().options(&["--ready", "after=10ms", "--shutdown-timeout", "300ms"]);
    let script = format!("{script}; echo it is there; sleep 1000 & while :; do wait; done");
    let words = under.iter().copied().chain(["sh", "-c", &script]).map(OsStr::new);
    let running = setup.spawn(&words.collect::<Vec<_>>());
    running.wait_for_line(0, "it is there");
    running.wait_for_line(0, "worker settled");
    running
}

/// Kills the supervisor, and waits until all that it has started is gone.
fn killed(running: &Running) {
    let others = running.others();
    assert!(!others.is_empty());
    running.signal(Signal::SIGKILL);
    for pid in others {
        assert!(proc::wait_for_exit(pid, PATIENCE / 6), "pid {pid} outlives its supervisor");
    }
}

fn watchers(supervisor: i32) -> Vec<i32> {
    called(supervisor, "heirloom: watches")
}

/// Its children whose command begins so.
fn called(supervisor: i32, name: &str) -> Vec<i32> {
    let is_one = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.starts_with(name.as_bytes())
    };
    proc::children(supervisor).into_iter().filter(is_one).collect()
}

/// What a worker's process is called before it runs its program.
const SHIM: &str = "heirloom: a worker is being started";

/// Kills it, and waits for another one. In between there is none to be seen: a zombie has no command.
fn replace_watcher(supervisor: i32) {
    let dead = watchers(supervisor);
    proc::signal(dead[0], Signal::SIGKILL);
    let deadline = Instant::now() + PATIENCE;
    while !watchers(supervisor).iter().any(|pid| !dead.contains(pid)) {
        assert!(Instant::now() < deadline, "the watcher is not replaced");
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    proc::assert_reaped(supervisor, PATIENCE);
}

#[test]
fn a_server_that_goes_into_the_background_is_given_up_and_ended() {
    let _shared = beside_others();
    let setup = quick().listen().options(&["--ready", "after=10s"]).env("IN_THE_BACKGROUND", "1");
    let running = setup.spawn(&[system_python().as_ref(), "-c".as_ref(), BACKGROUND.as_ref()]);
    let others = || proc::pids().filter(|pid| proc::environment(*pid).contains_key("IN_THE_BACKGROUND"));
    let (status, lines) = running.end();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("it daemonises; run it in the foreground")), "{lines:?}");
    for pid in others() {
        assert!(proc::wait_for_exit(pid, PATIENCE / 6), "pid {pid} is left");
    }
}

#[test]
fn a_new_version_that_goes_into_the_background_leaves_the_old_one_serving() {
    let _shared = beside_others();
    let setup = quick().listen().env("WORKER_READY", "notify").options(&["--ready", "notify"]);
    let script = setup.dir().join("server");
    let is = |what: &str| fs::write(&script, format!("exec {what}\n")).unwrap();
    is(&format!("{} {}", system_python(), foreign("worker.py").display()));
    let running = setup.command(&["sh".as_ref(), script.as_os_str()]);
    running.wait_for_line(0, "worker settled");
    let before = running.others();
    // The usual one, and some whose last process is started while the supervisor looks for what is left.
    for forks in [1, 3, 5, 8, 2, 4, 6, 10] {
        is(&format!("env FORKS={forks} {} -c '{BACKGROUND}'", system_python()));
        let mark = running.mark();
        running.signal(Signal::SIGHUP);
        let why = running.wait_for_line(mark, "restart failed, the old worker serves on");
        assert!(why.contains("it daemonises; run it in the foreground"), "{why}");
        assert_eq!(running.get("/generation"), "1");
        running.wait_for_others(&before);
    }
}

#[test]
fn what_workers_have_started_ends_with_the_service() {
    let _shared = beside_others();
    let setup = quick().options(&["--ready", "after=10ms"]);
    let running = shell(setup, "setsid sleep 1000 & echo helper $!; exec sleep 1000");
    let helper = running.wait_for_line(0, "helper ");
    let helper: i32 = helper.rsplit(' ').next().unwrap().parse().unwrap();
    running.wait_for_line(0, "worker settled");
    // Without a socket it may outlive its worker, as what a deployment has started does.
    running.restart();
    assert!(Path::new(&format!("/proc/{helper}")).exists());
    running.signal(Signal::SIGTERM);
    running.end();
    assert!(proc::wait_for_exit(helper, PATIENCE / 6), "pid {helper} is still there");
}

const BACKGROUND: &str = "import os, time\n\
                          if os.fork(): os._exit(0)\n\
                          os.setsid()\n\
                          for _ in range(int(os.environ.get(\"FORKS\", 1))):\n\
                          \x20 if os.fork(): os._exit(0)\n\
                          time.sleep(1000)\n";

#[test]
fn one_that_dies_right_after_it_was_ready_is_taken_back() {
    let _alone = alone();
    let setup = quick().options(&["--probation", "20s"]).listen().file("--env-file", "vars");
    let file = setup.dir().join("vars");
    fs::write(&file, "").unwrap();
    let running = serving(setup);
    fs::write(&file, "WORKER_DIES=1").unwrap();
    let load = Load::start(running.target(), Mode::new_connections(4, Think::millis(0, 5)), "/");
    load.wait_for_requests(50);
    running.signal(Signal::SIGHUP);
    // Mostly taken back; failed, where it died before anybody had read that it was ready.
    let line = running.wait_for_line(0, "the old worker");
    assert!(line.contains("status 3"), "{line}");
    println!("{line}");
    load.wait_for_requests(50);
    let report = load.stop();
    println!("{report}   (1 death)");
    assert_eq!(report.count(support::load::Failure::Refused), 0);
    report.assert_lost_at_most(4);
    assert_eq!(running.get("/generation"), "1");
}

#[test]
fn signals_are_for_the_process_that_the_worker_names() {
    let _shared = beside_others();
    // The shell itself does not care for TERM.
    let script = format!("trap : TERM; {} {} & wait; wait", system_python(), foreign("worker.py").display());
    let setup = quick().options(&["--shutdown-timeout", "1h"]).listen().env("WORKER_READY", "main");
    let running = setup.env("WORKER_STATUS", "0").command(&["bash", "-c", &script].map(OsStr::new));
    running.wait_for_line(0, "worker settled worker=1");
    assert_eq!(running.get("/generation"), "1");
    running.signal(Signal::SIGUSR1);
    running.wait_for_line(0, "worker 1 has USR1");
    running.signal(Signal::SIGTERM);
    running.wait_for_line(0, "worker 1 stops");
    let (status, _) = running.end();
    assert!(status.success(), "{status}");
}

#[test]
fn restarts_come_by_the_clock() {
    let _alone = alone();
    let running = serving(quick().options(&["--restart-every", "1s"]).listen());
    running.wait_for_line(0, "a worker is gone worker=1");
    // It goes on: on a slow machine the next one may be there already.
    let generation: usize = running.get("/generation").parse().unwrap();
    assert!(generation >= 2, "{generation}");
    running.wait_for_lines(0, "restarting by the clock", generation - 1);
}

#[test]
fn many_restarts_leave_nothing_behind() {
    let _alone = alone();
    let running = serving(quick().listen());
    running.restart();
    let before = proc::Footprint::of(running.pid);
    for _ in 0..20 {
        running.restart();
    }
    // What was done about the last worker may be in its last steps, at either of the two looks.
    let held = |footprint: &proc::Footprint| footprint.fds.values().sum::<usize>();
    let has_more = |now: &proc::Footprint| {
        held(now) > held(&before) + 2 || now.threads > before.threads + 1 || now.zombies > 0
    };
    let deadline = Instant::now() + PATIENCE;
    let now = loop {
        let now = proc::Footprint::of(running.pid);
        if !has_more(&now) {
            break now;
        }
        assert!(Instant::now() < deadline, "{before:?} became {now:?}");
        std::thread::yield_now();
    };
    assert_eq!(now.environment, before.environment);
    assert_eq!(running.get("/generation"), "22");
}

#[test]
fn a_heirloom_program_keeps_its_connections() {
    let _alone = alone();
    let directory = support::TestDir::new();
    let hello = support::Binary::install("hello", &directory.path().join("hello"));
    let running = Setup::new().options(&["--ready", "heirloom", "--probation", "50ms"]).listen().command(&[
        hello.path().as_os_str(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
    ]);
    running.wait_for_line(0, "worker settled worker=1");
    let load = Load::start(running.target(), Mode::keep_alive(8, Think::millis(0, 5)), "/");
    load.wait_for_requests(100);
    for _ in 0..5 {
        running.restart();
        load.wait_for_requests(20);
    }
    let report = load.stop();
    println!("{report}   (5 restarts)");
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0), "reconnects, and told to close");
    assert_eq!(running.get("/generation"), "6");
}
