//! The command `heirloom`: operates servers that are built with the library of that name.

mod completions;
mod exit;
#[cfg(feature = "fetch")]
mod fetching;
mod hammer;
mod man;
mod output;
mod prove;
mod restart;
mod run;
mod session;
mod status;
mod stop;
mod target;
mod tips;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{CODES, Failure};

/// Operate network servers that restart themselves without a client noticing.
#[derive(Debug, Parser)]
#[command(name = "heirloom", version, after_help = CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Restart(restart::Restart),
    Status(status::Status),
    Stop(stop::Stop),
    Hammer(hammer::Hammer),
    Prove(Box<prove::Prove>),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    // Before anything else: a worker that is being started is this program for a moment.
    if heirloom::supervisor::become_worker().is_err() {
        // The supervisor has been told, and says it better.
        return ExitCode::FAILURE;
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let arguments: Vec<String> =
                std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
            tips::with_tip(error, &arguments).exit()
        }
    };
    let done = match command {
        Command::Run(options) => return run::run(*options),
        Command::Restart(restart) => restart.run(),
        Command::Status(status) => status.run(),
        Command::Stop(stop) => stop.run(),
        Command::Hammer(hammer) => hammer.run(),
        Command::Prove(prove) => prove.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            output::complain(&message);
            ExitCode::from(code as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }
}
