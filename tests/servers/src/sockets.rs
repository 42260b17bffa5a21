//! WebSockets of hyper and tokio-tungstenite, with the messages of the example `live`.
//!
//! ```text
//! GET /ws            as live
//! GET /forgets       a WebSocket whose state the next generation does not ask for, and greets anew
//! GET /refuses       a WebSocket that the next generation does not want: it answers 403
//! GET /hoards        a WebSocket with more state than can move
//! GET /pid           at once
//! ```

use std::convert::Infallible;
use std::error::Error;

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
    let mut builder = Restarter::bare();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--listen" => addresses.push(value()?),
            "--probation" => builder = builder.probation(humantime::parse_duration(&value()?)?),
            "--off" => config = config.move_websockets(false),
            other => return Err(format!("no option {other}").into()),
        }
    }
    let restarter = builder.signals(SignalMap::default()).start()?;
    let server = Server::new(config, service_fn(answer));
    for address in &addresses {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    Ok(restarter.run().await?)
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<String>, Infallible> {
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
    } else if let Some(state) = session.state() {
        answered = str::from_utf8(state).unwrap_or_default().trim_end().parse().unwrap_or_default();
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
