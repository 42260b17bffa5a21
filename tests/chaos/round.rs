//! One round: a server, its loads, some faults, and its end.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::disk::Disk;
use super::faults::{Ending, Fault, operator};
use support::load::{Load, Mode, Report, Think};
use support::{Server, Setup, Signal, proc};

/// Who restarts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Itself.
    Library,
    /// The library's supervisor.
    Supervisor,
    /// `heirloom run`.
    Run,
}

impl Kind {
    pub fn of(round: u64) -> Kind {
        [Kind::Library, Kind::Supervisor, Kind::Run][(round % 3) as usize]
    }

    pub fn is_supervised(self) -> bool {
        self != Kind::Library
    }

    /// The program that its generations run.
    pub fn example(self) -> &'static str {
        if self == Kind::Supervisor { "workers" } else { "hello" }
    }

    /// With a disk of its own, where that can be had.
    fn start(self, probation: &str) -> (Server, Option<Disk>) {
        let setup = Setup::example(self.example());
        let (disk, words) = Disk::there_may_be().then(|| Disk::of(&setup)).unzip();
        let deadlines = ["--probation", probation, "--start-timeout", START_TIMEOUT, "--drain-timeout", "5s"];
        let files = disk.as_ref().map(Disk::options).into_iter().flatten();
        let options: Vec<String> = deadlines.map(str::to_owned).into_iter().chain(files).collect();
        let words = words.unwrap_or_default().into_iter();
        let setup = match self {
            Kind::Run => {
                let run =
                    [env!("CARGO_BIN_EXE_heirloom"), "run", "--listen", "127.0.0.1:0", "--ready", "heirloom"];
                let run = run.map(str::to_owned).into_iter().chain(options).chain(["--".to_owned()]);
                setup.under(words.chain(run))
            }
            _ => options.into_iter().fold(setup.under(words), |setup, option| setup.arg(option)),
        };
        (setup.start(), disk)
    }
}

/// What happened so far, for whoever has to understand a violation.
#[derive(Default)]
pub struct Story(RefCell<Vec<String>>);

impl Story {
    pub fn add(&self, line: String) {
        self.0.borrow_mut().push(line);
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What a round came to.
pub struct Summary {
    pub faults: Vec<&'static str>,
    pub requests: u64,
    pub lost: u64,
}

pub struct Round<'a> {
    pub kind: Kind,
    pub dice: Dice,
    pub server: Server,
    /// A fault may kill what serves in probation only if that is long enough to be met.
    pub has_probation: bool,
    disk: Option<Disk>,
    story: &'a Story,
    began: Instant,
    loads: Vec<Load>,
    /// How many requests killed processes may have held.
    held: u64,
    faults: Vec<&'static str>,
}

impl<'a> Round<'a> {
    pub fn start(kind: Kind, seed: u64, number: u64, story: &'a Story) -> Round<'a> {
        let mut dice = Dice::new(seed, number);
        let has_probation = dice.below(4) > 0;
        let probation = if has_probation { "1s" } else { dice.pick(&["0ms", "50ms"]) };
        let (server, disk) = kind.start(probation);
        let modes = [
            Mode::new_connections(CLIENTS, Think::millis(0, 3)),
            Mode::keep_alive(CLIENTS, Think::millis(0, 5)),
            Mode::keep_alive(CLIENTS, Think::NONE),
            Mode::keep_alive_late(CLIENTS, Think::millis(0, 10)),
        ];
        let loads = [0, 1 + dice.below(3)].map(|mode| server.load(modes[mode as usize].clone()));
        story.add(format!("{kind:?}, probation {probation}, as pid {}", server.first_pid));
        Round {
            kind,
            dice,
            server,
            has_probation,
            disk,
            story,
            began: Instant::now(),
            loads: loads.into(),
            held: 0,
            faults: vec![],
        }
    }

    pub fn run_to_its_end(mut self) -> Summary {
        self.wait_for_answers();
        for _ in 0..1 + self.dice.below(FAULTS) {
            let fault = Fault::draw(&mut self);
            self.faults.push(fault.name());
            self.tell(fault.name());
            fault.happen(&mut self);
            self.server.binary.become_example(self.kind.example());
            self.wait_for_calm();
            self.wait_until_right(Disk::wrong_pid_file);
            self.wait_for_answers();
        }
        self.tell("a good restart");
        self.must_restart();
        // One that could not be swapped for want of room is right after the next restart.
        self.wait_until_right(Disk::wrong_control_path);
        let (requests, lost) = self.settle_accounts();
        let ending = Ending::draw(&mut self.dice);
        self.tell(ending.name());
        ending.happen(&mut self);
        self.faults.push(ending.name());
        self.must_end();
        Summary { faults: self.faults, requests, lost }
    }

    pub fn tell(&self, what: &str) {
        self.story.add(format!("{:8.3} s {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Who is asked to restart.
    pub fn master(&self) -> i32 {
        if self.kind.is_supervised() { self.server.first_pid } else { self.server.pid() }
    }

    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a disk, for a fault of disks")
    }

    /// Something is about to be killed, and with it at most one request of each client.
    pub fn may_lose(&mut self) {
        self.held += 2 * CLIENTS as u64;
    }

    /// Asks for a restart, and returns the process that is started for it, if one is.
    pub fn begin_restart(&mut self) -> Option<i32> {
        let master = self.master();
        self.begin_restart_of(master)
    }

    pub fn begin_restart_of(&mut self, master: i32) -> Option<i32> {
        let signal = self.dice.pick(&[Signal::SIGHUP, Signal::SIGUSR2]);
        // One that has ended is a child until it is reaped.
        let known = proc::children(master);
        proc::signal(master, signal);
        let deadline = Instant::now() + BIRTH;
        while Instant::now() < deadline {
            // Asked without a pause: the first microseconds count.
            if let Some(born) = proc::children(master).into_iter().find(|pid| !known.contains(pid)) {
                return Some(born);
            }
        }
        None
    }

    /// One more restart, which is the last: whoever asks for it hears of it when it has settled.
    pub fn finish_what_is_under_way(&self) {
        loop {
            let asked = self.master();
            let said = operator(&["restart", "--pid", &asked.to_string()]).output().expect("a command");
            if said.status.success() {
                break;
            }
            // A restart that was remembered came first: who was asked drains by now, or is gone.
            let is_another =
                matches!(said.status.code(), Some(NOT_RUNNING | REFUSED)) && self.master() != asked;
            let why = String::from_utf8_lossy(&said.stderr);
            assert!(is_another, "a restart that should work: {why}");
        }
        self.wait_for_calm();
    }

    /// Waits until nothing is under way: one process serves, and nobody else is left beside its supervisor.
    pub fn wait_for_calm(&self) {
        let (deadline, expected) = (Instant::now() + CALM, 1 + usize::from(self.kind.is_supervised()));
        loop {
            let processes = self.server.processes();
            if processes.len() == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{processes:?} are left after {CALM:?}, not {expected}");
            // allow: sleep (between two looks into /proc; nothing tells another process of an end)
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whatever went before: with room on the disk, what is there leads to the process that is to be asked.
    fn wait_until_right(&self, wrong: fn(&Disk, &Server, i32) -> Option<String>) {
        let Some(disk) = &self.disk else { return };
        let deadline = Instant::now() + CALM;
        // A restart that was remembered may still change who that is.
        while let Some(wrong) = wrong(disk, &self.server, self.master()) {
            assert!(
                Instant::now() < deadline,
                "pid {} is the one to ask, and {wrong} after {CALM:?}",
                self.master()
            );
            // allow: sleep (between two looks; nothing tells of a file's new text)
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_answers(&self) {
        self.loads.iter().for_each(|load| load.wait_for_requests(20));
    }

    /// After whatever went before, the next restart works.
    fn must_restart(&self) {
        let old = self.server.pid();
        self.finish_what_is_under_way();
        assert_ne!(self.server.pid(), old, "a restart that should work");
    }

    /// Ends the loads; returns how much they asked and lost.
    fn settle_accounts(&mut self) -> (u64, u64) {
        let reports: Vec<Report> = self.loads.drain(..).map(Load::stop).collect();
        for report in &reports {
            report.assert_lost_at_most(self.held);
        }
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        (sum(|report| report.requests), sum(Report::failed))
    }

    /// Whatever came before: a process that still serves obeys TERM, and nothing is left.
    fn must_end(&self) {
        let (began, mut asked) = (Instant::now(), Instant::now());
        loop {
            let processes = self.server.processes();
            if processes.is_empty() {
                return;
            }
            assert!(began.elapsed() < END, "{processes:?} are left {END:?} after the first TERM");
            if asked.elapsed() > ASK_AGAIN {
                asked = Instant::now();
                // To a worker alone it may have meant only that worker.
                processes.iter().for_each(|pid| proc::signal_if_there(*pid, Signal::SIGTERM));
            }
            // allow: sleep (between two looks into /proc; nothing tells another process of an end)
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Of each of the two loads.
const CLIENTS: usize = 4;

/// At most so many in a round, and then a good restart: more would only hide which of them it was.
const FAULTS: u64 = 5;

/// Of what hangs; what is good starts within it on any machine.
const START_TIMEOUT: &str = "10s";

/// Exit statuses of `heirloom restart`.
const NOT_RUNNING: i32 = 3;
const REFUSED: i32 = 6;

/// A restart that is refused has no child; one that is accepted has one within milliseconds.
const BIRTH: Duration = Duration::from_secs(5);

/// Above the sum of a start, a probation and a drain, several times over.
const CALM: Duration = Duration::from_secs(60);

/// Above the shutdown timeout of 9 s that every server here has, with time to be told a second time.
const END: Duration = Duration::from_secs(40);

const ASK_AGAIN: Duration = Duration::from_secs(3);
