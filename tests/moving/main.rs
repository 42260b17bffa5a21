//! Idle connections move to the successor.
#![cfg(feature = "http")]

mod baggage;
mod fallbacks;
mod hostile;
mod idle;
mod requests;
