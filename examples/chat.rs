//! A chat room whose members do not notice restarts: `chat --listen 127.0.0.1:3000`, open it in two windows,
//! then `kill -HUP PID` as often as you like. Each member's WebSocket goes to the next process, and so does
//! what has been said so far. With `--tls-cert PEM --tls-key PEM` it is `https://` and `wss://`.

use std::io::Write;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Html;
use axum::routing::{any, get};
use axum::{Extension, Router};
use heirloom::http::{Config, Server, Session};
use heirloom::tls::Tls;
use heirloom::{Ending, Restarter};
use tokio::sync::watch;

/// All that was said, once it is known: the process before may still have members, who say more.
type Room = watch::Sender<Option<Vec<String>>>;

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let restarter = Restarter::new()?;
    let room = Room::new(None);
    let (opened, kept) = (room.clone(), room.clone());
    let before = restarter.final_state("said");
    tokio::spawn(async move {
        let said = before.await.ok().flatten().map(|said| String::from_utf8_lossy(&said).into_owned());
        opened.send_replace(Some(said.unwrap_or_default().lines().map(str::to_owned).collect()));
    });
    restarter.provide_final_state("said", 1, move |out| {
        kept.borrow().iter().flatten().try_for_each(|line| writeln!(out, "{line}"))
    })?;
    let join = |upgrade: WebSocketUpgrade, Path(name), State(room), Extension(session)| async move {
        upgrade.on_upgrade(|socket| talk(socket, name, room, session))
    };
    let router = Router::new()
        .route("/", get(|| async { Html(include_str!("chat.html")) }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/ws/{name}", any(join))
        .with_state(room);
    let option = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let listener = restarter.listen(option("--listen").unwrap_or_else(|| "127.0.0.1:3000".to_owned()))?;
    println!("listening on {}", listener.local_addr());
    let tls = option("--tls-cert").zip(option("--tls-key")).map(|(cert, key)| Tls::from_pem_files(cert, key));
    let server = Server::tower(Config::new().move_websockets(true), router);
    match tls {
        Some(tls) => server.accept_tls_from(listener, &restarter.check(tls).await?),
        None => server.accept_from(listener),
    };
    Ok(restarter.run().await?)
}

async fn talk(mut socket: WebSocket, name: String, room: Room, session: Session) {
    // How many lines this member has been sent, in whichever process.
    let mut seen = session.state().and_then(|seen| str::from_utf8(seen).ok()?.parse().ok()).unwrap_or(0);
    let mut changes = room.subscribe();
    changes.mark_changed();
    loop {
        tokio::select! {
            _ = changes.changed() => {
                let lines = changes.borrow_and_update().iter().flatten().skip(seen).cloned().collect::<Vec<_>>();
                for line in lines {
                    seen += 1;
                    if socket.send(Message::text(line)).await.is_err() { return }
                }
            }
            // What is said before the room is known waits in the socket.
            said = socket.recv(), if room.borrow().is_some() => match said {
                Some(Ok(Message::Text(text))) => room.send_modify(|said| {
                    said.get_or_insert_default().push(format!("{name}: {}", text.replace('\n', " ")));
                }),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = session.leaving() => return session.move_on(seen.to_string()).await.unwrap_or_default(),
        }
    }
}
