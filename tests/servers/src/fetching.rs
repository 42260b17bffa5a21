//! A server that fetches its next version: `fetching --listen ADDR --from URL`, and `--supervised yes`. What stands behind `VERSION=` at the
//! end of its file is its version, and what it does:
//!
//! ```text
//! insane          crashes when it is tried
//! crash-at-start  answers when it is tried, and fails when it is started
//! crash-later     is ready, and dies in its probation
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use heirloom::fetch::{Http, Restart, Updater, answer_sanity_check};
use heirloom::http::{Config, Server};
use heirloom::{Restarter, Supervisor};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};

pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
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
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let (Some(argument), Some(value)) = (arguments.next(), arguments.next()) {
        match argument.as_str() {
            "--listen" => options.listen = value,
            "--from" => options.from = value,
            "--supervised" => options.supervised = true,
            other => return Err(format!("no option {other:?}").into()),
        }
    }
    let restarter =
        Restarter::bare().probation(Duration::from_secs(1)).signals(heirloom::SignalMap::default());
    if !options.supervised {
        return tokio::runtime::Runtime::new()?.block_on(serve(restarter.start()?, version, options));
    }
    let source = Http::new(&options.from)?;
    let supervisor = Supervisor::new().restarter(restarter);
    let supervisor = supervisor.fetch(move |handle| updater(source, handle.program(), handle.clone()));
    Ok(supervisor.run(|restarter| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(serve(restarter, version, options)).unwrap_or(ExitCode::FAILURE)
    })?)
}

#[derive(Default)]
struct Options {
    listen: String,
    from: String,
    supervised: bool,
}

fn updater<R: Restart>(source: Http, program: &Path, restart: R) -> Updater<Http, R> {
    let updater = Updater::new(source, program, restart).jitter(0.0);
    updater.interval(Duration::from_secs(1)).expect("the floor of HTTP")
}

async fn serve(restarter: Restarter, version: String, options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let listener = restarter.listen(options.listen.as_str())?;
    println!("listening on {}", listener.local_addr());
    let (own, shown) = (restarter.clone(), version.clone());
    let answer = service_fn(move |request| answer(own.clone(), shown.clone(), request));
    Server::new(Config::new(), answer).accept_from(listener);
    restarter.ready().await?;
    if version == "crash-later" {
        std::process::abort();
    }
    if !options.supervised {
        let mut updater = updater(Http::new(&options.from)?, restarter.program(), restarter.clone());
        tokio::spawn(async move { updater.run().await });
    }
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
