//! `heirloom completions`: what a shell needs to complete this command.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::exit::Failure;

/// Print the completions for a shell.
///
/// For bash: heirloom completions bash > /etc/bash_completion.d/heirloom
#[derive(Debug, Args)]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "heirloom", &mut script);
        crate::output::say(String::from_utf8_lossy(&script).trim_end());
        Ok(())
    }
}
