//! A connection between two requests, on its way to the successor.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::drain::Connection;
use crate::drain::stream::Stream;
use crate::handover::message::Private;
use crate::handover::moving::Along;
#[cfg(feature = "tls")]
use crate::tls::{self, TlsStream};

/// Resolves to nothing once the successor has the connection, or to the connection if it came back.
pub(super) type Moving<S> = Pin<Box<dyn Future<Output = Option<Connection<S>>> + Send>>;

/// A plain socket can, and TLS by heirloom where it allows that. What else there is has state that only
/// this process knows.
pub(super) fn can_move<S: 'static>(connection: &Connection<S>) -> bool {
    let stream: &dyn Any = connection.get_ref();
    #[cfg(feature = "tls")]
    if let Some(stream) = stream.downcast_ref::<TlsStream>() {
        return stream.may_move();
    }
    stream.is::<Stream>()
}

/// Has the connection moved, with the bytes that were read ahead, and what the service keeps for it or what a
/// predecessor sent along and no request has asked for. Only for what [`can_move`].
pub(super) fn depart<S: Send + 'static>(
    mut connection: Connection<S>,
    ahead: Bytes,
    state: Option<Vec<u8>>,
) -> Moving<S> {
    let state = state.or(connection.take_state());
    let along = Along { received: ahead.into(), state: state.clone(), session: None };
    Box::pin(async move {
        let came_back = depart_with(connection, along).await.err()?;
        Some(came_back.with_state(state))
    })
}

/// Has a connection moved in the middle of what `session` says, with what was read of it. If it comes back,
/// it is as if it had come from a predecessor.
pub(super) fn depart_amid<S: Send + 'static>(
    connection: Connection<S>,
    unread: Bytes,
    session: Vec<u8>,
) -> Moving<S> {
    let session = Private::from(session);
    let along = Along { received: unread.into(), state: None, session: Some(session.clone()) };
    Box::pin(async move {
        let came_back = depart_with(connection, along).await.err()?;
        Some(came_back.with_session(Some(session)))
    })
}

/// Has a connection moved, which may be in the middle of a session. Only for what [`can_move`].
pub(super) async fn depart_with<S: Send + 'static>(
    connection: Connection<S>,
    along: Along,
) -> Result<(), Connection<S>> {
    #[cfg(feature = "tls")]
    if (connection.get_ref() as &dyn Any).is::<TlsStream>() {
        return tls::depart(cast(connection), along).await.map_err(cast);
    }
    let connection: Connection<Stream> = cast(connection);
    connection.move_with(along).await.map_err(cast)
}

/// The same value under its other name: a generic server that was given our own streams.
fn cast<A: Any, B: Any>(value: A) -> B {
    let mut value = Some(value);
    let value = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>();
    value.and_then(Option::take).expect("it is of that type")
}
