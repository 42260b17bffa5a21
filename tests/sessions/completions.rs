//! Event streams that answer a request with a body, as a language model's API does: the successor is asked the same.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use super::{read_until, start, tcp};
use support::{Server, Signal, alone, beside_others, proc};

const QUESTION: &str = r#"{ "model": "parrot", "stream": true, "prompt": "say it again" }"#;

#[test]
fn a_stream_that_answers_a_body_goes_on_and_its_connection_serves_the_next_request() {
    let _alone = alone();
    let server = start("completions");
    let until_the_third = format!("count={COUNT}&last=3");
    let long = format!("{QUESTION} {}", "and again ".repeat(6000));
    let asked: Vec<_> = (0..12)
        .map(|at| {
            let question = if at % 2 == 0 { QUESTION } else { &*long };
            let mut stream = tcp(&server);
            ask(&mut stream, question, ["length", "chunks", "expects"][at % 3], &until_the_third);
            stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok").expect("open");
            (stream, question)
        })
        .collect();
    let curl = Command::new("curl")
        .args(["-sSN", "--json", QUESTION])
        .arg(format!("http://{}/v1/chat/completions?{until_the_third}", server.target()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    restart_twice(&server);
    let last = server.pid().to_string();
    for (mut stream, question) in asked {
        let all = read_until(&mut stream, "\r\n\r\nok");
        let (events, _) = all.rsplit_once("HTTP/1.1 200 OK\r\n").expect("an answer behind the stream");
        assert!(events.ends_with("\r\n0\r\n\r\n"), "the end of a body");
        assert_eq!(words(events, question).last(), Some(&last));
        stream.write_all(b"GET /begun HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
        // None anew in this process.
        read_until(&mut stream, "\r\n\r\n0");
    }
    let output = curl.wait_with_output().expect("curl");
    assert!(output.status.success(), "{output:?}");
    let pids = words(str::from_utf8(&output.stdout).expect("text"), QUESTION);
    assert_eq!(pids.last(), Some(&last));
}

#[test]
fn a_stream_whose_body_comes_late_moves_once_that_is_there() {
    let _alone = alone();
    let server = start("completions");
    let mut stream = tcp(&server);
    let length = QUESTION.len();
    let head = format!("POST /early?count={COUNT} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{}", &QUESTION[..9]).as_bytes()).expect("open");
    read_until(&mut stream, "\r\n\r\n");
    let old = server.first_pid;
    let mark = server.mark();
    proc::signal(old, Signal::SIGUSR2);
    server.wait_for_settled(mark);
    stream.write_all(&QUESTION.as_bytes()[9..]).expect("open");
    server.wait_for_exit(old);
    let events = read_until(&mut stream, "\r\n0\r\n\r\n");
    assert_eq!(words(&events, QUESTION), [server.pid().to_string()]);
}

#[test]
fn a_stream_whose_body_is_too_long_to_go_along_ends_where_it_began() {
    let _alone = alone();
    let server = start("completions");
    let question = format!("{QUESTION} {}", "again ".repeat(20_000));
    let mut streams: Vec<_> = ["length", "chunks"]
        .into_iter()
        .map(|form| {
            let mut stream = tcp(&server);
            ask(&mut stream, &question, form, &format!("count={COUNT}"));
            stream
        })
        .collect();
    streams.iter_mut().for_each(|stream| drop(read_until(stream, "\n\n\r\n")));
    let mark = server.mark();
    let old = server.first_pid;
    proc::signal(old, Signal::SIGUSR2);
    server.wait_for_settled(mark);
    let line = server.wait_for_line(mark, "not_moved=");
    assert!(line.contains("not_moved=2 unsupported"), "{line}");
    for mut stream in streams {
        let rest = read_until(&mut stream, "\r\n0\r\n\r\n");
        let last = rest.rsplit("data: ").next().expect("an event");
        assert!(last.starts_with(&format!("{COUNT} {old} ")), "{last}");
    }
    server.wait_for_exit(old);
}

#[test]
fn a_body_comes_in_parts_as_large_as_they_were_sent() {
    let _beside_others = beside_others();
    let server = start("completions");
    let mut stream = tcp(&server);
    let body = "x".repeat(300_000);
    let request = format!("POST /parts HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("open");
    stream.shutdown(Shutdown::Write).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let parts: usize = answer.rsplit('\n').next().and_then(|parts| parts.parse().ok()).expect("a number");
    assert!(parts < 1000, "{parts} parts: byte by byte");
}

fn restart_twice(server: &Server) {
    for _ in 0..2 {
        let old = server.pid();
        server.replace(old, Signal::SIGUSR2);
        server.wait_for_exit(old);
    }
}

/// `length`: as in the server's query.
fn ask(stream: &mut TcpStream, question: &str, form: &str, length: &str) {
    let head = format!("POST /v1/chat/completions?{length} HTTP/1.1\r\nhost: x\r\n");
    let length = format!("content-length: {}\r\n", question.len());
    match form {
        "length" => stream.write_all(format!("{head}{length}\r\n{question}").as_bytes()).expect("open"),
        "expects" => {
            let head = format!("{head}{length}expect: 100-continue\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("open");
            read_until(stream, "HTTP/1.1 100 Continue\r\n\r\n");
            stream.write_all(question.as_bytes()).expect("open");
        }
        _ => {
            write!(stream, "{head}transfer-encoding: chunked\r\n\r\n").expect("open");
            for part in question.as_bytes().chunks(50_000) {
                write!(stream, "{:x};why=not\r\n", part.len()).expect("open");
                stream.write_all(part).expect("open");
                stream.write_all(b"\r\n").expect("open");
            }
            stream.write_all(b"0\r\ntrailer: yes\r\n\r\n").expect("open");
        }
    }
}

/// Looks at the words of an answer. From which processes they are.
fn words(events: &str, question: &str) -> Vec<String> {
    let said: Vec<Vec<_>> =
        events.lines().filter_map(|line| Some(line.strip_prefix("data: ")?.split(' ').collect())).collect();
    assert_eq!(said.len(), COUNT);
    let expected: Vec<_> = question.split_whitespace().collect();
    for (at, event) in said.iter().enumerate() {
        assert_eq!((event[0], event[2]), (&*(at + 1).to_string(), expected[at % expected.len()]));
    }
    let mut pids: Vec<_> = said.iter().map(|event| event[1].to_owned()).collect();
    pids.dedup();
    pids
}

/// Of events, each a millisecond or more after the one before: some in each generation.
const COUNT: usize = 1500;
