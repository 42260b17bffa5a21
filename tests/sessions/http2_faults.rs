//! HTTP/2 connections that cannot move are told to go, and a client that plays false harms itself alone.

use std::io::Write;
use std::thread;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use support::{Server, Setup, Signal, alone, proc};

use super::http2::Client;
use super::raw_http2::*;
use super::{LONG, start};

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Begins a restart, and has the old process's connections begin to move.
fn begin_restart(server: &Server) -> i32 {
    let old = server.pid();
    proc::signal(old, Signal::SIGUSR2);
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lasts_ends_where_it_began() {
    let _alone = alone();
    // A quarter of that is two seconds, after which it has lasted.
    let server = Setup::example("live").args(&["--probation", "100ms", "--drain-timeout", "8s"]).start();
    let old = server.first_pid;
    let mut client = Client::new(&server).await;
    let body = client.begin("GET", "/events?every=10ms&count=350", Bytes::new()).await;
    let mark = server.mark();
    tokio::task::block_in_place(|| {
        begin_restart(&server);
        server.wait_for_line(mark, "draining");
    });
    // Until it is told to go, others are served beside it.
    assert_eq!(client.get("/pid").await, old.to_string());
    let events = body.collect().await.expect("all of it").to_bytes();
    let events = str::from_utf8(&events).expect("text");
    assert!(events.contains(&format!("data: 350 {old}\n")), "{events}");
    client.is_gone().await;
    tokio::task::block_in_place(|| {
        let line = server.wait_for_line(mark, "connections moved");
        // The connection counts, and not each of its streams.
        assert!(line.contains("not_moved=1 busy") && !line.contains("unsupported"), "{line}");
        server.wait_for_exit(old);
    });
}

#[test]
fn who_does_not_acknowledge_or_sends_half_a_frame_is_told_to_go() {
    let _alone = alone();
    let server = start("live");
    let mut honest = Raw::new(&server);
    let mut deaf = Raw::new(&server);
    let mut half = Raw::new(&server);
    for raw in [&mut honest, &mut deaf, &mut half] {
        assert_eq!(raw.asks_and_hears(GET_PID), server.first_pid.to_string());
    }
    let begun = Instant::now();
    let old = begin_restart(&server);
    honest.hears_the_barrier();
    honest.write(&frame(SETTINGS, ACK, 0, &[]));
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[&[NO_TABLE], GET_PID].concat());
    half.hears_the_barrier();
    half.write(&[&frame(SETTINGS, ACK, 0, &[]), &request[..12]].concat());
    // What has moved gets its table again.
    let table = honest.hear(|frame| frame.kind == SETTINGS);
    assert_eq!(table.payload, [0, 1, 0, 0, 0x10, 0]);
    honest.write(&frame(SETTINGS, ACK, 0, &[]));
    let new = server.wait_for_other_than(old);
    assert_eq!(honest.asks_and_hears(&[&[NO_TABLE], GET_PID].concat()), new.to_string());
    // The rest comes after all, and is served where it began.
    half.hear(|frame| frame.kind == GOAWAY);
    half.write(&request[12..]);
    assert_eq!(half.body_of(3), old.to_string());
    assert_eq!(deaf.goodbye(), NO_ERROR);
    drop((deaf, half));
    server.wait_for_exit(old);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn who_uses_a_table_that_was_taken_from_it_ends_itself_alone() {
    let _alone = alone();
    let server = start("live");
    let (mut false_one, mut honest) = (Raw::new(&server), Raw::new(&server));
    for raw in [&mut false_one, &mut honest] {
        raw.asks_and_hears(GET_PID_KEEPING);
        assert_eq!(raw.asks_and_hears(GET_PID_KEPT), server.first_pid.to_string());
    }
    let old = begin_restart(&server);
    for raw in [&mut false_one, &mut honest] {
        raw.hears_the_barrier();
        raw.write(&frame(SETTINGS, ACK, 0, &[]));
    }
    server.wait_for_exit(old);
    false_one.ask(GET_PID_KEPT, END_STREAM);
    assert_ne!(false_one.goodbye(), NO_ERROR);
    assert_eq!(honest.asks_and_hears(&[&[NO_TABLE], GET_PID].concat()), server.pid().to_string());
}

#[test]
fn floods_during_a_move_are_borne_or_end_it() {
    let _alone = alone();
    let server = start("live");
    let (mut pings, mut uploads) = (Raw::new(&server), Raw::new(&server));
    let old = begin_restart(&server);
    for raw in [&mut pings, &mut uploads] {
        raw.hears_the_barrier();
        raw.write(&frame(SETTINGS, ACK, 0, &[]));
    }
    // More than a message holds, on a stream that is new.
    let stream = uploads.ask(&[&[NO_TABLE], POST_ECHO].concat(), 0);
    for at in 0..12 {
        uploads.write(&frame(DATA, if at == 11 { END_STREAM } else { 0 }, stream, &[b'x'; 16_000]));
    }
    let mut flooding = pings.stream.try_clone().expect("a second handle");
    let flood = thread::spawn(move || {
        let _ = flooding.write_all(&frame(PING, 0, 0, &[7; 8]).repeat(50_000));
        flooding
    });
    assert_eq!(pings.goodbye(), ENHANCE_YOUR_CALM);
    drop((pings, flood.join().expect("a client's thread")));
    let mut echoed = 0;
    while echoed < 12 * 16_000 {
        echoed += uploads.hear(|frame| frame.kind == DATA && frame.stream == stream).payload.len();
        uploads.write(&frame(8, 0, 0, &100_000_u32.to_be_bytes()));
        uploads.write(&frame(8, 0, stream, &100_000_u32.to_be_bytes()));
    }
    drop(uploads);
    server.wait_for_exit(old);
}

/// Whose bodies are far more than a message between the processes holds, and so are their answers.
#[test]
fn uploads_at_once_are_held_back_and_go_along() {
    let _alone = alone();
    let server = start("live");
    let mut raw = Raw::new(&server);
    let window = |stream| frame(WINDOW_UPDATE, 0, stream, &1_000_000_u32.to_be_bytes());
    let parts = |stream: u32| {
        let part = |at| frame(DATA, if at == 9 { END_STREAM } else { 0 }, stream, &[stream as u8; 15_000]);
        (0..10).flat_map(part).collect::<Vec<u8>>()
    };
    let mut went_along = 0;
    for _ in 0..5 {
        let mut table: &[u8] = &[NO_TABLE];
        // It has to end before the connection goes, and does so behind the others.
        let first = raw.ask(POST_ECHO, 0);
        let old = begin_restart(&server);
        raw.hears_the_barrier();
        let mut bytes = [frame(SETTINGS, ACK, 0, &[]), window(0)].concat();
        let mut streams = Vec::new();
        for _ in 0..3 {
            raw.streams += 1;
            let stream = raw.streams * 2 - 1;
            let block = [std::mem::take(&mut table), POST_ECHO].concat();
            bytes.extend(
                [frame(HEADERS, END_HEADERS, stream, &block), window(stream), parts(stream)].concat(),
            );
            streams.push(stream);
        }
        raw.write(&bytes);
        let asked = raw.ask(GET_PID, END_STREAM);
        raw.write(&frame(DATA, END_STREAM, first, b"x"));
        let mut echoed = vec![Vec::new(); 3];
        let mut answered_by = String::new();
        while answered_by.is_empty() || echoed.iter().any(|body: &Vec<u8>| body.len() < 150_000) {
            let data = raw.hear(|frame| frame.kind != GOAWAY || panic!("told to go"));
            if data.kind == SETTINGS && data.flags == 0 {
                raw.write(&frame(SETTINGS, ACK, 0, &[]));
            }
            if data.kind == DATA && data.stream == asked {
                answered_by.push_str(str::from_utf8(&data.payload).expect("text"));
            }
            if let Some(at) = streams.iter().position(|stream| data.kind == DATA && data.stream == *stream) {
                echoed[at].extend(data.payload);
            }
        }
        for (stream, body) in streams.iter().zip(echoed) {
            assert!(body == vec![*stream as u8; 150_000], "{stream}");
        }
        server.wait_for_exit(old);
        went_along += u32::from(answered_by != old.to_string());
    }
    // Where this machine was too slow, they were served by the old process in the end.
    assert!(went_along > 0);
}

/// Those that are held back take nearly all of the connection's window, and one that is open needs more of it.
#[test]
fn an_open_upload_ends_beside_those_that_are_held_back() {
    let _alone = alone();
    let server = start("live");
    let mut went_along = 0;
    for _ in 0..5 {
        // Its window is one that was never credited.
        let mut raw = Raw::new(&server);
        let first = raw.ask(POST_ECHO, 0);
        let old = begin_restart(&server);
        raw.hears_the_barrier();
        let mut bytes =
            [frame(SETTINGS, ACK, 0, &[]), frame(WINDOW_UPDATE, 0, 0, &2_000_000_u32.to_be_bytes())].concat();
        let mut table: &[u8] = &[NO_TABLE];
        for at in 0..64 {
            if at % 16 == 0 {
                raw.streams += 1;
                let block = [std::mem::take(&mut table), POST_ECHO].concat();
                bytes.extend(frame(HEADERS, END_HEADERS, raw.streams * 2 - 1, &block));
            }
            let end = if at % 16 == 15 { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, end, raw.streams * 2 - 1, &[b'h'; 16_000]));
        }
        raw.write(&bytes);
        let asked = raw.ask(GET_PID, END_STREAM);
        // hyper has seen nothing of all that, and gives no window for it.
        raw.hear(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0);
        for end in [0, 0, 0, END_STREAM] {
            raw.write(&frame(DATA, end, first, &[b'f'; 10_000]));
        }
        let (mut ended, mut answered_by) = (Vec::new(), String::new());
        while ended.len() < 6 {
            let next = raw.hear(|frame| frame.kind != GOAWAY || panic!("told to go"));
            match next.kind {
                SETTINGS if next.flags == 0 => raw.write(&frame(SETTINGS, ACK, 0, &[])),
                DATA if next.stream == asked => {
                    answered_by.push_str(str::from_utf8(&next.payload).expect("text"))
                }
                DATA if next.stream != first => {
                    raw.write(&frame(WINDOW_UPDATE, 0, next.stream, &16_000_u32.to_be_bytes()))
                }
                _ => {}
            }
            if matches!(next.kind, DATA | HEADERS) && next.flags & END_STREAM != 0 {
                ended.push(next.stream);
            }
        }
        server.wait_for_exit(old);
        if answered_by != old.to_string() {
            assert_eq!(ended[0], first);
            went_along += 1;
        }
    }
    // Where this machine was too slow, they were served by the old process in the end.
    assert!(went_along > 0);
}

/// Its answers wait for its window for longer than a busy connection is waited for as a rule.
#[test]
fn a_slow_client_is_waited_for() {
    let _alone = alone();
    let server = start("live");
    let mut slow = Raw::new(&server);
    let window = frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
    let streams = [1, 2].map(|_| slow.ask(POST_ECHO, 0));
    for stream in streams {
        for at in 0..4 {
            let end = if at == 3 { END_STREAM } else { 0 };
            slow.write(&frame(DATA, end, stream, &[stream as u8; 15_000]));
        }
    }
    let mut echoed = 0;
    while echoed < 65_535 {
        echoed += slow.hear(|frame| frame.kind == DATA).payload.len();
    }
    let old = begin_restart(&server);
    slow.hears_the_barrier();
    slow.write(&frame(SETTINGS, ACK, 0, &[]));
    let new = server.wait_for_other_than(old);
    // Three seconds, by the new process's clock.
    let mut other = Raw::new(&server);
    let events = other.ask(GET_EVENTS, END_STREAM);
    other.hear(|frame| frame.stream == events && frame.flags & END_STREAM != 0);
    slow.write(&window);
    while echoed < 2 * 60_000 {
        let next = slow.hear(|frame| frame.kind != GOAWAY || panic!("told to go"));
        echoed += if next.kind == DATA { next.payload.len() } else { 0 };
    }
    server.wait_for_exit(old);
    assert_eq!(slow.asks_and_hears(&[&[NO_TABLE], GET_PID].concat()), new.to_string());
}

#[test]
fn who_closes_in_the_middle_is_gone() {
    let _alone = alone();
    let server = start("live");
    let mut clients: Vec<_> = (0..6).map(|_| Raw::new(&server)).collect();
    let old = begin_restart(&server);
    for (at, raw) in clients.iter_mut().enumerate() {
        raw.hears_the_barrier();
        if at % 2 == 0 {
            raw.write(&frame(SETTINGS, ACK, 0, &[])[..if at % 4 == 0 { 9 } else { 5 }]);
        }
    }
    drop(clients);
    server.wait_for_exit(old);
}

/// Its end is its own: nobody has to tell it, or to count it among those that could not move.
#[test]
fn who_says_goodbye_itself_in_the_middle_gets_its_answers() {
    let _alone = alone();
    let server = start("live");
    let (mut going, mut staying) = (Raw::new(&server), Raw::new(&server));
    let upload = going.ask(POST_ECHO, 0);
    let mark = server.mark();
    let old = begin_restart(&server);
    for raw in [&mut going, &mut staying] {
        raw.hears_the_barrier();
        raw.write(&frame(SETTINGS, ACK, 0, &[]));
    }
    let held = going.ask(&[&[NO_TABLE], GET_PID].concat(), END_STREAM);
    going.write(&frame(GOAWAY, 0, 0, &[0; 8]));
    assert_eq!(going.body_of(held), old.to_string());
    going.write(&frame(DATA, END_STREAM, upload, b"x"));
    assert_eq!(going.body_of(upload), "x");
    drop(going);
    let line = server.wait_for_line(mark, "connections moved");
    assert!(line.contains("1 http2 not_moved=none"), "{line}");
    server.wait_for_exit(old);
}

/// Of a release that knows of no HTTP/2, of one that gives all back, and of one that never answers.
#[test]
fn g7_a_successor_that_does_not_go_on_with_it() {
    let _alone = alone();
    for (part, has_barrier) in [("refuse", false), ("refuse+", true), ("mute+", true)] {
        let server = Setup::example("live").args(&["--probation", "50ms", "--drain-timeout", "5s"]).start();
        std::fs::write(server.binary.path().with_file_name("part"), part).expect("a file");
        let mut raw = Raw::new(&server);
        raw.asks_and_hears(GET_PID);
        server.binary.become_example("impostor");
        let mark = server.mark();
        let old = server.first_pid;
        server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        if has_barrier {
            raw.hears_the_barrier();
            raw.write(&frame(SETTINGS, ACK, 0, &[]));
        }
        if part == "mute+" {
            // It may be read by that one, so it is not read here: the drain's deadline ends this process.
            server.wait_for_exit(old);
            continue;
        }
        raw.hear(|frame| frame.kind == GOAWAY);
        // What is on its way is served, in either case.
        assert_eq!(raw.asks_and_hears(&[&[NO_TABLE], GET_PID].concat()), old.to_string(), "{part}");
        assert_eq!(raw.goodbye(), NO_ERROR);
        drop(raw);
        server.wait_for_exit(old);
    }
}
