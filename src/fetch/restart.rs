//! The trait of what restarts the service into its new binary.

use crate::drain::DrainSignal;
use crate::restarter::{Outcome, RestartError, Restarter};

/// What an [`Updater`](super::Updater) restarts: a [`Restarter`], a supervisor (its handle), or whatever a
/// closure does.
///
/// ```
/// # fn example(restarter: heirloom::Restarter) {
/// use heirloom::fetch::{File, Updater};
///
/// let restart = move || {
///     let restarter = restarter.clone();
///     async move { restarter.restart().await }
/// };
/// let updater = Updater::new(File::new("/srv/incoming/server"), "/srv/app/server", restart);
/// # }
/// ```
pub trait Restart: Send {
    /// Restarts into the binary that is in place now, and tells the outcome.
    ///
    /// # Errors
    ///
    /// After [`RestartError::Failed`] and [`RestartError::TakenBack`] the previous binary is put back; the
    /// others say nothing about the new one, which stays.
    fn restart(&mut self) -> impl Future<Output = Result<Outcome, RestartError>> + Send;

    /// When this process has no more updates to make. A process that was replaced leaves that to its
    /// successor; one that outlives restarts (a supervisor) never has, which is the default.
    fn over(&self) -> Option<DrainSignal> {
        None
    }
}

impl Restart for Restarter {
    async fn restart(&mut self) -> Result<Outcome, RestartError> {
        Restarter::restart(self).await
    }

    fn over(&self) -> Option<DrainSignal> {
        Some(self.draining())
    }
}

impl<F, R> Restart for F
where
    F: FnMut() -> R + Send,
    R: Future<Output = Result<Outcome, RestartError>> + Send,
{
    fn restart(&mut self) -> impl Future<Output = Result<Outcome, RestartError>> + Send {
        self()
    }
}
