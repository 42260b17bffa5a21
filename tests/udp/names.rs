//! The examples: a name server under load, and a game.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Setup, Signal, alone, beside_others, proc, says};

use super::clients::address;

/// Questions a second.
const RATE: u32 = 2_000;

/// How it went.
#[derive(Debug)]
struct Asked {
    sent: usize,
    unanswered: usize,
    pids: BTreeSet<i32>,
}

/// Asks at a steady pace until it is told to stop, each question once.
fn ask(server: SocketAddr, stop: &AtomicBool, answered: &Arc<AtomicUsize>) -> Asked {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let hearing = socket.try_clone().unwrap();
    let answered = Arc::clone(answered);
    let hearer = std::thread::spawn(move || {
        let (mut heard, mut pids, mut answer) = (BTreeSet::new(), BTreeSet::new(), [0; 512]);
        while let Ok(length) = hearing.recv(&mut answer) {
            // The name is the question's number, and the text at the end a process id.
            let label = usize::from(answer[12]);
            let number: u32 = std::str::from_utf8(&answer[13..13 + label]).unwrap().parse().unwrap();
            assert!(heard.insert(number), "{number} is answered twice");
            answered.store(heard.len(), Ordering::Relaxed);
            let end = answer[..length].iter().rposition(|byte| !byte.is_ascii_digit()).unwrap();
            pids.insert(std::str::from_utf8(&answer[end + 1..length]).unwrap().parse().unwrap());
        }
        (heard.len(), pids)
    });
    let (mut due, mut sent) = (Instant::now(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        socket.send(&question(sent)).unwrap();
        sent += 1;
        // Whoever comes late does not hurry: a burst would fill the server's queue, restart or no restart.
        due = Instant::now().max(due + Duration::from_secs(1) / RATE);
        // allow: sleep (the pace of a client)
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (heard, pids) = hearer.join().unwrap();
    Asked { sent: sent as usize, unanswered: sent as usize - heard, pids }
}

/// For the TXT record of a number.
fn question(number: u32) -> Vec<u8> {
    let name = number.to_string();
    let mut question = (number as u16).to_be_bytes().to_vec();
    question.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]);
    question.extend_from_slice(name.as_bytes());
    question.extend_from_slice(&[0, 0, 16, 0, 1]);
    question
}

#[test]
fn g1_two_thousand_questions_a_second_are_answered_through_restarts() {
    // The kernel drops what a queue has no room for, after a tenth of a second without a reader.
    let _alone = alone();
    let server = Setup::example("dns").start();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let asking = std::thread::spawn({
        let (server, stop, answered) = (address(&server), Arc::clone(&stop), Arc::clone(&answered));
        move || ask(server, &stop, &answered)
    });
    let more_are_answered = || {
        let (before, deadline) = (answered.load(Ordering::Relaxed), Instant::now() + support::PATIENCE);
        while answered.load(Ordering::Relaxed) < before + 100 {
            assert!(Instant::now() < deadline, "no more than {before} answers");
            std::thread::sleep(Duration::from_millis(1)); // allow: sleep (a count that another thread makes)
        }
    };
    let mut serving = server.first_pid;
    let restarts =
        std::env::var("HEIRLOOM_UDP_RESTARTS").ok().and_then(|count| count.parse().ok()).unwrap_or(2);
    for _ in 0..restarts {
        more_are_answered();
        let mark = server.mark();
        proc::signal(serving, Signal::SIGUSR2);
        let new = server.wait_for_settled(mark);
        server.wait_for_exit(serving);
        serving = new;
    }
    more_are_answered();
    stop.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    println!("{} questions, {} unanswered", asked.sent, asked.unanswered);
    assert_eq!((asked.unanswered, asked.pids.len()), (0, restarts + 1));
}

#[test]
fn dig_is_answered() {
    if Command::new("dig").arg("-v").output().is_err() {
        return support::skip("there is no dig");
    }
    let _shared = beside_others();
    let server = Setup::example("dns").start();
    let port = address(&server).port().to_string();
    let mut serving = server.first_pid;
    for _ in 0..2 {
        let words = ["@127.0.0.1", "-p", &port, "some.name", "TXT", "+short", "+tries=1", "+time=10"];
        let output = Command::new("dig").args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.trim(), format!("\"{serving}\""), "{output:?}");
        let mark = server.mark();
        proc::signal(serving, Signal::SIGUSR2);
        serving = server.wait_for_settled(mark);
    }
}

#[test]
fn g2_a_game_goes_on() {
    let _shared = beside_others();
    let server = Setup::example("game").start();
    let player = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address(&server)).unwrap();
        socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
        socket
    };
    let step = |player: &UdpSocket, step: &str| {
        player.send(step.as_bytes()).unwrap();
        let mut answer = [0; 128];
        let length = player.recv(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).trim().to_owned()
    };
    let (first, old) = (player(), server.first_pid);
    assert_eq!(step(&first, "1 up"), format!("1 0,1 pid {old}"));
    let mark = server.mark();
    proc::signal(old, Signal::SIGUSR2);
    let new = server.wait_for_settled(mark);
    assert_eq!(step(&first, "2 up"), format!("2 0,2 pid {old}"));
    let second = player();
    assert_eq!(step(&second, "1 left"), format!("1 -1,0 pid {new}"));
    assert_eq!(step(&first, "3 right"), format!("3 1,2 pid {old}"));
    assert!(server.lines(mark, says::FAILED).is_empty());
}
