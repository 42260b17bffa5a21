//! Clients that behave, and clients that do not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use super::super::message::Request;
use super::*;

#[tokio::test]
async fn a_request_is_heard_and_answered() {
    let (mut server, mut connect) = serve("heard");
    let mut client = connect();
    // In two halves.
    client.write_all(br#"{"heirloom":1,"#).unwrap();
    client.write_all(b"\"do\":\"restart\"}\n").unwrap();
    let Asked { request, follower } = server.next().await;
    assert_eq!(request, Request::Restart);
    follower.tell(&Reply::Starting);
    assert!(follower.is_there());
    follower.end_with(&Reply::Stopped);
    assert!(nobody_asks(&mut server).await, "the client is let go");
    assert!(!follower.is_there());
    follower.tell(&Reply::Starting);
    assert_eq!(read(client), [Reply::Starting, Reply::Stopped]);
}

#[tokio::test]
async fn garbage_and_a_million_bytes_are_told_so() {
    let (mut server, mut connect) = serve("garbage");
    for (bytes, code) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ErrorCode::Malformed),
        (vec![0xA5; 1_000_000], ErrorCode::TooLong),
        (b"\n".to_vec(), ErrorCode::Malformed),
        (br#"{"heirloom":9,"do":"status"}"#.iter().copied().chain([b'\n']).collect(), ErrorCode::Version),
    ] {
        let mut client = connect();
        let writer = thread::spawn(move || {
            let _ = client.write_all(&bytes);
            read(client)
        });
        while !writer.is_finished() {
            assert!(nobody_asks(&mut server).await);
        }
        let replies = writer.join().unwrap();
        assert!(matches!(replies[..], [Reply::Error { code: told, .. }] if told == code), "{replies:?}");
    }
    assert!(server.clients.is_empty());
}

#[tokio::test]
async fn a_thousand_silent_ones_do_not_keep_an_operator_out() {
    let (mut server, mut connect) = serve("thousand");
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.extend((0..125).map(|_| connect()));
        assert!(nobody_asks(&mut server).await);
    }
    assert!(server.clients.len() <= CLIENTS);
    let mut operator = connect();
    operator.write_all(&Request::Status.encode()).unwrap();
    assert_eq!(server.next().await.request, Request::Status);
    // And the rest leave when their time is up.
    for client in &mut server.clients {
        client.since -= PATIENCE;
    }
    assert!(nobody_asks(&mut server).await);
    assert_eq!(server.clients.len(), 1);
    let told = silent.into_iter().map(|client| read(client).pop());
    assert!(
        told.into_iter().all(|told| matches!(
            told,
            Some(Reply::Error { code: ErrorCode::Busy | ErrorCode::TooSlow, .. })
        ))
    );
}

#[tokio::test]
async fn a_request_whose_asker_has_gone_is_void() {
    let (mut server, mut connect) = serve("void");
    let stop = Request::Stop { within_ms: None }.encode();
    let mut gone = connect();
    gone.write_all(&stop).unwrap();
    drop(gone);
    assert!(nobody_asks(&mut server).await && server.clients.is_empty());
    // Closed on one side only, it still hears.
    let mut half = connect();
    half.write_all(&stop).unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let asked = server.next().await;
    assert_eq!(asked.request, Request::Stop { within_ms: None });
    asked.follower.end_with(&Reply::Stopped);
    assert_eq!(read(half), [Reply::Stopped]);
    // Nor does another process go on with it.
    let (ours, theirs) = StdStream::pair().unwrap();
    drop(theirs);
    assert!(server.adopt(ours.into()).is_err());
}

#[tokio::test]
async fn who_does_not_read_is_let_go() {
    let (mut server, mut connect) = serve("stalled");
    let mut client = connect();
    client.write_all(&Request::Restart.encode()).unwrap();
    let follower = server.next().await.follower;
    let long = Reply::Refused { reason: "x".repeat(4000) };
    for _ in 0..1000 {
        follower.tell(&long);
    }
    assert!(nobody_asks(&mut server).await);
    assert!(server.clients.is_empty() && !follower.is_there());
}

/// Lets the server do all that there is to do; whether nobody has asked for anything.
async fn nobody_asks(server: &mut Server) -> bool {
    loop {
        // allow: sleep (that nothing comes can only be waited for)
        if tokio::time::timeout(Duration::from_millis(20), server.next()).await.is_ok() {
            return false;
        }
        if has_nothing_to_do(server) {
            return true;
        }
    }
}

/// Nobody waits to be accepted, and no client has said anything that was not read.
fn has_nothing_to_do(server: &Server) -> bool {
    let clients = server.clients.iter().map(|client| client.stream.as_fd());
    let mut watched: Vec<_> = std::iter::once(server.listener.as_fd())
        .chain(clients)
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    poll(&mut watched, PollTimeout::ZERO).unwrap() == 0
}

fn serve(name: &str) -> (Server, impl FnMut() -> UnixStream + use<>) {
    let path = std::env::temp_dir().join(format!("heirloom-server-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let bound = Bound(path);
    (Server::new(listener).unwrap(), move || UnixStream::connect(&bound.0).unwrap())
}

struct Bound(std::path::PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read(mut client: UnixStream) -> Vec<Reply> {
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    // A reset follows what was said.
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
    }
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Reply::decode(line).unwrap())
        .collect()
}
