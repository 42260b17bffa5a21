//! QUIC through restarts, with heirloom's endpoint and beside it with quinn on a socket that both generations read.
//!
//! `scripts/quic-test.sh` builds it and `examples/quic.rs`, and runs it. By hand:
//!
//! ```text
//! bench-quic [--short] [ROW]...      the rows are kept, new, resumed, early, moved, much, killed
//! ```
//!
//! Exit status 0: with heirloom's endpoint everything was as it must be.

mod client;
#[path = "../../../../../tests/quic/counting.rs"]
mod counting;
mod rows;
mod server;
mod serving;

use std::error::Error;
use std::process::ExitCode;

use lexopt::prelude::*;

use crate::rows::Cell;
use crate::server::Kind;

type Failable<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How much of it.
#[derive(Clone, Copy)]
struct Scale {
    restarts: usize,
    /// Where a few restarts do.
    few: usize,
    /// Connections that are kept.
    kept: usize,
    /// Bytes of a long download.
    much: usize,
}

const WHOLE: Scale = Scale { restarts: 10, few: 3, kept: 50, much: 100_000_000 };
const SHORT: Scale = Scale { restarts: 2, few: 1, kept: 10, much: 20_000_000 };

fn main() -> Failable<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "serve").is_some() {
        let options = serve_options(arguments)?;
        runtime.block_on(serving::serve(options))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut scale, mut wanted) = (WHOLE, Vec::new());
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("short") => scale = SHORT,
            Value(row) => wanted.push(row.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    // So that every generation can be waited for, and none is left as a zombie.
    nix::sys::prctl::set_child_subreaper(true)?;
    let wants = |row: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == row);
    let holds = runtime.block_on(table(scale, wants))?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn table(scale: Scale, wants: impl Fn(&str) -> bool) -> Failable<bool> {
    let mut holds = true;
    macro_rules! row {
        ($row:ident, $kind:expr, $heading:expr) => {
            if wants(stringify!($row)) {
                println!("{}", $heading);
                for (name, kind) in [("heirloom", $kind), ("shared socket", Kind::Plain)] {
                    // Without flows much can go wrong, and is told as it is.
                    let cell = match rows::$row(kind, scale).await {
                        Err(error) if kind == Kind::Plain => Cell { says: error.to_string(), holds: false },
                        cell => cell?,
                    };
                    let ends = if cell.holds || kind == Kind::Plain { "" } else { "   MUST NOT BE" };
                    println!("  {name:<14} {}{ends}", cell.says);
                    holds &= cell.holds || kind == Kind::Plain;
                }
            }
        };
    }
    let Scale { restarts, few, kept, much } = scale;
    let much = much / 1_000_000;
    row!(kept, Kind::Example, format!("{kept} kept connections, a stream every 100 ms, {restarts} restarts"));
    row!(new, Kind::Example, format!("8 clients, one new connection after the other, {restarts} restarts"));
    row!(resumed, Kind::Example, format!("Retry and resumption, {} restarts", few + 2));
    row!(early, Kind::Example, format!("0-RTT, {} restarts", few + 2));
    row!(moved, Kind::Example, format!("a client's port changes in the drain, {few} restarts"));
    row!(much, Kind::Sized, format!("{much} MB while the server restarts, {few} times: direct to forwarded"));
    row!(
        killed,
        Kind::Example,
        "the old process is killed in its drain, 8 clients open connections".to_owned()
    );
    Ok(holds)
}

fn serve_options(arguments: impl Iterator<Item = String> + 'static) -> Failable<serving::Options> {
    let mut options = serving::Options {
        listen: String::new(),
        cert: String::new(),
        key: String::new(),
        is_plain: false,
        retry: false,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => options.listen = parser.value()?.string()?,
            Long("cert") => options.cert = parser.value()?.string()?,
            Long("key") => options.key = parser.value()?.string()?,
            Long("plain") => options.is_plain = true,
            Long("retry") => options.retry = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}
