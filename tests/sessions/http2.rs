//! HTTP/2 connections go on in the successor, between streams, and their clients see no GOAWAY.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use heirloom::tls::tokio_rustls::TlsConnector;
use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use heirloom::tls::tokio_rustls::rustls::{ClientConfig, RootCertStore};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone, proc};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{secure, start};

/// A connection that is never made again.
#[derive(Clone)]
pub(super) struct Client {
    requests: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(super) async fn new(server: &Server) -> Client {
        Client::over(connect(server).await).await
    }

    async fn over_tls(server: &Server, trusted: &str) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("PEM")).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, connect(server).await).await;
        Client::over(stream.expect("TLS")).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        Client::built(&Builder::new(TokioExecutor::new()), stream).await
    }

    async fn built(
        builder: &Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Client {
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Client { requests }
    }

    pub(super) async fn get(&mut self, path: &str) -> String {
        String::from_utf8(self.send("GET", path, Bytes::new()).await.to_vec()).expect("text")
    }

    pub(super) async fn begin(&mut self, method: &str, path: &str, body: Bytes) -> Incoming {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header("x-length", body.len())
            .body(Full::new(body))
            .expect("a request");
        let response = self.requests.send_request(request);
        let response = timeout(PATIENCE, response).await.expect("an answer in time").expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body()
    }

    async fn send(&mut self, method: &str, path: &str, body: Bytes) -> Bytes {
        let body = self.begin(method, path, body).await.collect();
        timeout(PATIENCE, body).await.expect("a body in time").expect("a body").to_bytes()
    }

    /// The connection is over.
    pub(super) async fn is_gone(&mut self) {
        let over = async {
            while self.requests.ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, over).await.expect("its end");
    }
}

async fn connect(server: &Server) -> TcpStream {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let stream = TcpStream::connect(address).await.expect("accepting");
    stream.set_nodelay(true).expect("TCP");
    stream
}

/// Requests on each of the clients, several at a time, until it is over.
struct Load {
    tasks: JoinSet<()>,
    answered: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    fn start(clients: &[Client], streams: usize, body: usize) -> Load {
        Load::uploading_to("/echo", clients, streams, body)
    }

    fn uploading_to(path: &'static str, clients: &[Client], streams: usize, body: usize) -> Load {
        let mut load = Load { tasks: JoinSet::new(), answered: Arc::default(), is_over: Arc::default() };
        for (client, stream) in clients.iter().flat_map(|client| (0..streams).map(move |at| (client, at))) {
            let mut client = client.clone();
            let (answered, is_over) = (load.answered.clone(), load.is_over.clone());
            load.tasks.spawn(async move {
                let body = Bytes::from(vec![stream as u8; body]);
                while !is_over.load(Ordering::Relaxed) {
                    if stream % 2 == 0 {
                        client.get("/pid").await;
                    } else {
                        let answer = client.send("POST", path, body.clone()).await;
                        assert!(path != "/echo" || answer == body);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    async fn end(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no failure");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

/// Restarts so often. Each process has to be gone before the next restart, with all of its connections moved.
async fn restart(server: &Server, times: usize) {
    for _ in 0..times {
        let (old, mark) = (server.pid(), server.mark());
        tokio::task::block_in_place(|| {
            server.replace(old, Signal::SIGUSR2);
            server.wait_for_exit(old);
        });
        let told = server.lines(mark, "not_moved=");
        assert!(told.iter().all(|line| line.contains("not_moved=none")), "{told:?}");
    }
}

async fn are_all_answered_by(server: &Server, clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.get("/pid").await, server.pid().to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_busy_move_between_streams() {
    let _alone = alone();
    let server = start("live");
    let mut all = Vec::new();
    for (count, streams, body) in [(8, 1, 0), (4, 6, 20_000), (2, 20, 100_000), (2, 100, 3_000)] {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Client::new(&server).await);
        }
        let load = Load::start(&clients, streams, body);
        restart(&server, 3).await;
        println!("{count} clients with {streams} streams: {} answers", load.end().await);
        all.append(&mut clients);
        are_all_answered_by(&server, &mut all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_they_move_as_well() {
    let _alone = alone();
    let (server, trusted) = secure::start();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::over_tls(&server, &trusted).await);
    }
    for (streams, body) in [(1, 0), (8, 30_000)] {
        let load = Load::start(&clients, streams, body);
        for _ in 0..3 {
            let (old, mark) = (server_pid(&mut clients[0]).await, server.mark());
            tokio::task::block_in_place(|| {
                proc::signal(old, Signal::SIGUSR2);
                server.wait_for_exit(old);
            });
            let told = server.lines(mark, "not_moved=");
            assert!(told.iter().all(|line| line.contains("4 http2+tls not_moved=none")), "{told:?}");
        }
        println!("TLS, {streams} streams: {} answers", load.end().await);
        let mut pids = BTreeSet::new();
        for client in &mut clients {
            pids.insert(server_pid(client).await);
        }
        assert_eq!(pids.len(), 1);
    }
}

async fn server_pid(client: &mut Client) -> i32 {
    client.get("/pid").await.parse().expect("a pid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_move_whatever_was_said_on_them() {
    let _alone = alone();
    let server = start("live");
    let mut clients = Vec::new();
    // Windows below and above what is usual, and no request yet on every third connection.
    for at in 0..30_u32 {
        let mut builder = Builder::new(TokioExecutor::new());
        let window = [65_535, 70_000, 1 << 20, (1 << 31) - 1][at as usize % 4];
        builder.initial_connection_window_size(window).initial_stream_window_size(window.min(1 << 24));
        let mut client = Client::built(&builder, connect(&server).await).await;
        if at % 3 != 0 {
            // Leaves a window that is not whole.
            let body = Bytes::from(vec![1; at as usize * 1000]);
            assert_eq!(client.send("POST", "/echo", body.clone()).await, body);
        }
        clients.push(client);
    }
    for _ in 0..3 {
        restart(&server, 2).await;
        for client in &mut clients {
            let body = Bytes::from(vec![2; 90_000]);
            assert_eq!(client.send("POST", "/echo", body.clone()).await, body);
        }
    }
    are_all_answered_by(&server, &mut clients).await;
}

/// Of a server that serves by itself, which hyper-util does here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_lent_move_below_their_server() {
    let _alone = alone();
    let server = lent(&[]);
    let (mut idle, mut silent) = (Client::new(&server).await, Client::new(&server).await);
    assert_eq!(idle.get("/pid").await, server.pid().to_string());
    let mut all = Vec::new();
    for (count, streams, body) in [(8, 1, 0), (4, 6, 20_000), (2, 30, 100_000)] {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Client::new(&server).await);
        }
        let load = Load::uploading_to("/upload", &clients, streams, body);
        restart(&server, 3).await;
        println!("{count} clients with {streams} streams, lent: {} answers", load.end().await);
        all.append(&mut clients);
        are_all_answered_by(&server, &mut all).await;
    }
    are_all_answered_by(&server, std::slice::from_mut(&mut silent)).await;
    are_all_answered_by(&server, std::slice::from_mut(&mut idle)).await;
}

/// The next server would believe that it may send more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_lent_and_has_a_small_window_stays_to_the_end() {
    let _alone = alone();
    // Nobody tells its server to end it.
    let server = lent(&["--drain-timeout", "3s"]);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_connection_window_size(65_535).initial_stream_window_size(65_535);
    let mut client = Client::built(&builder, connect(&server).await).await;
    assert_eq!(client.get("/pid").await, server.pid().to_string());
    let (old, mark) = (server.pid(), server.mark());
    tokio::task::block_in_place(|| server.replace(old, Signal::SIGUSR2));
    client.is_gone().await;
    tokio::task::block_in_place(|| server.wait_for_exit(old));
    let told = server.lines(mark, "not_moved=");
    assert!(told.iter().any(|line| line.contains("unsupported")), "{told:?}");
}

fn lent(more: &[&str]) -> Server {
    Setup::example("mover").args(&["--probation", "100ms", "--lent"]).args(more).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_nothing_is_left_of_connections_that_have_moved() {
    let _alone = alone();
    let server = start("live");
    let mut clients = Vec::new();
    for _ in 0..15 {
        clients.push(Client::new(&server).await);
    }
    let mut counts = Vec::new();
    for _ in 0..7 {
        are_all_answered_by(&server, &mut clients).await;
        counts.push(proc::fds(server.pid()));
        restart(&server, 1).await;
    }
    let sockets: Vec<_> = counts.iter().map(|fds| fds.get("socket").copied().unwrap_or(0)).collect();
    // The test's own questions are answered on one more, which may have gone or not.
    let spread = sockets.iter().max().zip(sockets.iter().min()).map(|(most, least)| most - least);
    assert!(spread.is_some_and(|spread| spread <= 2), "{sockets:?}");
}
