//! `heirloom man`: the manual.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::Cli;
use crate::exit::Failure;

/// Print the man page, or write all of them into a directory.
///
/// To read it: heirloom man | man -l -
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write heirloom.1 and a page for each subcommand there.
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.directory {
            Some(directory) => clap_mangen::generate_to(Cli::command(), directory)?,
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page)?;
                crate::output::say(String::from_utf8_lossy(&page).trim_end());
            }
        }
        Ok(())
    }
}
