//! `heirloom restart`: asks for a restart, and tells what becomes of it.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use heirloom::control::{ClientError, Lost, Peer, Reply, Request, Role};

use crate::exit::{CODES, Code, Failure};
use crate::output::{connections, readable, say, say_json, time};
use crate::session::{Session, deadline_in};
use crate::status;
use crate::target::{Aim, MOVES, Target};

/// Restart a server, and wait for the outcome.
///
/// Prints each step with its time since the request was acted on. If the new process does not make it, its
/// reason and the end of its standard error (where that is a file) are printed, the old process serves on,
/// and the exit status says which kind of failure it was. A request while another restart is on its way is
/// acted on after that one, and waited for.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(crate) struct Restart {
    #[command(flatten)]
    target: Target,
    /// What to wait for: the new process accepts, it is the service for good, or the old one has ended its
    /// connections.
    #[arg(long, value_enum, default_value_t = Wait::Settled)]
    wait: Wait,
    /// How long to wait. The restart itself has the server's own deadlines, and goes on.
    ///
    /// The default is more than those are by default together (60 s to start, 1 s of probation, 60 s to
    /// drain).
    #[arg(long, value_name = "DURATION", default_value = "3min", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print the replies as they come, one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Only send SIGUSR2, to a server without a control socket. What becomes of it is not known then.
    #[arg(long, conflicts_with_all = ["wait", "json", "control"])]
    signal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Wait {
    Ready,
    Settled,
    Drained,
}

/// One restart, as far as it has been told of.
struct Following<'a> {
    wanted: &'a Restart,
    deadline: Instant,
    aim: Aim,
    /// Who answers there.
    peer: Option<Peer>,
    /// Something has been done about it: it must not be asked for twice.
    has_begun: bool,
    /// Who goes on with it.
    passed_on: Option<u32>,
    successor: Option<u32>,
    has_settled: bool,
}

/// What to do after a reply.
enum Next {
    Listen,
    Done,
}

impl Restart {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.signal {
            return self.only_signal();
        }
        let aim = self.target.aim()?;
        let deadline = deadline_in(self.timeout);
        let mut following = Following {
            wanted: self,
            deadline,
            aim,
            peer: None,
            has_begun: false,
            passed_on: None,
            successor: None,
            has_settled: false,
        };
        let mut outcome = following.await_the_outcome();
        for _ in 0..MOVES {
            let Err(failure) = &outcome else { break };
            let Some(aim) = self.target.moved_on(failure, &following.aim) else { break };
            if following.has_begun {
                break;
            }
            following.aim = aim;
            outcome = following.await_the_outcome();
        }
        outcome
    }

    fn only_signal(&self) -> Result<(), Failure> {
        let pid = self.target.process()?;
        let number = i32::try_from(pid)
            .map_err(|_| Failure::new(Code::NotRunning, format!("no process {pid} is running")))?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGUSR2)
            .map_err(|errno| match errno {
                nix::errno::Errno::EPERM => {
                    Failure::new(Code::NoPermission, format!("process {pid} is another user's"))
                }
                _ => Failure::new(Code::NotRunning, format!("no process {pid} is running")),
            })?;
        say(&format!("sent SIGUSR2 to process {pid}; whether it restarts is for its own log to tell"));
        Ok(())
    }
}

impl Following<'_> {
    fn await_the_outcome(&mut self) -> Result<(), Failure> {
        let mut request = Request::Restart;
        loop {
            let mut session = Session::open(&self.aim, &request, self.deadline)?;
            self.peer = Some(session.peer());
            let heir = loop {
                match session.next() {
                    Ok(Some(reply)) => match self.hear(&reply)? {
                        Next::Listen => {}
                        Next::Done => return Ok(()),
                    },
                    Ok(None) => match self.passed_on.take() {
                        // Its release of heirloom does not go on with the connection, and so has to be asked.
                        Some(pid) => break pid,
                        None => return self.lost_contact(),
                    },
                    Err(ClientError::TimedOut { .. }) => return Err(self.out_of_time()),
                    Err(error) => return Err(error.into()),
                }
            };
            self.aim = self.kin(heir)?;
            request = Request::Follow;
        }
    }

    fn hear(&mut self, reply: &Reply) -> Result<Next, Failure> {
        if self.wanted.json {
            say_json(&reply.line());
        }
        let reply = &readable(reply)?;
        if !matches!(reply, Reply::PassedOn { .. }) {
            self.passed_on = None;
        }
        self.has_begun |= !matches!(reply, Reply::Refused { .. } | Reply::Error { .. });
        let step = |name: &str, after_ms: f64, what: &str| {
            if !self.wanted.json {
                say(format!("{name:<12}{:>9}  {what}", time(after_ms)).trim_end());
            }
        };
        let is_enough = |reached: Wait| if self.wanted.wait <= reached { Next::Done } else { Next::Listen };
        match reply {
            Reply::Remembered => self.note("another restart is on its way; this one follows it"),
            Reply::Spawned { pid, after_ms, .. } => {
                step("spawned", *after_ms, &format!("process {pid}"));
                self.successor = Some(*pid);
            }
            Reply::Initialised { after_ms, .. } => step("initialised", *after_ms, ""),
            Reply::Ready { pid, after_ms, .. } => {
                step("ready", *after_ms, "it accepts, and is watched");
                self.successor = Some(*pid);
                return Ok(is_enough(Wait::Ready));
            }
            Reply::Settled { pid, after_ms, .. } => {
                step("settled", *after_ms, &format!("process {pid} serves"));
                (self.successor, self.has_settled) = (Some(*pid), true);
                return Ok(is_enough(Wait::Settled));
            }
            Reply::Moved { connections: count, after_ms, .. } => {
                step("moved", *after_ms, &connections(*count));
            }
            Reply::Progress { left, oldest, within_ms, .. } => {
                let left: u64 = left.values().sum();
                let oldest = oldest.as_ref().map(status::described).unwrap_or_default();
                self.note(&format!("{} left, hammer in {}; {oldest}", connections(left), time(*within_ms)));
            }
            Reply::Drained { after_ms, moved, aborted, .. } => {
                step("drained", *after_ms, &format!("{} moved, {aborted} aborted", connections(*moved)));
                return Ok(is_enough(Wait::Drained));
            }
            Reply::PassedOn { pid, .. } => {
                self.note(&format!("that one has settled; process {pid} goes on with this one"));
                self.passed_on = Some(*pid);
            }
            Reply::Failed(lost) => return Err(failed(Code::Failed, "restart failed", lost)),
            Reply::TakenBack(lost) => return Err(failed(Code::TakenBack, "restart taken back", lost)),
            Reply::Refused { reason, .. } => {
                return Err(Failure::new(Code::Refused, format!("restart refused: {reason}")));
            }
            Reply::Stopped => {
                return Err(Failure::new(Code::Stopped, "the service was stopped during the restart"));
            }
            Reply::Error { code, reason, .. } => return Err(Failure::told(*code, reason)),
            _ => {}
        }
        Ok(Next::Listen)
    }

    fn note(&self, what: &str) {
        if !self.wanted.json {
            say(what);
        }
    }

    fn out_of_time(&self) -> Failure {
        let timeout = humantime::format_duration(self.wanted.timeout);
        let wanted = match self.wanted.wait {
            Wait::Ready => "ready",
            Wait::Settled => "settled",
            Wait::Drained => "drained",
        };
        let state = match (self.has_settled, self.successor) {
            (true, Some(pid)) => format!("process {pid} serves, and the old one still drains"),
            (_, Some(pid)) => format!("the restart goes on in process {pid}"),
            _ => "the restart goes on".to_owned(),
        };
        Failure::new(Code::TimedOut, format!("not {wanted} within {timeout}; {state}"))
    }

    /// The process that was asked has ended before the outcome: killed, most likely. Its successor goes on
    /// alone.
    fn lost_contact(&self) -> Result<(), Failure> {
        if !self.has_begun {
            // What is acted on is answered in the same breath.
            return Err(Failure::new(
                Code::NotRunning,
                "the process has ended before it has read the request",
            ));
        }
        let lost = |what: &str| {
            Err(Failure::new(Code::Lost, format!("the old process has ended without a word; {what}")))
        };
        let Some(pid) = self.successor else { return lost("it was starting a successor, or stopping") };
        if self.has_settled {
            return lost(&format!("process {pid} serves, the old one's connections are lost"));
        }
        let Ok(aim) = self.kin(pid) else {
            return lost(&format!("process {pid}, its successor, does not answer"));
        };
        while Instant::now() < self.deadline {
            let (status, _) = status::fetch(&aim, self.deadline)?;
            match status.generations.iter().find(|generation| generation.pid == pid).map(|found| found.role) {
                Some(Role::Serving) => {
                    self.note(&format!("the old process has ended without a word; process {pid} serves"));
                    return Ok(());
                }
                Some(Role::Starting | Role::Probation) => {
                    // It takes over by itself, and tells nobody whom it does not know.
                    std::thread::sleep(AGAIN);
                }
                _ => return lost(&format!("process {pid}, its successor, does not serve either")),
            }
        }
        Err(self.out_of_time())
    }

    /// Another generation of the same server.
    fn kin(&self, pid: u32) -> Result<Aim, Failure> {
        match self.peer {
            Some(peer) => Ok(self.aim.kin(pid, peer)?),
            None => Ok(Aim::process(pid)?),
        }
    }
}

/// How often a successor that has lost its predecessor is asked whether it serves: it takes milliseconds.
const AGAIN: Duration = Duration::from_millis(20);

fn failed(code: Code, what: &str, lost: &Lost) -> Failure {
    let Lost { reason, stderr, stderr_goes_to, after_ms, .. } = lost;
    let mut message = format!("{what} after {}: {reason}; the old process serves on", time(*after_ms));
    if !stderr.is_empty() {
        message += "\nwritten to standard error since the new process was started:";
        // Its own lines are indented as well: see `plain`.
        message += "\n    ";
        message += stderr;
    }
    if let Some(place) = stderr_goes_to {
        message += &format!("\nwhat the new process wrote to standard error went to {place}");
    }
    Failure::new(code, message)
}
