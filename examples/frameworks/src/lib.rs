//! What is between heirloom and frameworks that take neither a service nor a stream of connections, or
//! programs without one, and what the programs here share.
//!
//! Each file that has the name of a program is complete: copy it.

#[cfg(feature = "actix-web")]
pub mod actix_web;
#[cfg(feature = "tonic")]
pub mod echo;
#[cfg(feature = "key-value")]
pub mod key_value;
pub mod load;
#[cfg(feature = "poem")]
pub mod poem;
#[cfg(feature = "key-value")]
pub mod resp;
#[cfg(feature = "salvo")]
pub mod salvo;
#[cfg(feature = "threads")]
pub mod threads;
#[cfg(feature = "tokio-tungstenite")]
pub mod tokio_tungstenite;
#[cfg(feature = "tonic")]
pub mod tonic;
#[cfg(feature = "tonic-incoming")]
pub mod tonic_incoming;
