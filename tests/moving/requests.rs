//! Where a request stands when its connection moves: it gets its one answer, from the process that it is due from.

use std::time::{Duration, Instant};

use support::keep::{Client, number, request};
use support::{Server, Setup, Signal, Turn, alone};

#[test]
fn a_head_read_in_part_is_finished_in_the_successor() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        // Up to here and from here on: in the request line, between fields, at the very end, and after a first request.
        let whole = request("/pid");
        let cuts = [1, 2, 4, 9, 20, whole.len() - 3, whole.len() - 1];
        let mut clients: Vec<_> = cuts
            .into_iter()
            .flat_map(|cut| [(cut, false), (cut, true)])
            .map(|(cut, spoke)| {
                let mut client = Client::connect(server.target());
                if spoke {
                    client.pid();
                }
                client.send(&whole[..cut]);
                (client, cut)
            })
            .collect();
        let (pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
        for (client, cut) in &mut clients {
            assert!(client.is_untouched(), "cut at {cut}");
            client.send(&whole[*cut..]);
            assert_eq!(client.answered_pid(), pid, "cut at {cut}");
            assert_eq!(client.pid(), pid);
        }
    }
}

#[test]
fn a_request_in_flight_is_answered_here_and_the_next_one_there() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        let mut clients: Vec<_> = (0..50).map(|_| waiting_at(&server, "/drained")).collect();
        let (pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
        for client in &mut clients {
            assert_eq!(client.answered_pid(), server.first_pid);
            client.moves_to(pid);
        }
    }
}

#[test]
fn requests_behind_one_in_flight_get_their_answers_in_order() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        let mut clients: Vec<_> = (0..30)
            .map(|count| {
                let mut client = waiting_at(&server, "/drained");
                (0..count).for_each(|_| client.send(request("/pid")));
                // The head of one more, in part.
                client.send(&request("/pid")[..count]);
                client
            })
            .collect();
        let (pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
        for (count, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.answered_pid(), server.first_pid);
            let mut answers = (0..count).map(|_| client.answered_pid()).collect::<Vec<_>>();
            client.send(&request("/pid")[count..]);
            answers.push(client.answered_pid());
            assert!(answers.is_sorted_by_key(|answer| *answer == pid), "back and forth: {answers:?}");
            client.moves_to(pid);
            assert!(client.is_untouched());
        }
    }
}

#[test]
fn g2_a_half_closed_client_gets_all_its_answers_in_a_restart() {
    let (_alone, server) = mover(Served::ByHeirloom, &[]);
    let mut clients: Vec<_> = (0..20)
        .map(|behind| {
            let mut client = waiting_at(&server, "/drained");
            (0..behind).for_each(|_| client.send(request("/pid")));
            client.end_sending();
            client
        })
        .collect();
    server.replace(server.first_pid, Signal::SIGUSR2);
    for (behind, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answered_pid(), server.first_pid);
        (0..behind).for_each(|_| _ = client.answered_pid());
        client.wait_for_close();
    }
}

#[test]
fn a_connection_is_idle_again_after_a_body() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        let mut clients: Vec<_> = ["/upload", "/early"]
            .into_iter()
            .flat_map(|path| {
                [upload(path, BODY), format!("{}4\r\nbody\r\n0\r\n\r\n", chunked(path))].map(|whole| {
                    let mut client = Client::connect(server.target());
                    client.send(whole);
                    assert_eq!(client.answered_pid(), server.first_pid);
                    client
                })
            })
            .collect();
        let (pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
        for client in &mut clients {
            assert!(client.is_untouched());
            assert_eq!(client.pid(), pid);
            client.send(upload("/upload", BODY));
            assert_eq!(client.answered_pid(), pid);
        }
    }
}

#[test]
fn an_upload_ends_in_the_process_that_it_began_in() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        // Behind an answer, in one write: it has begun there.
        let mut unanswered = Client::connect(server.target());
        unanswered.send([request("/pid"), upload("/upload", "bo").into_bytes()].concat());
        unanswered.answered_pid();
        let mut continued = Client::connect(server.target());
        continued.send(expecting());
        assert_eq!(continued.read_until(b"\r\n\r\n"), CONTINUE);

        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        let pid = server.wait_for_settled(mark);
        server.wait_for_line(mark, "draining");
        assert!(unanswered.is_untouched() && continued.is_untouched());
        unanswered.send("dy");
        continued.send(BODY);
        for client in [&mut unanswered, &mut continued] {
            assert_eq!(client.answered_pid(), server.first_pid);
            client.moves_to(pid);
        }
        server.wait_for_exit(server.first_pid);
    }
}

#[test]
fn an_upload_that_was_answered_before_its_end_is_read_to_it_and_its_connection_moves() {
    for served in [Served::ByHeirloom, Served::ByAFramework, Served::Followed] {
        let (_turn, server) = mover(served, &[]);
        let mut early = answered_early(&server);
        // In hyper's hands before the drain begins, and not in the handler's.
        let mut held: Vec<_> = ["/sip", "/spit"]
            .into_iter()
            .map(|path| {
                let mut client = Client::connect(server.target());
                client.send(format!("{}3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n", chunked(path)));
                assert_eq!(client.answered_pid(), server.first_pid);
                client
            })
            .collect();
        let mut idle = Client::connect(server.target());
        idle.pid();
        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        let pid = server.wait_for_settled(mark);
        server.wait_for_line(mark, "draining");
        // By then the others have been looked at.
        idle.moves_to(pid);
        assert!(early.iter().chain(&held).all(Client::is_untouched));
        send_rests(&mut early);
        for client in early.iter_mut().chain(&mut held) {
            match served {
                // hyper does not say when the rest has been read.
                Served::ByHeirloom => client.wait_for_close(),
                Served::ByAFramework | Served::Followed => client.moves_to(pid),
            }
        }
        server.wait_for_exit(server.first_pid);
    }
}

#[test]
fn an_upload_that_was_answered_before_its_end_is_told_to_close_if_it_stays() {
    for served in [Served::ByAFramework, Served::Followed] {
        let (_turn, server) = mover(served, &["--stay"]);
        let mut early = answered_early(&server);
        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        send_rests(&mut early);
        for client in &mut early {
            let last = client.told_to_close("/pid");
            assert_eq!(last.body, server.first_pid.to_string());
            client.wait_for_close();
        }
        server.wait_for_exit(server.first_pid);
    }
}

#[test]
fn an_idle_connection_that_stays_ends_with_the_linger_after_an_upload_that_was_answered_before_its_end() {
    for served in [Served::ByAFramework, Served::Followed] {
        let (_turn, server) = mover(served, &["--stay", "--idle-linger", "300ms"]);
        let mut early = answered_early(&server);
        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        send_rests(&mut early);
        early.iter_mut().for_each(Client::wait_for_close);
        server.wait_for_exit(server.first_pid);
    }
}

#[test]
fn a_client_that_never_sends_the_rest_is_kept_up_to_the_drains_deadline() {
    for served in [Served::ByAFramework, Served::Followed] {
        let (_turn, server) = mover(served, &["--idle-linger", "10ms", "--drain-timeout", "700ms"]);
        let early = answered_early(&server);
        let mark = server.mark();
        server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        let begun = Instant::now();
        server.wait_for_exit(server.first_pid);
        assert!(begun.elapsed() > Duration::from_millis(500), "cut after {:?}", begun.elapsed());
        drop(early);
    }
}

#[test]
fn what_is_left_of_a_body_that_nobody_reads_is_never_a_request() {
    // A body that reads as two requests, whole and in chunks of a request each.
    let inner = [request("/count"), request("/count")];
    let length: usize = inner.iter().map(Vec::len).sum();
    let head = |fields: &str| format!("POST /drained HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let by_length = format!("Content-Length: {length}\r\n");
    let chunks =
        inner.iter().map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    let chunks = [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat();
    let uploads = [
        (head(&by_length), inner.concat()),
        (head("Transfer-Encoding: chunked\r\n"), chunks),
        (head(&format!("{by_length}Expect: 100-continue\r\n")), inner.concat()),
    ];
    for served in [Served::ByHeirloom, Served::ByAFramework, Served::Followed] {
        let (_turn, server) = mover(served, &[]);
        let last = b"GET /pid HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut clients = Vec::new();
        for (head, body) in &uploads {
            let all = [body, &last[..]].concat();
            let cuts = (0..=body.len()).step_by(3).chain([1, body.len(), all.len()]);
            // Behind an answer, in one write: it has begun when that is there.
            clients.extend(cuts.map(|cut| {
                let mut client = Client::connect(server.target());
                client.send([&request("/pid"), head.as_bytes(), &all[..cut]].concat());
                client.answered_pid();
                (client, all[cut..].to_vec(), cut)
            }));
        }
        let (pid, _) = server.replace(server.first_pid, Signal::SIGUSR2);
        for (client, rest, cut) in &mut clients {
            // The handler has not looked at the body. It is answered when the drain begins.
            assert_eq!(number(&client.answer()), server.first_pid, "cut at {cut}");
            if !client.try_send(rest) {
                continue;
            }
            if let Some(answer) = client.answer_if_any() {
                let from = number(&answer);
                assert!(from == pid || from == server.first_pid, "cut at {cut}: {answer:?}");
                assert!(answer.closes, "cut at {cut}: {answer:?}");
            }
            assert!(client.answer_if_any().is_none(), "cut at {cut}: an answer to what nobody has asked");
        }
    }
}

#[test]
fn head_and_continue_before_and_after() {
    for served in SERVED {
        let (_alone, server) = mover(served, &[]);
        let mut client = Client::connect(server.target());
        let mut pid = server.first_pid;
        for _ in 0..3 {
            client.send("HEAD /pid HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.answer_to_head().status, 200);
            client.send(expecting());
            assert_eq!(client.read_until(b"\r\n\r\n"), CONTINUE);
            client.send(BODY);
            assert_eq!(client.answered_pid(), pid);
            assert!(client.is_untouched());
            (pid, _) = server.replace(pid, Signal::SIGHUP);
        }
    }
}

#[test]
fn a_connection_that_is_to_stay_is_told_to_close() {
    for served in SERVED {
        let (_alone, server) = mover(served, &["--stay"]);
        let mut silent = Client::connect(server.target());
        let mut idle = Client::connect(server.target());
        idle.pid();
        let mut busy = waiting_at(&server, "/drained");
        server.restart(Signal::SIGUSR2);
        let expect_goodbye = |client: &mut Client| {
            let answer = client.answer();
            assert!(answer.closes && answer.body == server.first_pid.to_string(), "{answer:?}");
            client.wait_for_close();
        };
        // The drain itself answers this one: it has begun when the others ask, and each of them knows of it soon.
        expect_goodbye(&mut busy);
        for client in [&mut silent, &mut idle] {
            assert_eq!(client.told_to_close("/pid").body, server.first_pid.to_string());
            client.wait_for_close();
        }
        server.wait_for_exit(server.first_pid);
    }
}

/// Who reads the requests: the connections are moved either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    ByHeirloom,
    ByAFramework,
    /// By heirloom, which follows the bytes because event streams are to move.
    Followed,
}

const SERVED: [Served; 2] = [Served::ByHeirloom, Served::ByAFramework];

fn mover(served: Served, args: &[&str]) -> (Turn, Server) {
    let alone = alone();
    println!("served {served:?}");
    let setup = Setup::example("mover").args(&["--probation", "100ms", "--idle-linger", "50s"]).args(args);
    let setup = match served {
        Served::ByHeirloom => setup,
        Served::ByAFramework => setup.args(&["--lent"]),
        Served::Followed => setup.args(&["--sessions"]),
    };
    (alone, setup.start())
}

/// Clients whose request is answered, and its body on its way: by its length and in chunks, from its begin and from its
/// middle.
fn answered_early(server: &Server) -> Vec<Client> {
    let begun =
        |path| [upload(path, ""), upload(path, "bo"), chunked(path), format!("{}4\r\nbo", chunked(path))];
    let early = begun("/early").into_iter().map(|begun| {
        let mut client = Client::connect(server.target());
        client.send(begun);
        assert_eq!(client.answered_pid(), server.first_pid);
        client
    });
    early.collect()
}

/// What is left of them, byte by byte.
fn send_rests(early: &mut [Client]) {
    for (client, rest) in early.iter_mut().zip([BODY, "dy", "4\r\nbody\r\n0\r\n\r\n", "dy\r\n0\r\n\r\n"]) {
        for byte in rest.as_bytes() {
            client.send([*byte]);
        }
    }
}

/// A client whose request has arrived: an answer before it on the same connection, sent in one write.
fn waiting_at(server: &Server, path: &str) -> Client {
    let mut client = Client::connect(server.target());
    client.send([request("/pid"), request(path)].concat());
    client.answered_pid();
    client
}

/// A request whose body of four bytes is sent as far as `body` goes.
fn upload(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{body}")
}

/// A request whose body comes in chunks, none of them sent yet.
fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
}

fn expecting() -> String {
    upload("/upload", "").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
}

const BODY: &str = "body";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
