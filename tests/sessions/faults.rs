//! What cannot move is told to come again, and a client that plays false harms itself alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use super::frames::{CLOSE, PING, PONG, SERVICE_RESTART, TEXT, frame, next, upgraded};
use super::{LONG, Talker, start};
use support::{Server, Setup, Signal, alone};

/// Goes over a restart with a client that behaves well, and what the others hear until their end.
fn restart_beside(server: &Server, others: &mut [TcpStream]) -> Vec<Vec<(u8, Vec<u8>)>> {
    let mut talker = Talker::new(server, "/ws");
    talker.ask(10, false);
    let old = server.pid();
    let begun = Instant::now();
    let (new, _) = server.replace(old, Signal::SIGUSR2);
    let heard = others.iter_mut().map(|other| std::iter::from_fn(|| next(other)).collect()).collect();
    server.wait_for_exit(old);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    talker.ask(10, true);
    assert!(talker.pids.contains(&new));
    heard
}

fn is_told_to_come_again(heard: &[(u8, Vec<u8>)]) -> bool {
    matches!(heard, [.., (CLOSE, payload)] if payload.starts_with(&SERVICE_RESTART))
}

#[test]
fn half_a_message_for_ever_holds_up_nobody_else() {
    let _alone = alone();
    let server = start("live");
    let mut clients: Vec<_> = (0..4).map(|_| upgraded(&server, "/ws")).collect();
    // Half a header, half a short frame, half a long one, and a message whose end never comes.
    let unfinished = [&frame(TEXT, b"hello")[1..], &[0x80; 4]].concat();
    for (client, bytes) in clients.iter_mut().zip([
        &frame(TEXT, b"")[..1],
        &frame(TEXT, b"hello")[..9],
        &[0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0, 1, 2, 3, 4, 5, 6][..],
        &[&[0x01][..], &unfinished[..unfinished.len() - 4]].concat()[..],
    ]) {
        client.write_all(bytes).expect("open");
    }
    // Half a frame that the library has not been given can go on in the successor.
    let (held, given) = clients.split_at_mut(2);
    let heard = restart_beside(&server, given);
    assert!(heard.iter().all(|heard| is_told_to_come_again(heard)), "{heard:?}");
    for (client, rest) in held.iter_mut().zip([&frame(TEXT, b"")[1..], &frame(TEXT, b"hello")[9..]]) {
        client.write_all(rest).expect("open");
        let (opcode, answer) = next(client).expect("an answer");
        assert_eq!(opcode, TEXT);
        assert!(answer.starts_with(b"1 "), "{answer:?}");
    }
}

#[test]
fn a_ping_that_meets_the_move_is_answered() {
    let _alone = alone();
    let server = start("live");
    let mut client = upgraded(&server, "/ws");
    let mut asking = client.try_clone().expect("a second handle");
    let pings = thread::spawn(move || {
        for number in 0..3000_u32 {
            asking.write_all(&frame(PING, &number.to_be_bytes())).expect("open");
            thread::yield_now();
        }
        asking.write_all(&frame(TEXT, b"last")).expect("open");
    });
    let old = server.pid();
    server.replace(old, Signal::SIGUSR2);
    let (mut last, mut count) = (None, 0);
    loop {
        match next(&mut client).expect("more") {
            (PONG, payload) => {
                let number = u32::from_be_bytes(payload.try_into().expect("four bytes"));
                assert!(last.is_none_or(|last| last < number), "{number} behind {last:?}");
                last = Some(number);
                count += 1;
            }
            (TEXT, answer) => break assert!(answer.ends_with(b"last"), "{answer:?}"),
            other => panic!("{other:?}"),
        }
    }
    pings.join().expect("sent");
    server.wait_for_exit(old);
    println!("{count} pongs");
    // A pong answers the pings before it, too.
    assert_eq!(last, Some(2999));
}

#[test]
fn a_flood_during_the_move_goes_on_in_the_successor() {
    let _alone = alone();
    let server = start("live");
    let mut client = upgraded(&server, "/ws");
    let mut flooding = client.try_clone().expect("a second handle");
    let flood = thread::spawn(move || {
        let frames: Vec<u8> = (0..500).flat_map(|_| frame(TEXT, b"x")).collect();
        for _ in 0..40 {
            flooding.write_all(&frames).expect("open");
        }
    });
    let answers = thread::spawn(move || {
        for number in 1..=20_000_u32 {
            let (opcode, answer) = next(&mut client).expect("an answer");
            assert_eq!(opcode, TEXT);
            assert!(answer.starts_with(format!("{number} ").as_bytes()), "{answer:?} instead of {number}");
        }
    });
    restart_beside(&server, &mut []);
    flood.join().expect("sent");
    answers.join().expect("all answers");
}

#[test]
fn a_client_that_closes_in_the_middle_is_gone() {
    let _alone = alone();
    let server = start("live");
    let mut clients: Vec<_> = (0..20).map(|_| upgraded(&server, "/ws?ticks=1ms")).collect();
    let old = server.pid();
    let closing = thread::spawn(move || {
        for (at, client) in clients.iter_mut().enumerate() {
            thread::sleep(std::time::Duration::from_millis(15));
            match at % 3 {
                0 => client.write_all(&frame(CLOSE, &SERVICE_RESTART)).expect("open"),
                1 => client.shutdown(Shutdown::Write).expect("open"),
                _ => client.shutdown(Shutdown::Both).expect("open"),
            }
        }
        for client in &mut clients {
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    restart_beside(&server, &mut []);
    closing.join().expect("every one of them ends");
    server.wait_for_exit(old);
}

#[test]
fn what_the_next_version_does_not_go_on_with_is_told_to_come_again() {
    let _alone = alone();
    let server = start("sockets");
    for path in ["/forgets", "/refuses", "/hoards"] {
        let mut client = upgraded(&server, path);
        client.write_all(&frame(TEXT, b"x")).expect("open");
        let answered = std::iter::from_fn(|| next(&mut client)).find(|(_, text)| text.starts_with(b"1 "));
        assert!(answered.is_some());
        let heard = restart_beside(&server, &mut [client]);
        assert!(is_told_to_come_again(&heard[0]) && heard[0].len() == 1, "{path}: {heard:?}");
    }
}

/// A successor that knows of moved connections, and not of sessions.
#[test]
fn g7_the_first_release_is_offered_no_sessions() {
    let _alone = alone();
    let server = Setup::example("live").args(&["--probation", "50ms"]).start();
    std::fs::write(server.binary.path().with_file_name("part"), "refuse").expect("a file");
    let mut client = upgraded(&server, "/ws");
    let mut stream = super::tcp(&server);
    stream.write_all(b"GET /events?every=5ms&count=200 HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
    server.binary.become_example("impostor");
    let mark = server.mark();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "draining");
    let heard: Vec<_> = std::iter::from_fn(|| next(&mut client)).collect();
    assert!(is_told_to_come_again(&heard), "{heard:?}");
    let events = super::read_until(&mut stream, "\r\n0\r\n\r\n");
    assert!(events.contains(&format!("data: 200 {}\n", server.first_pid)), "it ends where it began");
    server.wait_for_exit(server.first_pid);
}
