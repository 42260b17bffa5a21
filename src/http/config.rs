//! The limits that keep a server alive among slow, silent and greedy clients.

use std::time::Duration;

use hyper::http::Extensions;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::peer::{Introduction, OnRequest, Peer};
use super::session::Kinds;
use crate::drain::{Connection, Limits};

/// How connections are served. Every limit has a default; `None` removes the limit.
///
/// ```
/// use std::time::Duration;
/// use heirloom::http::Config;
///
/// let config = Config::new().header_read_timeout(Duration::from_secs(5)).http2(false);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    header_read_timeout: Option<Duration>,
    keep_alive_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    half_closed_timeout: Option<Duration>,
    max_header_size: usize,
    max_headers: Option<usize>,
    http2: bool,
    max_concurrent_streams: u32,
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
    peer: bool,
    on_request: Option<OnRequest>,
    baggage: bool,
    move_connections: bool,
    move_http2: bool,
    move_websockets: bool,
    move_streams: bool,
}

/// A config in the form in which each connection uses it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
    pub(super) limits: Limits,
    pub(super) sniff: bool,
    /// `None` without any, and then nobody asks who a client is.
    pub(super) on_request: Option<OnRequest>,
    pub(super) baggage: bool,
    pub(super) moves: bool,
    pub(super) moves_http2: bool,
    /// `None` without any, and then nothing is followed.
    pub(super) sessions: Option<Kinds>,
}

impl Prepared {
    /// Who its client is, if anybody asks.
    pub(super) fn introduction<S: 'static>(&self, connection: &Connection<S>) -> Option<Introduction> {
        self.on_request.as_ref().map(|hook| Introduction::of(connection, hook))
    }
}

impl Config {
    /// Every limit at its default.
    pub fn new() -> Self {
        Config {
            header_read_timeout: Some(Duration::from_secs(30)),
            keep_alive_timeout: Some(Duration::from_secs(75)),
            write_timeout: Some(Duration::from_secs(30)),
            half_closed_timeout: Some(Duration::from_secs(60)),
            max_header_size: 64 << 10,
            max_headers: None,
            http2: true,
            max_concurrent_streams: 200,
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
            peer: false,
            on_request: None,
            baggage: false,
            move_connections: true,
            move_http2: true,
            move_websockets: false,
            move_streams: false,
        }
    }

    /// How long the head of an HTTP/1 request may take from its first byte to its last. Then the connection
    /// is closed without an answer.
    ///
    /// Default 30 s: no honest client takes that long, and a dishonest one holds little memory meanwhile.
    pub fn header_read_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.header_read_timeout = limit.into();
        self
    }

    /// How long a connection may be idle: no request in flight, nothing read of a next one. A
    /// connection that has never spoken is idle too (browsers open some in advance).
    ///
    /// Default 75 s: longer than the 60 s for which common load balancers keep idle connections to a
    /// backend. If the backend gives up first, the balancer's next request meets a closing connection.
    ///
    /// While draining, the tracker's idle linger holds instead.
    pub fn keep_alive_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.keep_alive_timeout = limit.into();
        self
    }

    /// How long a write may wait for the client to read anything at all. Then the connection is dropped.
    ///
    /// Default 30 s: a client that stopped reading holds the response's memory. The time starts again with
    /// every byte that the client takes, so a slow client is not cut off.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = limit.into();
        self
    }

    /// How long an HTTP/1 request goes on after its client has ended its own direction (`shutdown(SHUT_WR)`:
    /// `nc -N`, socat, some proxies), while nothing is sent to the client. Then the connection is dropped,
    /// and the handler with it.
    ///
    /// Such a client waits for its answer and gets it. But a client that has gone looks the same, since TCP
    /// sends a FIN for both, until something is written to it and a reset comes back. A handler should not
    /// work for it for ever. Each write that the client takes starts the limit again, so a long answer is not
    /// cut off. A client that is known to have gone (a reset, or a Unix socket that is closed in both
    /// directions) ends its request at once.
    ///
    /// Default 60 s: as long as a request in flight has after a restart. Zero is hyper's own default: no
    /// client may end its direction first, and a request that is not answered by then is dropped. With `None`
    /// the handler works on until something is written. Over HTTP/2, the end of one direction always ends the
    /// connection.
    pub fn half_closed_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.half_closed_timeout = limit.into();
        self
    }

    /// The longest head of a request in bytes. A longer one is answered with 431.
    ///
    /// Default 64 KiB: several times what browsers send with all their cookies. Each connection may make the
    /// server buffer this much.
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.max_header_size = bytes;
        self
    }

    /// The most header fields of an HTTP/1 request. A request with more is answered with 431.
    ///
    /// Default 100, which is hyper's own, and for which hyper allocates nothing. Any value set here, 100 too,
    /// costs an allocation for each request.
    pub fn max_headers(mut self, fields: usize) -> Self {
        self.max_headers = Some(fields);
        self
    }

    /// Whether clients that start with HTTP/2 are served. Default yes.
    pub fn http2(mut self, on: bool) -> Self {
        self.http2 = on;
        self
    }

    /// The most requests in flight on one HTTP/2 connection. Default 200: above the 100 that RFC 9113 asks
    /// for, and it limits what one client can have running.
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// How often an HTTP/2 client is pinged, and how long it may take to answer before the connection is
    /// closed.
    ///
    /// Default never: that a client has vanished the kernel notices, by
    /// [`Listen::keepalive`](crate::Listen::keepalive). Pings also notice one whose program hangs while its
    /// kernel answers, or that went behind a proxy which stays; they cost some 4 % of the instructions of
    /// each request, since hyper then reads the clock with each frame. 20 s is a time to answer that also a
    /// phone in a tunnel keeps.
    pub fn ping(mut self, interval: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.ping_interval = interval.into();
        self.ping_timeout = timeout;
        self
    }

    /// Whether each request carries a [`Peer`] extension, which has the client's address and, over TLS, what
    /// certificates it has shown. Where a framework has a form of its own for that, give it in
    /// [`on_request`](Self::on_request).
    ///
    /// Default no: an extension costs three allocations for each request.
    pub fn peer(mut self, on: bool) -> Self {
        self.peer = on;
        self
    }

    /// What is done with each request before the service sees it: `hook` gets the client, and the request's
    /// extensions, to which it can add what the service looks for there. It runs on the connection's task,
    /// and so must not wait.
    ///
    /// Given more than once, each is called, in that order, and after [`peer`](Self::peer) has added its own.
    /// Default none, which costs nothing.
    ///
    /// The client's address, in a type of one's own:
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use heirloom::http::Config;
    ///
    /// #[derive(Clone)]
    /// struct Client(SocketAddr);
    ///
    /// let config = Config::new().on_request(|peer, extensions| {
    ///     if let Some(address) = peer.address().and_then(|address| address.inet()) {
    ///         extensions.insert(Client(address));
    ///     }
    /// });
    /// ```
    ///
    /// axum's `ConnectInfo` has `connect_info`, with the feature `axum`. tonic's `Request::remote_addr` finds
    /// a `TcpConnectInfo` that is added in this way.
    pub fn on_request(mut self, hook: impl Fn(&Peer, &mut Extensions) + Send + Sync + 'static) -> Self {
        self.on_request = Some(OnRequest::new(self.on_request, hook));
        self
    }

    /// Handlers may ask for axum's `ConnectInfo<SocketAddr>`, as under axum's own
    /// `into_make_service_with_connect_info`.
    ///
    /// ```no_run
    /// # use std::net::SocketAddr;
    /// # use axum::extract::ConnectInfo;
    /// # use heirloom::http::Config;
    /// # async fn example(listener: heirloom::Listener) {
    /// let who = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    /// let router = axum::Router::new().route("/", axum::routing::get(who));
    /// heirloom::http::serve_with(Config::new().connect_info(), listener, router);
    /// # }
    /// ```
    ///
    /// A client of a Unix socket has no such address, and one that has gone by the time of its first request
    /// has none any more: axum answers 500 for it.
    #[cfg(feature = "axum")]
    pub fn connect_info(self) -> Self {
        self.on_request(|peer, extensions| {
            if let Some(address) = peer.address().and_then(|address| address.inet()) {
                extensions.insert(axum::extract::ConnectInfo(address));
            }
        })
    }

    /// Whether each HTTP/1 request carries a [`Baggage`](super::Baggage) extension: what the service keeps
    /// for the connection, and what goes with it when it moves.
    ///
    /// Default no: an extension costs three allocations for each request.
    pub fn baggage(mut self, on: bool) -> Self {
        self.baggage = on;
        self
    }

    /// Whether a connection with no request in flight moves to the successor at a restart, which
    /// serves it on: the client notices nothing. Plain sockets can move, and TLS 1.3 with the feature `tls`,
    /// whose `Tls` has a switch of its own. Others are told to close.
    ///
    /// Default yes. Say no if the service keeps something in memory for a connection (an authenticated user,
    /// say) that the successor would not have. Then each connection is told to close, and its client
    /// reconnects. If that can be written as bytes, or concerns some connections only, use
    /// [`baggage`](Self::baggage).
    pub fn move_connections(mut self, on: bool) -> Self {
        self.move_connections = on;
        self
    }

    /// Whether HTTP/2 connections move as well: without TLS, or over TLS 1.3. Streams that are open end here
    /// first, while new ones wait for the successor, within a quarter of the
    /// [drain](crate::Builder::drain_timeout), and 15 s: requests that are slow, or clients that are, end in
    /// that time, and old code serves no longer. A connection with a stream that has lasted longer is told to
    /// close after 2 s (GOAWAY in two steps), as all are that cannot move.
    ///
    /// Default yes; without [`move_connections`](Self::move_connections) they do not. Say no for clients that
    /// break a rule of HTTP/2 which moving relies on: that a table of header fields which was taken from them
    /// is not used any more. (No client that was tried does.)
    pub fn move_http2(mut self, on: bool) -> Self {
        self.move_http2 = on;
        self
    }

    /// Whether WebSockets over HTTP/1 can move to the successor at a restart, and requests carry a
    /// [`Session`](super::Session), by which their handlers have them move. See
    /// [`sessions`](super::sessions).
    ///
    /// Default no: the handlers have to know of it, and every connection of the server is followed, at a few
    /// hundred instructions a read and a write. Say no also where a session is bound to what only this
    /// process has: then let its handler say goodbye at the drain.
    pub fn move_websockets(mut self, on: bool) -> Self {
        self.move_websockets = on;
        self
    }

    /// As [`move_websockets`](Self::move_websockets), for responses in chunks over HTTP/1 that last: event
    /// streams.
    ///
    /// Default no, for the same reasons. Say no also where a stream cannot be taken up from a cursor.
    pub fn move_streams(mut self, on: bool) -> Self {
        self.move_streams = on;
        self
    }

    pub(super) fn prepare(&self) -> Prepared {
        let mut http1 = http1::Builder::new();
        // hyper's own would also limit idle time, and cost a timer a connection.
        http1.header_read_timeout(None).max_header_size(self.max_header_size);
        http1.half_close(self.half_closed_timeout != Some(Duration::ZERO));
        if let Some(fields) = self.max_headers {
            http1.max_headers(fields);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_header_list_size(u32::try_from(self.max_header_size).unwrap_or(u32::MAX))
            .keep_alive_interval(self.ping_interval)
            .keep_alive_timeout(self.ping_timeout);
        Prepared {
            http1,
            http2,
            limits: Limits::new(
                self.header_read_timeout,
                self.keep_alive_timeout,
                self.write_timeout,
                self.half_closed_timeout,
            ),
            sniff: self.http2,
            on_request: OnRequest::with_peer(self.peer, self.on_request.clone()),
            baggage: self.baggage,
            moves: self.move_connections,
            moves_http2: self.move_connections && self.move_http2,
            sessions: (self.move_websockets || self.move_streams)
                .then_some(Kinds { websockets: self.move_websockets, streams: self.move_streams }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}
