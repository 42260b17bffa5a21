//! How a worker comes into being, how it becomes known that it is ready, and how it is told to stop.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::handdown::recipe::{Made, Recipe, Supervision};
use crate::handover::Failure;
use crate::sockets::socket::Socket;
use crate::sys::pidfd::Pidfd;

/// Makes workers of one kind.
pub(super) trait Make: fmt::Debug + Send + Sync {
    /// The file that is executed, as its path says today.
    fn program(&self) -> &Path;

    /// Looks at what the first worker will be handed, before anything is started.
    fn prepare(&self, _sockets: &[Arc<Socket>]) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether its workers accept before they are told to.
    fn accepts_early(&self) -> bool {
        false
    }

    /// Starts a worker. Blocks until it has executed its program; called on a thread of its own.
    fn make(&self, order: Order) -> Result<Born, Failure>;

    /// What somebody who tries a server is to know when it fails although no other one serves.
    fn advice(&self) -> Option<String> {
        None
    }

    /// Whether the workers are of another kind than this library's own.
    fn is_foreign(&self) -> bool {
        false
    }

    /// A worker has been reaped.
    fn gone(&self, _generation: u64) {}
}

/// What one worker is to be.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) generation: u64,
    /// What to execute in place of the program's own path.
    pub(super) instead: Option<PathBuf>,
    pub(super) sockets: Vec<Arc<Socket>>,
    pub(super) descriptors: Vec<(String, Arc<OwnedFd>)>,
    pub(super) supervision: Supervision,
    /// Where it goes that a worker wants more time than its deadline leaves it.
    pub(super) extensions: mpsc::UnboundedSender<(u64, Duration)>,
}

/// A worker's process.
pub(super) struct Born {
    pub(super) made: Made,
    /// Resolves when it is ready, or cannot be; `None` if it says so on its channel.
    pub(super) ready: Option<Readiness>,
    pub(super) manner: Manner,
    pub(super) addressee: Addressee,
    /// By whom it is asked at the end of its probation, if it does not say so on its channel.
    pub(super) asker: Option<Arc<dyn Ask>>,
}

/// Asks a worker whether it still is what it was when it became ready.
pub(super) trait Ask: fmt::Debug + Send + Sync {
    /// Resolves when it is.
    fn ask(&self) -> Readiness;
}

/// What a worker says beside the channel.
pub(super) trait Words: fmt::Debug + Send + Sync {
    /// The process that it has named in its own place, by all that it has said so far.
    fn main(&self) -> Option<MainProcess>;
}

/// The process that a worker has named in its own place: a program that runs behind a wrapper, or that its
/// starter leaves behind.
#[derive(Clone, Debug)]
pub(super) struct MainProcess {
    pub(super) pid: i32,
    pub(super) pidfd: Arc<Pidfd>,
}

impl MainProcess {
    /// Another hold on it; `None` once it has ended.
    pub(super) fn alive(&self) -> Option<Pidfd> {
        let pidfd = Pidfd::from_fd(self.pidfd.as_fd().try_clone_to_owned().ok()?).ok()?;
        (!pidfd.has_exited().ok()?).then_some(pidfd)
    }
}

/// Whom a worker's signals are for, where that is not its own process.
#[derive(Clone, Debug, Default)]
pub(super) struct Addressee(Option<Arc<dyn Words>>);

impl Addressee {
    pub(super) fn of(words: Option<Arc<dyn Words>>) -> Addressee {
        Addressee(words)
    }

    pub(super) fn main(&self) -> Option<MainProcess> {
        self.0.as_ref()?.main()
    }

    /// Whether there was one, alive.
    pub(super) fn send(&self, send: impl FnOnce(&Pidfd) -> io::Result<()>) -> bool {
        self.main().is_some_and(|main| send(&main.pidfd).is_ok())
    }
}

pub(super) type Readiness = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// How a worker is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// On its channel.
    Told,
    /// By a signal, so long after the new worker has taken over.
    Signalled { stop: i32, delay: Duration },
}

/// The program itself, again: a worker that is heirloom's.
#[derive(Debug)]
pub(super) struct Itself {
    pub(super) recipe: Recipe,
}

impl Make for Itself {
    fn program(&self) -> &Path {
        &self.recipe.program.path
    }

    fn make(&self, order: Order) -> Result<Born, Failure> {
        let Order { generation, instead, sockets, descriptors, supervision, .. } = order;
        let recipe = Recipe { generation, ..self.recipe.clone() };
        let made = recipe.make(instead.as_deref(), &sockets, None, &descriptors, Some(&supervision))?;
        Ok(Born { made, ready: None, manner: Manner::Told, addressee: Addressee::default(), asker: None })
    }
}
