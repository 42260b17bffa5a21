//! A server without a runtime: threads that block, on heirloom's listener. Answers each line with its process id; idle
//! connections move to the successor.

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use heirloom::{BlockingConnection, Restarter, SignalMap, Waited};

pub(crate) fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let value = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let mut builder = Restarter::bare().signals(SignalMap::default());
    if let Some(probation) = value("--probation") {
        builder = builder.probation(humantime::parse_duration(&probation)?);
    }
    let restarter = builder.start()?;
    let mut listener = restarter.listen(value("--listen").ok_or("--listen is missing")?)?.into_blocking()?;
    println!("listening on {}", listener.local_addr());
    std::thread::spawn(move || {
        while let Some(connection) = listener.accept() {
            std::thread::spawn(move || serve(connection));
        }
    });
    Ok(restarter.run_blocking()?.into())
}

fn serve(connection: BlockingConnection) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        if connection.buffer().is_empty() && connection.get_ref().wait()? == Waited::Draining {
            return match connection.into_inner().move_on(Vec::new(), None) {
                Ok(()) => Ok(()),
                Err(connection) => {
                    connection.set_read_timeout(Some(LINGER))?;
                    answer(&mut BufReader::new(connection)).map(drop)
                }
            };
        }
        if !answer(&mut connection)? {
            return Ok(());
        }
    }
}

/// Whether there was a request.
fn answer(connection: &mut BufReader<BlockingConnection>) -> std::io::Result<bool> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let text = format!("{} {line}", std::process::id());
    connection.get_mut().write_all(text.as_bytes())?;
    Ok(true)
}

/// How long a connection that cannot move is good for one more request.
const LINGER: Duration = Duration::from_secs(1);
