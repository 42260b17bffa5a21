//! An endpoint in its generation: what it has, what it leaves to the next one, and its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Endpoint;

use super::Quic;
use super::sessions::Sessions;
use super::socket::Socket;
use crate::drain::Hold;
use crate::handover::serving::Reason;
use crate::udp::protocol::Protocol;

/// What flows know of it.
#[derive(Debug)]
pub(super) struct Own {
    sessions: Option<Arc<Sessions>>,
    /// From its beginning to its end: it has the socket, which has this.
    endpoint: Mutex<Option<Endpoint>>,
}

impl Own {
    pub(super) fn new(sessions: Option<Arc<Sessions>>) -> Own {
        Own { sessions, endpoint: Mutex::default() }
    }

    pub(super) fn begin(&self, endpoint: Endpoint) {
        *self.lock() = Some(endpoint);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Endpoint>> {
        // Nothing under it can panic.
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Protocol for Own {
    fn conversations(&self) -> Option<usize> {
        self.lock().as_ref().map(Endpoint::open_connections)
    }

    fn leave(&self, give: &mut dyn FnMut(&[u8])) {
        if let Some(sessions) = &self.sessions {
            give(&sessions.leave());
        }
    }

    fn arrive(&self, left: &[u8]) {
        if let Some(sessions) = &self.sessions {
            sessions.arrive(left);
        }
    }
}

/// Keeps the drain until the endpoint's connections are gone.
pub(super) async fn drain(quic: Quic, endpoint: Endpoint, socket: Arc<Socket>, own: Arc<Own>, hold: Hold) {
    quic.restarter.draining().await;
    let draining = quic.restarter.status().draining;
    if draining.is_some_and(|draining| draining.reason == Reason::Shutdown) {
        endpoint.set_server_config(None);
    }
    let within = draining.map(|draining| draining.within).unwrap_or_default();
    let within = within.saturating_sub(CLOSING.min(within / 2));
    let ended = async {
        let finished = finish(&endpoint, |is_paused| socket.pause(is_paused));
        if tokio::time::timeout(within, finished).await.is_err() {
            socket.pause(false);
            endpoint.close(quic.code, &quic.reason);
            // The last packets, once more for who has lost the first.
            endpoint.wait_idle().await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = tell(&endpoint, &socket) => {}
    }
    *own.lock() = None;
    drop(hold);
}

/// Goes on telling the generation that reads how many connections this one has.
async fn tell(endpoint: &Endpoint, socket: &Socket) {
    loop {
        socket.tell_count(endpoint.open_connections());
        tokio::time::sleep(TELLING).await;
    }
}

/// Waits until no connection is left, and none can begin: what was received before the successor began to
/// read may still be on its way to the program, which would accept it just before its process ends.
async fn finish(endpoint: &Endpoint, pause: impl Fn(bool)) {
    loop {
        endpoint.wait_idle().await;
        pause(true);
        tokio::time::sleep(ACCEPTING).await;
        if endpoint.open_connections() == 0 {
            return;
        }
        // Nothing is lost: it was kept in the socket.
        pause(false);
    }
}

/// As often as metrics are looked at: whoever begins to read later knows it by then, too.
const TELLING: Duration = Duration::from_secs(1);

/// How long before the deadline what is left is closed: quinn says so again to who still sends, for three
/// times its timeout of a lost packet, which is below a second on most paths.
const CLOSING: Duration = Duration::from_secs(1);

/// How long what was received may take to the program and to its `accept`. Whoever comes later sends again,
/// to the successor.
const ACCEPTING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;

    use quinn::rustls::RootCertStore;
    use quinn::rustls::pki_types::PrivatePkcs8KeyDer;
    use quinn::{ClientConfig, ServerConfig};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_a_program_is_slow_to_accept_is_waited_for() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let config = ServerConfig::with_single_cert(vec![certificate.clone()], key).unwrap();
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots)).unwrap());
        let connecting = client.connect(endpoint.local_addr().unwrap(), "localhost").unwrap();
        let connecting = tokio::spawn(connecting.into_future());
        // The program has it, and has not accepted it: for quinn there is no connection yet.
        let incoming = endpoint.accept().await.unwrap();
        let pauses = RefCell::new(Vec::new());
        let mut finished = pin!(finish(&endpoint, |is_paused| pauses.borrow_mut().push(is_paused)));
        let both = async { (incoming.await.unwrap(), connecting.await.unwrap().unwrap()) };
        let (ours, theirs) = tokio::select! {
            biased;
            () = &mut finished => panic!("it ends before its program has accepted"),
            both = both => both,
        };
        tokio::select! {
            () = &mut finished => panic!("it ends while a connection is open"),
            // allow: sleep (that it goes on waiting can only be waited for)
            () = tokio::time::sleep(2 * ACCEPTING) => {}
        }
        assert_eq!(*pauses.borrow(), [true, false], "and its packets are read again");
        theirs.close(0_u32.into(), b"");
        ours.closed().await;
        finished.await;
        assert_eq!(*pauses.borrow(), [true, false, true]);
    }
}
