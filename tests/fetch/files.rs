//! A new binary by HTTP: fetched once, checked, put in place, and back when it fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::fetch_support::binaries::{gzip, script, write};
use crate::fetch_support::{Home, Origin, Reply, Restarts, crashed, not_run, program, refused, run, told};
use heirloom::fetch::{
    Checks, Digest, FetchError, FetchEvent, Http, InstallError, Place, Polled, SanityCheck, UpdateError,
    Updater,
};
use heirloom::{Failure, RestartError};

#[test]
fn a_new_version_replaces_the_old_one_once() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        fs::set_permissions(home.app(), fs::Permissions::from_mode(0o751)).unwrap();
        origin.put("/app", Reply::file(program("second")));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        let second = Digest::of(&program("second"));
        let polled = updater.poll().await.unwrap();
        assert!(matches!(polled, Polled::Restarted { digest, .. } if digest == second), "{polled:?}");
        assert_eq!(home.holds(), program("second"));
        assert_eq!(fs::metadata(home.app()).unwrap().permissions().mode() & 0o7777, 0o751);
        assert_eq!(fs::read(home.path().join("app.previous")).unwrap(), program("first"));
        for _ in 0..3 {
            assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        }
        assert_eq!(origin.statuses("/app"), [200, 304, 304, 304]);
        origin.put("/app", Reply::file(gzip(&program("third"))));
        let third = Digest::of(&program("third"));
        let polled = updater.poll().await.unwrap();
        assert!(matches!(polled, Polled::Restarted { digest, .. } if digest == third), "{polled:?}");
        assert_eq!(home.holds(), program("third"));
        assert_eq!(restarts.count(), 2);
        assert_eq!(home.names(), ["app", "app.previous"]);
    });
}

#[test]
fn identical_content_restarts_nothing() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("first")));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        // Packed, renamed and dated anew it is still the same.
        origin.put("/app", Reply::file(gzip(&program("first"))).header("etag", "\"new\""));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(origin.statuses("/app"), [200, 200]);
        assert_eq!((restarts.count(), home.names()), (0, vec!["app".to_owned()]));
    });
}

#[test]
fn a_server_without_etags_is_asked_by_date_and_one_that_knows_no_conditions_is_not_downloaded_from() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let dated = Reply::file(program("second")).without("etag");
        origin.put("/dated", dated.header("last-modified", "Fri, 20 Nov 2026 13:00:00 GMT"));
        let mut updater = home.updater(Http::new(&origin.url("/dated")).unwrap(), &restarts);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(origin.statuses("/dated"), [200, 304]);

        origin.put("/plain", Reply::file(program("third")).header("x-no-conditions", "1"));
        let mut updater = home.updater(Http::new(&origin.url("/plain")).unwrap(), &restarts);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(origin.statuses("/plain"), [200, 200]);
        assert_eq!(restarts.count(), 2);
    });
}

#[test]
fn a_published_digest_of_what_is_there_saves_the_download() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        // A body that would be refused shows that nobody looked at it.
        origin.put("/app", Reply::file("never read"));
        origin.put("/app.sha256", Reply::file(format!("{}  app\n", Digest::of(&program("first")))));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(origin.statuses("/app"), [200, 304]);
    });
}

#[test]
fn a_version_that_fails_is_taken_back_and_not_fetched_again() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("bad")));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        let mut events = updater.events();
        restarts.will_fail(crashed());
        let error = updater.poll().await.unwrap_err();
        assert!(matches!(error, UpdateError::RolledBack { .. }), "{error:?}");
        assert!(told(&error).contains("crashed"));
        assert_eq!(home.holds(), program("first"));
        assert_eq!(home.names(), ["app"]);
        let digest = Digest::of(&program("bad"));
        let mut happened = Vec::new();
        while let Ok(event) = events.try_recv() {
            happened.push(event);
        }
        assert!(
            matches!(happened.as_slice(), [
                FetchEvent::Checked { .. },
                FetchEvent::Installed { .. },
                FetchEvent::RolledBack { digest: failed, .. }
            ] if *failed == digest),
            "{happened:?}"
        );

        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        // The same bytes under another ETag, and packed, are still those that failed; with a digest beside them they
        // are not even downloaded.
        origin.put("/app", Reply::file(gzip(&program("bad"))));
        assert_eq!(updater.poll().await.unwrap(), Polled::Rejected(digest));
        origin.put("/app.sha256", Reply::file(digest.to_string()));
        origin.put("/app", Reply::file("never read"));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(restarts.count(), 1);

        // Lost in probation is as bad.
        origin.put("/app.sha256", Reply::status(404));
        origin.put("/app", Reply::file(program("worse")));
        restarts.will_fail(RestartError::TakenBack(Failure::Died { how: "fell".to_owned() }));
        assert!(matches!(updater.poll().await, Err(UpdateError::RolledBack { .. })));
        assert_eq!(home.holds(), program("first"));

        origin.put("/app", Reply::file(program("good")));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), program("good"));
    });
}

#[test]
fn a_refused_restart_leaves_the_new_version_and_is_tried_again() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("second")));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        restarts.will_fail(refused());
        restarts.will_fail(refused());
        for _ in 0..2 {
            let error = updater.poll().await.unwrap_err();
            assert!(matches!(error, UpdateError::NotTried { .. }), "{error:?}");
            assert_eq!(home.holds(), program("second"));
        }
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!((restarts.count(), origin.statuses("/app")), (3, vec![200, 304]));
    });
}

#[test]
fn restarts_can_be_off_and_a_binary_where_none_was_has_no_way_back() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("second")));
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts).install_only(true);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Installed(_)));
        assert_eq!((home.holds(), restarts.count()), (program("second"), 0));
        Place::new(home.app()).roll_back().unwrap();
        assert_eq!(home.holds(), program("first"));

        fs::remove_file(home.app()).unwrap();
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        restarts.will_fail(crashed());
        let error = updater.poll().await.unwrap_err();
        let UpdateError::Stuck { source: InstallError::NoPrevious { .. }, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(home.holds(), program("second"));
    });
}

#[test]
fn the_new_binary_is_run_before_it_is_used() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let checks = || Checks::new().any_format(true);
        let url = origin.url("/app");
        let mut updater = home.updater(Http::new(&url).unwrap(), &restarts).checks(checks());
        for (body, words) in [
            ("echo I am broken >&2; kill -SEGV $$", "SIGSEGV"),
            ("echo I am broken >&2; exit 3", "I am broken"),
            ("exit 0", "without the answer"),
            ("sleep 1000 & exit 0", "without the answer"),
            ("echo not the token", "without the answer"),
            ("printf %s \"$HEIRLOOM_SANITY_CHECK\"; exit 1", "exit status: 1"),
        ] {
            origin.put("/app", Reply::file(script(body)));
            let error = told(&updater.poll().await.unwrap_err());
            assert!(error.contains(words), "{words:?} is not in {error:?}");
            assert_eq!(home.names(), ["app"]);
        }
        let mut updater = updater.checks(checks().sanity_deadline(Duration::from_millis(300)));
        for body in ["exec sleep 1000", "sleep 1000 & wait"] {
            origin.put("/app", Reply::file(script(body)));
            assert!(told(&updater.poll().await.unwrap_err()).contains("within 300ms"));
            assert_eq!(home.names(), ["app"]);
        }
        let mut updater = updater.checks(checks());
        origin.put("/app", Reply::file(b"#!/no/such/interpreter\n".repeat(300)));
        assert!(told(&updater.poll().await.unwrap_err()).contains("No such file"));
        assert_eq!((home.holds(), restarts.count()), (program("first"), 0));

        // Neither the process's listeners nor its watchdog are the trial's.
        let good =
            script("[ -z \"$HEIRLOOM$LISTEN_FDS$NOTIFY_SOCKET\" ] && printf %s \"$HEIRLOOM_SANITY_CHECK\"");
        origin.put("/app", Reply::file(good.clone()));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), good);

        let by_version = script("[ \"$1\" = --version ]");
        origin.put("/app", Reply::file(by_version.clone()));
        let mut updater = updater.checks(checks().sane_if(["--help"]));
        assert!(updater.poll().await.is_err());
        let mut updater = updater.checks(checks().sanity(SanityCheck::Exits(vec!["--version".into()])));
        // It did not change; what has failed its check is not fetched again until it does.
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        origin.put("/app", Reply::file(by_version.clone()).header("etag", "\"again\""));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), by_version);
    });
}

#[test]
fn what_a_killed_process_left_is_removed_and_one_process_works_at_a_time() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("second")));
        write(&home.path().join(".app.heirloom-fetch-4711-0"), b"half of a download");
        let lock = fs::File::create(home.path().join(".app.heirloom-fetch.lock")).unwrap();
        lock.lock().unwrap();
        let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        assert_eq!(updater.poll().await.unwrap(), Polled::Busy);
        assert_eq!(home.names(), [".app.heirloom-fetch-4711-0", "app"]);
        drop(lock);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.names(), ["app", "app.previous"]);
    });
}

#[test]
fn a_poll_that_is_dropped_leaves_nothing_and_is_made_up_for() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/app", Reply::file(program("second")));
        let updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
        let mut updater = updater.delay(Duration::from_secs(3600));
        let mut events = updater.events();
        tokio::select! {
            polled = updater.poll() => panic!("{polled:?}"),
            event = events.recv() => {
                let FetchEvent::Checked { wait, .. } = event.unwrap() else { panic!("another event") };
                assert_eq!(wait, Duration::from_secs(3600));
            }
        }
        assert_eq!((home.names(), restarts.count()), (vec!["app".to_owned()], 0));
        // This host's place in a window of a year is hardly its beginning.
        let mut updater = updater.delay(Duration::ZERO).stagger(Duration::from_secs(365 * 86400));
        let mut waits = Vec::new();
        for _ in 0..2 {
            tokio::select! {
                polled = updater.poll() => panic!("{polled:?}"),
                event = events.recv() => {
                    let FetchEvent::Checked { wait, .. } = event.unwrap() else { panic!("another event") };
                    waits.push(wait);
                }
            }
        }
        assert!(waits[0] == waits[1] && !waits[0].is_zero(), "{waits:?}");
        let mut updater = updater.stagger(Duration::ZERO);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(origin.statuses("/app"), [200, 200, 200, 200]);
    });
}

#[test]
fn it_polls_by_itself_and_backs_off_when_it_fails() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let url = origin.url("/app");
        let too_often =
            home.updater(Http::new(&url).unwrap(), &restarts).interval(Duration::from_millis(999));
        let error = too_often.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("every 999ms is too often"), "{error}");

        origin.put("/app", Reply::status(429).header("retry-after", "3600"));
        let updater = home.updater(Http::new(&url).unwrap(), &restarts);
        let mut updater = updater.interval(Duration::from_secs(1)).unwrap().jitter(0.0);
        let mut events = updater.events();
        let polling = tokio::spawn(async move { updater.run().await });
        let FetchEvent::Failed { error, times: 1, next, .. } = events.recv().await.unwrap() else {
            panic!("another event")
        };
        assert!(told(&*error).contains("429"), "{error:?}");
        assert_eq!(next, Duration::from_secs(3600));
        polling.abort();

        origin.put("/app", Reply::status(500));
        let updater = home.updater(Http::new(&url).unwrap(), &restarts);
        let mut updater = updater.interval(Duration::from_secs(1)).unwrap().jitter(0.0);
        let mut events = updater.events();
        let polling = tokio::spawn(async move { updater.run().await });
        let FetchEvent::Failed { next, .. } = events.recv().await.unwrap() else { panic!("another event") };
        assert_eq!(next, Duration::from_secs(2));
        origin.put("/app", Reply::file(program("second")));
        let mut last = events.recv().await.unwrap();
        while !matches!(last, FetchEvent::Restarted { .. }) {
            last = events.recv().await.unwrap();
        }
        assert_eq!(home.holds(), program("second"));
        polling.abort();
    });
}

#[test]
fn an_updater_needs_no_more_than_a_url_and_a_path() {
    // As the documentation has it, with a restarter's error for a process that does not run.
    let restart = || async { Err(RestartError::Stopped) };
    let source = Http::new("http://127.0.0.1:1/app").unwrap();
    let mut updater = Updater::new(source, "/nowhere/app", restart).checks(not_run());
    let error = run(updater.poll()).unwrap_err();
    assert!(told(&error).contains("/nowhere"), "{error:?}");
    assert!(matches!(Http::new("ftp://example.com/app"), Err(FetchError::Url { .. })));
}
