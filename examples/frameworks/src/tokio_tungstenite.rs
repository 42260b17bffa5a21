//! In the place of `tokio_tungstenite::accept_async`: WebSockets that go on in the next process.
//!
//! heirloom answers the handshake, so that it knows where messages begin and end.

use std::convert::Infallible;
use std::io;

use futures_util::{SinkExt, StreamExt};
use heirloom::drain::Connection;
use heirloom::http::{Config, Session, serve_connection};
use heirloom::stream::Stream;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONNECTION;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A WebSocket, from its client or from the process before.
pub struct Socket {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    session: Session,
    /// Else its client has left.
    is_leaving: bool,
}

/// Shakes hands, unless the process before has.
pub async fn accept_async(connection: Connection<Stream>) -> Result<Socket, Error> {
    let (begin, mut begun) = channel(1);
    let service = service_fn(move |request| std::future::ready(shake_hands(request, &begin)));
    tokio::spawn(serve_connection(&Config::new().move_websockets(true), connection, service));
    let (upgrade, session) = begun.recv().await.ok_or(Error::ConnectionClosed)?;
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    Ok(Socket { socket, session, is_leaving: false })
}

fn shake_hands(
    mut request: Request<Incoming>,
    begin: &Sender<(OnUpgrade, Session)>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let session = request.extensions_mut().remove::<Session>();
    if let (Ok(response), Some(session)) = (create_response(&request.map(drop)), session)
        && begin.try_send((upgrade, session)).is_ok()
    {
        return Ok(response.map(|()| Empty::new()));
    }
    let response = Response::builder().status(StatusCode::BAD_REQUEST).header(CONNECTION, "close");
    Ok(response.body(Empty::new()).expect("a response"))
}

impl Socket {
    /// What the process before gave to [`move_on`](Self::move_on), if it has come from there.
    pub fn state(&self) -> Option<&[u8]> {
        self.session.state()
    }

    /// The next message; `None` when the client has left, or it is time to go.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::select! {
            message = self.socket.next() => message,
            () = self.session.leaving() => {
                self.is_leaving = true;
                None
            }
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    /// To the next process, with a state of at most 64 KiB. Without one the client is told to come again.
    pub async fn move_on(self, state: impl Into<Vec<u8>>) {
        if self.is_leaving {
            let _ = self.session.move_on(state).await;
        }
    }
}
