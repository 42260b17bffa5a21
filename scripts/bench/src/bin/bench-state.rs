//! What handing state to a successor costs beyond the one copy in.
//!
//! ```text
//! cargo build --release -p heirloom-bench --all-features && target/release/bench-state [--mib 1,64,1024] [--rounds 5]
//! ```
//!
//! This program restarts into itself. The predecessor times its provider's writing; the successor times the whole of
//! `Restarter::state`, on the same clock, and reads every page of it once. What is left of the whole without the writing
//! is heirloom's: two messages, two threads, sealing, mapping.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heirloom::Restarter;
use rustix::time::{ClockId, clock_gettime};

type Failable<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Failable<ExitCode> {
    let (mut sizes, mut rounds) = ("1,64,1024".to_owned(), 5_usize);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks_exact(2) {
        match pair[0].as_str() {
            "--mib" => sizes.clone_from(&pair[1]),
            "--rounds" => rounds = pair[1].parse()?,
            other => return Err(format!("no option {other:?}").into()),
        }
    }
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let restarter = Restarter::bare().state_timeout(Duration::from_secs(60)).start()?;
    if restarter.generation() > 1 {
        let reason = ask(&restarter, &sizes, rounds).await;
        restarter.failed(reason.map_or_else(|error| error.to_string(), |()| "measured".to_owned())).await;
        return Ok(ExitCode::SUCCESS);
    }

    restarter.ready().await?;
    for mib in &sizes {
        let bytes = vec![1_u8; mib << 20];
        let written = Arc::new(Mutex::new(Duration::ZERO));
        let took = Arc::clone(&written);
        restarter.provide_state(format!("{mib} MiB"), 1, move |out| {
            let began = Instant::now();
            out.write_all(&bytes)?;
            *took.lock().expect("no panic while it is held") = began.elapsed();
            Ok(())
        })?;
        restarter.provide_state(format!("{mib} MiB written in"), 1, move |out| {
            let nanos = written.lock().expect("no panic while it is held").as_nanos();
            out.write_all(&u64::try_from(nanos).unwrap_or(u64::MAX).to_le_bytes())
        })?;
    }
    println!(
        "medians of {rounds}, ms        all = copy in + rest | reading it, a byte a page | letting go of it"
    );
    match restarter.restart().await {
        Err(heirloom::RestartError::Failed(failure)) => println!("{failure}"),
        other => return Err(format!("the successor should have measured and left: {other:?}").into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(restarter: &Restarter, sizes: &[usize], rounds: usize) -> Failable<()> {
    for mib in sizes {
        let mut rows = Vec::new();
        for _ in 0..rounds {
            let began = monotonic();
            let state = restarter.state(&format!("{mib} MiB")).await?.ok_or("no state")?;
            let all = monotonic() - began;
            let began = monotonic();
            black_box(state.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>());
            let read = monotonic() - began;
            let began = monotonic();
            drop(state);
            let dropped = monotonic() - began;
            let written = restarter.state(&format!("{mib} MiB written in")).await?.ok_or("no time")?;
            let written = Duration::from_nanos(u64::from_le_bytes(written[..].try_into()?));
            rows.push([all, written, all.saturating_sub(written), read, dropped]);
        }
        let median = |column: usize| {
            let mut times: Vec<_> = rows.iter().map(|row| row[column]).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e3
        };
        println!(
            "{mib:>6} MiB   {:>18.2} = {:>7.2} + {:>4.2} | {:>26.2} | {:>17.2}",
            median(0),
            median(1),
            median(2),
            median(3),
            median(4)
        );
    }
    Ok(())
}

/// The clock that all processes share.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("a time since the machine's start")
}
