//! What was meant, where the command line says something else.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The error, with a tip where a word stands that the command does not take.
pub(crate) fn with_tip(mut error: clap::Error, arguments: &[String]) -> clap::Error {
    let unexpected = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => word.clone(),
        _ => return error,
    };
    let Some(tip) = tip(arguments, &unexpected) else { return error };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

fn tip(arguments: &[String], unexpected: &str) -> Option<String> {
    let command = arguments.get(1)?.as_str();
    let is_number = !unexpected.is_empty() && unexpected.bytes().all(|byte| byte.is_ascii_digit());
    match command {
        "run" if arguments.iter().all(|argument| argument != "--") => {
            let at = arguments.iter().position(|argument| argument == unexpected)?;
            let (options, server) = arguments.split_at(at);
            let (options, server) = (options.get(1..)?.join(" "), server.join(" "));
            Some(format!("the server and its arguments come after `--`: `heirloom {options} -- {server}`"))
        }
        "restart" | "status" | "stop" | "hammer" if is_number => {
            Some(format!("a process id comes after --pid: `heirloom {command} --pid {unexpected}`"))
        }
        "restart" | "status" | "stop" | "hammer" if !unexpected.starts_with('-') => Some(format!(
            "a server is named by --pid PID, --pid-file PATH or --control PATH: \
             `heirloom {command} --pid-file {unexpected}`"
        )),
        _ => None,
    }
}
