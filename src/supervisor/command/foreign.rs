//! Starting one worker of a foreign program: what it is handed, and what it is told.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::environment::{EnvironmentError, EnvironmentSource, apply};
use super::numbers::{Announced, NumberError, announce, assign, is_ours_alone};
use super::readiness::{Newest, Prepared, Queues, Readiness, ReadinessError};
use super::spawner::{Launch, LaunchError, Spawner};
use crate::sys::address::Address;
use crate::sys::spawn::Spawned;

/// What every worker of one command has in common.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// The program and its arguments; at least the program.
    pub(crate) command: Vec<OsString>,
    /// Where it starts; `None` is where this process is.
    pub(crate) directory: Option<PathBuf>,
    /// Whether it starts all the same once that is gone: nobody has chosen it.
    pub(crate) anywhere: bool,
    /// What is read anew for each worker, a later one over an earlier.
    pub(crate) environment: Vec<EnvironmentSource>,
    /// How a worker shows that it is ready.
    pub(crate) readiness: Readiness,
    /// The signal that workers are sent when this process dies without having stopped them.
    pub(crate) at_death: Option<i32>,
    /// Leave them the standard input of this process, even if it is a terminal.
    pub(crate) keeps_stdin: bool,
    /// Starts them.
    pub(crate) spawner: Arc<Spawner>,
    /// Which of them is the newest.
    pub(crate) newest: Newest,
}

/// One socket to hand to a worker.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) fd: Arc<OwnedFd>,
    /// Empty without one.
    pub(crate) name: String,
    pub(crate) address: Address,
    /// The number that the user chose for it.
    pub(crate) chosen: Option<RawFd>,
}

/// Why a worker was not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ForeignError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Number(#[from] NumberError),
    #[error(transparent)]
    Readiness(#[from] ReadinessError),
    #[error("cannot name a worker's notification socket")]
    Notify(#[source] io::Error),
    #[error("cannot open /dev/null for a worker's standard input")]
    Input(#[source] io::Error),
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl Foreign {
    /// Starts a worker, from another file than its own if there is one `instead`. Blocks until its program
    /// has been executed.
    pub(crate) fn start(
        &self,
        generation: u64,
        instead: Option<PathBuf>,
        sockets: &[Handed],
    ) -> Result<(Spawned, Prepared, Queues), ForeignError> {
        // First, since it is what somebody may have got wrong a moment ago.
        let mut environment = self.environment()?;
        let prepared = self.readiness.prepare()?;
        let own = sockets.len();
        let mut sockets = sockets.to_vec();
        sockets.extend(prepared.socket().map(|(fd, address)| Handed {
            fd: Arc::clone(fd),
            name: "ready".to_owned(),
            address,
            chosen: None,
        }));
        let announced: Vec<_> = sockets.iter().map(Handed::announced).collect();
        let line: Vec<_> = prepared.line().map(|(_, chosen)| chosen).into_iter().collect();
        let (numbers, line) = assign(&announced, &line)?;
        environment.extend(announce(&announced, &numbers, generation));
        environment.extend(prepared.environment(line.first().copied()).map_err(ForeignError::Notify)?);
        let shared = sockets.iter().zip(numbers.iter().copied()).take(own);
        let queues = shared.map(|(socket, number)| (Arc::clone(&socket.fd), socket.address.clone(), number));
        let queues = Queues::new(queues, generation, &self.newest);
        let handed = sockets.iter().map(|socket| Arc::clone(&socket.fd)).zip(numbers.iter().copied());
        let line = prepared.line().map(|(fd, _)| Arc::clone(fd)).into_iter().zip(line);
        let input = self.input().map_err(ForeignError::Input)?.map(|fd| (Arc::new(fd), libc::STDIN_FILENO));
        let spawned = self.spawner.start(Launch {
            file: instead.map_or_else(|| self.command[0].clone(), PathBuf::into_os_string),
            command: self.command.clone(),
            directory: self.directory.clone(),
            anywhere: self.anywhere,
            environment,
            fds: handed.chain(line).chain(input).collect(),
            at_death: self.at_death,
        })?;
        Ok((spawned, prepared, queues))
    }

    /// What to know of a first worker's failure, if it was handed sockets.
    pub(crate) fn advice(&self, sockets: &[Handed]) -> Option<String> {
        let (numbers, _) = assign(&sockets.iter().map(Handed::announced).collect::<Vec<_>>(), &[]).ok()?;
        let (socket, number) = sockets.iter().zip(numbers).next()?;
        let address = &socket.address;
        Some(format!(
            "{address} is open for it at fd {number} (LISTEN_FDS, SERVER_STARTER_PORT): a server that binds it itself finds it in use"
        ))
    }

    /// What is its standard input instead of a terminal, from which the shell is read as soon as this is a
    /// background job.
    fn input(&self) -> io::Result<Option<OwnedFd>> {
        let is_replaced = !self.keeps_stdin && io::stdin().is_terminal();
        is_replaced.then(|| File::open("/dev/null").map(OwnedFd::from)).transpose()
    }

    /// Whether the sources can be read and the descriptors numbered: what is wrong from the start need not
    /// wait for it.
    pub(crate) fn check(&self, sockets: &[Handed]) -> Result<(), ForeignError> {
        self.environment()?;
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.address.clone()).collect();
        self.readiness.check(&addresses)?;
        let line = match self.readiness {
            Readiness::Line(chosen) => vec![chosen],
            _ => vec![],
        };
        assign(&sockets.iter().map(Handed::announced).collect::<Vec<_>>(), &line)?;
        Ok(())
    }

    /// This process's own, without what speaks of this process, changed as the sources say.
    fn environment(&self) -> Result<Vec<(OsString, OsString)>, EnvironmentError> {
        let mut environment: Vec<_> = env::vars_os().filter(|(name, _)| !is_ours_alone(name)).collect();
        for source in &self.environment {
            apply(&mut environment, source.read()?);
        }
        // A user who writes them into a file does not know the numbers.
        environment.retain(|(name, _)| !is_ours_alone(name));
        Ok(environment)
    }
}

impl Handed {
    fn announced(&self) -> Announced<'_> {
        Announced { name: &self.name, address: &self.address, chosen: self.chosen }
    }
}
