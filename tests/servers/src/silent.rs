//! A server without a log: `silent --listen ADDR [--off] [--log]`. `/subscribe` gives it one of `tracing`; with
//! `--log` it has one of the `log` crate.

use std::io;

use axum::Router;
use axum::routing::get;
use heirloom::{Ending, Restarter};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let address = arguments.windows(2).find(|pair| pair[0] == "--listen").map(|pair| pair[1].clone());
    let is_off = arguments.iter().any(|argument| argument == "--off");
    if arguments.iter().any(|argument| argument == "--log") {
        log::set_logger(&Logger).expect("the only one");
        log::set_max_level(log::LevelFilter::Info);
    }
    let restarter = Restarter::builder().warnings_to_stderr(!is_off).start()?;
    let listener = restarter.listen(address.ok_or("--listen is missing")?)?;
    println!("listening on {}", listener.local_addr());
    let router = Router::new().route("/pid", get(|| async { std::process::id().to_string() }));
    heirloom::http::serve(listener, router.route("/subscribe", get(subscribe)));
    Ok(restarter.run().await?)
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("logged {} {} {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

async fn subscribe() {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
}
