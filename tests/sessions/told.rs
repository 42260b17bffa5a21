//! What a process tells of its connections while they move: which kinds have gone, what it waits for, and why.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::time::Instant;

use heirloom::control::{Client, GenerationDetail, Moved, Reply, Request, ServiceStatus, socket_of};

use super::frames::{TEXT, frame, upgraded};
use super::{read_until, start, tcp};
use support::{PATIENCE, Signal, alone, proc};

#[test]
fn a_status_names_what_has_moved_and_what_has_not_and_why() {
    let _alone = alone();
    let server = start("live");
    let old = server.first_pid;
    let mut idle = tcp(&server);
    idle.write_all(b"GET /pid HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
    read_until(&mut idle, &old.to_string());
    let mut stream = tcp(&server);
    stream.write_all(b"GET /events?every=20ms&count=1000000 HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
    read_until(&mut stream, "\n\n\r\n");
    let socket = upgraded(&server, "/ws");
    // The first fragment of a message whose end never comes.
    let mut unfinished = upgraded(&server, "/ws");
    let mut fragment = frame(TEXT, b"hello");
    fragment[0] &= 0x7f;
    unfinished.write_all(&fragment).expect("open");

    let expected = counts(&[("http1", 1), ("stream", 1), ("websocket", 2)]);
    wait_for(old, |told| told.connections == expected);
    let mark = server.mark();
    proc::signal(old, Signal::SIGUSR2);
    // For as long as it waits for the end of the message.
    let left = counts(&[("websocket", 1)]);
    let told = wait_for(old, |told| told.connections == left && told.moved.contains_key("stream"));
    assert_eq!(told.moved, counts(&[("http1", 1), ("stream", 1), ("websocket", 1)]));
    assert_eq!((told.unmoved, &*told.oldest[0].kind, told.oldest[0].tls), (counts(&[]), "websocket", false));
    let line = server.wait_for_line(mark, "connections moved");
    assert!(line.contains("moved=1 http1, 1 stream, 1 websocket not_moved=1 busy"), "{line}");
    server.wait_for_exit(old);

    // The service knows of all of them from then on, also when those who moved them have long gone.
    let (moved, unmoved) = (counts(&[("http1", 1), ("stream", 1), ("websocket", 1)]), counts(&[("busy", 1)]));
    let new = server.pid();
    wait_for_service(new, |told| (&told.by_kind, &told.unmoved) == (&moved, &unmoved));
    drop((stream, socket));
    wait_for(new, |told| told.connections == counts(&[("http1", 1)]));
    server.replace(new, Signal::SIGUSR2);
    let moved = counts(&[("http1", 2), ("stream", 1), ("websocket", 1)]);
    wait_for_service(server.pid(), |told| {
        (&told.by_kind, &told.unmoved, told.moved) == (&moved, &unmoved, 4)
    });
    drop(idle);
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

/// What the process says of itself, as soon as it is this.
fn wait_for(pid: i32, is_it: impl Fn(&GenerationDetail) -> bool) -> GenerationDetail {
    let of_itself = |status: ServiceStatus| {
        let of_this = status.generations.into_iter().find(|generation| generation.pid == pid.cast_unsigned());
        of_this.and_then(|generation| generation.detail).expect("of itself")
    };
    ask_until(pid, of_itself, is_it)
}

/// What the process says of all generations, as soon as it is this.
fn wait_for_service(pid: i32, is_it: impl Fn(&Moved) -> bool) {
    ask_until(pid, |status| status.connections, is_it);
}

fn ask_until<T: Debug>(pid: i32, part: impl Fn(ServiceStatus) -> T, is_it: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    let socket = socket_of(pid.cast_unsigned()).expect("a control socket");
    loop {
        let asked = Client::ask(&socket, &Request::Status, Some(deadline)).expect("alive");
        let Ok(Some(Reply::Status(status))) = { asked }.next(Some(deadline)) else { panic!("no status") };
        let told = part(*status);
        if is_it(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "{told:?}");
        std::thread::yield_now();
    }
}
