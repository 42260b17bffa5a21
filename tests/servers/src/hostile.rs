//! A server that says to its predecessor what the file `fault` beside it says: `WHEN WHAT`, where WHEN is `before` or
//! `after` (READY), and WHAT one of `garbage`, `oversized`, `future`, `unknown`, `babble`, `skipped` and `ready`; the
//! last three are said again and again. Like `hello`, it answers `/` and `/pid`.

use std::convert::Infallible;
use std::error::Error;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use heirloom::handover::announcement::{Announcement, VARIABLE};
use heirloom::handover::message::{MAX_MESSAGE, Message, OPTIONAL, Takes, VERSION};
use heirloom::http::{Config, Server};
use heirloom::{Ending, Restarter};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let fault = std::fs::read_to_string(Path::new(&arguments[0]).with_file_name("fault"))?;
    let (when, what) = fault.trim().split_once(' ').ok_or("no fault")?;
    let announcement = Announcement::decode(&std::env::var_os(VARIABLE).ok_or("no predecessor")?)?;
    // A copy: the number is the library's, and comes to mean something else once that has closed it.
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let channel = pidfd_getfd(own, announcement.channel.0, PidfdGetfdFlags::empty())?;

    let restarter = Restarter::new()?;
    let server = Server::new(
        Config::new(),
        service_fn(|request: Request<Incoming>| async move {
            let body = match request.uri().path() {
                "/pid" => std::process::id().to_string(),
                _ => "Hello".to_owned(),
            };
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
        }),
    );
    for pair in arguments.windows(2).filter(|pair| pair[0] == "--listen") {
        server.accept_from(restarter.listen(&pair[1])?);
    }
    if when == "before" {
        say(channel.as_raw_fd(), what);
        std::future::pending::<()>().await;
    }
    restarter.ready().await?;
    say(channel.as_raw_fd(), what);
    Ok(restarter.run().await?)
}

fn say(channel: i32, what: &str) {
    match what {
        "garbage" => send_all(channel, &[0xA5; 300], 1),
        "oversized" => send_all(channel, &[VERSION; MAX_MESSAGE + 1], 1),
        "future" => send_all(channel, &[VERSION + 1, 1], 1),
        "unknown" => send_all(channel, &[VERSION, OPTIONAL - 1], 1),
        "babble" => send_all(channel, &[0xA5; 300], FLOOD),
        "skipped" => send_all(channel, &[VERSION, OPTIONAL], FLOOD),
        "ready" => send_all(
            channel,
            &Message::Ready { unclaimed: vec![], takes: Takes::default(), answers: false }.encode(),
            FLOOD,
        ),
        unknown => panic!("no such thing to say: {unknown}"),
    }
}

/// As fast as the other side reads, until it is gone or does not read for a second.
fn send_all(channel: i32, bytes: &[u8], count: usize) {
    for _ in 0..count {
        let full = Instant::now();
        while send(channel, bytes, MsgFlags::MSG_NOSIGNAL) == Err(Errno::EAGAIN) {
            if full.elapsed() > Duration::from_secs(1) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Takes a reader well over a probation's time if it hears all of them.
const FLOOD: usize = 20_000;
