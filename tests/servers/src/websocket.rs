//! A WebSocket echo that says goodbye when its process drains, and one (`/deaf`) that does not.

use std::process::ExitCode;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use heirloom::drain::DrainSignal;
use heirloom::{Restarter, SignalMap};

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let value = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let mut builder = Restarter::bare().signals(SignalMap::default());
    if let Some(limit) = value("--upgraded") {
        builder = builder.upgraded_timeout(humantime::parse_duration(&limit)?);
    }
    let restarter = builder.start()?;
    let listener = restarter.listen(value("--listen").ok_or("--listen is missing")?)?;
    println!("listening on {}", listener.local_addr());
    let draining = restarter.draining();
    let router = Router::new()
        .route(
            "/",
            any(move |upgrade: WebSocketUpgrade| async move {
                upgrade.on_upgrade(|socket| echo(socket, draining))
            }),
        )
        .route("/deaf", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(deaf) }));
    heirloom::http::serve(listener, router);
    Ok(restarter.run().await?.into())
}

async fn echo(mut socket: WebSocket, draining: DrainSignal) {
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(message @ Message::Text(_))) => {
                    let pid = Message::Text(std::process::id().to_string().into());
                    if socket.send(message).await.is_err() || socket.send(pid).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = draining.clone() => break,
        }
    }
    let goodbye = CloseFrame { code: 1001, reason: "the server restarts, come again".into() };
    if socket.send(Message::Close(Some(goodbye))).await.is_ok() {
        // The client's own close frame ends it.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

async fn deaf(mut socket: WebSocket) {
    while let Some(Ok(_)) = socket.recv().await {}
}
