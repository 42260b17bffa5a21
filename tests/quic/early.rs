//! 0-RTT: a client that comes back is answered with its first packet, by whichever generation, and once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heirloom::quic::quinn::Endpoint;
use support::beside_others;

use super::{Served, ask, connect, counting, endpoint, start};

impl Served {
    pub(crate) fn early_client(&self, verified: &Arc<AtomicUsize>) -> Endpoint {
        let mut tls = counting::client_config(self.certificate.clone(), Arc::clone(verified)).unwrap();
        tls.enable_early_data = true;
        endpoint(tls)
    }

    /// Who has answered what was sent with the first packet; `None` if that was refused.
    pub(crate) async fn ask_early(
        &self,
        client: &Endpoint,
        address: SocketAddr,
    ) -> Result<Option<i32>, &'static str> {
        let connecting = client.connect(address, "localhost").unwrap();
        let (connection, accepted) = connecting.into_0rtt().map_err(|_| "there is no session for it")?;
        let answer = ask(&connection).await;
        let is_accepted = accepted.await;
        // What is asked after the handshake is answered after the sessions have come, which are for the next time.
        ask(&connection).await.unwrap();
        Ok(if is_accepted { Some(answer.unwrap()) } else { None })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_first_packet_is_answered_by_the_next_generation() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--early-data"]);
    let verified = Arc::default();
    let client = served.early_client(&verified);
    let mut serving = served.server.first_pid;
    let first = connect(&client, served.address()).await.unwrap();
    for _ in 0..2 {
        // The first answer may come before the sessions do.
        assert_eq!(ask(&first).await.unwrap(), serving);
    }
    for _ in 0..3 {
        // Of a session of the generation before, and then of one of its own.
        serving = served.restart(serving).await;
        for _ in 0..2 {
            assert_eq!(served.ask_early(&client, served.address()).await, Ok(Some(serving)));
        }
    }
    assert_eq!(verified.load(Ordering::Relaxed), 1, "the first connection alone has a full handshake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_there_is_none() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&[]);
    let client = served.early_client(&Arc::default());
    let first = connect(&client, served.address()).await.unwrap();
    ask(&first).await.unwrap();
    assert!(served.ask_early(&client, served.address()).await.is_err());
}
