//! A server without a runtime: threads that block, on heirloom's listener. Answers each line with its process id.

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;

use heirloom::{BlockingConnection, Restarter};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let address =
        std::env::args().skip_while(|argument| argument != "--listen").nth(1).ok_or("--listen is missing")?;
    let restarter = Restarter::new()?;
    let mut listener = restarter.listen(address)?.into_blocking()?;
    println!("listening on {}", listener.local_addr());
    std::thread::spawn(move || {
        while let Some(connection) = listener.accept() {
            std::thread::spawn(move || answer(connection));
        }
    });
    Ok(restarter.run_blocking()?.into())
}

fn answer(connection: BlockingConnection) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line)? > 0 {
        let last = if connection.get_ref().is_draining() { "last " } else { "" };
        let text = format!("{last}{} {line}", std::process::id());
        connection.get_mut().write_all(text.as_bytes())?;
        if !last.is_empty() {
            break;
        }
        line.clear();
    }
    Ok(())
}
