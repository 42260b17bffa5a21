//! `hello` under a supervisor, with the settings that tests vary, and with state that goes from worker to worker.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use heirloom::http::{Config, Server};
use heirloom::{Ending, Listener, Orphans, Restarter, Signal, SignalMap, Supervisor};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};

pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut restarter, mut supervisor) = (Restarter::bare().control(true), Supervisor::new());
    let mut addresses = Vec::new();
    let map = SignalMap::default().after(Signal::USR1, || println!("worker {} has USR1", std::process::id()));
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let duration = || humantime::parse_duration(&value);
        match name.as_str() {
            "--listen" => addresses.push(value),
            "--parent-listens" => supervisor = supervisor.listen(value),
            "--probation" => restarter = restarter.probation(duration()?),
            "--start-timeout" => restarter = restarter.start_timeout(duration()?),
            "--drain-timeout" => restarter = restarter.drain_timeout(duration()?),
            "--shutdown-timeout" => restarter = restarter.shutdown_timeout(duration()?),
            "--control" => restarter = restarter.control_at(value),
            "--pid-file" => restarter = restarter.pid_file(value),
            "--backoff" => supervisor = supervisor.backoff(duration()?, 8 * duration()?),
            "--stable" => supervisor = supervisor.stable_after(duration()?),
            "--rollback-after" => supervisor = supervisor.rollback_after(value.parse()?),
            "--orphans" if value == "serve-on" => supervisor = supervisor.orphans(Orphans::ServeOn),
            "--restarts" if value == "off" => supervisor = supervisor.restarts(false),
            "--supervised" => supervisor = supervisor.supervised(value.parse()?),
            "--veto" => supervisor = supervisor.before_restart(move || Err(value.clone())),
            other => return Err(format!("no option {other:?}").into()),
        }
    }
    Ok(supervisor.restarter(restarter.signals(map)).run(|restarter| serve(restarter, addresses))?)
}

#[tokio::main]
async fn serve(restarter: Restarter, addresses: Vec<String>) -> Result<Ending, Box<dyn Error>> {
    let inherited = restarter.state("history").await.ok().flatten();
    let mut history = inherited.map(|state| state.to_vec()).unwrap_or_default();
    history.extend_from_slice(format!("{},", restarter.generation()).as_bytes());
    let own = history.clone();
    restarter.provide_state("history", 1, move |out| std::io::Write::write_all(out, &own))?;
    let fd = restarter.inherited_fd("first");
    println!("worker {} of {:?}, first fd {}", std::process::id(), restarter.supervisor(), fd.is_some());
    let fd = fd.map_or_else(|| std::fs::File::open("/dev/null").map(Into::into), Ok)?;
    restarter.hand_down("first", fd)?;

    let history = String::from_utf8(history)?;
    for address in &addresses {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        accept(listener, restarter.clone(), history.clone());
    }
    Ok(restarter.run().await?)
}

fn accept(listener: Listener, restarter: Restarter, history: String) {
    let service = service_fn(move |request| answer(restarter.clone(), history.clone(), request));
    Server::new(Config::new(), service).accept_from(listener);
}

async fn answer(
    restarter: Restarter,
    history: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        "/generation" => restarter.generation().to_string(),
        "/history" => history,
        "/restart" => match restarter.restart().await {
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default()),
        },
        "/listen" => match restarter.listen(request.uri().query().unwrap_or_default()) {
            Ok(listener) => {
                let address = listener.local_addr().to_string();
                accept(listener, restarter, history);
                address
            }
            Err(error) => format!("{error}"),
        },
        "/shutdown" => {
            tokio::spawn(async move { restarter.shutdown(None).await });
            "stopping".to_owned()
        }
        "/sleep" => {
            let wanted = request.uri().query().and_then(|query| query.strip_prefix("duration="));
            let length = wanted.and_then(|wanted| humantime::parse_duration(wanted).ok());
            tokio::time::sleep(length.unwrap_or(Duration::from_secs(1))).await;
            "Hello World".to_owned()
        }
        _ => "Hello World".to_owned(),
    };
    Ok(Response::new(Full::new(body.into())))
}
