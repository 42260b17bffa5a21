//! What the options ask for, and whether it can be had.

use heirloom::Signal;

use super::Prove;
#[cfg(feature = "tls")]
use super::clients::Tls;
use super::clients::{Kind, Plan};
use super::faults::Fault;
use super::program::Program;
use super::server::Server;
use super::trigger::{Receiver, Trigger};
use crate::exit::{Code, Failure};

/// Faults to make, and those that cannot be made, and why.
pub(super) type Faults = (Vec<Fault>, Vec<(Fault, String)>);

impl Prove {
    pub(super) fn trigger(&self, server: Option<&Server>) -> Result<Trigger, Failure> {
        let to = match (&self.restart_command, &self.pid_file, self.pid, server) {
            (Some(command), ..) => return Ok(Trigger::Command(command.clone())),
            (_, Some(path), ..) => Receiver::PidFile(path.clone()),
            (_, _, Some(pid), _) => Receiver::Process(pid),
            (_, _, _, Some(server)) => Receiver::Process(server.pid()),
            _ => {
                let why =
                    "how to restart it? Say --restart-command CMD, --pid-file PATH, --pid PID, or -- COMMAND";
                return Err(Failure::new(Code::Usage, why));
            }
        };
        Ok(Trigger::Signal { signal: self.signal, to })
    }

    /// What is asked for by name must be possible; of all, what is not is left out.
    pub(super) fn faults(&self) -> Result<Faults, Failure> {
        let Some(named) = &self.faults else { return Ok(Faults::default()) };
        let is_wanted = |fault: &Fault| named.is_empty() || named.contains(fault);
        let (mut possible, mut others) = (Vec::new(), Vec::new());
        for fault in Fault::ALL.into_iter().filter(is_wanted) {
            match self.why_not(fault) {
                None => possible.push(fault),
                Some(why) => others.push((fault, why.to_owned())),
            }
        }
        match others.first() {
            Some((fault, why)) if !named.is_empty() => {
                Err(Failure::new(Code::Usage, format!("{}: {why}", fault.name())))
            }
            _ => Ok((possible, others)),
        }
    }

    fn why_not(&self, fault: Fault) -> Option<&'static str> {
        let is_ours = !self.command.is_empty();
        match fault {
            Fault::BrokenBinary if self.program.is_none() && !is_ours => Some(
                "what do restarts execute? Say --program LINK, or let the server be started here (-- COMMAND)",
            ),
            Fault::Burst if self.restart_command.is_some() => Some("a burst is one of --signal"),
            Fault::Term if !is_ours => {
                Some("it would end a server that was not started here: say -- COMMAND")
            }
            _ => None,
        }
    }

    pub(super) fn program_to_break(&self, faults: &[Fault]) -> Result<Option<Program>, Failure> {
        if !faults.contains(&Fault::BrokenBinary) {
            return Ok(None);
        }
        let program = match (&self.program, self.command.first()) {
            (Some(link), _) => Program::link(link),
            (None, Some(command)) => Program::copied(command),
            (None, None) => return Ok(None),
        };
        program.map(Some).map_err(|why| Failure::new(Code::Usage, why))
    }

    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        Ok(Plan {
            url: self.url.clone(),
            large: self.large.clone(),
            slow: self.slow.clone(),
            upload: self.upload.clone(),
            websocket: self.websocket.clone(),
            events: self.events.clone(),
            patience: self.patience,
            most_latency: self.max_latency,
            is_local: self.url.address.ip().to_canonical().is_loopback(),
            #[cfg(feature = "tls")]
            tls: self.url.is_tls.then(|| self.tls()).transpose()?,
        })
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<Tls, Failure> {
        if self.ca.is_none() && !self.insecure {
            return Err(Failure::new(Code::Usage, "whom to believe? Say --ca PATH or --insecure"));
        }
        let tls = Tls::new(self.ca.as_deref(), self.url.name());
        tls.map_err(|why| Failure::new(Code::Usage, why))
    }
}

pub(super) fn signal(text: &str) -> Result<Signal, heirloom::SignalParseError> {
    text.parse()
}

pub(super) fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_path.then(|| text.to_owned()).ok_or_else(|| "a path that begins with / is wanted".to_owned())
}

pub(super) fn kind(text: &str) -> Result<Kind, String> {
    named(text, "kinds", Kind::ALL, Kind::name)
}

pub(super) fn fault(text: &str) -> Result<Fault, String> {
    named(text, "faults", Fault::ALL, Fault::name)
}

fn named<T: Copy, const N: usize>(
    text: &str,
    all: &str,
    of: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    let found = of.into_iter().find(|one| name(*one) == text);
    found.ok_or_else(|| format!("the {all} are {}", of.map(name).join(", ")))
}
