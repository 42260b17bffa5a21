//! A supervisor that shows what its recorder of metrics got, at an address of its own, while its workers serve.
//! `metered_parent --listen ADDRESS --veto FILE`: no restart while the file is there.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heirloom::{Ending, Restarter, SignalMap, Supervisor};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let address = value("--listen").ok_or("--listen is missing")?;
    let veto = PathBuf::from(value("--veto").ok_or("--veto is missing")?);
    let workers = Restarter::bare().signals(SignalMap::default()).control(true);
    let supervisor = Supervisor::new().restarter(workers.probation(Duration::from_millis(50)));
    let supervisor = supervisor.before_restart(move || match veto.exists() {
        true => Err("there is a veto".to_owned()),
        false => Ok(()),
    });
    // As an exporter would be: installed in the supervisor alone, and served by it.
    let supervisor = supervisor.started(|_| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().expect("the only one");
        tokio::spawn(show(snapshotter));
    });
    Ok(supervisor.run(|restarter| serve(restarter, &address))?)
}

async fn show(snapshotter: Snapshotter) -> Result<(), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("metrics at {}", listener.local_addr()?);
    loop {
        let (mut client, _) = listener.accept().await?;
        client.write_all(crate::recorded::lines(&snapshotter).join("\n").as_bytes()).await?;
    }
}

#[tokio::main]
async fn serve(restarter: Restarter, address: &str) -> Result<Ending, Box<dyn Error>> {
    let listener = restarter.check(restarter.listen(address)).await?;
    println!("listening on {}", listener.local_addr());
    let generation = restarter.generation();
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/generation", get(move || async move { generation.to_string() }));
    heirloom::http::serve(listener, router);
    Ok(restarter.run().await?)
}
