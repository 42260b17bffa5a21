//! `heirloom run` as PID 1, in a PID namespace of its own, as in a container.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::run::{Running, Setup};
use support::{PATIENCE, Signal, alone, proc};

/// What a container's runtime does, as far as process ids go.
const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

#[test]
fn as_pid_1_it_reaps_forwards_and_ends_with_the_workers_status() {
    if !may_unshare() {
        return;
    }
    let _alone = alone();
    let running = serving(container().env("WORKER_STATUS", "9"));
    let init = init_of(&running);
    // Ids as the namespace has them: the supervisor is 1, the worker that asks is its first child.
    assert_ne!(running.get("/pid"), "1");
    let before = proc::children(init).len();
    for _ in 0..5 {
        running.get("/orphan");
    }
    wait_until_reaped(init, before);
    proc::signal(init, Signal::SIGUSR1);
    running.wait_for_line(0, "worker 1 has USR1");
    for generation in 2..=4 {
        proc::signal(init, if generation == 3 { Signal::SIGUSR2 } else { Signal::SIGHUP });
        running.wait_for_line(0, &format!("a worker is gone worker={}", generation - 1));
        assert_eq!(running.get("/generation"), generation.to_string());
        // Its statuses were not taken for an orphan's: how each worker went is known.
        running.wait_for_line(0, "how=exited with status 9");
        running.get("/orphan");
    }
    wait_until_reaped(init, before);
    assert!(running.lines(0, "collected elsewhere").is_empty());
    proc::signal(init, Signal::SIGTERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(9));
}

#[test]
fn as_pid_1_a_worker_killed_at_the_deadline_shows_in_the_status() {
    if !may_unshare() {
        return;
    }
    let _alone = alone();
    let running = serving(container().options(&["--shutdown-timeout", "100ms"]).env("WORKER_STUBBORN", "1"));
    proc::signal(init_of(&running), Signal::SIGTERM);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(128 + Signal::SIGKILL as i32));
}

#[test]
fn a_subreaper_adopts_and_reaps_as_well() {
    let _alone = alone();
    let running = serving(setup().options(&["--subreaper"]));
    let before = proc::children(running.pid).len();
    for _ in 0..5 {
        running.get("/orphan");
    }
    wait_until_reaped(running.pid, before);
    let worker: i32 = running.get("/pid").parse().unwrap();
    proc::signal(worker, Signal::SIGKILL);
    running.wait_for_line(0, "how=was killed by SIGKILL");
    running.wait_for_line(0, "worker settled worker=2");
    running.get("/orphan");
    wait_until_reaped(running.pid, before);
    running.signal(Signal::SIGTERM);
    let (status, _) = running.end();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn in_library_mode_orphans_are_reaped_as_well() {
    if !may_unshare() {
        return;
    }
    let _alone = alone();
    let server = support::Setup::example("workers").under(UNSHARE).start();
    let init = *proc::children(server.first_pid).first().expect("unshare has a child");
    let before = proc::children(init).len();
    // A process of the namespace that leaves one behind, which ends when its input does.
    let mut enter = Command::new("nsenter");
    enter.args(["--pid", "--target", &init.to_string(), "sh", "-c", "exec 3<&0; (read line <&3) &"]);
    let mut left = enter.stdin(Stdio::piped()).spawn().expect("nsenter (util-linux)");
    let input = left.stdin.take();
    assert!(left.wait().expect("a status").success());
    let started = Instant::now();
    while proc::children(init).len() == before {
        assert!(started.elapsed() < PATIENCE / 6, "nobody adopted it");
        std::thread::yield_now();
    }
    drop(input);
    wait_until_reaped(init, before);
    let old = server.get("/pid");
    proc::signal(init, Signal::SIGHUP);
    server.wait_for_line(0, "worker settled worker=2");
    assert_ne!(server.get("/pid"), old);
}

fn setup() -> Setup {
    Setup::new().options(&["--ready", "notify", "--probation", "50ms"]).listen()
}

fn container() -> Setup {
    setup().under(&UNSHARE)
}

fn serving(setup: Setup) -> Running {
    let running = setup.env("WORKER_READY", "notify").worker();
    running.wait_for_line(0, "worker settled worker=1");
    running
}

/// The namespace's PID 1, by its id out here.
fn init_of(running: &Running) -> i32 {
    *proc::children(running.pid).first().expect("unshare has a child")
}

/// Asks and asks: nothing tells another process of a reaping.
fn wait_until_reaped(pid: i32, children: usize) {
    let started = Instant::now();
    while proc::children(pid).len() > children {
        assert!(started.elapsed() < PATIENCE / 6, "{} zombies stay with pid {pid}", proc::zombies(pid));
        std::thread::yield_now();
    }
    proc::assert_reaped(pid, PATIENCE);
}

/// Says so loudly when it is not.
fn may_unshare() -> bool {
    let mut command = Command::new(UNSHARE[0]);
    let status = command.args(&UNSHARE[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let may = status.is_ok_and(|status| status.success());
    if !may {
        support::skip("no PID namespace can be made; be root, and have unshare (util-linux)");
    }
    may
}
