//! Drives a server from outside: a load that never retries, and a stop watch for restarts.
//!
//! ```text
//! load --target ADDR --mode new|keep|keep-nothink|keep-late [--mode ...] [--clients N] [--think-ms A-B]
//!      [--path /] [--seconds S]          until S are over, or stdin closes
//! load restart --target ADDR [--signal HUP|USR2]
//! load stop --target ADDR
//! load get --target ADDR [--path /pid]
//! ```
//!
//! A load prints a row for each mode, and exits 1 if any request failed. `restart` prints
//! `first OLD NEW MS` when the new process has given its first answer, and `drained OLD MS` when the old one
//! is gone; `stop` prints `stopped PID MS`. ADDR may be `unix:PATH`.

use std::error::Error;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use heirloom_bench::load::{self, Load, Mode, Report, Target, Think, fetch};
use heirloom_bench::proc;
use lexopt::prelude::*;
use nix::sys::signal::Signal;

type Failable<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Arguments {
    command: Option<String>,
    target: Option<Target>,
    modes: Vec<String>,
    clients: Option<usize>,
    think: Option<Think>,
    path: Option<String>,
    signal: Option<String>,
    seconds: Option<f64>,
}

fn main() -> ExitCode {
    let outcome = arguments().and_then(|arguments| {
        let target = arguments.target.clone().ok_or("--target is missing")?;
        match arguments.command.as_deref() {
            None => run(&target, &arguments),
            Some("restart") => restart(&target, arguments.signal.as_deref().unwrap_or("HUP")),
            Some("stop") => stop(&target),
            Some("get") => get(&target, arguments.path.as_deref().unwrap_or("/")),
            Some(other) => Err(format!("no command {other:?}: restart, stop or get").into()),
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("load: {error}");
        ExitCode::from(2)
    })
}

fn run(target: &Target, arguments: &Arguments) -> Failable<ExitCode> {
    let modes = arguments.modes.iter().map(|mode| arguments.mode(mode)).collect::<Failable<Vec<_>>>()?;
    if modes.is_empty() {
        return Err("--mode is missing".into());
    }
    let path = arguments.path.as_deref().unwrap_or("/");
    let loads: Vec<_> = modes.into_iter().map(|mode| Load::start(target, mode, path)).collect();
    match arguments.seconds {
        // allow: sleep (the length of the run)
        Some(seconds) => std::thread::sleep(Duration::try_from_secs_f64(seconds)?),
        None => drop(std::io::stdin().read_to_end(&mut Vec::new())?),
    }
    println!("{}", Report::HEADER);
    let mut failed = 0;
    for report in loads.into_iter().map(Load::stop) {
        println!("{report}");
        report.samples.iter().for_each(|sample| println!("{sample}"));
        failed += report.failed();
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn restart(target: &Target, signal: &str) -> Failable<ExitCode> {
    let signal: Signal = format!("SIG{signal}").parse()?;
    let old = pid(target)?;
    let began = Instant::now();
    proc::signal(old, signal);
    // Asked without a pause: how soon the answer comes is what is measured.
    let new = loop {
        match pid(target)? {
            new if new != old => break new,
            _ if began.elapsed() > RESTART => {
                return Err(format!("pid {old} still answers after {RESTART:?}").into());
            }
            _ => (),
        }
    };
    println!("first {old} {new} {:.2}", millis(began));
    if !proc::wait_for_exit(old, DRAIN) {
        return Err(format!("pid {old} is still there after {DRAIN:?}").into());
    }
    println!("drained {old} {:.2}", millis(began));
    Ok(ExitCode::SUCCESS)
}

fn stop(target: &Target) -> Failable<ExitCode> {
    let (pid, began) = (pid(target)?, Instant::now());
    proc::signal(pid, Signal::SIGTERM);
    if !proc::wait_for_exit(pid, DRAIN) {
        return Err(format!("pid {pid} is still there after {DRAIN:?}").into());
    }
    println!("stopped {pid} {:.2}", millis(began));
    Ok(ExitCode::SUCCESS)
}

fn get(target: &Target, path: &str) -> Failable<ExitCode> {
    let answer = fetch(target, path, DRAIN)?;
    println!("{}", answer.body.trim_end());
    Ok(ExitCode::from(u8::from(answer.status != 200)))
}

fn pid(target: &Target) -> Failable<i32> {
    Ok(fetch(target, "/pid", load::PATIENCE)?.body.trim().parse()?)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

impl Arguments {
    fn mode(&self, name: &str) -> Failable<Mode> {
        let think = |from, to| self.think.unwrap_or_else(|| Think::millis(from, to));
        let clients = |usual| self.clients.unwrap_or(usual);
        Ok(match name {
            "new" => Mode::new_connections(clients(16), think(0, 10)),
            "keep" => Mode::keep_alive(clients(64), think(0, 20)),
            "keep-nothink" => Mode::keep_alive(clients(64), Think::NONE),
            "keep-late" => Mode::keep_alive_late(clients(64), think(0, 20)),
            other => return Err(format!("no mode {other:?}: new, keep, keep-nothink or keep-late").into()),
        })
    }
}

fn arguments() -> Failable<Arguments> {
    let mut arguments = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("target") => arguments.target = Some(parser.value()?.parse()?),
            Long("mode") => arguments.modes.push(parser.value()?.string()?),
            Long("clients") => arguments.clients = Some(parser.value()?.parse()?),
            Long("think-ms") => arguments.think = Some(think(&parser.value()?.string()?)?),
            Long("path") => arguments.path = Some(parser.value()?.string()?),
            Long("signal") => arguments.signal = Some(parser.value()?.string()?),
            Long("seconds") => arguments.seconds = Some(parser.value()?.parse()?),
            Value(command) if arguments.command.is_none() => arguments.command = Some(command.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

fn think(range: &str) -> Failable<Think> {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let (from, to) = (from.parse()?, to.parse()?);
    if from > to {
        Err(format!("--think-ms {range}: the first is above the second").into())
    } else {
        Ok(Think::millis(from, to))
    }
}

/// The longest start deadline that a script gives a server: a restart that takes longer has failed.
const RESTART: Duration = Duration::from_secs(300);

/// Above the longest drain deadline that a script gives, of ten minutes, after which nothing is left to wait for.
const DRAIN: Duration = Duration::from_secs(660);
