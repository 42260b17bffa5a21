//! What goes wrong in a round.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use socket2::SockRef;

use super::dice::Dice;
use super::round::Round;
use super::surroundings;
use support::load::Target;
use support::{Signal, proc};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Restart,
    Burst,
    Broken,
    KillSuccessor,
    KillServing,
    FreezeSuccessor,
    FreezeServing,
    OperatorGone,
    FewDescriptors,
    RudeClients,
    SlowStart,
    ClockJumps,
    NoMemory,
    FullDisk,
    UnreadLog,
}

impl Fault {
    const ALL: [Fault; 15] = [
        Fault::Restart,
        Fault::Burst,
        Fault::Broken,
        Fault::KillSuccessor,
        Fault::KillServing,
        Fault::FreezeSuccessor,
        Fault::FreezeServing,
        Fault::OperatorGone,
        Fault::FewDescriptors,
        Fault::RudeClients,
        Fault::SlowStart,
        Fault::ClockJumps,
        Fault::NoMemory,
        Fault::FullDisk,
        Fault::UnreadLog,
    ];

    pub fn draw(round: &mut Round) -> Fault {
        loop {
            let fault = round.dice.pick(&Fault::ALL);
            if fault.is_possible(round) {
                return fault;
            }
        }
    }

    fn is_possible(self, round: &Round) -> bool {
        match self {
            // Without a probation a successor that is killed may be the whole service already.
            Fault::KillSuccessor | Fault::KillServing | Fault::NoMemory => round.has_probation,
            Fault::FreezeSuccessor | Fault::FreezeServing => round.has_probation,
            // Those who may mount may have clocks of their own as well.
            Fault::FullDisk | Fault::ClockJumps => round.has_disk(),
            _ => true,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::Restart => "restarts",
            Fault::Burst => "bursts of signals",
            Fault::Broken => "broken binaries",
            Fault::KillSuccessor => "killed successors",
            Fault::KillServing => "killed predecessors",
            Fault::FreezeSuccessor => "frozen successors",
            Fault::FreezeServing => "frozen predecessors",
            Fault::OperatorGone => "operators gone",
            Fault::FewDescriptors => "descriptors used up",
            Fault::RudeClients => "rude clients",
            Fault::SlowStart => "slow starts",
            Fault::ClockJumps => "clock jumps",
            Fault::NoMemory => "memory used up",
            Fault::FullDisk => "full disks",
            Fault::UnreadLog => "unread logs",
        }
    }

    pub fn happen(self, round: &mut Round) {
        match self {
            Fault::Restart => drop(round.begin_restart()),
            Fault::Burst => burst(round),
            Fault::Broken => broken(round),
            Fault::KillSuccessor => kill_successor(round),
            Fault::KillServing => kill_serving(round),
            Fault::FreezeSuccessor => freeze_successor(round),
            Fault::FreezeServing => freeze_serving(round),
            Fault::OperatorGone => operator_gone(round),
            Fault::FewDescriptors => few_descriptors(round),
            Fault::RudeClients => rude_clients(round),
            Fault::SlowStart => surroundings::slow_start(round),
            Fault::ClockJumps => surroundings::clock_jumps(round),
            Fault::NoMemory => surroundings::no_memory(round),
            Fault::FullDisk => surroundings::full_disk(round),
            Fault::UnreadLog => surroundings::unread_log(round),
        }
    }
}

fn burst(round: &mut Round) {
    let master = round.master();
    for _ in 0..2 + round.dice.below(50) {
        proc::signal_if_there(master, round.dice.pick(&[Signal::SIGHUP, Signal::SIGUSR2]));
    }
}

fn broken(round: &mut Round) {
    // Of what went before, a restart may be under way that has no process yet: it would be with the good one.
    round.finish_what_is_under_way();
    let binary = &round.server.binary;
    match round.dice.below(7) {
        0 => binary.remove(),
        1 => binary.become_file(&[0xA5; 4096], 0o755),
        2 => binary.become_file(b"#!/bin/sh\nexit 0\n", 0o644),
        3 => binary.become_script("exit 0"),
        4 => binary.become_script("kill -SEGV $$"),
        5 => binary.become_script("exec sleep 1000"),
        _ => binary.become_foreign(round.kind.example()),
    }
    let old = round.server.pid();
    let mark = round.server.mark();
    proc::signal(round.master(), Signal::SIGHUP);
    if let Ok(pid) = round.server.outcome(old, mark) {
        panic!("pid {pid} answers after a restart into a broken binary");
    }
}

fn kill_successor(round: &mut Round) {
    let mark = round.server.mark();
    let Some(born) = round.begin_restart() else { return };
    let after = round.dice.moment(WITHIN_PROBATION);
    sleep(after); // allow: sleep (a random moment is what this is about)
    if !round.server.lines(mark, "settled").is_empty() {
        // This machine was too busy for it: now it is the whole service.
        return round.tell("too late");
    }
    round.may_lose();
    round.tell(&format!("kill {born} after {after:?}"));
    proc::signal_if_there(born, Signal::SIGKILL);
}

/// While a successor is there: it serves then, or a new worker does.
fn kill_serving(round: &mut Round) {
    let serving = round.server.pid();
    if round.begin_restart().is_none() {
        return;
    }
    let after = round.dice.moment(WITHIN_PROBATION);
    sleep(after); // allow: sleep (as above)
    round.may_lose();
    round.tell(&format!("kill {serving} after {after:?}"));
    proc::signal_if_there(serving, Signal::SIGKILL);
}

fn freeze_successor(round: &mut Round) {
    let Some(born) = round.begin_restart() else { return };
    let after = round.dice.moment(WITHIN_PROBATION);
    sleep(after); // allow: sleep (as above)
    // It may be killed for it, with what it had accepted.
    round.may_lose();
    freeze(round, born);
}

fn freeze_serving(round: &mut Round) {
    let serving = round.server.pid();
    if round.begin_restart().is_none() {
        return;
    }
    let after = round.dice.moment(WITHIN_PROBATION);
    sleep(after); // allow: sleep (as above)
    freeze(round, serving);
}

fn freeze(round: &mut Round, pid: i32) {
    let length = Duration::from_millis(round.dice.below(FROZEN.as_millis() as u64));
    round.tell(&format!("freeze {pid} for {length:?}"));
    proc::signal_if_there(pid, Signal::SIGSTOP);
    sleep(length); // allow: sleep (as above)
    proc::signal_if_there(pid, Signal::SIGCONT);
}

fn operator_gone(round: &mut Round) {
    let mut operator = operator(&["restart", "--pid", &round.master().to_string()]);
    let mut operator = operator.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a command");
    sleep(round.dice.moment(OPERATOR)); // allow: sleep (as above)
    operator.kill().and_then(|()| operator.wait()).expect("an operator to kill");
}

pub fn operator(arguments: &[&str]) -> Command {
    let mut operator = Command::new(env!("CARGO_BIN_EXE_heirloom"));
    operator.args(arguments);
    operator
}

fn few_descriptors(round: &mut Round) {
    let master = round.master();
    let spare = proc::fd_count(master) as u64 + round.dice.below(12);
    let limit = proc::limit_fds(master, Some(spare));
    // It may have no descriptor for whoever asks it now.
    let born = round.begin_restart_of(master);
    sleep(round.dice.moment(WITHIN_PROBATION)); // allow: sleep (as above)
    for pid in [Some(master), born].into_iter().flatten() {
        proc::limit_fds_if_there(pid, limit);
    }
    round.server.processes().into_iter().for_each(|pid| proc::limit_fds_if_there(pid, limit));
}

fn rude_clients(round: &mut Round) {
    let Target::Tcp(address) = *round.server.target() else { return };
    let restarts = round.dice.below(2) == 0;
    let clients: Vec<_> =
        (0..1 + round.dice.below(20)).filter_map(|_| rude_client(&mut round.dice, address)).collect();
    if restarts {
        round.begin_restart();
    }
    for client in clients {
        if round.dice.below(2) == 0 {
            // Its end is a reset.
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
        }
    }
}

fn rude_client(dice: &mut Dice, address: SocketAddr) -> Option<TcpStream> {
    let mut client = TcpStream::connect(address).ok()?;
    let bytes: &[u8] = match dice.below(5) {
        0 => b"",
        1 => b"GET /pid HT",
        2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00",
        _ => b"GET /sleep?duration=50ms HTTP/1.1\r\nHost: chaos\r\n\r\nGET /pid HTTP/1.1\r\nHost: chaos\r\n\r\n",
    };
    client.write_all(bytes).ok()?;
    if dice.below(3) == 0 {
        client.shutdown(Shutdown::Write).ok()?;
    }
    Some(client)
}

/// How a round ends.
#[derive(Clone, Copy)]
pub enum Ending {
    Term,
    TwoTerms,
    DuringARestart,
    TermToTheSuccessor,
}

impl Ending {
    pub fn draw(dice: &mut Dice) -> Ending {
        dice.pick(&[Ending::Term, Ending::TwoTerms, Ending::DuringARestart, Ending::TermToTheSuccessor])
    }

    pub fn name(self) -> &'static str {
        match self {
            Ending::Term => "stops",
            Ending::TwoTerms => "stops at once",
            Ending::DuringARestart => "stops during a restart",
            Ending::TermToTheSuccessor => "stops of a successor",
        }
    }

    pub fn happen(self, round: &mut Round) {
        let master = round.master();
        match self {
            Ending::Term => proc::signal(master, Signal::SIGTERM),
            Ending::TwoTerms => {
                proc::signal(master, Signal::SIGTERM);
                proc::signal_if_there(master, Signal::SIGTERM);
            }
            Ending::DuringARestart => {
                round.begin_restart();
                sleep(round.dice.moment(ALL_OF_A_RESTART)); // allow: sleep (as above)
                proc::signal_if_there(master, Signal::SIGTERM);
            }
            Ending::TermToTheSuccessor => {
                let Some(born) = round.begin_restart() else { return };
                sleep(round.dice.moment(ALL_OF_A_RESTART)); // allow: sleep (as above)
                proc::signal_if_there(born, Signal::SIGTERM);
            }
        }
    }
}

/// Well within the second that probation lasts: beyond it, the one that is killed is the whole service.
pub const WITHIN_PROBATION: Duration = Duration::from_millis(300);

pub const ALL_OF_A_RESTART: Duration = Duration::from_millis(1500);

/// Longer than probation, and than the clients' thinking; shorter than their patience.
const FROZEN: Duration = Duration::from_millis(2500);

const OPERATOR: Duration = Duration::from_millis(200);
