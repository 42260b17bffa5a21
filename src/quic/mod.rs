//! QUIC with [quinn], whose connections outlive a restart.
//!
//! A QUIC connection stays in the process that it began with, and that process serves it until it ends or the
//! drain deadline has come. New connections are with the successor. [`Quic`] makes quinn's endpoint over
//! [`Flows`](crate::udp::Flows): the ids that it gives to its connections carry the generation, so every
//! later one knows where their packets belong, whatever address the client has by then.
//!
//! ```no_run
//! # use heirloom::{Ending, Restarter};
//! # use heirloom::quic::{Quic, quinn};
//! # type Failure = Box<dyn std::error::Error>;
//! # async fn example(tls: quinn::rustls::ServerConfig) -> Result<Ending, Failure> {
//! let restarter = Restarter::new()?;
//! let quic = restarter.check(Quic::inherit(&restarter).await).await?;
//! let config = restarter.check(quic.server_config(tls)).await?;
//! let endpoint = restarter.check(quic.endpoint("0.0.0.0:4433", config)).await?;
//! tokio::spawn(async move {
//!     while let Some(incoming) = endpoint.accept().await {
//!         tokio::spawn(async move {
//!             let connection = incoming.await?;
//!             // ... its streams, until it ends ...
//!             connection.closed().await;
//!             Ok::<_, quinn::ConnectionError>(())
//!         });
//!     }
//! });
//! Ok(restarter.run().await?)
//! # }
//! ```
//!
//! `examples/quic.rs` is a whole program.
//!
//! # What goes to the successor
//!
//! One secret, and the keys of session tickets, through sealed memory ([`Restarter::state`]). From the secret
//! come the key of the ids, the key of Retry and address validation tokens, and the key of stateless resets.
//! So a token of one generation is accepted by the next, a client resumes its session there, and the client
//! of a generation that was killed is told by the next one that its connection is gone. Nobody resets the
//! connection of a generation that is alive: its packets reach that generation.
//!
//! With [`Quic::early_data`] the sessions for 0-RTT go there, too, in the moment in which it begins to read:
//! each of them is good once, in one generation.
//!
//! Who has the secret can tell which ids are of one generation, make tokens for any address, and reset
//! connections whose ids it sees. It is as secret as the ticket keys are.
//!
//! # What does not go on
//!
//! * A connection does not move to the successor: QUIC's state is quinn's. At the drain deadline what is left
//!   is closed, with the code of [`Quic::close_with`].
//! * A client that is in the middle of its handshake when the successor begins stays with the predecessor:
//!   the ids that clients choose for that go over with the table of conversations.

mod endpoint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;
mod ids;
mod sessions;
mod socket;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

pub use quinn;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn::rustls;
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, VarInt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use thiserror::Error;
use zeroize::Zeroizing;

use self::endpoint::Own;
use self::ids::Ids;
use self::sessions::{NoTickets, Sessions};
use self::socket::Socket;
use crate::Restarter;
use crate::sockets::listen::IntoListen;
use crate::sockets::listen_error::ListenError;
use crate::tls::{TicketKeys, TicketKeysError};
use crate::udp::Classifier;

/// What the QUIC endpoints of all generations have in common. One for each process.
#[derive(Clone, Debug)]
pub struct Quic {
    restarter: Restarter,
    secret: Arc<Secret>,
    tickets: TicketKeys,
    /// Those that are good for 0-RTT.
    sessions: Option<Arc<Sessions>>,
    code: VarInt,
    reason: Vec<u8>,
}

struct Secret(Zeroizing<[u8; SECRET]>);

const SECRET: usize = 32;

/// Why there is no QUIC.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuicError {
    /// No keys can be made.
    #[error(transparent)]
    Keys(#[from] TicketKeysError),
    /// The TLS configuration does not do for QUIC: TLS 1.3 with AES-128 is what every client begins with.
    #[error(
        "this TLS configuration cannot be used with QUIC, which needs TLS 1.3 and its suite with AES-128-GCM"
    )]
    Suite(#[from] NoInitialCipherSuite),
    /// There is no socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// quinn cannot begin.
    #[error("cannot begin a QUIC endpoint")]
    Endpoint(#[source] std::io::Error),
}

impl Quic {
    /// Goes on with the predecessor's keys, and hands them to the successor. Without any to inherit (a first
    /// start, or a predecessor without QUIC) it makes new ones.
    ///
    /// # Errors
    ///
    /// [`QuicError::Keys`]: the system has no random numbers.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Restarter::state`] is.
    pub async fn inherit(restarter: &Restarter) -> Result<Quic, QuicError> {
        let tickets = TicketKeys::new()?;
        let secret = match restarter.state(STATE).await {
            Ok(Some(state)) if state.tag() == STATE_TAG => Secret::import(&state, &tickets),
            Ok(_) => None,
            Err(error) => {
                say!(warn: %error, "starting with new keys for QUIC");
                None
            }
        };
        let secret = Arc::new(secret.map_or_else(Secret::new, Ok)?);
        let exported = (Arc::clone(&secret), tickets.clone());
        let provided = restarter.provide_state(STATE, STATE_TAG, move |state| {
            let (secret, tickets) = &exported;
            state.write_all(&*secret.0)?;
            state.write_all(&tickets.export())
        });
        if let Err(error) = provided {
            say!(warn: %error, "the successor will start with new keys for QUIC");
        }
        let (code, reason) = (VarInt::from_u32(0), Vec::new());
        Ok(Quic { restarter: restarter.clone(), secret, tickets, sessions: None, code, reason })
    }

    /// The application's code and reason with which connections are closed that are left at the drain
    /// deadline; 0 and none by default. It counts for endpoints that are made afterwards.
    pub fn close_with(mut self, code: VarInt, reason: impl Into<Vec<u8>>) -> Quic {
        (self.code, self.reason) = (code, reason.into());
        self
    }

    /// Lets clients that come back send with their first packet (0-RTT), of whichever generation their last
    /// connection was. Off by default. It counts for configurations and endpoints that are made afterwards. A
    /// program has it before the handshake is done, by
    /// [`Connecting::into_0rtt`](quinn::Connecting::into_0rtt).
    ///
    /// **What comes so can be a copy.** Whoever has seen a client's first packets can send them again. A
    /// session is good once, in one generation, so a copy is not accepted after the first. But one that was
    /// held back can be the first, up to a minute later; and a client that is refused may send the same again
    /// by itself. So do nothing for it that must not be done twice or late, as [RFC 8470] has it.
    ///
    /// Sessions are in memory then, instead of in the clients' tickets: at most `sessions` (and 65,536), of
    /// which the oldest give way. Each connection has two, of a few hundred bytes; with a client's
    /// certificates of more than 2 KiB there is none. They go to the successor when it begins to read.
    /// Clients in the middle of their handshake then get none, and those of a process that is killed are
    /// lost: such clients have a full handshake the next time.
    ///
    /// [RFC 8470]: https://www.rfc-editor.org/rfc/rfc8470
    pub fn early_data(mut self, sessions: usize) -> Quic {
        self.sessions = Some(Arc::new(Sessions::new(sessions)));
        self
    }

    /// quinn's configuration, with keys that outlive restarts for session tickets, Retry and address
    /// validation. What else it has can be changed; `tls` needs its ALPN protocols set before.
    ///
    /// # Errors
    ///
    /// [`QuicError::Suite`]: `tls` has no TLS 1.3, or not the suite that QUIC begins with.
    pub fn server_config(&self, mut tls: rustls::ServerConfig) -> Result<ServerConfig, QuicError> {
        // quinn wants it to be nothing or all, and with tickets rustls has none.
        tls.max_early_data_size = match &self.sessions {
            None => {
                tls.ticketer = Arc::new(self.tickets.clone());
                0
            }
            Some(sessions) => {
                tls.ticketer = Arc::new(NoTickets);
                tls.session_storage = Arc::clone(sessions) as _;
                u32::MAX
            }
        };
        let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        let token = self.secret.derive(b"heirloom quic token");
        config.token_key(Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(token.as_ref())));
        Ok(config)
    }

    /// An endpoint on an inherited socket or a new one, as [`Restarter::flows`] makes it. Call it before
    /// [`Restarter::ready`], within a tokio runtime.
    ///
    /// It accepts nothing before it is this generation's turn. Once a successor has settled it goes on with
    /// the connections that it has, and holds the drain until they are gone. A second before the drain
    /// deadline (or at half of a shorter drain) what is left is closed ([`close_with`](Self::close_with)), so
    /// that clients are told. Go on accepting until the process ends: clients that were in the middle of
    /// their handshake come here. When the service stops, new connections are refused.
    ///
    /// The socket is open until the process ends, whether the endpoint is dropped or not.
    ///
    /// # Errors
    ///
    /// [`QuicError::Listen`] as [`Restarter::flows`], [`QuicError::Keys`] without random numbers, and
    /// [`QuicError::Endpoint`] if the socket cannot be used.
    pub fn endpoint(&self, listen: impl IntoListen, config: ServerConfig) -> Result<Endpoint, QuicError> {
        let mut seed = [0; SECRET];
        SystemRandom::new().fill(&mut seed).map_err(|_| TicketKeysError::Random)?;
        let ids = Ids::new(self.secret.key(b"heirloom quic ids"), &seed, self.restarter.generation());
        let reads = ids.clone();
        let classifier =
            Classifier::by_conversation(HANDSHAKE, move |bytes| headers::conversation(&reads, bytes));
        let own_side = Arc::new(Own::new(self.sessions.clone()));
        let protocol = Arc::clone(&own_side) as _;
        let flows = self.restarter.flows_with(listen, classifier, false, Some(protocol))?;
        let hold = self.restarter.hold();
        let mut own = EndpointConfig::new(Arc::new(self.secret.key(b"heirloom quic reset")));
        own.cid_generator(move || Box::new(ids.clone()));
        let socket = Arc::new(Socket::new(flows));
        let shared = Arc::clone(&socket) as Arc<dyn quinn::AsyncUdpSocket>;
        let endpoint = Endpoint::new_with_abstract_socket(own, Some(config), shared, Arc::new(TokioRuntime))
            .map_err(QuicError::Endpoint)?;
        own_side.begin(endpoint.clone());
        tokio::spawn(endpoint::drain(self.clone(), endpoint.clone(), socket, own_side, hold));
        Ok(endpoint)
    }
}

/// The name of what goes to the successor.
const STATE: &str = "heirloom/quic";
const STATE_TAG: u32 = 1;

/// How long a client may take until it uses an id of ours: two or three round trips, with what is lost on the
/// way sent again.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl Secret {
    fn new() -> Result<Secret, TicketKeysError> {
        let mut secret = Zeroizing::new([0; SECRET]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| TicketKeysError::Random)?;
        Ok(Secret(secret))
    }

    /// The predecessor's, and with it the keys of its tickets.
    fn import(state: &[u8], tickets: &TicketKeys) -> Option<Secret> {
        let Some((secret, rest)) = state.split_first_chunk() else {
            say!(warn: "the predecessor's keys for QUIC cannot be read: starting with new ones");
            return None;
        };
        if let Err(error) = tickets.import(rest) {
            say!(warn: %error, "starting with new session ticket keys");
        }
        Some(Secret(Zeroizing::new(*secret)))
    }

    fn derive(&self, label: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0), label)
    }

    fn key(&self, label: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.derive(label).as_ref())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_on_and_differ_from_one_another() {
        let (secret, tickets) = (Secret::new().unwrap(), TicketKeys::new().unwrap());
        let state = [&secret.0[..], &tickets.export()].concat();
        let next = TicketKeys::new().unwrap();
        let inherited = Secret::import(&state, &next).unwrap();
        assert_eq!(inherited.derive(b"one").as_ref(), secret.derive(b"one").as_ref());
        assert_ne!(secret.derive(b"one").as_ref(), secret.derive(b"two").as_ref());
        assert_eq!(next.export(), tickets.export());
    }

    #[test]
    fn what_is_no_secret_is_not_used() {
        let tickets = TicketKeys::new().unwrap();
        let before = tickets.export();
        assert!(Secret::import(&[7; SECRET - 1], &tickets).is_none());
        // The secret stands by itself.
        assert!(Secret::import(&[7; SECRET + 1], &tickets).is_some());
        assert_eq!(tickets.export(), before);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret(Zeroizing::new([7; SECRET]))), "Secret(..)");
    }
}
