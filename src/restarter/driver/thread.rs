//! The driver's thread, which lives as long as the process: signals are unblocked in it (a signal that every
//! thread blocks stays pending for ever), and it outlives the runtimes of the program.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;

use tokio::sync::mpsc;

use super::Driver;
use super::giving::Bounds;
use crate::aside::say::Voice;
use crate::handdown::inherited::{self, Predecessor};
use crate::handdown::recipe::Recipe;
use crate::handover::Refusal;
use crate::handover::history::History;
use crate::handover::serving::Reason;
use crate::operate::control::place::Bound;
use crate::operate::pid_file::PidFile;
use crate::restarter::builder::Deadlines;
use crate::restarter::ending::Ending;
use crate::restarter::framework::notice_unready;
use crate::restarter::shared::{Command, Shared};
use crate::restarter::signals::SignalMap;
use crate::restarter::start_error::StartError;

/// What the driver is made from.
pub(in crate::restarter) struct Start {
    pub(in crate::restarter) refusal: Option<Refusal>,
    pub(in crate::restarter) deadlines: Deadlines,
    pub(in crate::restarter) state: Bounds,
    pub(in crate::restarter) signals: SignalMap,
    pub(in crate::restarter) predecessor: Option<Predecessor>,
    pub(in crate::restarter) supervisor: Option<inherited::Superior>,
    pub(in crate::restarter) recipe: Recipe,
    pub(in crate::restarter) pid_file: Option<Arc<PidFile>>,
    pub(in crate::restarter) history: History,
    pub(in crate::restarter) control: Option<Bound>,
    pub(in crate::restarter) shared: Arc<Shared>,
    pub(in crate::restarter) commands: mpsc::UnboundedReceiver<Command>,
}

/// Starts the thread, and returns once the signals are handled.
pub(in crate::restarter) fn start(start: Start) -> Result<(), StartError> {
    let (started, outcome) = std_mpsc::sync_channel(1);
    thread::Builder::new()
        .name(THREAD.to_owned())
        .stack_size(STACK)
        .spawn(move || run(start, &started))
        .map_err(StartError::Thread)?;
    outcome.recv().unwrap_or_else(|_| Err(StartError::Thread(io::ErrorKind::BrokenPipe.into())))
}

/// The thread's name.
pub(in crate::restarter) const THREAD: &str = "heirloom";

/// More than the driver needs; pages that nobody touches cost nothing.
const STACK: usize = 1024 * 1024;

fn run(start: Start, started: &std_mpsc::SyncSender<Result<(), StartError>>) {
    Voice::Generation(start.shared.generation).speaks_here();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let made = runtime.map_err(StartError::Wait).and_then(|runtime| {
        let driver = runtime.block_on(async { Driver::new(start) })?;
        Ok((runtime, driver))
    });
    match made {
        Ok((runtime, driver)) => {
            runtime.spawn(notice_unready(Arc::clone(&driver.shared)));
            let _ = started.send(Ok(()));
            go_on(&runtime, driver);
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

/// Drives for as long as the process lives, through panics of what is called from here and is not ours (a
/// recorder of metrics, say). What was to be done next is still in the machines.
fn go_on(runtime: &tokio::runtime::Runtime, mut driver: Driver) {
    for _ in 0..PANICS {
        let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver.drive())));
    }
    // A bug of ours, then. Nobody watches over the service any more, so it must not look as if.
    let aborted = driver.shared.tracker.hammer();
    driver.shared.listeners.close();
    driver.shared.ending.send_replace(Some(Ending { reason: Reason::Shutdown, aborted }));
}

/// Lines and hooks have threads of their own, so a panic that gets this far is rare, and takes its input with
/// it. So many can only be one that comes again without any.
const PANICS: usize = 100_000;
