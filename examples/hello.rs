//! A restartable HTTP server: `cargo run --example hello -- --listen 127.0.0.1:8080`, then `kill -USR2 PID`.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use heirloom::http::{Config, Server};
use heirloom::{Listen, Restarter};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use lexopt::{Arg, ValueExt};

/// Set HELLO_MESSAGE at build time, and the rebuilt binary shows.
const MESSAGE: &str = match option_env!("HELLO_MESSAGE") {
    Some(message) => message,
    None => "Hello World",
};

const USAGE: &str = "usage: hello --listen ADDR [--listen ADDR]... [--start-timeout 60s] [--drain-timeout 60s] \
                     [--pid-file PATH] [--control PATH] [--init-delay 0ms] [--probation 1s] [--ballast-mib N] [--keep-alive 75s]";

#[derive(Default)]
struct Options {
    listen: Vec<Listen>,
    init_delay: Duration,
    ballast_mib: usize,
    config: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (options, builder) = match options() {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("hello: {error}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    serve(options, builder).await.unwrap_or_else(|error| {
        eprint!("hello: {error}");
        let mut cause = error.source();
        while let Some(deeper) = cause {
            eprint!(": {deeper}");
            cause = deeper.source();
        }
        eprintln!();
        ExitCode::FAILURE
    })
}

async fn serve(options: Options, builder: heirloom::Builder) -> Result<ExitCode, Box<dyn Error>> {
    let restarter = builder.start()?;
    let handler = restarter.clone();
    let server = Server::new(options.config, service_fn(move |request| answer(handler.clone(), request)));
    for address in options.listen {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    let ballast = vec![1_u8; options.ballast_mib << 20];
    tokio::select! {
        () = tokio::time::sleep(options.init_delay) => {}
        () = restarter.draining() => {} // asked to stop before it was ready
    }
    let ending = restarter.run().await?;
    drop(ballast);
    Ok(ending.into())
}

async fn answer(
    restarter: Restarter,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/" => MESSAGE.to_owned(),
        "/pid" => std::process::id().to_string(),
        "/generation" => restarter.generation().to_string(),
        "/sleep" => {
            let wanted = request.uri().query().and_then(|query| query.strip_prefix("duration="));
            let Some(Ok(length)) = wanted.map(humantime::parse_duration) else {
                return Ok(reply(StatusCode::BAD_REQUEST, "write /sleep?duration=20s".to_owned()));
            };
            tokio::time::sleep(length).await;
            MESSAGE.to_owned()
        }
        _ => return Ok(reply(StatusCode::NOT_FOUND, "there is /, /pid, /generation and /sleep".to_owned())),
    };
    Ok(reply(StatusCode::OK, body))
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn options() -> Result<(Options, heirloom::Builder), lexopt::Error> {
    let (mut options, mut builder) = (Options::default(), Restarter::builder());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let Arg::Long(name) = argument else { return Err(argument.unexpected()) };
        let name = name.to_owned();
        let mut duration = || parser.value()?.parse_with(humantime::parse_duration);
        match name.as_str() {
            "start-timeout" => builder = builder.start_timeout(duration()?),
            "drain-timeout" => builder = builder.drain_timeout(duration()?),
            "probation" => builder = builder.probation(duration()?),
            "init-delay" => options.init_delay = duration()?,
            "listen" => options.listen.push(parser.value()?.parse_with(str::parse)?),
            "pid-file" => builder = builder.pid_file(parser.value()?),
            "control" => builder = builder.control_at(parser.value()?),
            "keep-alive" => options.config = Config::new().keep_alive_timeout(duration()?),
            "ballast-mib" => options.ballast_mib = parser.value()?.parse()?,
            name => return Err(Arg::Long(name).unexpected()),
        }
    }
    if options.listen.is_empty() {
        return Err("--listen is missing".into());
    }
    Ok((options, builder))
}
