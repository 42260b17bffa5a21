//! A `hello` that fails as the file `fault` beside it says: `fail-init REASON`, `panic`, `die-at-ready`,
//! `die-at-commit` or `exit-at-commit`.

use std::error::Error;
use std::process::ExitCode;

use heirloom::{Restarter, SignalMap};
use nix::sys::signal::{Signal, raise};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let fault = std::fs::read_to_string(std::path::Path::new(&arguments[0]).with_file_name("fault"))?;
    let restarter = Restarter::builder().signals(SignalMap::default()).start()?;
    let mut listeners = Vec::new();
    for pair in arguments.windows(2).filter(|pair| pair[0] == "--listen") {
        listeners.push(restarter.listen(&pair[1])?);
    }
    match fault.trim().split_once(' ').unwrap_or((fault.trim(), "")) {
        ("fail-init", reason) => {
            restarter.failed(reason).await;
            Ok(ExitCode::FAILURE)
        }
        ("panic", _) => panic!("as asked"),
        ("die-at-ready", _) => {
            tokio::select! {
                biased;
                _ = restarter.ready() => {}
                // READY is on its way, and the answer is not there yet.
                () = tokio::task::yield_now() => {}
            }
            raise(Signal::SIGKILL)?;
            unreachable!("killed")
        }
        ("die-at-commit", _) => {
            restarter.ready().await?;
            raise(Signal::SIGKILL)?;
            unreachable!("killed")
        }
        ("exit-at-commit", _) => {
            restarter.ready().await?;
            Ok(ExitCode::SUCCESS)
        }
        (unknown, _) => Err(format!("no such fault: {unknown}").into()),
    }
}
