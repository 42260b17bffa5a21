//! WebSockets of hyper and a library that takes what it upgrades, with the messages of the example `live`.
//!
//! ```text
//! --fast             of fastwebsockets, instead of tokio-tungstenite
//! --off              that do not move
//!
//! GET /ws            as live
//! GET /forgets       a WebSocket whose state the next generation does not ask for, and greets anew
//! GET /refuses       a WebSocket that the next generation does not want: it answers 403
//! GET /hoards        a WebSocket with more state than can move
//! GET /pid           at once
//! ```

use std::convert::Infallible;
use std::error::Error;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use futures_util::{SinkExt, StreamExt};
use heirloom::http::{Config, Server, Session};
use heirloom::{Ending, Restarter, SignalMap};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut addresses, mut config) = (Vec::new(), Config::new().move_websockets(true));
    let (mut builder, mut is_fast) = (Restarter::bare(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--listen" => addresses.push(value()?),
            "--probation" => builder = builder.probation(humantime::parse_duration(&value()?)?),
            "--off" => config = config.move_websockets(false),
            "--fast" => is_fast = true,
            other => return Err(format!("no option {other}").into()),
        }
    }
    let restarter = builder.signals(SignalMap::default()).start()?;
    let server = Server::new(config, service_fn(move |request| answer(request, is_fast)));
    for address in &addresses {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    Ok(restarter.run().await?)
}

async fn answer(mut request: Request<Incoming>, is_fast: bool) -> Result<Response<String>, Infallible> {
    let session = request.extensions().get::<Session>().cloned();
    let path = request.uri().path().to_owned();
    let is_resumed = session.as_ref().is_some_and(Session::resumed);
    if path == "/refuses" && is_resumed {
        return Ok(Response::builder()
            .status(StatusCode::FORBIDDEN)
            .body("no".to_owned())
            .expect("a response"));
    }
    let (Some(session), Some(key)) = (session, request.headers().get(SEC_WEBSOCKET_KEY)) else {
        return Ok(Response::new(std::process::id().to_string()));
    };
    if is_fast {
        let (response, upgrading) = fastwebsockets::upgrade::upgrade(&mut request).expect("a WebSocket");
        tokio::spawn(async move {
            let Ok(socket) = upgrading.await else { return };
            talk_fast(FragmentCollector::new(socket), &session).await;
        });
        return Ok(response.map(|_| String::new()));
    }
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        talk(socket, &session, &path).await;
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response.body(String::new()).expect("a response"))
}

async fn talk(mut socket: WebSocketStream<TokioIo<Upgraded>>, session: &Session, path: &str) {
    let mut answered: u64 = 0;
    if path == "/forgets" {
        if socket.send(Message::text("welcome")).await.is_err() {
            return;
        }
    } else {
        answered = answered_before(session);
    }
    loop {
        tokio::select! {
            received = socket.next() => {
                let answer = match received {
                    Some(Ok(Message::Text(text))) => {
                        answered += 1;
                        Message::text(format!("{answered} {} {text}", std::process::id()))
                    }
                    Some(Ok(message @ Message::Binary(_))) => message,
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                };
                if socket.send(answer).await.is_err() {
                    return;
                }
            }
            () = session.leaving() => {
                let padding = if path == "/hoards" { 128 << 10 } else { 0 };
                let _ = session.move_on(format!("{answered}{}", " ".repeat(padding))).await;
                return;
            }
        }
    }
}

async fn talk_fast(mut socket: FragmentCollector<TokioIo<Upgraded>>, session: &Session) {
    let mut answered = answered_before(session);
    loop {
        tokio::select! {
            received = socket.read_frame() => {
                let Ok(frame) = received else { return };
                let answer = match frame.opcode {
                    OpCode::Text => {
                        answered += 1;
                        let text = String::from_utf8_lossy(&frame.payload);
                        let text = format!("{answered} {} {text}", std::process::id());
                        Frame::text(Payload::Owned(text.into_bytes()))
                    }
                    OpCode::Binary => Frame::binary(Payload::Owned(frame.payload.to_vec())),
                    OpCode::Close => return,
                    _ => continue,
                };
                if socket.write_frame(answer).await.is_err() {
                    return;
                }
            }
            () = session.leaving() => {
                let _ = session.move_on(answered.to_string()).await;
                return;
            }
        }
    }
}

/// What the predecessor's handler has said.
fn answered_before(session: &Session) -> u64 {
    let state = session.state().and_then(|state| str::from_utf8(state).ok()).unwrap_or_default();
    state.trim_end().parse().unwrap_or_default()
}
