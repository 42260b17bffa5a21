//! systemd.
mod generation;
mod notifier;
mod socket;

use std::env;
use std::fmt;
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use self::generation::Generation;
pub(crate) use self::notifier::{Health, Notifier};

/// What [`Builder::systemd`](crate::Builder::systemd) is to do, where systemd (or another manager that speaks its protocol)
/// listens. [`Restarter::new`](crate::Restarter::new) and `http::run` ask for it by themselves; a
/// [`Builder`](crate::Builder) does only when told to.
///
/// ```no_run
/// use heirloom::{Restarter, SignalMap, systemd::Systemd};
///
/// # async fn example() -> Result<(), heirloom::StartError> {
/// let watched = Systemd::new().runtime(tokio::runtime::Handle::current());
/// let restarter = Restarter::builder().signals(SignalMap::default()).systemd(watched).start()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "for Builder::systemd"]
pub struct Systemd {
    health: Option<Health>,
    stores: bool,
}

impl Systemd {
    /// Everything that the unit asks for: notification, the watchdog (`WatchdogSec=`), and the listening sockets in systemd's
    /// store (`FileDescriptorStoreMax=`).
    pub fn new() -> Systemd {
        Systemd { health: None, stores: true }
    }

    /// The watchdog is told that all is well only when this says so. Called twice in each `WatchdogSec=`, on a thread of its
    /// own: if it hangs or panics, all is not well.
    ///
    /// Without it (or [`runtime`](Self::runtime)) a ping says that the process runs at all, and nothing of what it is for.
    pub fn health(mut self, is_well: impl Fn() -> bool + Send + Sync + 'static) -> Systemd {
        self.health = Some(Arc::new(is_well));
        self
    }

    /// A [`health`](Self::health) that asks whether this runtime still runs tasks: one whose threads are all blocked, or
    /// spin, does not.
    pub fn runtime(self, runtime: tokio::runtime::Handle) -> Systemd {
        self.health(move || {
            let (done, heard) = mpsc::sync_channel(1);
            runtime.spawn(async move { done.send(()) });
            // However long: until then nobody is told that all is well. Dropped with a runtime that has ended.
            heard.recv().is_ok()
        })
    }

    /// Whether systemd is given the listening sockets to keep; yes by default. A unit without `FileDescriptorStoreMax=`
    /// keeps none, and systemd writes a line into its log for each; this avoids that.
    pub fn store_listeners(mut self, on: bool) -> Systemd {
        self.stores = on;
        self
    }

    /// `None` where no service manager listens.
    pub(crate) fn begin(&self, generation: u64, patience: Duration) -> io::Result<Option<Mutex<Generation>>> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let notifier = Notifier::start(&socket, self.health.clone())?;
        let patience = patience.saturating_add(SLACK);
        Ok(Some(Mutex::new(Generation::new(notifier, generation, patience, self.stores))))
    }
}

impl Default for Systemd {
    fn default() -> Systemd {
        Systemd::new()
    }
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Systemd { health, stores } = self;
        f.debug_struct("Systemd").field("health", &health.is_some()).field("stores", stores).finish()
    }
}

/// What a start or a restart takes beyond its deadlines: a kill, and the announcement.
const SLACK: Duration = Duration::from_secs(10);
