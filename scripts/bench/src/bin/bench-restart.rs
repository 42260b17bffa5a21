//! What a restart costs beside a cold start of the same binary, both to the first answer, no load.
//!
//! ```text
//! cargo build --release -p heirloom-bench --all-features && target/release/bench-restart [--pairs 50] [--probation 1s]
//! cargo build --release -p heirloom-bench -p heirloom-test-servers --all-features && target/release/bench-restart --supervised
//! ```
//!
//! With `--supervised`: restarts under a supervisor beside restarts of the same program without one.
//!
//! One pair after the other in one run, so that a slow moment of the machine falls on both. Both starts are
//! posix_spawn: the library's, and std's `Command` without `pre_exec`. The asking never pauses.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heirloom_bench::load::{Target, fetch};
use heirloom_bench::proc;
use lexopt::prelude::*;
use nix::sys::signal::Signal;

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let (mut pairs, mut probation, mut supervised) = (50_usize, "1s".to_owned(), false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pairs") => pairs = parser.value()?.parse()?,
            Long("probation") => probation = parser.value()?.string()?,
            Long("supervised") => supervised = true,
            other => return Err(other.unexpected().into()),
        }
    }

    // So that every generation can be waited for, and none is left as a zombie.
    nix::sys::prctl::set_child_subreaper(true)?;
    if supervised { beside_a_supervisor(pairs, &probation) } else { beside_a_cold_start(pairs, &probation) }
}

fn beside_a_cold_start(pairs: usize, probation: &str) -> Failable<()> {
    let address = free_address()?;
    let target = Target::Tcp(address);
    let server = start("hello", address, &["--probation", probation])?;
    let mut serving = first_answer(&target, None)?;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Neither is always the one that runs just after the other.
        if pair % 2 == 0 {
            cold.push(cold_start()?);
        }
        let (took, new) = restart(&target, serving, serving)?;
        warm.push(took);
        serving = new;
        if pair % 2 == 1 {
            cold.push(cold_start()?);
        }
    }
    proc::signal(serving, Signal::SIGKILL);
    drop(server);

    let (cold, warm) = (Spread::of(cold), Spread::of(warm));
    println!("first answer after              median ms   p10    p90   ({pairs} alternating pairs)");
    println!("cold start (posix_spawn)        {cold}");
    println!("restart (signal)                {warm}");
    println!(
        "difference of the medians       {:>8.2}   (at most 1 ms is the aim)",
        warm.median - cold.median
    );
    Ok(())
}

fn beside_a_supervisor(pairs: usize, probation: &str) -> Failable<()> {
    let servers = beside_this("heirloom-test-servers")?;
    let made = Command::new(&servers).args(["workers"]).arg(beside_this(WORKERS)?).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("{} cannot run (is it built as above?)", servers.display()).into());
    }
    let mut sides = Vec::new();
    for supervised in ["false", "true"] {
        let address = free_address()?;
        let server = start(WORKERS, address, &["--supervised", supervised, "--probation", probation])?;
        let target = Target::Tcp(address);
        let serving = first_answer(&target, None)?;
        sides.push((supervised == "true", server, target, serving, Vec::new()));
    }
    for pair in 0..pairs {
        // Neither is always the one that runs just after the other.
        for turn in 0..2 {
            let (supervised, server, target, serving, times) = &mut sides[(pair + turn) % 2];
            let asked = if *supervised { server.id() as i32 } else { *serving };
            let (took, new) = restart(target, asked, *serving)?;
            *serving = new;
            times.push(took);
        }
    }
    let mut spreads = Vec::new();
    for (supervised, mut server, _, serving, times) in sides {
        proc::signal(serving, Signal::SIGKILL);
        if supervised {
            server.kill()?;
        }
        server.wait()?;
        spreads.push(Spread::of(times));
    }
    println!("first answer after              median ms   p10    p90   ({pairs} alternating pairs)");
    println!("restart without a supervisor    {}", spreads[0]);
    println!("restart under a supervisor      {}", spreads[1]);
    println!(
        "difference of the medians       {:>8.2}   (at most 1 ms is the aim)",
        spreads[1].median - spreads[0].median
    );
    Ok(())
}

/// Asks `asked` for it; `old` is who serves now.
fn restart(target: &Target, asked: i32, old: i32) -> Failable<(Duration, i32)> {
    let began = Instant::now();
    proc::signal(asked, Signal::SIGHUP);
    let new = first_answer(target, Some(old))?;
    let took = began.elapsed();
    // Neither its drain nor its probation may fall into the next measurement.
    if !proc::wait_for_exit(old, PATIENCE) {
        return Err(format!("pid {old} is still there after {PATIENCE:?}").into());
    }
    Ok((took, new))
}

fn cold_start() -> Failable<Duration> {
    let address = free_address()?;
    let began = Instant::now();
    let mut child = start("hello", address, &["--probation", "0ms"])?;
    first_answer(&Target::Tcp(address), None)?;
    let took = began.elapsed();
    child.kill()?;
    child.wait()?;
    Ok(took)
}

/// Asks until somebody answers who is not `old`.
fn first_answer(target: &Target, old: Option<i32>) -> Failable<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let Ok(answer) = fetch(target, "/pid", PATIENCE) else { continue };
        let pid = answer.body.trim().parse()?;
        if Some(pid) != old {
            return Ok(pid);
        }
    }
    Err(format!("no answer from {target} within {PATIENCE:?}").into())
}

fn beside_this(program: &str) -> Failable<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(program))
}

fn start(program: &str, address: SocketAddr, arguments: &[&str]) -> Failable<Child> {
    let program = beside_this(program)?;
    let mut command = Command::new(&program);
    command.arg("--listen").arg(address.to_string()).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.map_err(|error| format!("{}: {error} (is it built as above?)", program.display()).into())
}

/// Chosen beforehand: reading it from the server's output would be part of the time.
fn free_address() -> Failable<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

struct Spread {
    median: f64,
    p10: f64,
    p90: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
        Spread { median: at(0.5), p10: at(0.1), p90: at(0.9) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>8.2} {:>7.2} {:>6.2}", self.median, self.p10, self.p90)
    }
}

/// The test server of this name.
const WORKERS: &str = "bench-restart-workers";

/// A minute is the start deadline of the library.
const PATIENCE: Duration = Duration::from_secs(60);
