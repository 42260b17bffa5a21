//! An HTTP/1 connection between two requests, on its way to the successor.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::drain::Connection;
use crate::drain::stream::Stream;
use crate::handover::moving::Along;

/// Resolves to nothing once the successor has the connection, or to the connection if it came back.
pub(super) type Moving<S> = Pin<Box<dyn Future<Output = Option<Connection<S>>> + Send>>;

/// What is not a plain socket (TLS, say) has state that only this process knows.
pub(super) fn can_move<S: 'static>() -> bool {
    TypeId::of::<S>() == TypeId::of::<Stream>()
}

/// Has the connection moved, with the bytes that were read ahead, and what the service keeps for it or what a
/// predecessor sent along and no request has asked for. Only for what [`can_move`].
pub(super) fn depart<S: Send + 'static>(
    connection: Connection<S>,
    ahead: Bytes,
    state: Option<Vec<u8>>,
) -> Moving<S> {
    let mut connection: Connection<Stream> = cast(connection);
    let state = state.or(connection.take_state());
    Box::pin(async move {
        let came_back = connection.move_on(ahead.into(), state.clone()).await.err()?;
        Some(cast(came_back.with_state(state)))
    })
}

/// Has a connection moved that is in the middle of a session. Only for what [`can_move`].
pub(super) async fn depart_in_session<S: Send + 'static>(
    connection: Connection<S>,
    along: Along,
) -> Result<(), Connection<S>> {
    let connection: Connection<Stream> = cast(connection);
    connection.move_with(along).await.map_err(cast)
}

/// The same value under its other name: a generic server that was given our own streams.
fn cast<A: Any, B: Any>(value: A) -> B {
    let mut value = Some(value);
    let value = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>();
    value.and_then(Option::take).expect("only plain sockets are moved")
}
