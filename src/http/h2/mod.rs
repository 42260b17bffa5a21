//! HTTP/2 connections move to the successor between streams, below a hyper and an h2 that know nothing of it.
//!
//! A [tap](tap) between the socket and hyper has a [line](line), which [follows](follower) the heads of the
//! frames of both directions and keeps a [ledger](ledger) of what they say: settings, windows, the last
//! stream, streams that are open, answers that are due. That is [all that a successor has to be
//! told](carried). While the connection leaves or arrives, the bytes take a [detour](detour), frame by frame.
//!
//! To leave:
//!
//! 1. Between two frames SETTINGS go out that give the client's table of fields no size. Its encoder empties
//!    the table, and begins its next block by saying so (RFC 7541, 4.2): the successor's decoder, which is
//!    empty, is in step. The ACK is kept from hyper, which has not asked. Until then all is served.
//! 2. From the ACK on, frames of new streams are held back, while those that are open end. To wait for an
//!    idle moment instead would never end on a busy connection. What ends late is not waited for: it is
//!    given back to hyper, and there is another try when those streams have ended.
//! 3. When nothing is open, no answer is due, and both directions are between two frames, the connection is
//!    taken out from below hyper, which is dropped. Where we have reset a stream of which more may come, one
//!    more round trip is made before.
//!
//! To [arrive](arriving), hyper is told a story that brings it to where the predecessor's was. Then the
//! client gets back its table and the window that hyper believes it to have, and hyper gets what was held
//! back, and then the socket.
//!
//! hyper's own pings and its limits of resets start anew with each move.

mod arriving;
mod calm;
mod carried;
mod detour;
mod follower;
mod frame;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod going;
mod leaving;
mod ledger;
mod line;
mod tap;

pub(super) use arriving::{Ghost, ghost_bytes};
pub(super) use carried::Carried;
pub(super) use frame::are_settings;
pub(super) use going::{Going, Step};
pub(super) use leaving::say_not_here;
pub(super) use line::Line;
pub(super) use tap::{Lever, Tap};

use hyper::server::conn::http2::Builder;

use frame::{
    DEFAULT_WINDOW, ENABLE_CONNECT_PROTOCOL, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE,
};

/// Serves with what a predecessor has told the client, which is what the client goes by.
pub(super) fn go_on<E>(builder: &mut Builder<E>, carried: &Carried) {
    let own = |setting| carried.own.get(setting);
    builder
        .initial_stream_window_size(own(INITIAL_WINDOW_SIZE).unwrap_or(DEFAULT_WINDOW))
        .max_concurrent_streams(own(MAX_CONCURRENT_STREAMS));
    if let Some(size) = own(HEADER_TABLE_SIZE) {
        builder.header_table_size(size);
    }
    if let Some(size) = own(MAX_FRAME_SIZE) {
        builder.max_frame_size(size);
    }
    if let Some(size) = own(MAX_HEADER_LIST_SIZE) {
        builder.max_header_list_size(size);
    }
    if own(ENABLE_CONNECT_PROTOCOL) == Some(1) {
        builder.enable_connect_protocol();
    }
    // hyper's own is larger than what any client is given, unless a predecessor gave more.
    if carried.receive_window > LARGE_WINDOW {
        builder.initial_connection_window_size(carried.receive_window);
    }
}

/// hyper's own window of a connection.
const LARGE_WINDOW: u32 = 1 << 20;
