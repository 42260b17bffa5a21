//! `heirloom hammer`: aborts what is left, now.

use std::time::Duration;

use clap::Args;
use heirloom::control::Request;

use crate::exit::{CODES, Failure};
use crate::stop;
use crate::target::Target;

/// End a process now: its connections are aborted, counted and reported.
///
/// Of a process that drains after a restart this ends the drain, and the new one serves on. Of one that still
/// starts it ends the start, and the old one serves on. Of a process that serves it ends the service, its
/// supervisor included.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(crate) struct Hammer {
    #[command(flatten)]
    target: Target,
    /// How long to wait until the process is gone.
    ///
    /// The default is far above what it takes a process to abort and exit.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Hammer {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        stop::end(&self.target, &Request::Hammer, self.timeout)
    }
}
