//! The makers of a command's workers, for the supervisor's driver.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::asking::Asker;
use super::environment::EnvironmentSource;
use super::foreign::{Foreign, ForeignError, Handed};
use super::listening::Listening;
use super::readiness::{Heard, Prepared, Queues, Said, Watch};
use super::spawner::LaunchError;
use super::status_file::StatusFile;
use super::stopped::{self, Stops};
use crate::error::told;
use crate::handdown::recipe::{Made, Recipe, not_started};
use crate::handover::Failure;
use crate::sockets::socket::Socket;
use crate::supervisor::making::{Addressee, Born, Make, Manner, Order, Words};
use crate::sys::address::Address;
use crate::sys::channel::Channel;
use crate::sys::pidfd::Pidfd;
use crate::sys::socket::{self, Kind};
use crate::sys::watched::watch;

/// Makes workers of one command.
#[derive(Debug)]
pub(super) struct Commanded {
    pub(super) workers: Workers,
    /// As they are to be numbered and named.
    pub(super) listenings: Vec<Listening>,
    /// The program's file.
    pub(super) program: PathBuf,
    pub(super) status_file: Option<Mutex<StatusFile>>,
    pub(super) nonblocking: bool,
    /// What to know of a worker that dies before any has served.
    pub(super) advice: Mutex<Option<String>>,
}

/// What kind of program the command is.
#[derive(Debug)]
pub(super) enum Workers {
    /// Any program, in any language.
    Foreign { foreign: Foreign, stop: i32, delay: Duration },
    /// One that speaks heirloom's own protocol.
    Heirloom { recipe: Recipe, environment: Vec<EnvironmentSource> },
}

impl Make for Commanded {
    fn program(&self) -> &Path {
        &self.program
    }

    fn prepare(&self, sockets: &[Arc<Socket>]) -> Result<(), Failure> {
        if let Some(address) = self.given_twice() {
            let reason =
                format!("{address} is to be listened on twice, and would be handed down once: leave one out");
            return Err(Failure::Spawn { reason });
        }
        for Handed { name, address, .. } in self.handed(sockets) {
            // What port 0 has become, nobody else would say.
            say!(info: name, "listening on {address}");
        }
        match &self.workers {
            Workers::Foreign { foreign, .. } => {
                let handed = self.handed(sockets);
                foreign.check(&handed)?;
                *self.advice.lock().unwrap_or_else(PoisonError::into_inner) = foreign.advice(&handed);
                let set = if self.nonblocking { socket::set_nonblocking } else { socket::set_blocking };
                for socket in sockets {
                    // Before there is a worker: afterwards the flag would change under it.
                    set(socket.as_fd()).map_err(|error| failure(&error))?;
                }
            }
            Workers::Heirloom { environment, .. } => {
                environment
                    .iter()
                    .try_for_each(|source| source.read().map(drop))
                    .map_err(|error| failure(&error))?;
            }
        }
        Ok(())
    }

    fn accepts_early(&self) -> bool {
        matches!(self.workers, Workers::Foreign { .. })
    }

    fn make(&self, order: Order) -> Result<Born, Failure> {
        let generation = order.generation;
        let born = self.start(order)?;
        self.note(|file| file.add(generation, born.made.spawned.pid));
        Ok(born)
    }

    fn advice(&self) -> Option<String> {
        self.advice.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_foreign(&self) -> bool {
        matches!(self.workers, Workers::Foreign { .. })
    }

    fn gone(&self, generation: u64) {
        self.note(|file| file.remove(generation));
    }
}

impl Commanded {
    fn start(&self, order: Order) -> Result<Born, Failure> {
        let Order { generation, instead, sockets, descriptors, supervision, extensions } = order;
        match &self.workers {
            Workers::Foreign { foreign, stop, delay } => {
                // Nobody has the other end: nothing is ever said here.
                let (channel, _) = Channel::pair().map_err(|error| failure(&error))?;
                let sockets = self.handed(&sockets);
                let (spawned, mut prepared, queues) = foreign.start(generation, instead, &sockets)?;
                let heard = prepared.hear(spawned.pid, generation, extensions);
                let addressee = Addressee::of(heard.clone().map(|heard| heard as Arc<dyn Words>));
                let asker = Asker { pid: spawned.pid, heard: heard.clone(), check: prepared.check() };
                let watched = Watched { prepared, queues, pid: spawned.pid, heard };
                Ok(Born {
                    made: Made { spawned, channel },
                    ready: Some(Box::pin(watched.until_ready())),
                    manner: Manner::Signalled { stop: *stop, delay: *delay },
                    addressee,
                    asker: Some(Arc::new(asker)),
                })
            }
            Workers::Heirloom { recipe, environment } => {
                let mut recipe = Recipe { generation, ..recipe.clone() };
                for source in environment {
                    let changes = source.read().map_err(|error| failure(&error))?;
                    recipe
                        .program
                        .changes
                        .retain(|(name, _)| !changes.iter().any(|(later, _)| later == name));
                    recipe.program.changes.extend(changes);
                }
                let made =
                    recipe.make(instead.as_deref(), &sockets, None, &descriptors, Some(&supervision))?;
                Ok(Born {
                    made,
                    ready: None,
                    manner: Manner::Told,
                    addressee: Addressee::default(),
                    asker: None,
                })
            }
        }
    }

    /// The sockets in the order in which they were asked for; what came by activation and was not asked for
    /// comes last.
    fn handed(&self, sockets: &[Arc<Socket>]) -> Vec<Handed> {
        let mut left: Vec<_> = sockets.iter().collect();
        let mut handed = Vec::with_capacity(left.len());
        for Listening { listen, udp, chosen } in &self.listenings {
            let is_meant = |socket: &&Arc<Socket>| {
                (socket.kind == Kind::Udp) == *udp
                    && (socket.address == listen.address || socket.requested == listen.address.to_os_string())
            };
            if let Some(index) = left.iter().position(is_meant) {
                let name = if listen.name.is_empty() { &left[index].name } else { &listen.name };
                handed.push(Handed {
                    fd: Arc::clone(&left[index].fd),
                    name: name.clone(),
                    address: left[index].address.clone(),
                    chosen: *chosen,
                });
                left.remove(index);
            }
        }
        let rest = left.into_iter().map(|socket| Handed {
            fd: Arc::clone(&socket.fd),
            name: socket.name.clone(),
            address: socket.address.clone(),
            chosen: None,
        });
        handed.extend(rest);
        handed
    }

    /// Any port, asked for twice, is two of them.
    fn given_twice(&self) -> Option<&Address> {
        let is_any = |address: &Address| matches!(address, Address::Inet(address) if address.port() == 0);
        let mut seen = HashSet::new();
        let mut addresses = self.listenings.iter().map(|one| (&one.listen.address, one.udp));
        let twice = addresses.find(|one| !is_any(one.0) && !seen.insert(*one));
        twice.map(|(address, _)| address)
    }

    fn note(&self, change: impl FnOnce(&mut StatusFile)) {
        if let Some(file) = &self.status_file {
            change(&mut file.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What is watched of a worker that has been started.
struct Watched {
    prepared: Prepared,
    queues: Queues,
    pid: i32,
    heard: Option<Arc<Heard>>,
}

impl Watched {
    /// Resolves when it is ready, and goes on listening to it until it ends.
    async fn until_ready(self) -> Result<(), Failure> {
        let Watched { prepared, queues, pid, heard } = self;
        let mut watch = prepared.watch(heard.clone(), queues).map_err(|error| failure(&error))?;
        // Its number is its own: a death before this moment is for the driver to see first.
        let mut stops = Pidfd::open(pid).and_then(Stops::new).map_err(|error| failure(&error))?;
        let mut is_ready = false;
        while !(is_ready && stops.are_over()) {
            tokio::select! {
                // In this order a worker that is stopped is not called ready by the clock of the same moment.
                biased;
                stop = stops.next() => stopped::note(pid, stop, false),
                said = watch.next(), if !is_ready => match said {
                    Said::Ready => is_ready = true,
                    Said::Never(why) => return Err(failure(&why)),
                    said => note(pid, said),
                },
            }
        }
        if let Ok(pidfd) = Pidfd::open(pid) {
            tokio::spawn(listen_on(watch, pid, (pidfd, stops), heard));
        }
        Ok(())
    }
}

/// A worker may wait for an answer (`BARRIER=1`), or name another main process, at any time.
async fn listen_on(
    mut worker: Watch,
    pid: i32,
    (mut held, mut stops): (Pidfd, Stops),
    heard: Option<Arc<Heard>>,
) {
    loop {
        let Ok(end) = watch(held) else { return };
        loop {
            tokio::select! {
                said = worker.next() => match said {
                    Said::Never(_) => return,
                    said => note(pid, said),
                },
                stop = stops.next() => stopped::note(pid, stop, true),
                _ = end.readable() => break,
            }
        }
        match heard.as_ref().and_then(|heard| heard.main()?.alive()) {
            Some(main) => held = main,
            None => return,
        }
    }
}

fn note(pid: i32, said: Said) {
    match said {
        Said::Status(status) => say!(info: pid, status, "the worker says"),
        Said::Stopping => say!(info: pid, "the worker says that it is stopping"),
        Said::Ready | Said::Never(_) => {}
    }
}

/// With what the system said: a [`Failure`] is plain text, so its chain ends here.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    Failure::Spawn { reason: told(error) }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl From<ForeignError> for Failure {
    fn from(error: ForeignError) -> Failure {
        match error {
            ForeignError::Launch(LaunchError::Spawn(error)) => not_started(&error),
            error => failure(&error),
        }
    }
}
