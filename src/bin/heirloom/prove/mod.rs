//! `heirloom prove`: restarts any server under clients that never retry, and names what they lose.
//!
//! What is known of the server comes from outside alone: what clients see, and who holds the listening socket
//! (`kernel`). So it can be written in any language, and restart in any way.
//!
//! | file | what it does |
//! |---|---|
//! | `clients/` | one kind of client each, over and over; writes to `record` |
//! | `wire/` | a connection, on which nothing is tried twice; the tests' load client has it as well |
//! | `wanted` | reads from the options what is to be done |
//! | `trigger`, `restarting` | asks for a restart, and watches how far it has come |
//! | `faults`, `program` | does harm in the middle of one, and makes it good again |
//! | `server` | starts the server, and ends it |
//! | `judge`, `loss` | names each loss, and its moment |
//! | `report/` | text, JSON, JUnit, SVG |
//!
//! Hazards: a client must not try anything twice, and must not close before the server says so; both would
//! hide what is looked for. Every wait is bounded: a client's by `--patience`, a restart's by
//! `--restart-timeout`, all of it by `--timeout`.

mod clients;
mod faults;
mod judge;
mod kernel;
mod loss;
mod program;
mod record;
mod report;
mod restarting;
mod server;
mod trigger;
mod url;
mod wanted;
mod wire;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use heirloom::Signal;
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::{CODES, Code, Failure};
use crate::output::{say, say_json};
use clients::{Clients, Kind, Plan};
use faults::{Fault, Means};
use judge::Evidence;
use report::Report;
use restarting::{Restart, Watch};
use server::Server;
use url::Url;
use wanted::Faults;

/// Find out what a server loses when it restarts: any server, restarted in any way.
///
/// Clients of many kinds use it, none of which tries anything twice, while it is restarted over and over.
/// Each loss is named by its kind and by its moment in the restart, with what usually causes it. Processes
/// are told apart by who holds the listening socket, so this must run on the server's machine, as its user or
/// root.
///
/// heirloom prove --url http://127.0.0.1:8080/ --signal USR2 --pid-file /run/server.pid
///
/// heirloom prove --url http://127.0.0.1:8080/ -- ./server --listen 127.0.0.1:8080
///
/// The exit status is 0 if nothing was lost, 14 if something was.
#[derive(Args, Debug)]
#[command(after_help = CODES)]
pub(crate) struct Prove {
    /// What the clients ask for. The answer should be short and quick.
    #[arg(long)]
    url: Url,

    /// How often to restart.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    restarts: u32,

    /// Restart by this command, for a shell. It finds the process that serves in SERVER_PID.
    #[arg(long, value_name = "CMD", conflicts_with_all = ["signal", "pid", "pid_file"])]
    restart_command: Option<String>,

    /// Restart by this signal, to --pid, --pid-file or the COMMAND.
    #[arg(long, value_name = "SIGNAL", default_value = "USR2", value_parser = wanted::signal)]
    signal: Signal,

    /// The process to signal. When it is gone after a restart, the one that serves is signalled.
    #[arg(long, value_name = "PID", conflicts_with = "pid_file", value_parser = clap::value_parser!(i32).range(2..))]
    pid: Option<i32>,

    /// The file that names the process to signal, read before each restart.
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,

    /// Then harm it in the middle of a restart, too: all of broken-binary, hang, kill, burst and term that
    /// can be done, or those named. Each is followed by one more restart, which has to work. term ends the
    /// server, so it comes last, and only for a COMMAND.
    #[arg(
        long, value_name = "FAULT", value_delimiter = ',', value_parser = wanted::fault,
        num_args = 0.., require_equals = true
    )]
    faults: Option<Vec<Fault>>,

    /// For broken-binary: a symbolic link that restarts execute, which is replaced for two seconds. Without
    /// it the COMMAND runs from a copy of its program, and the copy is replaced.
    #[arg(long, value_name = "LINK", requires = "faults")]
    program: Option<PathBuf>,

    /// What a slow reader asks for instead: a path with a long answer shows more.
    #[arg(long, value_name = "PATH", value_parser = wanted::path)]
    large: Option<String>,

    /// A path that takes the server a while, for one more kind of client.
    #[arg(long, value_name = "PATH", value_parser = wanted::path)]
    slow: Option<String>,

    /// Where to send bodies instead, by POST: 64 KiB each.
    #[arg(long, value_name = "PATH", value_parser = wanted::path)]
    upload: Option<String>,

    /// A WebSocket that sends back what it gets, for one more kind of client.
    #[arg(long, value_name = "PATH", value_parser = wanted::path)]
    websocket: Option<String>,

    /// A stream of events, for one more kind of client. Two events must not be further apart than --patience.
    #[arg(long, value_name = "PATH", value_parser = wanted::path)]
    events: Option<String>,

    /// For https: the certificates to believe, as PEM.
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "PATH", conflicts_with = "insecure")]
    ca: Option<PathBuf>,

    /// For https: believe any certificate.
    #[cfg(feature = "tls")]
    #[arg(long)]
    insecure: bool,

    /// The kinds of clients to use, instead of all.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = wanted::kind)]
    only: Vec<Kind>,

    /// How many clients of each kind.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=100))]
    clients: u16,

    /// How long a client waits for an answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    patience: Duration,

    /// An answer to a quick client (new, kept, round-trip, blind) that takes longer is a loss. Without it
    /// only --patience is.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_latency: Option<Duration>,

    /// How long a restart may take, until the old process is gone.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    restart_timeout: Duration,

    /// The time between the end of a restart and the next one.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    pause: Duration,

    /// How long all of it may take. What was seen by then is reported, and the exit status is 9 if nothing
    /// was lost.
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Also use a server whose address is not this machine's loopback: it gets some hundred requests a
    /// second.
    #[arg(long)]
    not_loopback: bool,

    /// Print the report as one JSON object on a line instead.
    #[arg(long)]
    json: bool,

    /// Write it for a CI server, too.
    #[arg(long, value_name = "PATH")]
    junit: Option<PathBuf>,

    /// Draw the times of answers around the restarts, too.
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,

    /// Where what COMMAND writes goes, instead of standard error.
    #[arg(long, value_name = "PATH", requires = "command")]
    log: Option<PathBuf>,

    /// Start this server first, and stop it at the end.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Set by INT and TERM: what was seen so far is reported.
type Interrupted = Arc<AtomicBool>;

/// The kinds of clients that are served while nothing is restarted, with their status.
type Served = Vec<(Kind, u16)>;

/// Those that are not, and why.
type LeftOut = Vec<(Kind, String)>;

impl Prove {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let address = self.url.address;
        if !address.ip().to_canonical().is_loopback() && !self.not_loopback {
            let why =
                format!("{address} is not this machine's loopback: if that is meant, say --not-loopback");
            return Err(Failure::new(Code::Refused, why));
        }
        let interrupted = Interrupted::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        if self.url.is_tls && cfg!(not(feature = "tls")) {
            let why = "this command was built without https: cargo install heirloom --features cli,tls";
            return Err(Failure::new(Code::Usage, why));
        }
        let began = Instant::now();
        let faults = self.faults()?;
        let mut means = Means { program: self.program_to_break(&faults.0)?, hang: self.patience / 2 };
        let mut server = None;
        if !self.command.is_empty() {
            let mut command = self.command.clone();
            if let Some(program) = means.program.as_ref().filter(|_| self.program.is_none()) {
                command[0] = program.path().as_os_str().to_owned();
            }
            let log = self.log.as_deref();
            let started = Server::start(&command, address, log, self.restart_timeout, &interrupted);
            server = Some(started.map_err(not_running)?);
        }
        let trigger = self.trigger(server.as_ref())?;
        let watch =
            Watch { address, trigger: &trigger, deadline: self.restart_timeout, interrupted: &interrupted };
        let evidence = self.gather(&watch, server.as_mut(), faults, &mut means, began)?;
        drop(server);
        self.report(&evidence)
    }

    /// Tries out what the server does in quiet, and then restarts it under all clients.
    fn gather(
        &self,
        watch: &Watch<'_>,
        mut server: Option<&mut Server>,
        (faults, mut not_made): Faults,
        means: &mut Means,
        began: Instant,
    ) -> Result<Evidence, Failure> {
        let plan = Arc::new(self.plan()?);
        if server.is_some() {
            // It may listen before it serves.
            self.wait_to_be_served(&plan, watch.interrupted);
        }
        let (kinds, left_out) = self.calm(&plan)?;
        let mut rounds = vec![None; self.restarts as usize];
        for fault in faults {
            rounds.push(Some(fault));
            // After TERM nobody is left to restart.
            rounds.extend((fault != Fault::Term).then_some(None));
        }
        let wanted = rounds.len();
        let bar = bar(wanted as u64);
        let clients = Clients::start(&plan, &kinds, usize::from(self.clients));
        let clients = clients.map_err(|why| Failure::new(Code::Other, why))?;
        let (mut restarts, mut cut_short) = (Vec::new(), None);
        for fault in &rounds {
            cut_short = self.wait(self.pause, watch, began);
            if cut_short.is_some() {
                break;
            }
            match watch.restart(&restarts, fault.map(|fault| (fault, &mut *means))) {
                Ok(restart) => restarts.push(restart),
                Err(why) if restarts.is_empty() => return Err(not_running(why)),
                Err(why) => cut_short = Some(why),
            }
            if let Some(server) = server.as_deref_mut() {
                server.reap();
            }
            progress(&bar, &clients, &restarts);
            if cut_short.is_some() || is_hopeless(&restarts) {
                break;
            }
        }
        if cut_short.is_none() && is_hopeless(&restarts) && restarts.len() < wanted {
            cut_short = Some("nobody serves any more, or no restart is made".to_owned());
        }
        if let Some(why) = &cut_short {
            let left = rounds.into_iter().skip(restarts.len()).flatten();
            not_made.extend(left.map(|fault| (fault, format!("it did not come to that: {why}"))));
        }
        // What a restart does to the clients may come after it.
        cut_short = cut_short.or(self.wait(self.pause, watch, began));
        bar.finish_and_clear();
        Ok(Evidence {
            url: format!(
                "{}://{}{}",
                if self.url.is_tls { "https" } else { "http" },
                self.url.host,
                self.url.path
            ),
            wanted,
            began,
            restarts,
            seen: clients.stop().take(),
            left_out,
            not_made,
            kinds: kinds.into_iter().map(|(kind, _)| kind).collect(),
            cut_short,
        })
    }

    /// What it does not serve by then is told by what comes next.
    fn wait_to_be_served(&self, plan: &Arc<Plan>, interrupted: &Interrupted) {
        let until = Instant::now() + self.restart_timeout;
        while Instant::now() < until && !interrupted.load(Ordering::Relaxed) {
            if clients::calm(plan, &[Kind::New]).iter().all(|(_, tried)| tried.is_ok()) {
                return;
            }
            thread::sleep(OFTEN);
        }
    }

    /// The kinds that the server serves while nothing is restarted, with their status, and why not the
    /// others.
    fn calm(&self, plan: &Arc<Plan>) -> Result<(Served, LeftOut), Failure> {
        let is_wanted = |kind: &Kind| match kind {
            Kind::Slow if self.slow.is_none() => false,
            Kind::WebSocket if self.websocket.is_none() => false,
            Kind::Events if self.events.is_none() => false,
            kind => self.only.is_empty() || self.only.contains(kind),
        };
        let wanted: Vec<Kind> = Kind::ALL.into_iter().filter(is_wanted).collect();
        let (mut kinds, mut left_out) = (Vec::new(), Vec::new());
        for (kind, tried) in clients::calm(plan, &wanted) {
            match tried {
                Ok(status) => kinds.push((kind, status)),
                Err(trouble) => left_out.push((kind, trouble)),
            }
        }
        match (kinds.is_empty(), left_out.first()) {
            (true, Some((kind, trouble))) => {
                let (address, kind) = (self.url.address, kind.name());
                let why = format!("{address} does not serve: {trouble} (client: {kind})");
                Err(Failure::new(Code::NotRunning, why))
            }
            _ => {
                let why = |trouble| format!("the server fails it without a restart, too: {trouble}");
                Ok((kinds, left_out.into_iter().map(|(kind, trouble)| (kind, why(trouble))).collect()))
            }
        }
    }

    /// Why to stop, if there is a reason.
    fn wait(&self, time: Duration, watch: &Watch<'_>, began: Instant) -> Option<String> {
        let until = Instant::now() + time;
        loop {
            if watch.interrupted.load(Ordering::Relaxed) {
                return Some("interrupted".to_owned());
            }
            if began.elapsed() >= self.timeout {
                return Some(format!("--timeout {} has passed", humantime::format_duration(self.timeout)));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::sleep(left.min(OFTEN));
        }
    }

    fn report(&self, evidence: &Evidence) -> Result<(), Failure> {
        let (report, chart) = (evidence.judge(), evidence.chart());
        match self.json {
            true => say_json(&report),
            false => say(&report::text(&report, &chart)),
        }
        let junit = self.junit.as_ref().map(|path| (path, report::junit(&report)));
        let svg = self.svg.as_ref().map(|path| (path, report::svg(&report, &chart)));
        for (path, text) in junit.into_iter().chain(svg) {
            let written = fs::write(path, text);
            written.map_err(|error| Failure::new(Code::Other, format!("{}: {error}", path.display())))?;
        }
        verdict(&report)
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let losses = report.losses();
    if losses > 0 {
        let names: Vec<&str> = report.findings.iter().map(|finding| finding.loss.name()).collect();
        let noun = if losses == 1 { "loss" } else { "losses" };
        return Err(Failure::new(Code::Unproven, format!("{losses} {noun}: {}", names.join(", "))));
    }
    match &report.cut_short {
        Some(why) => {
            Err(Failure::new(Code::TimedOut, format!("nothing was lost, but it is not proven: {why}")))
        }
        None => Ok(()),
    }
}

/// Whether nothing more is to be learnt.
fn is_hopeless(restarts: &[Restart]) -> bool {
    let is_vain = |restart: &Restart| {
        restart
            .fault
            .as_ref()
            .is_some_and(|(loss, _)| matches!(loss, loss::Loss::Gone | loss::Loss::NoSuccessor))
    };
    restarts.last().is_some_and(|last| matches!(last.fault, Some((loss::Loss::Gone, _))))
        || restarts.iter().rev().take_while(|restart| is_vain(restart)).count() >= IN_VAIN
}

fn bar(restarts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} restarts, {wide_msg}");
    ProgressBar::new(restarts).with_style(style.expect("a template of this program's own"))
}

fn progress(bar: &ProgressBar, clients: &Clients, restarts: &[Restart]) {
    let (good, lost) = clients.record().totals();
    let faults = restarts.iter().filter(|restart| restart.fault.is_some()).count() as u64;
    bar.set_position(restarts.len() as u64);
    bar.set_message(format!("{good} exchanges, {} lost", lost + faults));
}

fn not_running(why: String) -> Failure {
    Failure::new(Code::NotRunning, why)
}

/// How soon INT and TERM are heard.
const OFTEN: Duration = Duration::from_millis(50);

/// So many restarts in a row without a new process.
const IN_VAIN: usize = 3;
