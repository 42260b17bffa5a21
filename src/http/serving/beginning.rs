//! How a connection begins: by what its first bytes say, or amid what a predecessor has begun.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http2::Http2;
use super::{Http1, Serving, Talk};
use crate::drain::{Base, Connection, Kind};
use crate::http::HttpService;
use crate::http::baggage::Baggage;
use crate::http::carried::{Carried, SessionKind};
use crate::http::config::Prepared;
use crate::http::gate::{self, Gate};
use crate::http::h2;
use crate::http::io::Io;
use crate::http::moving;
use crate::http::service::{Extras, TrackedService};
use crate::http::session::Sessions;
use crate::http::sniff::Sniff;

impl<S, H> Serving<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    pub(super) fn begin(&self, mut connection: Connection<S>, service: H) -> Talk<S, H> {
        if let Some(session) = connection.take_session() {
            return self.resume(connection, &session, service);
        }
        if self.prepared.sniff {
            Talk::Sniffing(Sniff::new(connection), service)
        } else {
            self.http1(connection, Bytes::new(), service)
        }
    }

    pub(super) fn http1(&self, mut connection: Connection<S>, ahead: Bytes, service: H) -> Talk<S, H> {
        let service = self.tracked(&mut connection, service);
        Talk::Http1(self.http1_with(connection, ahead, service))
    }

    fn tracked(&self, connection: &mut Connection<S>, service: H) -> TrackedService<H> {
        let Prepared { ref on_request, baggage, sessions, .. } = *self.prepared;
        let extras = (on_request.is_some() || baggage || sessions.is_some()).then(|| Extras {
            sessions: sessions.map(|kinds| Sessions {
                kinds,
                entry: self.entry.clone(),
                door: None,
                count: true,
            }),
            introduction: self.prepared.introduction(connection),
            baggage: baggage
                .then(|| Baggage::new(self.entry.clone(), connection.take_state().unwrap_or_default())),
        });
        TrackedService::new(service, extras)
    }

    pub(super) fn http1_with(
        &self,
        connection: Connection<S>,
        ahead: Bytes,
        service: TrackedService<H>,
    ) -> Http1<S, H> {
        if self.prepared.sessions.is_some() && moving::can_move(&connection) {
            let connection = connection.with_received(ahead.into());
            return self.http1_below(Gate::new(connection), service);
        }
        let io = Io::new(connection, ahead);
        self.prepared.http1.serve_connection(io, service).with_upgrades()
    }

    #[cold]
    fn http1_below(&self, gate: Gate<S>, service: TrackedService<H>) -> Http1<S, H> {
        let service = service.with_door(Some(Arc::new(gate.clone())));
        self.prepared.http1.serve_connection(Io::gated(gate), service).with_upgrades()
    }

    /// Goes on with what a predecessor was in the middle of, or tells the client to come again.
    #[cold]
    fn resume(&self, mut connection: Connection<S>, session: &[u8], service: H) -> Talk<S, H> {
        if h2::Carried::is_in(session) {
            return self.resume_http2(connection, session, service);
        }
        let kinds = self.prepared.sessions;
        let carried = Carried::decode(session);
        if let Some(carried) = carried.filter(|carried| kinds.is_some_and(|kinds| kinds.has(carried.kind))) {
            let service = self.tracked(&mut connection, service);
            return Talk::Http1(self.http1_below(Gate::resumed(connection, &carried), service));
        }
        say!(warn: connection = self.id(), "nobody goes on here with the session that has come");
        let is_websocket = Carried::kind(session) == Some(SessionKind::WebSocket);
        let ending = async move {
            if is_websocket {
                gate::say_goodbye(connection, gate::REPLAYED_OTHERWISE).await;
            }
            None
        };
        Talk::Moving(Box::pin(ending), service)
    }

    pub(super) fn http2(&self, connection: Connection<S>, ahead: Bytes, service: H) -> Talk<S, H> {
        self.entry.set_kind(Kind::Http2);
        self.entry.enter(Base::Busy);
        Talk::Http2(Http2::new(&self.prepared, &self.entry, connection, ahead, service))
    }

    #[cold]
    fn resume_http2(&self, connection: Connection<S>, session: &[u8], service: H) -> Talk<S, H> {
        self.entry.set_kind(Kind::Http2);
        let carried = h2::Carried::decode(session);
        if let Some(carried) = carried.as_ref().filter(|_| self.prepared.sniff) {
            self.entry.enter(Base::Busy);
            return Talk::Http2(Http2::resumed(&self.prepared, &self.entry, connection, carried, service));
        }
        say!(warn: connection = self.id(), "nobody goes on here with the HTTP/2 connection that has come");
        let ending = async move {
            if let Some(carried) = carried {
                let _ = h2::say_not_here(connection, carried.last_stream()).await;
            }
            None
        };
        Talk::Moving(Box::pin(ending), service)
    }
}
