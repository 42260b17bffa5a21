//! What lends heirloom's connections to frameworks that take neither a service nor a stream of connections.
//!
//! Each file is complete: copy the one of your framework.

#[cfg(feature = "actix-web")]
pub mod actix_web;
#[cfg(feature = "tonic")]
pub mod echo;
#[cfg(feature = "poem")]
pub mod poem;
#[cfg(feature = "salvo")]
pub mod salvo;
#[cfg(feature = "tonic")]
pub mod tonic;
