//! What tonic knows of a client, and what a health service says at a restart and at a stop.

use heirloom::Restarter;
use heirloom::http::Config;
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;
use tonic_health::server::HealthReporter;

/// With what tonic's `Request::remote_addr` looks for.
pub fn config() -> Config {
    Config::new().on_request(|peer, extensions| {
        let remote_addr = peer.address().and_then(|address| address.inet());
        extensions.insert(TcpConnectInfo { local_addr: None, remote_addr });
    })
}

/// A restart is no change of health: who watches is to ask again, and hears of the successor's. A stop is.
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
