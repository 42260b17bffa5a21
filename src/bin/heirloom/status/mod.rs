//! `heirloom status`: who serves, what became of restarts, and why the old process is still there.

mod conversations;
mod kin;
mod table;
mod watch;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use heirloom::control::{Peer, Reply, Request, ServiceStatus};

use crate::exit::{CODES, Code, Failure};
use crate::output::{readable, say, say_json};
use crate::session::Session;
use crate::target::{Aim, Target};

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
        let mut aim = self.target.aim()?;
        let (mut status, mut peer) = gather(&aim)?;
        if !self.watch {
            return self.show(&status);
        }
        let mut bars = (!self.json && std::io::stdout().is_terminal()).then(watch::Bars::default);
        loop {
            match &mut bars {
                Some(bars) => bars.show(&readable(&status)?),
                None => self.show(&status)?,
            }
            let serving = status.generations.iter().find(|generation| Some(generation.pid) == status.serving);
            if let Some(serving) = serving.and_then(|serving| aim.generation(serving, peer)) {
                // Through restarts, since the one that was asked first ends with the next.
                aim = serving;
            }
            std::thread::sleep(self.interval.max(SHORTEST));
            (status, peer) = match gather(&aim) {
                Err(Failure { code: Code::NotRunning, .. }) => return Ok(()),
                // In the middle of its answer: the next look tells what became of the service.
                Err(Failure { code: Code::Lost, .. }) => continue,
                gathered => gathered?,
            };
        }
    }

    fn show(&self, status: &ServiceStatus) -> Result<(), Failure> {
        if self.json {
            say_json(status);
        } else {
            say(&table::of(&readable(status)?));
        }
        Ok(())
    }
}

/// A server looks at its connections ten times a second at most.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long a server may take: it answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one process says, and who that is.
pub(crate) fn fetch(aim: &Aim, deadline: Instant) -> Result<(ServiceStatus, Peer), Failure> {
    let mut session = Session::open(aim, &Request::Status, deadline)?;
    let peer = session.peer();
    match session.next()? {
        Some(Reply::Status(status)) => Ok((*status, peer)),
        Some(Reply::Error { code, reason, .. }) => Err(Failure::told(code, &reason)),
        Some(_) => Err(Failure::new(Code::Protocol, "the server answers something else than a status")),
        None => Err(Failure::new(Code::Lost, "the process has ended just now")),
    }
}

/// What all generations say, as one.
fn gather(aim: &Aim) -> Result<(ServiceStatus, Peer), Failure> {
    let (mut status, peer) = fetch(aim, Instant::now() + PATIENCE)?;
    kin::complete(&mut status, aim, peer);
    Ok((status, peer))
}
