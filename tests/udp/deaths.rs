//! Generations that die: what they had is gone, and nothing else.

use std::time::Instant;

use support::{Server, Setup, Signal, beside_others, proc, says};

use super::clients::{Conversation, Crowd, Outcome, Report, address, flows};

#[test]
fn g3_a_successor_that_dies_in_probation_takes_its_own_conversations_only() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "100s", "--idle", "30s"]).start();
    let mut first = Conversation::begun(address(&server));
    for generation in 2..=3 {
        let mark = server.mark();
        proc::signal(first.pid, Signal::SIGUSR2);
        server.wait_for_line(mark, "successor ready");
        let mut second = Conversation::begun(address(&server));
        assert_ne!(second.pid, first.pid);
        assert_eq!((first.say(), second.say()), (Outcome::Kept, Outcome::Kept), "attempt {generation}");
        proc::signal(second.pid, Signal::SIGKILL);
        server.wait_for_line(mark, says::TOOK_BACK);
        assert_eq!(first.say(), Outcome::Kept);
        // Its peer begins anew, with the process that reads again.
        assert_eq!(second.say(), Outcome::Elsewhere);
        let new = Conversation::begun(address(&server));
        assert_eq!(new.pid, first.pid);
    }
}

/// A conversation with the first generation, and one with the second, which has settled.
fn in_two_generations(server: &Server) -> [Conversation; 2] {
    let first = Conversation::begun(address(server));
    let mark = server.mark();
    proc::signal(first.pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    let second = Conversation::begun(address(server));
    assert_ne!(second.pid, first.pid);
    [first, second]
}

#[test]
fn an_old_generation_that_is_killed_in_its_drain_harms_no_other() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "30s"]).start();
    let [mut first, mut second] = in_two_generations(&server);
    let crowd = Crowd::begin(address(&server), 8);
    crowd.wait_for(100);
    assert_eq!(first.say(), Outcome::Kept);
    // Stopped, it reads nothing: what is for it waits, and the crowd does not.
    proc::signal(first.pid, Signal::SIGSTOP);
    crowd.wait_for(100);
    let mark = server.mark();
    proc::signal(first.pid, Signal::SIGKILL);
    server.wait_for_exit(first.pid);
    server.wait_for_line(mark, "an older generation's conversations have ended");
    crowd.wait_for(100);
    assert_eq!(first.say(), Outcome::Elsewhere, "it begins anew, and is answered");
    assert_eq!(second.say(), Outcome::Kept);
    let report = crowd.end();
    assert_eq!(Report { conversations: 0, kept: 0, ..report }, Report::default());
    // And the next restart goes as any.
    let mark = server.mark();
    proc::signal(second.pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    assert_eq!(second.say(), Outcome::Kept);
}

#[test]
fn g5_what_an_old_generation_does_not_read_is_bounded_and_counted_and_delays_nobody_else() {
    const CHUNK: u64 = 50;
    const SENT: u64 = 400 * CHUNK;
    /// What may wait, in datagrams: 4 MiB here, and in the kernel's buffer twice what it is asked for, which is as much.
    const KEPT: u64 = 3 * (4 << 20) / 1200;
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "100s"]).start();
    let [mut first, mut second] = in_two_generations(&server);
    proc::signal(first.pid, Signal::SIGSTOP);
    assert!(proc::is_stopped_within(first.pid, support::PATIENCE));
    let before = resident_kib(second.pid);
    for _ in 0..SENT / CHUNK {
        first.flood(CHUNK);
        // Its own come after those in the one queue, so that it has read them all by then.
        assert_eq!(second.say(), Outcome::Kept);
    }
    let (stopped, grown) = (flows(second.pid), resident_kib(second.pid).saturating_sub(before));
    println!("{} sent, {} forwarded, {} dropped, {grown} KiB more", SENT, stopped.forwarded, stopped.dropped);
    assert!(stopped.dropped >= SENT - KEPT && stopped.forwarded + stopped.dropped <= SENT, "{stopped:?}");
    assert!(grown < 12 * 1024, "{grown} KiB for a queue of 4 MiB");
    // It wakes up, and gets what was kept for it.
    proc::signal(first.pid, Signal::SIGCONT);
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        assert_eq!(second.say(), Outcome::Kept);
        let going = flows(second.pid);
        if going.forwarded + going.dropped == SENT {
            assert_eq!(going.dropped, stopped.dropped);
            break;
        }
        assert!(Instant::now() < deadline, "{going:?}");
    }
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_worker_that_is_killed_takes_its_own_conversations_only() {
    let _shared = beside_others();
    let args = ["--supervised", "yes", "--probation", "50ms", "--idle", "30s"];
    let server = Setup::example("conversing").args(&args).start();
    let mut first = Conversation::begun(address(&server));
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGUSR2);
    server.wait_for_line(mark, "worker settled");
    let mut second = Conversation::begun(address(&server));
    assert_ne!(second.pid, first.pid);
    assert_eq!(first.say(), Outcome::Kept);
    let mark = server.mark();
    proc::signal(first.pid, Signal::SIGKILL);
    server.wait_for_line(mark, "an older generation's conversations have ended");
    assert_eq!(second.say(), Outcome::Kept);
    assert_eq!(first.say(), Outcome::Elsewhere);
    // The one that serves: the next reads, and begins all anew.
    proc::signal(second.pid, Signal::SIGKILL);
    server.wait_for_line(mark, "worker settled");
    assert_eq!(second.say(), Outcome::Elsewhere);
    let third = Conversation::begun(address(&server));
    assert_eq!(third.generation, 3);
}
