//! A server none of whose clients notices a restart: requests, WebSockets and event streams.
//!
//! `cargo run --features tls --example live -- --listen 127.0.0.1:8080`, watch `curl -N 'localhost:8080/events?count=3000'`, and
//! `kill -USR2 PID` as often as you like: the stream goes on, with another process's id.
//!
//! ```text
//! live --listen ADDR [--listen ADDR]... [--tls-cert PEM --tls-key PEM]
//!      [--probation 1s] [--drain-timeout 60s] [--pid-file PATH]
//!
//! GET  /pid, /generation              of the process that answers
//! POST /echo                          the body
//! GET  /events?every=20ms&count=300   an event stream, `data: I PID` with I from 1
//! GET  /ws                            a WebSocket: the text x is answered `N PID x` with N from 1, a binary message is
//!                                     echoed; with `?ticks=100ms` also `tick K` unasked, with K from 1
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use heirloom::http::{Config, Server, Session};
use heirloom::tls::Tls;
use heirloom::{Ending, Restarter};
use lexopt::{Arg, ValueExt};

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut listen, mut cert, mut key): (Vec<String>, Option<PathBuf>, Option<PathBuf>) =
        (vec![], None, None);
    let mut builder = Restarter::builder();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let Arg::Long(name) = argument else { return Err(argument.unexpected().into()) };
        match name.to_owned().as_str() {
            "listen" => listen.push(parser.value()?.parse()?),
            "tls-cert" => cert = Some(parser.value()?.into()),
            "tls-key" => key = Some(parser.value()?.into()),
            "probation" => {
                builder = builder.probation(parser.value()?.parse_with(humantime::parse_duration)?)
            }
            "drain-timeout" => {
                builder = builder.drain_timeout(parser.value()?.parse_with(humantime::parse_duration)?)
            }
            "pid-file" => builder = builder.pid_file(parser.value()?),
            name => return Err(Arg::Long(name).unexpected().into()),
        }
    }
    let restarter = builder.start()?;
    let generation = restarter.generation().to_string();
    let router = Router::new()
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/generation", get(|| async { generation }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/events", get(events))
        .route("/ws", any(websocket));
    let server = Server::tower(Config::new().move_websockets(true).move_streams(true), router);
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(restarter.check(Tls::from_pem_files(cert, key)).await?),
        _ => None,
    };
    if let Some(tls) = &tls {
        tls.inherit_tickets(&restarter).await;
    }
    for address in listen {
        let listener = restarter.check(restarter.listen(&address)).await?;
        println!("listening on {}", listener.local_addr());
        match &tls {
            Some(tls) => server.accept_tls_from(listener, tls),
            None => server.accept_from(listener),
        };
    }
    Ok(restarter.run().await?)
}

/// What goes to the successor is the number of the last event.
async fn events(RawQuery(query): RawQuery, Extension(session): Extension<Session>) -> Response {
    let every = option(query.as_deref(), "every").unwrap_or(Duration::from_millis(20));
    let count =
        query.as_deref().and_then(|query| values(query).get("count")?.parse().ok()).unwrap_or(300_u64);
    let sent = session.state().map_or(0, |state| number(state, 0));
    let stream = futures_util::stream::unfold(sent, move |sent| {
        let session = session.clone();
        async move {
            if sent >= count {
                return None;
            }
            let due = tokio::time::sleep(every);
            tokio::pin!(due);
            tokio::select! {
                () = &mut due => {}
                () = session.leaving() => {
                    if session.move_on(sent.to_string()).await.is_ok() {
                        return None;
                    }
                    due.await;
                }
            }
            let event = format!("data: {} {}\n\n", sent + 1, std::process::id());
            Some((Ok::<_, Infallible>(event), sent + 1))
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-store")
        .body(Body::from_stream(stream))
        .expect("a response")
}

async fn websocket(
    upgrade: WebSocketUpgrade,
    RawQuery(query): RawQuery,
    Extension(session): Extension<Session>,
) -> Response {
    let ticks = option(query.as_deref(), "ticks");
    upgrade.on_upgrade(move |socket| talk(socket, session, ticks))
}

/// What goes to the successor is how many messages were answered, and how many ticks were sent.
async fn talk(mut socket: WebSocket, session: Session, every: Option<Duration>) {
    let (mut answered, mut ticks) =
        session.state().map_or((0, 0), |state| (number(state, 0), number(state, 1)));
    let mut clock = tokio::time::interval(every.unwrap_or(Duration::MAX / 4));
    clock.reset();
    loop {
        let answer = tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    answered += 1;
                    Message::text(format!("{answered} {} {text}", std::process::id()))
                }
                Some(Ok(message @ Message::Binary(_))) => message,
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
            _ = clock.tick(), if every.is_some() => {
                ticks += 1;
                Message::text(format!("tick {ticks}"))
            }
            () = session.leaving() => {
                if session.move_on(format!("{answered} {ticks}")).await.is_err() {
                    // Over TLS 1.2 nobody else has said so.
                    let frame = CloseFrame { code: close_code::RESTART, reason: "the server restarts".into() };
                    let _ = socket.send(Message::Close(Some(frame))).await;
                }
                return;
            }
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}

fn number(state: &[u8], at: usize) -> u64 {
    let text = str::from_utf8(state).unwrap_or_default();
    text.split(' ').nth(at).and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn option(query: Option<&str>, name: &str) -> Option<Duration> {
    humantime::parse_duration(values(query?).get(name)?).ok()
}

fn values(query: &str) -> HashMap<&str, &str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}
