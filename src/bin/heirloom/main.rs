//! The command `heirloom`.

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(version, about = "Restart network servers without a client noticing")]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand, Debug)]
enum Commands {
    Run(run::Run),
}

fn main() -> ExitCode {
    // Before anything else: a worker that is being started is this program for a moment.
    if heirloom::supervisor::become_worker().is_err() {
        // The supervisor has been told, and says it better.
        return ExitCode::FAILURE;
    }
    match Cli::parse().command {
        Commands::Run(options) => run::run(options),
    }
}
