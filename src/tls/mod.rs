//! HTTPS: rustls on heirloom's connections, which go on in the successor; and session tickets that outlive a
//! restart.
//!
//! At a restart an idle HTTP/1 connection over TLS 1.3 moves as one without TLS does, so does HTTP/2 between
//! streams, and so do WebSockets and event streams over HTTP/1 where
//! [`http::sessions`](crate::http::sessions) says so: the client notices nothing, and makes no new handshake.
//! What cannot move is told to close, and its client comes back; with the ticket that it has, the successor
//! resumes the session instead of making a full handshake, because it was handed the [`TicketKeys`].
//! Certificates are read by each generation at its start, so a restart is how new ones come in; a connection
//! that has moved keeps the one that it was begun with.
//!
//! ```no_run
//! # async fn example(router: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! use heirloom::http::{Config, Server};
//! use heirloom::tls::Tls;
//!
//! let restarter = heirloom::Restarter::new()?;
//! let listener = restarter.check(restarter.listen("0.0.0.0:8443")).await?;
//! let tls = restarter.check(Tls::from_pem_files("cert.pem", "key.pem")).await?;
//! tls.inherit_tickets(&restarter).await;
//! Server::tower(Config::new(), router).accept_tls_from(listener, &tls);
//! restarter.run().await?;
//! # Ok(()) }
//! ```
//!
//! # What does not move
//!
//! * TLS 1.2.
//! * AES-128, whose keys rustls 0.23 lets nobody make. [`Tls::from_pem_files`] therefore chooses AES-256
//!   or ChaCha20 with every client that has one of them, whatever that prefers. With a configuration of
//!   your own, [`Tls::new`], the order of the suites and `ignore_client_order` are yours to set.
//! * A connection whose client has not read what was sent last, or has said that it will say no more.
//! * A connection whose keys were updated more than 10,000 times: it is closed.
//! * One that is served as another stream than [`TlsStream`].
//!
//! A successor that does not serve TLS on that listener any more closes what was moved to it.
//!
//! # What it costs
//!
//! For a connection to move, its keys have to leave rustls (`enable_secret_extraction`, and a key log
//! that keeps the two traffic secrets in memory). They go to the successor over the handover socket: a
//! socket pair that only the two processes have. They are in no file, no log and no argument, and
//! heirloom wipes its copies when it drops them; what the kernel and rustls keep is not in its hands. The
//! successor is a program that this process has started, with its rights, and that is handed the keys of
//! session tickets as well. So:
//!
//! * Who can read the memory of the process could read the connection's keys in rustls before.
//! * What is kept is the *first* secret of a connection, until that ends. Who gets it (from a crash dump,
//!   say) and has recorded the connection can read it from its beginning. Without moving, updates of the
//!   keys would have protected what came before them.
//! * Who can replace the program gets the connections that are open at the next restart, besides those to
//!   come.
//! * Keying material for exporters (channel binding) is rustls's, and is lost with the move:
//!   [`TlsStream::server_connection`] is `None` then.
//!
//! [`Tls::move_connections`]`(false)` turns it off. Then no secret can be taken out of rustls, and
//! connections are told to close at a restart.
//!
//! In the successor, rustls's own ciphers seal and open the records, below a record layer of heirloom's. It
//! counts records, updates keys before they are used up, answers updates and alerts, and ends a connection
//! that breaks a rule.

mod carried;
mod departing;
mod followed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
#[doc(hidden)]
pub mod records;
mod resumed;
mod stream;
mod tickets;
mod witness;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::restarter::Restarter;
use witness::Witness;

pub(crate) use departing::depart;
pub use stream::TlsStream;
pub use tickets::{TicketKeys, TicketKeysError};
pub use tokio_rustls;

/// What TLS is served with.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    tickets: TicketKeys,
    handshake_timeout: Duration,
    moves: bool,
}

/// How long a handshake may take. It is two round trips and a signature; who needs longer holds a connection
/// for nothing.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The name of the ticket keys among the state that is handed to a successor, and the version of their form.
const TICKETS: &str = "heirloom/session-ticket-keys";
const TICKETS_TAG: u32 = 1;

/// Why there is nothing to serve TLS with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("cannot read a {what} from {path:?}")]
    File {
        /// Certificate, or private key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The certificate and the key do not go together, or rustls refuses them.
    #[error("the certificate and the private key cannot be used")]
    Config(#[source] rustls::Error),
    /// There is no key for session tickets.
    #[error(transparent)]
    Tickets(#[from] TicketKeysError),
}

impl Tls {
    /// Reads a certificate chain and a private key from PEM files: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by
    /// ALPN, no client certificates.
    ///
    /// # Errors
    ///
    /// Each names the file. Pass it through [`Restarter::check`](crate::Restarter::check): then the
    /// predecessor, which serves on with the certificates that it has, says why.
    pub fn from_pem_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(|error| unreadable("certificate", certificates, error))?;
        let secret =
            PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("private key", key, error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // AES-256 before AES-128, whose keys cannot be made again in the successor: browsers would choose
        // that.
        config.ignore_client_order = true;
        Tls::new(config)
    }

    /// Serves with a configuration of your own; its ticketer is replaced. Which connections can move
    /// depends on its cipher suites: see [what does not move](self#what-does-not-move).
    pub fn new(mut config: ServerConfig) -> Result<Tls, TlsError> {
        let tickets = TicketKeys::new()?;
        config.ticketer = Arc::new(tickets.clone());
        Ok(Tls { config: Arc::new(config), tickets, handshake_timeout: HANDSHAKE, moves: true })
    }

    /// How long a handshake may take; 10 s by default, which is far above its two round trips.
    pub fn handshake_timeout(mut self, limit: Duration) -> Tls {
        self.handshake_timeout = limit;
        self
    }

    /// Whether connections over TLS 1.3 can move to the successor at a restart, as those without TLS do.
    /// Default yes; see [what it costs](self#what-it-costs).
    ///
    /// Say no where keys must not leave the process that negotiated them, not even for one that the same
    /// program started with the same rights. Then no secret can be taken out of rustls, and every
    /// connection is told goodbye. What moves at all is up to [`http::Config`](crate::http::Config), as
    /// without TLS.
    pub fn move_connections(mut self, on: bool) -> Tls {
        self.moves = on;
        self
    }

    /// What one connection shakes hands with, and who hears of its secrets.
    fn config_of_one(&self) -> (Arc<ServerConfig>, Option<Arc<Witness>>) {
        if !self.moves {
            return (self.config.clone(), None);
        }
        let witness = Arc::new(Witness::new(self.config.key_log.clone()));
        let mut config = ServerConfig::clone(&self.config);
        config.key_log = witness.clone();
        config.enable_secret_extraction = true;
        (Arc::new(config), Some(witness))
    }

    /// Goes on with the predecessor's session ticket keys, and hands them to the successor.
    ///
    /// Without keys to inherit (a first start, a predecessor without TLS, or one that cannot hand them over)
    /// it goes on with new ones, and clients make full handshakes: no reason not to start.
    pub async fn inherit_tickets(&self, restarter: &Restarter) {
        match restarter.state(TICKETS).await {
            Ok(Some(state)) if state.tag() == TICKETS_TAG => {
                if let Err(error) = self.tickets.import(&state) {
                    say!(warn: %error, "starting with new session ticket keys");
                }
            }
            Ok(_) => {}
            Err(error) => say!(warn: %error, "starting with new session ticket keys"),
        }
        let tickets = self.tickets.clone();
        let provided =
            restarter.provide_state(TICKETS, TICKETS_TAG, move |state| state.write_all(&tickets.export()));
        if let Err(error) = provided {
            say!(warn: %error, "the successor will start with new session ticket keys");
        }
    }

    /// The keys of its session tickets, to hand them on in some other way.
    pub fn tickets(&self) -> &TicketKeys {
        &self.tickets
    }
}

fn unreadable(what: &'static str, path: &Path, error: pem::Error) -> TlsError {
    let source = match error {
        pem::Error::Io(source) => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    };
    TlsError::File { what, path: path.to_owned(), source }
}
