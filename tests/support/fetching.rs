//! A server that fetches its next version: `fetching --listen ADDR --from URL`. What stands behind `VERSION=` at the
//! end of its file is its version, and what it does:
//!
//! ```text
//! insane          crashes when it is tried
//! crash-at-start  answers when it is tried, and fails when it is started
//! crash-later     is ready, and dies in its probation
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use heirloom::Restarter;
use heirloom::fetch::{Http, Updater, answer_sanity_check};
use heirloom::http::{Config, Server};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let version = version()?;
    if version == "insane" {
        std::process::abort();
    }
    if answer_sanity_check() {
        return Ok(ExitCode::SUCCESS);
    }
    if version == "crash-at-start" {
        return Ok(ExitCode::from(3));
    }
    tokio::runtime::Runtime::new()?.block_on(serve(version))
}

async fn serve(version: String) -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let restarter = Restarter::builder().probation(Duration::from_millis(300));
    let restarter = restarter.signals(heirloom::SignalMap::default()).start()?;
    let mut arguments = std::env::args().skip(1);
    let mut source = None;
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("a value for each argument")?;
        if argument == "--from" {
            source = Some(Http::new(&value)?);
            continue;
        }
        let listener = restarter.listen(value.as_str())?;
        println!("listening on {}", listener.local_addr());
        let (restarter, version) = (restarter.clone(), version.clone());
        let answer = service_fn(move |request| answer(restarter.clone(), version.clone(), request));
        Server::new(Config::new(), answer).accept_from(listener);
    }
    let source = source.ok_or("--from is missing")?;
    let updater = Updater::new(source, restarter.program(), restarter.clone()).jitter(0.0);
    let mut updater = updater.interval(Duration::from_secs(1))?;
    restarter.ready().await?;
    if version == "crash-later" {
        std::process::abort();
    }
    tokio::spawn(async move { updater.run().await });
    Ok(restarter.ended().await.into())
}

async fn answer(
    restarter: Restarter,
    version: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        "/generation" => restarter.generation().to_string(),
        "/version" => version,
        _ => "Hello World".to_owned(),
    };
    Ok(Response::new(Full::new(body.into())))
}

fn version() -> Result<String, Box<dyn Error>> {
    use std::io::{Read, Seek, SeekFrom};
    let (mut file, mut end) = (std::fs::File::open("/proc/self/exe")?, Vec::new());
    file.seek(SeekFrom::End(-64))?;
    file.read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    Ok(end.split("VERSION=").nth(1).unwrap_or("first").to_owned())
}
