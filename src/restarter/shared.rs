//! What the handles and the driver share.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::outcome::{Outcome, RestartError};
use crate::drain::Tracker;
use crate::handdown::descriptors::Descriptors;
use crate::handdown::state::{Providers, State, StateError};
use crate::handover::serving::Reason;
use crate::handover::succeed::Departure;
use crate::operate::event::Event;
use crate::operate::service::Service;
use crate::restarter::ending::Ending;
use crate::sockets::listeners::Listeners;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) generation: u64,
    pub(super) started: SystemTime,
    /// The supervisor's process id.
    pub(super) supervisor: Option<u32>,
    pub(super) program: PathBuf,
    pub(super) listeners: Arc<Listeners>,
    pub(super) tracker: Tracker,
    pub(super) descriptors: Descriptors,
    pub(super) providers: Providers,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// Those outside who follow what happens.
    pub(super) service: Arc<Service>,
    /// Whether a prober should send more clients here. Nothing else is published through it.
    pub(super) ready: AtomicBool,
    /// Whether a predecessor wants to hear why this process dies. Nothing else is published through it.
    pub(super) is_watched: AtomicBool,
    pub(super) drain: Mutex<Option<(Reason, Instant)>>,
    pub(super) life: watch::Sender<Life>,
    pub(super) ending: watch::Sender<Option<Ending>>,
    pub(super) events: broadcast::Sender<Event>,
    /// Who can tell of datagram sockets with conversations.
    #[cfg(feature = "udp")]
    pub(super) flows: Mutex<Vec<std::sync::Weak<dyn crate::udp::StatusSource>>>,
}

/// Where the process is, as far as [`ready`](super::Restarter::ready) wants to know.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    Starting,
    Accepting,
    Left(Departure),
}

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Ready,
    /// Something has happened elsewhere.
    #[cfg(feature = "udp")]
    Tell(Event),
    /// There is something new for the successor to have: a supervisor is told.
    Keep,
    Failed {
        reason: String,
        said: oneshot::Sender<()>,
    },
    Words {
        text: String,
        said: std_mpsc::SyncSender<()>,
    },
    State {
        name: String,
        at_end: bool,
        answer: StateAsker,
    },
    Restart {
        answer: Option<Answer>,
    },
    Shutdown {
        within: Option<Duration>,
    },
    Hammer,
}

/// Who waits for state.
pub(super) type StateAsker = oneshot::Sender<Result<Option<State>, StateError>>;

/// Who waits for the outcome of a restart.
#[derive(Debug)]
pub(super) enum Answer {
    /// The program itself.
    Handle(oneshot::Sender<Result<Outcome, RestartError>>),
    /// An operator.
    Control(crate::operate::control::Follower),
}

impl Shared {
    /// The driver's thread ends with the process, so it hears this.
    pub(super) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// A socket or descriptor has come or gone.
    pub(super) fn keep(&self) {
        if self.supervisor.is_some() {
            self.send(Command::Keep);
        }
    }

    pub(super) fn report(&self, event: Event) {
        self.service.observe(&event);
        let _ = self.events.send(event);
    }
}
