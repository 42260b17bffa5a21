//! Where releases come from: servers on loopback that say what a test wants, and a place to put binaries in.
#![allow(unreachable_pub, reason = "a test has no API")]

pub mod binaries;
mod body;
pub mod origin;
pub mod signing;
pub mod small_disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heirloom::fetch::{Checks, Fetcher, SanityCheck, Updater};
use heirloom::{Failure, Outcome, Refusal, RestartError};

pub use binaries::program;
pub use origin::{Origin, Reply};

/// A directory with the program `app` in it, in its first version.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    pub fn new() -> Home {
        Home::in_directory(&std::env::temp_dir().join(format!("heirloom-fetch-{}", unique())))
    }

    pub fn in_directory(path: &Path) -> Home {
        let home = Home { path: path.to_owned() };
        fs::create_dir_all(&home.path).unwrap();
        binaries::write(&home.app(), &program("first"));
        home
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn app(&self) -> PathBuf {
        self.path.join("app")
    }

    pub fn holds(&self) -> Vec<u8> {
        fs::read(self.app()).unwrap()
    }

    /// What lies there, but for the lock.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }

    /// An updater that does not run what it fetches, and restarts by `restarts`.
    pub fn updater<F: Fetcher>(
        &self,
        fetcher: F,
        restarts: &Restarts,
    ) -> Updater<F, impl heirloom::fetch::Restart + use<F>> {
        let restarts = restarts.clone();
        let restart = move || {
            let result = restarts.next();
            async move { result }
        };
        Updater::new(fetcher, self.app(), restart).checks(not_run())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Restarts that lead where a test says, one after the other, and well when it says nothing; counted.
#[derive(Clone, Default)]
pub struct Restarts(Arc<Mutex<(usize, Vec<RestartError>)>>);

impl Restarts {
    pub fn will_fail(&self, error: RestartError) {
        self.0.lock().unwrap().1.push(error);
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn next(&self) -> Result<Outcome, RestartError> {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        if state.1.is_empty() { Ok(Outcome::Settled { pid: 1 }) } else { Err(state.1.remove(0)) }
    }
}

pub fn not_run() -> Checks {
    Checks::new().sanity(SanityCheck::None)
}

pub fn crashed() -> RestartError {
    RestartError::Failed(Failure::Died { how: "crashed".to_owned() })
}

pub fn refused() -> RestartError {
    RestartError::Refused(Refusal::Init)
}

/// An error with all that caused it, as a log has it.
pub fn told(error: &dyn std::error::Error) -> String {
    let text = match error.source() {
        Some(cause) => format!("{error}: {}", told(cause)),
        None => error.to_string(),
    };
    println!("{text}");
    text
}

/// Runs a test's future, for at most five minutes.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(300), test).await.expect("in five minutes")
    })
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
