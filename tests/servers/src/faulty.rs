//! A successor that fails as the file `fault` beside it says. It takes the arguments of `hello`, claims the
//! same listeners, and accepts nothing: whatever a client loses to it, the handover lost.
//!
//! ```text
//! fail-init REASON     says that its initialisation failed
//! bind ADDRESS         listens there as well, and says that its initialisation failed
//! panic                before it is ready
//! init-for-ever        never gets ready
//! freeze-at-ready MICROS  stops itself that long after it began to say that it is ready
//! die-at-ready MICROS  is killed that long after it began to say that it is ready
//! die-at-commit [MS]   is killed when it may accept, before it does; or so long after it has said that it does
//! exit-at-commit       ends with status 0 there
//! ```

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use heirloom::{Restarter, SignalMap};
use nix::sys::signal::{Signal, raise};

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let program = std::env::args_os().next().ok_or("no program name")?;
    let fault = std::fs::read_to_string(Path::new(&program).with_file_name("fault"))?;
    let (kind, detail) = fault.trim().split_once(' ').unwrap_or((fault.trim(), ""));

    let restarter = Restarter::bare().signals(SignalMap::default()).control(true).start()?;
    let mut listeners = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--listen" {
            listeners.push(restarter.listen(arguments.next().ok_or("--listen what?")?.as_str())?);
        }
    }
    match kind {
        "fail-init" => restarter.failed(detail).await,
        "bind" => {
            let _bound = restarter.listen(detail)?;
            restarter.failed("as told").await;
        }
        "panic" => panic!("as told"),
        "init-for-ever" => std::future::pending::<()>().await,
        "die-at-ready" | "freeze-at-ready" => {
            let after = Duration::from_micros(detail.parse()?);
            let signal = if kind == "die-at-ready" { Signal::SIGKILL } else { Signal::SIGSTOP };
            std::thread::spawn(move || {
                let began = Instant::now();
                while began.elapsed() < after {
                    std::hint::spin_loop();
                }
                raise(signal)
            });
            restarter.ready().await?;
            std::future::pending::<()>().await;
        }
        "die-at-commit" => {
            restarter.ready().await?;
            // allow: sleep (that long it looks as if it accepted)
            tokio::time::sleep(Duration::from_millis(detail.parse().unwrap_or(0))).await;
            raise(Signal::SIGKILL)?;
        }
        "exit-at-commit" => {
            restarter.ready().await?;
            std::process::exit(0);
        }
        other => return Err(format!("no fault {other:?}").into()),
    }
    Ok(ExitCode::FAILURE)
}
