//! How a TLS connection goes to the successor, and comes from the predecessor.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use super::Tls;
use super::carried::{self, Carried};
use super::stream::{Parts, TlsStream};
use crate::drain::Connection;
use crate::drain::stream::Stream;
use crate::handover::moving::Along;

/// Has it moved, with what goes along, whose session is that of those above.
///
/// # Errors
///
/// It is still here, with what was read of it to be read again.
pub(crate) async fn depart(
    mut connection: Connection<TlsStream>,
    mut along: Along,
) -> Result<(), Connection<TlsStream>> {
    along.received.extend(connection.take_received());
    let can_go = poll_fn(|cx| {
        let stream = connection.stream_mut();
        Poll::Ready(stream.may_move() && stream.prepare_to_go(cx, &mut along.received))
    });
    if !can_go.await {
        connection.entry().could_not_move(KEYS);
        return Err(connection.with_received(along.received).with_state(along.state));
    }
    let (id, entry) = (connection.id(), connection.entry().clone());
    let (registration, stream) = connection.into_registered();
    let Parts { stream, records, facts } = match stream.into_parts() {
        Ok(parts) => parts,
        Err(stream) => {
            entry.could_not_move(KEYS);
            say!(warn: connection = id, "a TLS connection is closed: its keys cannot be followed");
            // In this order: an entry names its descriptor for as long as it is registered.
            drop(registration);
            drop(stream);
            return Ok(());
        }
    };
    along.session = Some(carried::encode(&records, &facts, along.session.as_deref()));
    let state = along.state.clone();
    let plain = Connection::from_registered(registration, stream, Vec::new());
    let Err(mut back) = plain.move_with(along).await else { return Ok(()) };
    // Nobody has read or written meanwhile, so the keys are where they were.
    let received = back.take_received();
    let (registration, stream) = back.into_registered();
    let stream = TlsStream::resumed(Parts { stream, records, facts }, true);
    Err(Connection::from_registered(registration, stream, received).with_state(state))
}

/// Why a connection did not move: it was not between two records, or its keys cannot be followed.
const KEYS: &str = "tls";

impl Tls {
    /// Goes on with what a predecessor has shaken hands on.
    pub(super) fn resume(
        &self,
        mut connection: Connection<Stream>,
        session: &[u8],
    ) -> io::Result<Connection<TlsStream>> {
        let Some(Carried { records, facts, session }) = carried::decode(session) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, NotOurs));
        };
        connection.entry().is_over_tls();
        let (received, state) = (connection.take_received(), connection.take_state());
        let records = records.with_max_fragment_size(self.config.max_fragment_size);
        let (registration, stream) = connection.into_registered();
        let stream = TlsStream::resumed(Parts { stream, records, facts }, self.moves);
        let connection = Connection::from_registered(registration, stream, received);
        Ok(connection.with_state(state).with_session(session))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a connection has come from the predecessor that this release cannot go on with over TLS")]
struct NotOurs;
