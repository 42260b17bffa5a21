//! `heirloom stop`: stops the service gracefully, and waits until the process is gone.

use std::time::Duration;

use clap::Args;
use heirloom::control::{ClientError, Reply, Request};

use crate::exit::{CODES, Code, Failure};
use crate::output::{connections, readable, say, time};
use crate::session::{Session, deadline_in};
use crate::status;
use crate::target::{Aim, MOVES, Target};

/// Stop a server gracefully: it drains every connection, and ends.
///
/// Waits until the process is gone. Asking twice does not make it faster; `heirloom hammer` does. A worker
/// that serves takes its supervisor along; one that still starts ends alone.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(crate) struct Stop {
    #[command(flatten)]
    target: Target,
    /// When to abort what is left, instead of after the server's own shutdown timeout.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    within: Option<Duration>,
    /// How long to wait. The server goes on stopping.
    #[arg(long, value_name = "DURATION", default_value = "3min", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Stop {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let within_ms = self.within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        end(&self.target, &Request::Stop { within_ms }, self.timeout)
    }
}

/// Asks for an end, and waits for it.
pub(crate) fn end(target: &Target, request: &Request, timeout: Duration) -> Result<(), Failure> {
    let mut aim = target.aim()?;
    let mut ended = end_at(&aim, request, timeout);
    for _ in 0..MOVES {
        let Err(failure) = &ended else { break };
        let Some(other) = target.moved_on(failure, &aim) else { break };
        aim = other;
        ended = end_at(&aim, request, timeout);
    }
    ended
}

fn end_at(aim: &Aim, request: &Request, timeout: Duration) -> Result<(), Failure> {
    let mut session = Session::open(aim, request, deadline_in(timeout))?;
    let (mut has_begun, mut has_drained) = (false, false);
    loop {
        let reply = session.next();
        has_begun |= matches!(reply, Ok(Some(_)));
        let reply = match reply {
            Ok(Some(reply)) => Ok(Some(readable(&reply)?)),
            other => other,
        };
        match reply {
            Ok(Some(Reply::Stopping { notice_ms, .. })) if notice_ms > 0.0 => {
                say(&format!("stopping; serves on for {}, so that load balancers notice", time(notice_ms)));
            }
            Ok(Some(Reply::Draining { connections: count, within_ms, .. })) => {
                say(&format!("draining {}, hammer in {}", connections(count), time(within_ms)));
            }
            Ok(Some(Reply::Progress { left, oldest, within_ms, .. })) => {
                let left: u64 = left.values().sum();
                let oldest = oldest.as_ref().map(status::described).unwrap_or_default();
                say(&format!("{} left, hammer in {}; {oldest}", connections(left), time(within_ms)));
            }
            Ok(Some(Reply::Drained { after_ms, aborted, .. })) => {
                has_drained = true;
                say(&format!("drained in {}, {} aborted", time(after_ms), connections(aborted)));
            }
            Ok(Some(Reply::Refused { reason, .. })) => return Err(Failure::new(Code::Refused, reason)),
            Ok(Some(Reply::Error { code, reason, .. })) => return Err(Failure::told(code, &reason)),
            Ok(Some(_)) => {}
            // The process is gone, and the kernel has closed its end.
            Ok(None) if has_drained => return Ok(()),
            Ok(None) if !has_begun => {
                let message = "the process has ended before it has read the request";
                return Err(Failure::new(Code::NotRunning, message));
            }
            Ok(None) => {
                let message = "the process has ended before it had drained: somebody has killed it";
                return Err(Failure::new(Code::Lost, message));
            }
            Err(ClientError::TimedOut { .. }) => {
                let timeout = humantime::format_duration(timeout);
                let what = if has_drained { "drained, but has not exited" } else { "still draining" };
                return Err(Failure::new(Code::TimedOut, format!("not gone within {timeout}: {what}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
