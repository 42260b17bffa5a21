//! What rustls tells of the secrets of one connection, which the successor will need.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::KeyLog;
use zeroize::Zeroizing;

/// The key log of one connection. The server's own, if there is one, hears everything too.
pub(super) struct Witness {
    secrets: Mutex<Secrets>,
    next: Arc<dyn KeyLog>,
}

/// Those with which the traffic began, of the client's direction and of the server's.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

impl Witness {
    pub(super) fn new(next: Arc<dyn KeyLog>) -> Witness {
        Witness { secrets: Mutex::default(), next }
    }

    /// Nothing in them before the handshake is done, and nothing if that is of TLS 1.2.
    pub(super) fn secrets(&self) -> Secrets {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLog for Witness {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        match label {
            CLIENT => self.lock().client = secret.to_vec().into(),
            SERVER => self.lock().server = secret.to_vec().into(),
            _ => {}
        }
        if self.next.will_log(label) {
            self.next.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER) || self.next.will_log(label)
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";
