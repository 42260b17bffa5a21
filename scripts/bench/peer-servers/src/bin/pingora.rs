//! pingora's own upgrade: `pingora ADDRESS FOLDER`. A new one with `--upgrade` takes the sockets over through the folder
//! when the old one gets QUIT.
use async_trait::async_trait;
use http::Response;
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::services::listening::Service;

struct Answer;

#[async_trait]
impl ServeHttp for Answer {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        // What was sent is taken first.
        while let Ok(Some(_)) = session.read_request_body().await {}
        let pid = std::process::id().to_string().into_bytes();
        let response = Response::builder().header("Content-Length", pid.len()).body(pid);
        response.expect("a response of these parts")
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder, options @ ..] = words.as_slice() else {
        panic!("pingora ADDRESS FOLDER [--upgrade]")
    };
    let options = Opt { upgrade: options.contains(&"--upgrade".to_owned()), ..Opt::default() };
    let conf = ServerConf {
        upgrade_sock: format!("{folder}/upgrade"),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        // After five seconds in which it accepts on: for requests that are on their way. Its default is five minutes.
        grace_period_seconds: Some(3),
        graceful_shutdown_timeout_seconds: Some(3),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(options, conf);
    server.bootstrap();
    let mut service = Service::new("answer".to_owned(), Answer);
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever();
}
