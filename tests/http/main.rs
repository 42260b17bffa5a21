//! HTTP connections and what drains, bounds and encrypts them.
#![cfg(feature = "http")]

mod drain;
mod fixture;
mod half_closed;
mod http2_bounds;
mod limits;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_clients;
#[cfg(feature = "tls")]
mod tls_moving;
mod turns;
mod websocket;
