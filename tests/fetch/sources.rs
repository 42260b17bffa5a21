//! Each source against a real server, or a stand-in of one: what it asks, and whom it tells its secrets.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::fetch_support::binaries::{gzip, program_of_size, write};
use crate::fetch_support::signing::Signer;
use crate::fetch_support::{Home, Origin, Reply, Restarts, not_run, program, run, told};
use heirloom::fetch::{Digest, FetchError, File, Http, Polled, S3, UpdateError};
use hyper_util::rt::{TokioExecutor, TokioIo};

const TOKEN: &str = "a-secret-token";

#[test]
fn a_file_is_taken_when_it_is_complete() {
    run(async {
        let (home, restarts) = (Home::new(), Restarts::default());
        let incoming = Home::new();
        let path = incoming.path().join("server.gz");
        let nothing = File::new(&path).settle(Duration::from_millis(100));
        assert_eq!(home.updater(nothing, &restarts).poll().await.unwrap(), Polled::Unchanged);

        // A copy that goes on while it is looked at, without a pause as long as that.
        let whole = gzip(&program_of_size("second", 100_000));
        let (half, rest) = whole.split_at(50_000);
        let enough = Arc::new(AtomicBool::new(false));
        let writing = std::thread::spawn({
            let (path, half, enough) = (path.clone(), half.to_vec(), Arc::clone(&enough));
            move || {
                let mut parts = half.chunks(50);
                for part in parts.by_ref() {
                    append(&path, part);
                    if enough.load(Relaxed) {
                        break;
                    }
                    // allow: sleep (a slow copy)
                    std::thread::sleep(Duration::from_millis(5));
                }
                parts.for_each(|part| append(&path, part));
            }
        });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let looking = File::new(&path).settle(Duration::from_secs(2));
        assert_eq!(home.updater(looking, &restarts).poll().await.unwrap(), Polled::NotYet);
        enough.store(true, Relaxed);
        writing.join().unwrap();
        let source = File::new(&path).settle(Duration::from_millis(100));
        let mut updater = home.updater(source, &restarts);
        // One that pauses halfway is what the size in its archive, or a digest, is there for.
        assert!(matches!(updater.poll().await, Err(UpdateError::Check { .. })));
        append(&path, rest);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), program_of_size("second", 100_000));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);

        // Renamed into place, of the same size and with an old date.
        let next = incoming.path().join("next");
        write(&next, &gzip(&program_of_size("2nd345", 100_000)));
        let old = fs::metadata(&path).unwrap().modified().unwrap();
        fs::File::open(&next).unwrap().set_modified(old).unwrap();
        fs::rename(&next, &path).unwrap();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        // Touched: read, and found to be the same.
        fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(restarts.count(), 2);
    });
}

#[test]
fn a_file_with_a_digest_and_a_signature_beside_it() {
    run(async {
        let (home, restarts, incoming, signer) =
            (Home::new(), Restarts::default(), Home::new(), Signer::new());
        let source = File::new(incoming.app()).settle(Duration::from_millis(10));
        let checks = not_run().require_digest(true).minisign_key(&signer.public_key()).unwrap();
        let mut updater = home.updater(source, &restarts).checks(checks);
        let second = program("second");
        write(&incoming.app(), &second);
        fs::write(incoming.path().join("app.sha256"), format!("{}  app\n", Digest::of(b"other"))).unwrap();
        assert!(told(&updater.poll().await.unwrap_err()).contains("the published one is"));
        fs::write(incoming.path().join("app.sha256"), format!("{}  app\n", Digest::of(&second))).unwrap();
        assert!(told(&updater.poll().await.unwrap_err()).contains("no signature"));
        fs::write(incoming.path().join("app.minisig"), signer.sign(&second)).unwrap();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), second);
        let nothing = File::new(incoming.path());
        assert!(home.updater(nothing, &restarts).poll().await.is_err());
    });
}

#[test]
fn redirects_are_followed_within_limits_and_keep_the_secret() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        origin.put("/stored", Reply::file(program("second")));
        origin.put("/mirror", Reply::redirect(origin.other_url("/stored")));
        origin.put("/app", Reply::redirect("/mirror"));
        origin.put("/loop", Reply::redirect("/loop"));
        origin.put("/nowhere", Reply::status(302));
        origin.put("/mail", Reply::redirect("mailto:somebody@example.com"));
        let source = |path| Http::new(&origin.url(path)).unwrap().bearer_token(TOKEN).unwrap();
        let mut updater = home.updater(source("/app"), &restarts);
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        let told_to = |path| origin.asked(path)[0].headers.get("authorization").cloned();
        for path in ["/app", "/mirror", "/app.sha256"] {
            assert_eq!(told_to(path).unwrap(), format!("Bearer {TOKEN}"), "{path}");
        }
        // The same machine by another name is another origin.
        assert_eq!(told_to("/stored"), None);
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(origin.statuses("/stored"), [200, 304]);

        for (path, words) in [
            ("/loop", "more than 5 times"),
            ("/nowhere", "to no address"),
            ("/mail", "not HTTP"),
            ("/none", "404"),
        ] {
            let error = home.updater(source(path), &restarts).poll().await.unwrap_err();
            assert!(told(&error).contains(words));
            assert!(!format!("{error:?}").contains(TOKEN));
        }
        assert_eq!(origin.asked("/loop").len(), 6);
        assert!(!format!("{:?}", source("/app")).contains(TOKEN));
    });
}

#[test]
fn https_is_verified_and_never_left() {
    run(async {
        let (home, restarts) = (Home::new(), Restarts::default());
        let (secure, plain) = (Origin::https().await, Origin::http().await);
        secure.put("/app", Reply::file(program("second")));
        secure.put("/away", Reply::redirect(plain.url("/app?signature=secret")));
        plain.put("/app", Reply::file(program("third")));
        let unknown = Http::new(&secure.url("/app")).unwrap();
        let error = told(&home.updater(unknown, &restarts).poll().await.unwrap_err());
        assert!(error.contains("certificate"), "{error}");
        let source =
            |path| Http::new(&secure.url(path)).unwrap().root_certificates(secure.certificate.as_bytes());
        let error = home.updater(source("/away"), &restarts).poll().await.unwrap_err();
        assert!(
            matches!(error, UpdateError::Fetch { source: FetchError::Downgrade { .. }, .. }),
            "{error:?}"
        );
        assert!(!told(&error).contains("secret") && plain.asked("/app").is_empty());
        assert!(matches!(
            home.updater(source("/app"), &restarts).poll().await.unwrap(),
            Polled::Restarted { .. }
        ));
        assert_eq!(home.holds(), program("second"));
    });
}

#[test]
fn a_server_that_wants_to_be_left_alone_says_for_how_long() {
    run(async {
        let (home, origin, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let now = std::time::SystemTime::now();
        let unix = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let date = httpdate::fmt_http_date(now + Duration::from_secs(200));
        let limited = Reply::status(403).header("x-ratelimit-remaining", "0");
        for (reply, seconds) in [
            (Reply::status(429).header("retry-after", "100"), 100..=100),
            (Reply::status(503).header("retry-after", date), 100..=200),
            (limited.header("x-ratelimit-reset", (unix + 300).to_string()), 200..=300),
            (Reply::status(429), 60..=60),
        ] {
            origin.put("/app", reply);
            let mut updater = home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts);
            let error = updater.poll().await.unwrap_err();
            let UpdateError::Fetch { source, .. } = &error else { panic!("{error:?}") };
            let after = source.retry_after().unwrap_or_else(|| panic!("{error:?}"));
            assert!(seconds.contains(&after.as_secs()), "{after:?}");
            told(&error);
        }
        // Forbidden for another reason.
        origin.put("/app", Reply::status(403).header("x-ratelimit-remaining", "17"));
        let error =
            home.updater(Http::new(&origin.url("/app")).unwrap(), &restarts).poll().await.unwrap_err();
        assert!(matches!(error, UpdateError::Fetch { source: FetchError::Status { status: 403, .. }, .. }));
    });
}

const KEY: &str = "linux/server.gz";

#[test]
fn an_object_in_a_store_like_s3() {
    run(async {
        let (home, restarts, store, signer) = (Home::new(), Restarts::default(), Home::new(), Signer::new());
        let endpoint = s3_server(store.path()).await;
        let object = store.path().join("releases").join(KEY);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        let source = |id: &str| {
            S3::new("releases", KEY).endpoint(&endpoint).region("eu-central-1").credentials(id, "the secret")
        };
        let mut updater = home.updater(source("somebody"), &restarts);
        let error = updater.poll().await.unwrap_err();
        assert!(told(&error).contains("s3://releases/linux/server.gz"), "{error:?}");

        let large = program_of_size("second", 3 << 20);
        fs::write(&object, gzip(&large)).unwrap();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), large);
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);

        let third = gzip(&program("third"));
        fs::write(&object, &third).unwrap();
        fs::write(object.with_extension("gz.sha256"), Digest::of(b"other").to_string()).unwrap();
        let mut updater = updater.checks(not_run().minisign_key(&signer.public_key()).unwrap());
        assert!(told(&updater.poll().await.unwrap_err()).contains("the published one is"));
        fs::write(object.with_extension("gz.sha256"), Digest::of(&third).to_string()).unwrap();
        assert!(told(&updater.poll().await.unwrap_err()).contains("no signature"));
        fs::write(object.with_extension("gz.minisig"), signer.sign(&third)).unwrap();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), program("third"));

        let error = home.updater(source("a stranger"), &restarts).poll().await.unwrap_err();
        assert!(matches!(error, UpdateError::Fetch { source: FetchError::Store { .. }, .. }), "{error:?}");
        assert!(!told(&error).contains("the secret") && !format!("{:?}", source("x")).contains("the secret"));
    });
}

/// s3s-fs, which serves the directory: a bucket is a directory in it, an object a file.
async fn s3_server(directory: &Path) -> String {
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single("somebody", "the secret"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    format!("http://{address}")
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::options().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
}
