//! Accept loops that are not heirloom's: a framework's own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::Restarter;
use super::outcome::ReadyError;
use super::shared::{Life, Shared};
use crate::drain::DrainSignal;
use crate::error::with_causes;
use crate::restarter::ending::Ending;

impl Restarter {
    /// [`run`](Self::run) for a framework that accepts by itself: says [`ready`](Self::ready), then runs
    /// `serve` with the signal on which that is to close its connections, and holds the drain until it is
    /// done. Returns when the service of this process has ended; return what it gives from `main`.
    ///
    /// ```no_run
    /// # async fn example(router: axum::Router) -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    /// let restarter = heirloom::Restarter::new()?;
    /// let listener = restarter.listen("127.0.0.1:3000")?.into_tokio()?;
    /// let serve = |draining| async { axum::serve(listener, router).with_graceful_shutdown(draining).await };
    /// Ok(restarter.run_with(serve).await?)
    /// # }
    /// ```
    ///
    /// `serve` is dropped at the drain deadline, or when this process ends for another reason. If it returns
    /// before the drain has begun, nothing accepts any more, and the service stops. heirloom cannot pause
    /// such a loop: see [`Listener::into_std`](crate::Listener::into_std) for what that means.
    ///
    /// To a framework that got its connections from `Listener::into_incoming` the signal comes when heirloom
    /// has taken them back, and loses nothing. Such a `serve` need not listen to the signal, and need not
    /// return.
    ///
    /// # Errors
    ///
    /// The errors of [`ready`](Self::ready), and the error of `serve`. Return at once from `main` then: the
    /// process ends, and a predecessor that still watches it takes back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `serve`.
    pub async fn run_with<E, F>(
        &self,
        serve: impl FnOnce(DrainSignal) -> F,
    ) -> Result<Ending, RunWithError<E>>
    where
        E: Error + 'static,
        F: Future<Output = Result<(), E>>,
    {
        self.ready().await?;
        let (draining, told) = (self.draining(), self.tracker().let_go());
        let mut hold = Some(self.hold());
        let mut serve = pin!(serve(told.clone()));
        let mut loans = pin!(self.run_out_of_loans(told));
        loop {
            tokio::select! {
                served = &mut serve => {
                    served.map_err(RunWithError::Serve)?;
                    break;
                }
                ending = self.ended() => return Ok(ending),
                () = &mut loans, if hold.is_some() => hold = None,
            }
        }
        drop(hold);
        if !draining.is_raised() {
            say!(warn: "the accept loop has ended by itself: the service stops");
            return Ok(self.shutdown(None).await);
        }
        Ok(self.ended().await)
    }

    /// Resolves when a server that only had what heirloom lent it has nothing left to do. It need not return:
    /// some never do.
    async fn run_out_of_loans(&self, told: DrainSignal) {
        let late = async {
            self.draining().await;
            self.tracker().loans_run_out().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = told => {}
            () = late => {}
        }
        if self.shared.listeners.has_left_one() || !self.tracker().has_lent() {
            std::future::pending::<()>().await;
        }
    }
}

/// Why [`Restarter::run_with`] failed.
#[derive(Error)]
#[non_exhaustive]
pub enum RunWithError<E: Error + 'static> {
    /// The process must not serve.
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// The framework's own loop failed.
    #[error("the accept loop failed")]
    Serve(#[source] E),
}

// As `debug_as_told` has it, which takes no type with parameters.
impl<E: Error + 'static> fmt::Debug for RunWithError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_causes(self, f)
    }
}

/// Says so if somebody accepts and nobody has said that this process is ready: it serves, but no restart and
/// no graceful stop will come of it, which is noticed only when one is wanted.
pub(super) async fn notice_unready(shared: Arc<Shared>) {
    let mut life = shared.life.subscribe();
    let mut begun = shared.listeners.loops_begun();
    let late = async {
        let _ = begun.wait_for(|begun| *begun).await;
        tokio::time::sleep(UNREADY_NOTICED).await;
    };
    tokio::select! {
        _ = life.wait_for(|life| !matches!(life, Life::Starting)) => {}
        () = late => say!(warn:
            "a listener is in an accept loop, but this process never said that it is ready: it can neither be restarted nor \
             stopped gracefully; call Restarter::run_with with the loop, or Restarter::run beside it"
        ),
    }
}

/// From the beginning of an accept loop to the warning that nobody said ready. What is left of an
/// initialisation by then is short; and a user who tries the server for the first time still looks at its
/// log.
const UNREADY_NOTICED: Duration = Duration::from_secs(5);
