//! `heirloom status`: who serves, what became of restarts, and why the old process is still there.

mod table;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use heirloom::control::{Reply, Request, ServiceStatus};

use crate::exit::{CODES, Code, Failure};
use crate::output::say;
use crate::session::Session;
use crate::target::Target;

pub(crate) use table::described;

/// Show what a server is doing: its generations, its restarts, and which connections hold an old process.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
    /// As one JSON object on a line; its members are documented at heirloom::control::ServiceStatus.
    #[arg(long)]
    json: bool,
    /// Again and again, until the service has ended: with progress bars on a terminal.
    #[arg(long)]
    watch: bool,
    /// How often, with --watch.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = humantime::parse_duration)]
    interval: Duration,
}

impl Status {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut socket = self.target.socket()?;
        let mut status = gather(&socket)?;
        if !self.watch {
            self.show(&status);
            return Ok(());
        }
        let mut bars = (!self.json && std::io::stdout().is_terminal()).then(watch::Bars::default);
        loop {
            match &mut bars {
                Some(bars) => bars.show(&status),
                None => self.show(&status),
            }
            if let Some(serving) = serving_socket(&status) {
                // Through restarts, since the one that was asked first ends with the next.
                socket = in_the_same_place(&socket, serving);
            }
            std::thread::sleep(self.interval.max(SHORTEST));
            status = match gather(&socket) {
                Err(Failure { code: Code::NotRunning, .. }) => return Ok(()),
                // In the middle of its answer: the next look tells what became of the service.
                Err(Failure { code: Code::Lost, .. }) => continue,
                gathered => gathered?,
            };
        }
    }

    fn show(&self, status: &ServiceStatus) {
        if self.json {
            say(&serde_json::to_string(status).unwrap_or_default());
        } else {
            say(&table::of(status));
        }
    }
}

/// A server looks at its connections ten times a second at most.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long a server may take: it answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long its other generations may: what they say is a detail.
const DETAIL: Duration = Duration::from_secs(2);

/// What one process says.
pub(crate) fn fetch(socket: &Path, deadline: Instant) -> Result<ServiceStatus, Failure> {
    let mut session = Session::open(socket, &Request::Status, deadline)?;
    match session.next()? {
        Some(Reply::Status(status)) => Ok(*status),
        Some(Reply::Error { code, reason }) => Err(Failure::told(code, reason)),
        Some(_) => Err(Failure::new(Code::Protocol, "the server answers something else than a status")),
        None => Err(Failure::new(Code::Lost, "the process has ended just now")),
    }
}

/// What all generations say, as one.
fn gather(socket: &Path) -> Result<ServiceStatus, Failure> {
    let mut status = fetch(socket, Instant::now() + PATIENCE)?;
    for generation in &mut status.generations {
        if generation.detail.is_some() {
            continue;
        }
        let Some(control) = &generation.control else { continue };
        let path = in_the_same_place(socket, Path::new(control));
        // It may have ended, or not begun: then its line stands without.
        let Ok(own) = fetch(&path, Instant::now() + DETAIL) else { continue };
        let same = |found: &&heirloom::control::GenerationStatus| {
            (found.pid, found.generation) == (generation.pid, generation.generation)
        };
        if let Some(found) = own.generations.iter().find(same) {
            generation.detail.clone_from(&found.detail);
        }
    }
    Ok(status)
}

fn serving_socket(status: &ServiceStatus) -> Option<&Path> {
    let serving = status.generations.iter().find(|generation| Some(generation.pid) == status.serving)?;
    serving.control.as_deref().map(Path::new)
}

/// A path that a server names, as this process reaches it: in the directory where the server's own socket was found, which
/// may be another mount namespace's.
fn in_the_same_place(socket: &Path, named: &Path) -> PathBuf {
    match (socket.parent(), named.file_name()) {
        (Some(directory), Some(name)) if directory.join(name).exists() => directory.join(name),
        _ => named.to_owned(),
    }
}
