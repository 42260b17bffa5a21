//! HTTP/3 through restarts, with h3 as the client, and what HTTP/1 and HTTP/2 on the same port say of it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h3::client::SendRequest;
use h3::error::StreamError;
use heirloom::quic::quinn::Endpoint;
use hyper::Request;
use hyper::body::{Buf, Bytes};
use support::beside_others;
use tokio::task::JoinHandle;

use super::{Served, counting, endpoint, start_example};

struct Http {
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    /// Whether its end was none of an error.
    ended: JoinHandle<bool>,
}

impl Served {
    fn http_client(&self) -> Endpoint {
        let mut tls = counting::client_config(self.certificate.clone(), Arc::default()).unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        endpoint(tls)
    }

    async fn http(&self, client: &Endpoint) -> Http {
        let connection = client.connect(self.address(), "localhost").unwrap().await.unwrap();
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
        let ended = tokio::spawn(async move { driver.wait_idle().await.is_h3_no_error() });
        Http { requests, ended }
    }
}

impl Http {
    /// Sends a request with a body in two parts, with whatever `meanwhile` is between them; the answer.
    async fn ask(&mut self, meanwhile: impl Future<Output = ()>) -> Result<String, StreamError> {
        let request = Request::post("https://localhost/").body(()).unwrap();
        let mut stream = self.requests.send_request(request).await?;
        stream.send_data(Bytes::from_static(b" one")).await?;
        meanwhile.await;
        stream.send_data(Bytes::from_static(b" two")).await?;
        stream.finish().await?;
        stream.recv_response().await?;
        let mut answer = Vec::new();
        while let Some(mut part) = stream.recv_data().await? {
            answer.extend_from_slice(&part.copy_to_bytes(part.remaining()));
        }
        Ok(String::from_utf8(answer).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_requests_are_answered_and_clients_are_told_to_go() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start_example("http3", &["--drain-timeout", "100s"]);
    let client = served.http_client();
    let mut serving = served.server.first_pid;
    for _ in 0..2 {
        let old = serving;
        let mut http = served.http(&client).await;
        assert_eq!(http.ask(async {}).await.unwrap(), format!("{old} one two"));
        // One that is in flight is answered by the process that has it.
        let restart = async { serving = served.restart(old).await };
        assert_eq!(http.ask(restart).await.unwrap(), format!("{old} one two"));
        // And the old process does not wait for a client that keeps its connection.
        tokio::task::block_in_place(|| served.server.wait_for_exit(old));
        assert!(matches!(http.ask(async {}).await, Err(StreamError::RemoteClosing { .. })));
        assert!(http.ended.await.unwrap());
        let mut next = served.http(&client).await;
        assert_eq!(next.ask(async {}).await.unwrap(), format!("{serving} one two"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_clients_that_go_when_they_are_told_lose_nothing() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = Arc::new(start_example("http3", &["--drain-timeout", "100s"]));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (served, stop, answered) = (Arc::clone(&served), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let client = served.http_client();
                let (mut http, mut connections) = (served.http(&client).await, 1);
                while !stop.load(Ordering::Relaxed) {
                    // Told to go it begins no request, so there is none to lose.
                    match http.ask(async {}).await {
                        Ok(_) => _ = answered.fetch_add(1, Ordering::Relaxed),
                        Err(StreamError::RemoteClosing { .. }) => {
                            http = served.http(&client).await;
                            connections += 1;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                connections
            })
        })
        .collect();
    let mut serving = served.server.first_pid;
    for _ in 0..3 {
        serving = served.replace(serving).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), 4, "as many connections as generations");
    }
    println!("3 restarts: {} requests of 4 clients, 0 lost", answered.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_and_http2_on_the_same_port_say_that_there_is_http3() {
    if Command::new("curl").arg("--version").output().is_err() {
        return support::skip("there is no curl");
    }
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start_example("http3", &[]);
    let address = served.address();
    let mut serving = served.server.first_pid;
    for _ in 0..2 {
        for version in ["--http1.1", "--http2"] {
            let mut curl = Command::new("curl");
            curl.args(["-sSki", version, &format!("https://{address}/pid")]);
            let output = tokio::task::block_in_place(|| curl.output().unwrap());
            let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
            assert!(text.ends_with(&serving.to_string()), "{text:?}");
            assert!(text.contains(&format!("alt-svc: h3=\":{}\"; ma=86400", address.port())), "{text:?}");
        }
        let mut http = served.http(&served.http_client()).await;
        assert_eq!(http.ask(async {}).await.unwrap(), format!("{serving} one two"));
        serving = served.restart(serving).await;
    }
}
