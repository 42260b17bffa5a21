//! What a health service says at a restart and at a stop.

use heirloom::Restarter;
use tonic::server::NamedService;
use tonic_health::server::HealthReporter;

/// A restart is no change of health: who watches is to ask again, and hears of the successor's. At a stop it is.
pub async fn tell_health<S: NamedService>(restarter: Restarter, mut reporter: HealthReporter) {
    restarter.draining().await;
    let is_restart = restarter.is_ready();
    if !is_restart {
        reporter.set_not_serving::<S>().await;
    }
    // A watch would last until the drain deadline otherwise, and its connection stay.
    reporter.clear_service_status(S::NAME).await;
    if is_restart {
        reporter.set_serving::<S>().await;
    }
}
