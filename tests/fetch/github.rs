//! Releases, from a stand-in of GitHub's API: which asset is taken, and who is told the token.

use std::time::Duration;

use crate::fetch_support::binaries::gzip;
use crate::fetch_support::{Home, Origin, Reply, Restarts, not_run, program, run, told};
use heirloom::fetch::{Digest, FetchEvent, Fetcher, GitHub, Polled, Updater};
use serde_json::json;

const TOKEN: &str = "a-secret-token";

/// What GitHub says of a release, in the fields that matter here.
fn release(api: &Origin, tag: &str, assets: &[(&str, &[u8], bool)]) -> Reply {
    let assets = assets.iter().enumerate().map(|(index, (name, bytes, digest))| {
        let id = u64::from_str_radix(&Digest::of(bytes).to_string()[..8], 16).unwrap();
        let browser = api.other_url(&format!("/download/{tag}/{name}"));
        let path = format!("/api/assets/{tag}/{index}");
        // As GitHub does it: the API sends those who have a token to where the bytes are.
        api.put(&path, Reply::redirect(browser.clone()));
        api.put(&format!("/download/{tag}/{name}"), Reply::file(*bytes));
        json!({
            "id": id, "name": name, "url": api.url(&path), "browser_download_url": browser,
            "updated_at": "2026-11-20T13:00:00Z", "size": bytes.len(),
            "digest": digest.then(|| format!("sha256:{}", Digest::of(bytes))),
        })
    });
    let release = json!({ "tag_name": tag, "assets": assets.collect::<Vec<_>>() });
    Reply::file(release.to_string())
}

const LATEST: &str = "/api/repos/someone/server/releases/latest";

#[test]
fn the_latest_release_on_github() {
    run(async {
        let (home, api, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let source = || GitHub::new("someone/server", "server-*-x86_64-linux*").unwrap();
        let source = || source().base_url(&api.url("/api")).unwrap();
        let other = b"for another machine".as_slice();
        let (second, third) = (program("second"), gzip(&program("third")));
        let assets = [
            ("server-2-aarch64-linux", other, true),
            ("server-2-x86_64-linux", second.as_slice(), true),
            ("server-2-x86_64-linux.minisig", other, true),
        ];
        api.put(LATEST, release(&api, "v2", &assets));
        let mut updater = home.updater(source(), &restarts);
        let mut events = updater.events();
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), second);
        let event = events.recv().await.unwrap();
        let FetchEvent::Checked { version, .. } = event else { panic!("{event:?}") };
        assert_eq!(version.as_deref(), Some("v2"));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        // Somebody edits the text of the release: it is asked for, and not downloaded again.
        api.put(LATEST, release(&api, "v2", &assets).header("etag", "\"edited\""));
        assert_eq!(updater.poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(api.statuses(LATEST), [200, 304, 200]);
        assert_eq!(api.asked("/download/v2/server-2-x86_64-linux").len(), 1);
        // The next process knows by the digest that this is what it runs.
        assert_eq!(home.updater(source(), &restarts).poll().await.unwrap(), Polled::Unchanged);
        assert_eq!(api.asked("/download/v2/server-2-x86_64-linux").len(), 1);

        // With a token, by way of the API; the token goes no further. The digest is an asset, as before 2025.
        let listing = format!("{}  server-3-x86_64-linux.gz\n", Digest::of(&third));
        let assets = [
            ("server-3-x86_64-linux.gz", third.as_slice(), false),
            ("server-3-x86_64-linux.gz.sha256", listing.as_bytes(), false),
        ];
        api.put(LATEST, release(&api, "v3", &assets));
        let with_token = source().token(TOKEN).unwrap();
        let mut updater = home.updater(with_token, &restarts).checks(not_run().require_digest(true));
        assert!(matches!(updater.poll().await.unwrap(), Polled::Restarted { .. }));
        assert_eq!(home.holds(), program("third"));
        let asked = |path: &str| api.asked(path).pop().unwrap().headers;
        assert!(asked(LATEST).contains_key("authorization") && asked(LATEST).contains_key("user-agent"));
        assert!(asked("/api/assets/v3/0").contains_key("authorization"));
        assert_eq!(asked("/api/assets/v3/0")["accept"], "application/octet-stream");
        assert!(!asked("/download/v3/server-3-x86_64-linux.gz").contains_key("authorization"));
    });
}

#[test]
fn releases_on_github_that_are_of_no_use() {
    run(async {
        let (home, api, restarts) = (Home::new(), Origin::http().await, Restarts::default());
        let source = |pattern| GitHub::new("someone/server", pattern).unwrap();
        let updater = |pattern| {
            let source = source(pattern).base_url(&api.url("/api/")).unwrap();
            home.updater(source, &restarts)
        };
        assert!(told(&updater("*").poll().await.unwrap_err()).contains("404"));
        let bytes = program("second");
        let assets = [("server-a", bytes.as_slice(), true), ("server-b", bytes.as_slice(), true)];
        api.put(LATEST, release(&api, "v2", &assets));
        let error = told(&updater("server-c*").poll().await.unwrap_err());
        assert!(error.contains("v2") && error.contains("server-a"), "{error}");
        let error = told(&updater("server-*").poll().await.unwrap_err());
        assert!(error.contains("several") && error.contains("server-b"), "{error}");
        for body in ["<html>", "{}", "{\"assets\": [{}]}", "\u{0}"] {
            api.put(LATEST, Reply::file(body));
            let error = updater("*").poll().await.unwrap_err();
            assert!(told(&error).contains("cannot make sense"), "{error:?}");
        }
        for name in ["server", "/server", "a/b/c", "../x", "a/..", "a b/c", "a/b?c"] {
            assert!(GitHub::new(name, "*").is_err(), "{name}");
        }
        assert_eq!(source("*").floor(), Duration::from_secs(120));
        assert_eq!(source("*").token(TOKEN).unwrap().floor(), Duration::from_secs(1));
        let hasty = Updater::new(source("*"), home.app(), || async { panic!("restarted") });
        assert!(hasty.interval(Duration::from_secs(119)).is_err());
    });
}
