//! Everything that can be wrong with a fetch: the running version stays, the reason is told, and the next good one is
//! taken.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::fetch_support::binaries::{foreign, gzip, program_of_size};
use crate::fetch_support::origin::Fate;
use crate::fetch_support::signing::Signer;
use crate::fetch_support::small_disk::SmallDisk;
use crate::fetch_support::{Home, Origin, Reply, Restarts, not_run, program, run, told};
use heirloom::fetch::{
    CheckError, Checks, Digest, FetchError, FetchEvent, Http, Polled, Restart, UpdateError, Updater,
};

/// An archive of one file, as far as its header tells that it is one.
fn tar(file: &[u8]) -> Vec<u8> {
    let mut archive = vec![0; 512];
    archive[..3].copy_from_slice(b"app");
    archive[257..262].copy_from_slice(b"ustar");
    archive.extend_from_slice(file);
    archive
}

/// One that polls `/app`, and what it did not do.
struct Bench {
    home: Home,
    origin: Origin,
    restarts: Restarts,
}

impl Bench {
    async fn new() -> Bench {
        Bench { home: Home::new(), origin: Origin::http().await, restarts: Restarts::default() }
    }

    fn updater(&self) -> Updater<Http, impl Restart + use<>> {
        self.home.updater(Http::new(&self.origin.url("/app")).unwrap(), &self.restarts)
    }

    /// Polls what fails, and checks that nothing else came of it.
    async fn fails(&self, updater: &mut Updater<Http, impl Restart>, words: &str) -> UpdateError {
        let error = updater.poll().await.expect_err("a poll that fails");
        let text = told(&error);
        assert!(text.contains(words), "{words:?} is not in {text:?}");
        assert_eq!(self.home.holds(), program("first"));
        assert_eq!((self.home.names(), self.restarts.count()), (vec!["app".to_owned()], 0));
        error
    }

    async fn recovers(&self, updater: &mut Updater<Http, impl Restart>) {
        self.origin.put("/app", Reply::file(program("good")));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(self.home.holds(), program("good"));
    }
}

#[test]
fn a_connection_that_is_cut() {
    run(async {
        let bench = Bench::new().await;
        let mut updater = bench.updater();
        let whole = program_of_size("second", 1 << 20);
        for after in [0, 1, 20_000, whole.len() - 1] {
            bench.origin.put("/app", Reply::file(whole.clone()).fate(Fate::Cut(after)));
            let error = bench.fails(&mut updater, "broke off").await;
            let UpdateError::Fetch { source: FetchError::Cut { received, total, .. }, .. } = error else {
                panic!("{error:?}");
            };
            assert!(received <= after as u64, "{received}");
            assert_eq!(total, Some(whole.len() as u64));
        }
        // The same ETag as that of what broke off: it was not remembered.
        bench.origin.put("/app", Reply::file(whole.clone()));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(bench.home.holds(), whole);
    });
}

#[test]
fn a_server_that_falls_silent_or_is_too_slow_or_is_not_there() {
    run(async {
        let bench = Bench::new().await;
        let mut updater = bench.updater().stall_timeout(Duration::from_millis(200));
        bench.origin.put("/app", Reply::file(program("second")).fate(Fate::Stuck(20_000)));
        bench.fails(&mut updater, "nothing came").await;
        let paced = Fate::Paced(100, Duration::from_secs(2));
        bench.origin.put("/app", Reply::file(program("second")).fate(paced));
        let updater = updater.stall_timeout(Duration::from_secs(30));
        let mut updater = updater.deadline(Duration::from_millis(500));
        let began = Instant::now();
        bench.fails(&mut updater, "longer than 500ms").await;
        // All of it would take 200 s.
        assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
        let mut updater = updater.deadline(Duration::from_secs(30));
        bench.recovers(&mut updater).await;

        let nobody = Http::new("http://127.0.0.1:1/app").unwrap();
        let mut updater = bench.home.updater(nobody, &bench.restarts);
        assert!(told(&updater.poll().await.unwrap_err()).contains("127.0.0.1:1/app"));
    });
}

#[test]
fn what_is_no_program_for_this_machine() {
    run(async {
        let bench = Bench::new().await;
        let mut updater = bench.updater();
        let whole = program("second");
        let page = "<html>the file has moved</html>\n".repeat(200);
        let packed = gzip(&program_of_size("second", 100_000));
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 100].fill(0x55);
        for (bytes, words) in [
            (whole[..whole.len() / 2].to_vec(), "truncated"),
            (foreign(), "it is for riscv"),
            (page.into_bytes(), "it begins with \"<html>"),
            (vec![], "broke off"),
            (b"gone".to_vec(), "it has 4 bytes"),
            (packed[..packed.len() - 1].to_vec(), "cannot be unpacked"),
            (damaged, "cannot be unpacked"),
            (gzip(b""), "it has 0 bytes"),
            (gzip(&tar(&whole)), "it is a tar archive"),
        ] {
            bench.origin.put("/app", Reply::file(bytes));
            bench.fails(&mut updater, words).await;
        }
        // What can only fail again is not fetched again.
        bench.origin.put("/app", Reply::file(foreign()));
        bench.fails(&mut updater, "riscv").await;
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        bench.recovers(&mut updater).await;
    });
}

#[test]
fn more_than_is_allowed() {
    run(async {
        let bench = Bench::new().await;
        let mut updater = bench.updater().checks(not_run().largest(200_000));
        bench.origin.put("/app", Reply::file(program_of_size("large", 200_001)));
        bench.fails(&mut updater, "200000 are allowed").await;
        // A hundredth of a megabyte that unpacks to ten.
        bench.origin.put("/app", Reply::file(gzip(&vec![0; 10 << 20])));
        let error = bench.fails(&mut updater, "when it is unpacked, and 200000 are allowed").await;
        assert!(matches!(error, UpdateError::Check { source: CheckError::TooLarge { .. }, .. }), "{error:?}");
        bench.recovers(&mut updater).await;
    });
}

#[test]
fn a_digest_that_does_not_hold_or_is_missing() {
    run(async {
        let bench = Bench::new().await;
        let mut updater = bench.updater();
        bench.origin.put("/app", Reply::file(program("second")));
        bench.origin.put("/app.sha256", Reply::file(Digest::of(b"something else").to_string()));
        bench.fails(&mut updater, "the published one is").await;
        // The digest comes a moment after the binary: it is fetched again.
        bench.origin.put("/app.sha256", Reply::file(Digest::of(&program("second")).to_string()));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));

        let bench = Bench::new().await;
        let mut updater = bench.updater().checks(not_run().require_digest(true));
        bench.origin.put("/app", Reply::file(program("second")));
        bench.fails(&mut updater, "no SHA-256 digest").await;
        bench.origin.put("/app.sha256", Reply::file("<html>what you look for is not here</html>"));
        bench.fails(&mut updater, "no SHA-256 digest").await;
        bench.origin.put("/app.sha256", Reply::file(Digest::of(&program("second")).to_string()));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
    });
}

#[test]
fn what_is_not_signed_or_by_somebody_else() {
    run(async {
        let bench = Bench::new().await;
        let (signer, other) = (Signer::new(), Signer::new());
        let checks = || not_run().minisign_key(&signer.public_key()).unwrap();
        let mut updater = bench.updater().checks(checks());
        let packed = gzip(&program("second"));
        bench.origin.put("/app", Reply::file(packed.clone()));
        bench.fails(&mut updater, "no signature is published").await;
        for (signature, words) in [
            (other.sign(&packed), "different key"),
            (signer.sign(b"another release"), "verification failed"),
            (signer.sign(&program("second")), "verification failed"),
            ("not a signature".to_owned(), "Invalid encoding"),
            (signer.sign(&packed).replace("a release", "a better release"), "verification failed"),
        ] {
            bench.origin.put("/app.minisig", Reply::file(signature));
            bench.fails(&mut updater, words).await;
        }
        bench.origin.put("/app.minisig", Reply::file(signer.sign(&packed)));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(bench.home.holds(), program("second"));

        let key_alone = signer.public_key().lines().last().unwrap().to_owned();
        assert!(Checks::new().minisign_key(&key_alone).is_ok());
        assert!(Checks::new().minisign_key("no key").is_err());
    });
}

#[test]
fn a_check_of_ones_own() {
    run(async {
        let bench = Bench::new().await;
        let good = Digest::of(&program("good"));
        let own = move |_: &std::path::Path, digest: &Digest| {
            if *digest == good { Ok(()) } else { Err(std::io::Error::other("not on the list")) }
        };
        let mut updater = bench.updater().checks(not_run().and(own));
        bench.origin.put("/app", Reply::file(program("second")));
        bench.fails(&mut updater, "not on the list").await;
        bench.recovers(&mut updater).await;
    });
}

#[test]
fn a_full_disk_during_the_download_and_while_it_is_unpacked() {
    run(async {
        let outer = Home::new();
        let inner = outer.path().join("disk");
        let Some(disk) = SmallDisk::mount(&inner, 2048) else { return };
        let home = Home::in_directory(&inner);
        let bench = Bench { home, origin: Origin::http().await, restarts: Restarts::default() };
        disk.leave(512);
        let with_ballast = ["app".to_owned(), "ballast".to_owned()];
        let mut updater = bench.updater();
        let large = program_of_size("second", 1 << 20);
        for bytes in [large.clone(), gzip(&[vec![0; 4 << 20], large.clone()].concat())] {
            bench.origin.put("/app", Reply::file(bytes));
            let error = updater.poll().await.unwrap_err();
            let (UpdateError::Fetch { source: FetchError::Write { source, .. }, .. }
            | UpdateError::Check { source: CheckError::Write { source, .. }, .. }) = &error
            else {
                panic!("{error:?}")
            };
            assert_eq!(source.kind(), ErrorKind::StorageFull);
            assert!(told(&error).contains(".app.heirloom-fetch-"));
            assert_eq!((bench.home.holds(), bench.home.names()), (program("first"), with_ballast.to_vec()));
        }
        // Small enough to be fetched, too large to be unpacked.
        bench.origin.put("/app", Reply::file(gzip(&[program("second"), vec![0; 1 << 20]].concat())));
        let error = updater.poll().await.unwrap_err();
        assert!(matches!(error, UpdateError::Check { source: CheckError::Write { .. }, .. }), "{error:?}");
        assert_eq!((bench.home.holds(), bench.home.names()), (program("first"), with_ballast.to_vec()));
        std::fs::remove_file(bench.home.path().join("ballast")).unwrap();
        // The same file, now that there is room.
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        drop(disk);
    });
}

#[test]
fn a_directory_that_takes_no_file() {
    run(async {
        let bench = Bench::new().await;
        bench.origin.put("/app", Reply::file(program("second")));
        let source = Http::new(&bench.origin.url("/app")).unwrap();
        // Not even root makes a file in there.
        let mut updater = Updater::new(source, "/proc/self/app", || async { panic!("restarted") });
        let error = updater.poll().await.unwrap_err();
        assert!(told(&error).contains("/proc/self/.app.heirloom-fetch.lock"), "{error:?}");
    });
}

#[test]
fn progress_is_told_once_a_second() {
    run(async {
        let bench = Bench::new().await;
        let bytes = program_of_size("second", 1 << 20);
        let paced = Fate::Paced(50, Duration::from_millis(50));
        bench.origin.put("/app", Reply::file(bytes.clone()).fate(paced));
        let mut updater = bench.updater();
        let mut events = updater.events();
        let began = Instant::now();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        let seconds = began.elapsed().as_secs_f64();
        let mut told = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let FetchEvent::Downloading { received, total, rate, .. } = event {
                assert_eq!(total, Some(bytes.len() as u64));
                // About as it is paced, 2.5 s for the whole: on a busy machine what has come meanwhile is read at once.
                let whole = bytes.len() as f64;
                assert!((1.0..whole).contains(&(rate as f64)), "{rate}");
                told.push(received);
            }
        }
        println!("{told:?} in {seconds:.1} s");
        assert!((1..=seconds as usize).contains(&told.len()) && told.is_sorted(), "{told:?}");
    });
}
