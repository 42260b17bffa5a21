//! What goes wrong around a server: its clock, its memory, its disk, its log, and how long it takes to start.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Resource;

use super::faults::{ALL_OF_A_RESTART, WITHIN_PROBATION};
use super::round::Round;
use support::{binary, proc};

/// The successor's clocks stand elsewhere, by up to years: those of all that it starts do as well.
pub fn clock_jumps(round: &mut Round) {
    let ahead = round.dice.below(1_000_000_000) >> round.dice.below(30);
    round.tell(&format!("its clocks are {ahead} s ahead"));
    begins_with(round, &format!("exec unshare --time --monotonic={ahead} --boottime={ahead}"));
    round.begin_restart();
    sleep(round.dice.moment(ALL_OF_A_RESTART)); // allow: sleep (a random moment is what this is about)
    round.wait_for_calm();
}

pub fn slow_start(round: &mut Round) {
    let takes = Duration::from_millis(round.dice.below(SLOWEST.as_millis() as u64));
    round.tell(&format!("it starts after {takes:?}"));
    begins_with(round, &format!("sleep {}; exec", takes.as_secs_f64()));
    round.begin_restart();
    // Its shell reads the script by its name: another file there would be taken for one.
    round.wait_for_calm();
}

/// What is started next does so by these words of a shell, and then is the good one.
fn begins_with(round: &Round, words: &str) {
    let good = binary::example_path(round.kind.example());
    // By its usual name, so that what it starts itself is what lies there then.
    let becomes = "exec -a \"$1\" \"$0\" \"${@:2}\"";
    round
        .server
        .binary
        .become_script(&format!("{words} bash -c '{becomes}' '{}' \"$0\" \"$@\"", good.display()));
}

/// There is no memory, for whoever starts the successor or for that itself. A program that gets none is aborted, so
/// the one that serves keeps what it needs for that.
pub fn no_memory(round: &mut Round) {
    let (master, of) = (round.master(), round.dice.pick(&[Resource::As, Resource::Data]));
    let has = proc::memory(master, of);
    let for_starting = round.dice.below(2) == 0;
    if for_starting {
        let spare = SERVES_ON + round.dice.below(PLENTY);
        round.tell(&format!("{of:?}: {} KiB are left to {master}", spare >> 10));
        proc::limit_memory_if_there(master, of, Some(has + spare));
    }
    // It may be aborted for it, with what it had accepted.
    round.may_lose();
    let born = round.begin_restart_of(master);
    if let (Some(born), false) = (born, for_starting) {
        let room = round.dice.below(has) >> round.dice.below(8);
        round.tell(&format!("{of:?}: {born} may have {} KiB", room >> 10));
        proc::limit_memory_if_there(born, of, Some(room));
    }
    sleep(round.dice.moment(WITHIN_PROBATION)); // allow: sleep (as above)
    let pids = round.server.processes().into_iter().chain([master]).chain(born);
    pids.for_each(|pid| proc::limit_memory_if_there(pid, of, None));
}

pub fn full_disk(round: &mut Round) {
    let with_names = round.dice.below(2) == 0;
    let in_its_midst = round.dice.below(2) == 0;
    if in_its_midst {
        round.begin_restart();
        sleep(round.dice.moment(ALL_OF_A_RESTART)); // allow: sleep (as above)
    }
    round.tell(if with_names { "no room for a file" } else { "no room for a byte" });
    round.disk().fill(&round.server, with_names);
    if !in_its_midst {
        round.begin_restart();
    }
    match round.dice.below(2) {
        0 => round.wait_for_calm(),
        _ => sleep(round.dice.moment(ALL_OF_A_RESTART)), // allow: sleep (as above)
    }
    round.disk().make_room(&round.server);
}

pub fn unread_log(round: &mut Round) {
    round.server.fill_log(round.master());
    round.begin_restart();
    match round.dice.below(2) {
        0 => round.wait_for_calm(),
        _ => sleep(round.dice.moment(ALL_OF_A_RESTART)), // allow: sleep (as above)
    }
    round.server.read_log();
}

/// Well within the start timeout.
const SLOWEST: Duration = Duration::from_millis(800);

/// Of memory: what a restart asks for in small pieces.
const SERVES_ON: u64 = 4 << 20;

/// A program with all its threads starts with less.
const PLENTY: u64 = 64 << 20;
