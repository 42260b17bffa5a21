//! Every generation that is alive, from whichever was asked.
//!
//! A process knows its predecessor and its successor. Those are asked, then whom they name, and so on; and
//! since the one in between may have ended first, so are the processes whose sockets lie in the same
//! directory: what belongs together says that it began at the same moment. What a process says of itself
//! counts more than what others say of it.
//!
//! All of it is bounded, by a number and by a time, whatever they say: one that is frozen costs that time,
//! and is listed as the others name it.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use heirloom::control::{GenerationStatus, Peer, Role, ServiceStatus, sibling};

use super::fetch;
use crate::target::Aim;

/// How long all of it may take: each answers at once, and the whole command is to have answered within two
/// seconds.
const WITHIN: Duration = Duration::from_secs(1);

/// How many processes are asked: more generations than anybody has alive, and few enough threads.
const MOST: usize = 100;

/// The status of one process becomes that of the service.
pub(super) fn complete(status: &mut ServiceStatus, aim: &Aim, peer: Peer) {
    let mut look = Look { aim, peer, deadline: Instant::now() + WITHIN, asked: BTreeSet::from([status.pid]) };
    loop {
        // In one go: a frozen one takes all the time that there is.
        let mut whom = look.named(status);
        whom.extend(look.beside(status));
        if whom.is_empty() {
            break;
        }
        for told in look.ask(whom) {
            merge(status, told);
        }
    }
    status.generations.sort_by_key(|generation| (generation.generation, generation.pid));
    settle_who_serves(status);
}

struct Look<'a> {
    aim: &'a Aim,
    peer: Peer,
    deadline: Instant,
    /// By process id, as their own namespace has it.
    asked: BTreeSet<u32>,
}

/// One to ask, and whether it is known to be of this service.
struct Whom {
    pid: u32,
    aim: Aim,
    born: Option<u64>,
}

impl Look<'_> {
    /// Those that others have named.
    fn named(&mut self, status: &ServiceStatus) -> Vec<Whom> {
        let unheard = status.generations.iter().filter(|generation| generation.detail.is_none());
        let unheard = unheard
            .filter_map(|generation| Some((generation.pid, self.aim.generation(generation, self.peer)?)));
        let supervisor = status.supervisor.and_then(|pid| Some((pid, self.aim.kin(pid, self.peer).ok()?)));
        let all: Vec<_> = unheard.chain(supervisor).collect();
        self.unasked(all, None)
    }

    /// Those whose sockets lie in the same directory.
    fn beside(&mut self, status: &ServiceStatus) -> Vec<Whom> {
        if status.born_unix_ms == 0 || status.kind != "restarter" {
            return Vec::new();
        }
        let entries = self.aim.socket.parent().and_then(|directory| directory.read_dir().ok());
        let entries = entries.into_iter().flatten().flatten().take(LOOKED_AT);
        let all = entries.filter_map(|entry| {
            let pid = pid_in(entry.file_name().as_bytes())?;
            Some((pid, self.aim.kin(pid, self.peer).ok()?))
                .filter(|(_, aim)| aim.socket == entry.path() && sibling(&aim.socket, pid).is_some())
        });
        let all = all.collect();
        self.unasked(all, Some(status.born_unix_ms))
    }

    fn unasked(&mut self, all: Vec<(u32, Aim)>, born: Option<u64>) -> Vec<Whom> {
        let new = all.into_iter().filter(|(pid, _)| self.asked.len() < MOST && self.asked.insert(*pid));
        new.map(|(pid, aim)| Whom { pid, aim, born }).collect()
    }

    /// All at once, so that one that is frozen does not take the others' time.
    fn ask(&self, whom: Vec<Whom>) -> Vec<ServiceStatus> {
        let (tell, told) = mpsc::channel();
        for Whom { pid, aim, born } in whom {
            let (tell, deadline) = (tell.clone(), self.deadline);
            let _ = std::thread::Builder::new().spawn(move || {
                // It may have ended, or not begun: then its line stands without.
                let Ok((status, _)) = fetch(&aim, deadline) else { return };
                let belongs =
                    born.is_none_or(|born| born == status.born_unix_ms && status.kind == "restarter");
                if belongs && status.pid == pid {
                    let _ = tell.send(status);
                }
            });
        }
        drop(tell);
        let left = || self.deadline.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| told.recv_timeout(left()).ok()).collect()
    }
}

/// Of the name of a socket, `PID.heirloom` or `NAME.PID.heirloom`.
fn pid_in(name: &[u8]) -> Option<u32> {
    let name = name.strip_suffix(b".heirloom")?;
    let digits = name.rsplit(|byte| !byte.is_ascii_digit()).next()?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// A directory with more is in trouble of its own.
const LOOKED_AT: usize = 1000;

fn merge(status: &mut ServiceStatus, told: ServiceStatus) {
    let is_whole = told.kind == "supervisor";
    if is_whole {
        status.serving = told.serving;
    }
    for generation in told.generations {
        let has_room = status.generations.len() < MOST;
        let known = status.generations.iter_mut().find(|known| known.pid == generation.pid);
        match known {
            // A worker knows of itself how it is, and its supervisor what it is.
            Some(known) if is_whole => {
                (known.generation, known.role) = (generation.generation, generation.role)
            }
            Some(known) if generation.pid == told.pid && told.supervisor.is_some() => {
                known.detail = generation.detail;
            }
            Some(known) if generation.pid == told.pid => *known = generation,
            Some(_) => {}
            None if has_room => status.generations.push(generation),
            None => {}
        }
    }
}

/// By their own words: one that has handed over does not hear what its successor did after that.
fn settle_who_serves(status: &mut ServiceStatus) {
    let says_so = |generation: &&GenerationStatus| {
        generation.role == Role::Serving && (generation.detail.is_some() || status.kind == "supervisor")
    };
    let serving = status.generations.iter().rev().find(says_so).map(|serving| serving.pid);
    let Some(pid) = serving else {
        let named = status.generations.iter().find(|generation| Some(generation.pid) == status.serving);
        if named.is_some_and(|named| named.role != Role::Serving) {
            status.serving = None;
        }
        return;
    };
    status.serving = Some(pid);
    let before = status.generations.iter_mut().take_while(|generation| generation.pid != pid);
    for stale in before.filter(|generation| generation.role == Role::Serving) {
        // As its neighbour saw it last.
        stale.role = Role::Draining;
    }
}
