//! Connections that the successor does not take are told to close by the predecessor, and none has two readers.

use std::collections::BTreeMap;
use std::time::Instant;

use support::keep::{Client, number, request};
use support::load::Target;
use support::proc;
use support::{PATIENCE, Server, Setup, Signal, alone};

#[test]
fn a_successor_at_its_fd_limit_takes_what_it_can() {
    let _alone = alone();
    // Long enough for the limit to be set before anything moves.
    let server = Setup::example("mover").args(&["--probation", "3s", "--idle-linger", "100s"]).start();
    let mut clients = idle(server.target(), 500);
    let mark = server.mark();
    let new = server.restart(Signal::SIGUSR2);
    let room = proc::fd_count(new) + 101;
    let old_limit = proc::limit_fds(new, Some(room as u64));
    server.wait_for_line(mark, "draining");
    let answers = ask_settled(&mut clients, server.first_pid);
    proc::limit_fds(new, old_limit);
    println!("{answers:?}");
    let taken = answers.get(&(new, false)).copied().unwrap_or(0);
    // It may have closed a few of its own since they were counted.
    assert!((1..200).contains(&taken), "{answers:?}");
    assert_eq!(answers.get(&(server.first_pid, true)), Some(&(clients.len() - taken)), "{answers:?}");
    server.wait_for_exit(server.first_pid);
}

#[test]
fn a_listener_that_the_successor_dropped() {
    let _alone = alone();
    // Served by heirloom, and by a framework that it lends the connections.
    for args in [&["--drop-later"][..], &["--drop-later", "--lent"]] {
        let server = patient().listen("127.0.0.1:0").listen("127.0.0.1:0").args(args).start();
        let mut clients: Vec<_> = server.targets.iter().flat_map(|target| idle(target, 50)).collect();
        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        let new = server.wait_for_settled(mark);
        server.wait_for_line(mark, "draining");
        let expected = BTreeMap::from([((new, false), 50), ((server.first_pid, true), 50)]);
        assert_eq!(ask_settled(&mut clients, server.first_pid), expected);
        server.wait_for_exit(server.first_pid);
    }
}

#[test]
fn a_successor_killed_in_the_middle() {
    let _alone = alone();
    let (server, mut clients, new) = in_the_middle();
    proc::signal(new, Signal::SIGKILL);
    server.wait_for_exit(new);
    let (mut lost, mut told) = (0, 0);
    for client in &mut clients {
        match client.try_get("/pid") {
            Some(answer) => {
                // One that had just come back, or had not gone yet.
                let answer = if answer.closes { answer } else { client.told_to_close("/pid") };
                assert_eq!((number(&answer), answer.closes), (server.first_pid, true));
                client.wait_for_close();
                told += 1;
            }
            None => lost += 1,
        }
    }
    println!("of {}: {lost} died with the successor, {told} were told to close", clients.len());
    server.wait_for_exit(server.first_pid);
}

#[test]
fn a_successor_stopped_in_the_middle_goes_on() {
    let _alone = alone();
    let count = many();
    let server = start();
    let mut clients = idle(server.target(), count);
    let mark = server.mark();
    let new = server.restart(Signal::SIGUSR2);
    server.wait_for_settled(mark);
    // Before it has taken everything: more is sent than the channel holds.
    proc::signal(new, Signal::SIGSTOP);
    server.wait_for_line(mark, "draining");
    clients.iter_mut().for_each(|client| client.send(request("/pid")));
    let waiting = clients.iter().filter(|client| client.is_untouched()).count();
    println!("of {count}: {waiting} requests wait for the stopped process");
    proc::signal(new, Signal::SIGCONT);
    for client in &mut clients {
        let pid = client.answered_pid();
        assert!(pid == new || pid == server.first_pid, "{pid}");
    }
    clients.iter_mut().for_each(|client| client.moves_to(new));
    assert_eq!(ask_all(&mut clients), BTreeMap::from([((new, false), count)]));
    server.wait_for_exit(server.first_pid);
}

/// Its predecessor ends meanwhile. Who was sent is answered when it goes on, and nobody says that those were aborted.
#[test]
fn what_a_stopped_successor_was_sent_has_moved() {
    let _alone = alone();
    let count = many();
    let limits = ["--probation", "200ms", "--idle-linger", "50s", "--drain-timeout", "2s"];
    let server = Setup::example("mover").args(&limits).start();
    let mut clients = idle(server.target(), count);
    let mark = server.mark();
    let new = server.restart(Signal::SIGUSR2);
    server.wait_for_settled(mark);
    proc::signal(new, Signal::SIGSTOP);
    server.wait_for_exit(server.first_pid);
    let aborted: usize =
        server.lines(mark, "the hammer fell").iter().map(|line| figure(line, "aborted=")).sum();
    proc::signal(new, Signal::SIGCONT);
    let live = clients.iter_mut().filter_map(|client| client.try_get("/pid")).count();
    println!("of {count}: {live} went on in the stopped process, and {aborted} are said to be aborted");
    assert_eq!(live + aborted, count);
}

fn figure(line: &str, name: &str) -> usize {
    let digits = line.split(name).nth(1).unwrap_or_default();
    digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a figure")
}

#[test]
fn a_predecessor_killed_in_the_middle() {
    let _alone = alone();
    let (server, mut clients, new) = in_the_middle();
    proc::signal(server.first_pid, Signal::SIGKILL);
    server.wait_for_exit(server.first_pid);
    let (mut lost, mut live) = (0, 0);
    for client in &mut clients {
        match client.try_get("/pid") {
            Some(answer) => {
                assert_eq!((number(&answer), answer.closes), (new, false));
                live += 1;
            }
            None => lost += 1,
        }
    }
    println!("of {}: {lost} died with the predecessor, {live} live on", clients.len());
    assert!(live > 0);
    assert_eq!(server.pid(), new);
}

/// A restart whose first connection has moved while the others are on their way, and the successor.
fn in_the_middle() -> (Server, Vec<Client>, i32) {
    let count = many();
    let server = start();
    let mut clients = idle(server.target(), count);
    let mark = server.mark();
    let new = server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "draining");
    while clients[0].pid() != new {}
    (server, clients, new)
}

fn start() -> Server {
    patient().start()
}

/// It waits longer for the last request on an idle connection than this test takes to send it.
fn patient() -> Setup {
    Setup::example("mover").args(&["--probation", "200ms", "--idle-linger", "50s"])
}

/// Idle connections, half of them without a word so far, the other half after an answer.
fn idle(target: &Target, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(target)).collect();
    for client in clients.iter_mut().step_by(2) {
        client.pid();
    }
    clients
}

/// How many answers came from each process, with and without being told to close.
type Answers = BTreeMap<(i32, bool), usize>;

/// Asks each of them once. Each connection has one reader: it gets one answer, and is closed after it if that was said.
fn ask_all(clients: &mut [Client]) -> Answers {
    clients.iter_mut().for_each(|client| client.send(request("/pid")));
    let (mut answers, mut stay) = (Answers::new(), Vec::new());
    for client in clients {
        let answer = client.answer();
        *answers.entry((number(&answer), answer.closes)).or_default() += 1;
        if answer.closes {
            client.wait_for_close();
        } else {
            stay.push(client);
        }
    }
    assert!(stay.iter().all(|client| client.is_untouched()), "more than one answer");
    answers
}

/// As [`ask_all`], of connections that are all on their way from `old`: one whose request meets the beginning of the drain
/// is answered before it goes.
fn ask_settled(clients: &mut [Client], old: i32) -> Answers {
    let mut left: Vec<_> = clients.iter_mut().collect();
    let mut answers = Answers::new();
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{} neither go nor are told to close: {answers:?}", left.len());
        left.iter_mut().for_each(|client| client.send(request("/pid")));
        left.retain_mut(|client| {
            let answer = client.answer();
            let pid = number(&answer);
            if answer.closes {
                client.wait_for_close();
            }
            let has_gone = answer.closes || pid != old;
            if has_gone {
                *answers.entry((pid, answer.closes)).or_default() += 1;
            }
            !has_gone
        });
    }
    answers
}

/// Too many for one message, or for the channel's buffer.
fn many() -> usize {
    proc::affordable(10_000)
}
