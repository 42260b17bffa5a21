//! A server that keeps itself up to date: `fetch --listen 127.0.0.1:8080 --from SOURCE [--every 5m] [--key KEY]`, where
//! SOURCE is a file, a URL, `s3://BUCKET/KEY` or `github:OWNER/NAME/PATTERN`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heirloom::Restarter;
use heirloom::fetch::{Checks, Source, Updater, answer_sanity_check};
use lexopt::{Arg, ValueExt};

struct Options {
    listen: String,
    from: String,
    every: Duration,
    checks: Checks,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Before a fetched binary replaces this one, it is run once, and must get as far as here.
    if answer_sanity_check() {
        return Ok(ExitCode::SUCCESS);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    tokio::runtime::Runtime::new()?.block_on(serve(options()?))
}

async fn serve(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let restarter = Restarter::new()?;
    let listener = restarter.listen(options.listen.as_str())?;
    println!("listening on {}", listener.local_addr());
    let pid = || async { std::process::id().to_string() };
    heirloom::http::serve(listener, Router::new().route("/pid", get(pid)));
    restarter.ready().await?;

    let source: Source = options.from.parse()?;
    let updater = Updater::new(source, restarter.program(), restarter.clone()).checks(options.checks);
    let mut updater = updater.interval(options.every)?;
    tokio::spawn(async move { updater.run().await });
    Ok(restarter.ended().await.into())
}

fn options() -> Result<Options, Box<dyn Error>> {
    let (mut listen, mut from) = (None, None);
    let (mut every, mut checks) = (Duration::from_secs(300), Checks::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("listen") => listen = Some(parser.value()?.string()?),
            Arg::Long("from") => from = Some(parser.value()?.string()?),
            Arg::Long("every") => every = parser.value()?.parse_with(humantime::parse_duration)?,
            Arg::Long("key") => checks = checks.minisign_key(&parser.value()?.string()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Options { listen: listen.ok_or("--listen?")?, from: from.ok_or("--from?")?, every, checks })
}
