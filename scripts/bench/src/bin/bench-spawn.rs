//! The time from the signal to the new process does not grow with the parent's memory; a fork's would.
//!
//! ```text
//! cargo build --release -p heirloom-bench --all-features && target/release/bench-spawn [--gib 0,1,8] [--rounds 20]
//! ```
//!
//! A `hello` of each size is told to restart into this very program, which as its successor only prints the
//! time and exits. Beside it, in the same run: how long this program, grown to the same size, waits for a
//! child by fork and by posix_spawn.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use heirloom_bench::load;
use lexopt::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use rustix::time::{ClockId, clock_gettime};

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<ExitCode> {
    let now = monotonic();
    // Set for `hello`, so the successor that is this program finds it.
    if std::env::var_os(AS_SUCCESSOR).is_some() {
        println!("{STAMP}{}", now.as_nanos());
        return Ok(ExitCode::from(3));
    }
    let (mut sizes, mut rounds) = ("0,1,8".to_owned(), 20_usize);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("gib") => sizes = parser.value()?.string()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }

    println!(
        "medians of {rounds}, ms      signal to new process | posix_spawn      fork   (of a process this size)"
    );
    for gib in sizes.split(',') {
        let gib: usize = gib.trim().parse()?;
        if available_gib()? < gib + 1 {
            println!("{gib:>3} GiB resident    skipped: {} GiB available", available_gib()?);
            continue;
        }
        let signalled = signal_to_process(gib, rounds)?;
        let ballast = vec![1_u8; gib << 30];
        let spawned = median(rounds, || child_of_mine(&mut Command::new("/bin/true")))?;
        // Setting the uid, here to what it is, is what std does not leave to posix_spawn.
        let forked = median(rounds, || child_of_mine(Command::new("/bin/true").uid(getuid().as_raw())))?;
        drop(std::hint::black_box(ballast));
        println!("{gib:>3} GiB resident    {signalled:>24.2} | {spawned:>11.2} {forked:>9.2}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The time a caller of `spawn` waits.
fn child_of_mine(command: &mut Command) -> Failable<Duration> {
    let began = Instant::now();
    let mut child = command.spawn()?;
    let took = began.elapsed();
    child.wait()?;
    Ok(took)
}

fn signal_to_process(gib: usize, rounds: usize) -> Failable<f64> {
    let mut hello = Hello::start(gib)?;
    hello.become_this_program()?;
    median(rounds, || hello.restart())
}

/// A `hello` in a directory of its own.
struct Hello {
    child: Child,
    lines: Lines<BufReader<PipeReader>>,
    path: PathBuf,
}

impl Hello {
    fn start(gib: usize) -> Failable<Hello> {
        let built = std::env::current_exe()?.with_file_name("hello");
        // Beside the original, so that a hard link to it works.
        let path = built.with_file_name(format!("bench-spawn-{}", std::process::id())).join("hello");
        fs::create_dir_all(path.parent().expect("a directory"))?;
        link(&built, &path)?;
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(&path);
        command.args(["--listen", "127.0.0.1:0", "--ballast-mib"]).arg((gib << 10).to_string());
        command.env(AS_SUCCESSOR, "1").stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        drop(command);
        let mut hello = Hello { child, lines: BufReader::new(reader).lines(), path };
        let line = hello.line_with(LISTENING)?;
        // It answers only when its ballast is in place.
        let target = line.split(LISTENING).nth(1).unwrap_or_default().trim().parse()?;
        load::fetch(&target, "/pid", load::PATIENCE)?;
        Ok(hello)
    }

    fn become_this_program(&self) -> Failable<()> {
        link(&std::env::current_exe()?, &self.path)
    }

    fn restart(&mut self) -> Failable<Duration> {
        let began = monotonic();
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGHUP)?;
        let line = self.line_with(STAMP)?;
        let stamp = line.split(STAMP).nth(1).unwrap_or_default().trim().parse()?;
        // It must be back in its idle state before the next signal.
        self.line_with("restart failed")?;
        Ok(Duration::from_nanos(stamp) - began)
    }

    fn line_with(&mut self, pattern: &str) -> Failable<String> {
        for line in &mut self.lines {
            let line = line?;
            if line.contains(pattern) {
                return Ok(line);
            }
        }
        Err(format!("hello ended without saying {pattern:?}").into())
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.path.parent().expect("a directory"));
    }
}

fn link(from: &Path, to: &Path) -> Failable<()> {
    let new = to.with_extension("new");
    fs::hard_link(from, &new)?;
    Ok(fs::rename(new, to)?)
}

fn median(rounds: usize, mut measure: impl FnMut() -> Failable<Duration>) -> Failable<f64> {
    let mut times = (0..rounds).map(|_| measure()).collect::<Failable<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e3)
}

/// The clock that all processes share.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("a time since the machine's start")
}

fn available_gib() -> Failable<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line =
        meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib >> 20)
}

const AS_SUCCESSOR: &str = "HEIRLOOM_BENCH_SUCCESSOR";
const LISTENING: &str = "listening on ";
const STAMP: &str = "successor runs at ";
