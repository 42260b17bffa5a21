//! The latest release of a repository on GitHub.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use super::client::{self, Client};
use super::fetcher::{DIGEST_SUFFIX, FLOOR, SIGNATURE_SUFFIX};
use super::glob::matches;
use super::{Digest, Download, FetchError, Fetcher, Found, Published};

/// The asset of a repository's latest release whose name matches a pattern; plain, or as a gzip file.
///
/// "Latest" is GitHub's: no draft, no prerelease. The digest is the one that GitHub publishes with the asset,
/// or the asset `NAME.sha256`; the signature is the asset `NAME.minisig`. Both count as no match for the
/// pattern.
///
/// Without a token GitHub allows 60 requests an hour and address: the floor of the interval is then 2
/// minutes, which leaves half of them to others. When it says "too many", the next poll comes when it allows
/// one.
///
/// ```
/// # fn example() -> Result<(), heirloom::fetch::FetchError> {
/// use heirloom::fetch::GitHub;
///
/// // `*` is any characters, `?` is one.
/// let source = GitHub::new("someone/server", "server-*-x86_64-linux.gz")?.token("a secret")?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is fetched before it is given to an Updater"]
pub struct GitHub {
    repository: String,
    pattern: String,
    base: Url,
    client: Client,
    /// Of the release that was brought.
    etag: Option<HeaderValue>,
    /// Of the asset that was brought: a release changes whenever anybody edits its text.
    asset: Option<(u64, String)>,
}

struct Asset {
    id: u64,
    name: String,
    updated: String,
    /// Where anybody gets it.
    download: Url,
    /// Where those get it that have a token.
    api: Url,
    digest: Option<Digest>,
}

impl GitHub {
    /// `repository` is `OWNER/NAME`; `pattern` is for the name of the asset.
    ///
    /// # Errors
    ///
    /// The repository's name cannot be one.
    pub fn new(repository: &str, pattern: &str) -> Result<GitHub, FetchError> {
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let whole = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(usable);
        let named = repository.split_once('/').is_some_and(|(owner, name)| whole(owner) && whole(name));
        let url = format!("{API}/repos/{repository}/releases/latest");
        if !named {
            return Err(FetchError::Url { url });
        }
        Ok(GitHub {
            repository: repository.to_owned(),
            pattern: pattern.to_owned(),
            base: client::parse(API)?,
            client: Client::default(),
            etag: None,
            asset: None,
        })
    }

    /// The API of another server than github.com, such as `https://github.example.com/api/v3`.
    ///
    /// # Errors
    ///
    /// It is no http or https URL.
    pub fn base_url(mut self, url: &str) -> Result<GitHub, FetchError> {
        self.base = client::parse(url.trim_end_matches('/'))?;
        Ok(self)
    }

    /// For private repositories, and for more than 60 requests an hour. It is sent to the API's origin only,
    /// not to where assets are stored.
    ///
    /// # Errors
    ///
    /// It has characters that no header may have.
    pub fn token(mut self, token: &str) -> Result<GitHub, FetchError> {
        let what = "its token has characters that no header may have";
        let unusable = |_| FetchError::Answer { url: client::shown(&self.base), what };
        self.client.set_bearer(token).map_err(unusable)?;
        Ok(self)
    }

    /// Trusts these certificates, PEM, beside the machine's own. They are read at the first poll.
    pub fn root_certificates(mut self, pem: &[u8]) -> GitHub {
        self.client.add_certificates(pem);
        self
    }

    fn latest(&self) -> Result<Url, FetchError> {
        client::parse(&format!(
            "{}/repos/{}/releases/latest",
            self.base.as_str().trim_end_matches('/'),
            self.repository
        ))
    }

    fn address(&self, asset: &Asset) -> (Url, HeaderMap) {
        let url = if self.client.has_token() { &asset.api } else { &asset.download };
        (url.clone(), client::accept("application/octet-stream"))
    }

    /// Those that are in the release, and which one is meant.
    fn choose(&self, url: &Url, release: &Value) -> Result<(Vec<Asset>, usize), FetchError> {
        let answer = |what| FetchError::Answer { url: client::shown(url), what };
        let listed =
            release["assets"].as_array().ok_or_else(|| answer("a release without a list of assets"))?;
        let assets: Option<Vec<_>> = listed.iter().map(Asset::parse).collect();
        let assets = assets.ok_or_else(|| answer("an asset without an id, a name or an address"))?;
        let release = text(release, "tag_name").unwrap_or_default();
        let meant: Vec<_> = assets.iter().enumerate().filter(|(_, asset)| self.means(&asset.name)).collect();
        let pattern = self.pattern.clone();
        match meant.as_slice() {
            [(index, _)] => {
                let index = *index;
                Ok((assets, index))
            }
            [] => {
                let assets = assets.iter().map(|asset| asset.name.clone()).collect();
                Err(FetchError::NoAsset { release, pattern, assets })
            }
            several => {
                let assets = several.iter().map(|(_, asset)| asset.name.clone()).collect();
                Err(FetchError::SeveralAssets { release, pattern, assets })
            }
        }
    }

    fn means(&self, name: &str) -> bool {
        ![DIGEST_SUFFIX, SIGNATURE_SUFFIX].iter().any(|suffix| name.ends_with(suffix))
            && matches(&self.pattern, name)
    }

    async fn text_of(
        &self,
        assets: &[Asset],
        name: &str,
        suffix: &str,
        download: &Download,
    ) -> Result<Option<String>, FetchError> {
        let wanted = assets.iter().find(|asset| asset.name.strip_suffix(suffix) == Some(name));
        let Some(asset) = wanted else { return Ok(None) };
        let (url, headers) = self.address(asset);
        self.client.text(&url, &headers, download).await
    }
}

/// For a fuzzer.
#[cfg(any(test, fuzzing))]
pub(super) fn read_release(bytes: &[u8]) {
    let github = GitHub::new("someone/server", "server-*").expect("a name");
    let (Ok(url), Ok(release)) = (github.latest(), serde_json::from_slice(bytes)) else { return };
    if let Ok((assets, index)) = github.choose(&url, &release) {
        assert!(github.means(&assets[index].name));
        github.address(&assets[index]);
    }
}

impl Fetcher for GitHub {
    async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
        let url = self.latest()?;
        let mut headers = client::accept("application/vnd.github+json");
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        headers.extend(self.etag.clone().map(|etag| (IF_NONE_MATCH, etag)));
        let response = self.client.get(&url, &headers, download).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Found::Unchanged);
        }
        let etag = response.headers().get(ETAG).cloned();
        let body = client::body(&url, response, LARGEST_RELEASE, download).await?;
        let not_json = |_| FetchError::Answer { url: client::shown(&url), what: "it is not JSON" };
        let release = serde_json::from_str(&body).map_err(not_json)?;
        let (assets, index) = self.choose(&url, &release)?;
        let asset = &assets[index];
        let identity = Some((asset.id, asset.updated.clone()));
        let mut digest = asset.digest;
        let mut unchanged = identity == self.asset;
        if !unchanged && digest.is_none() {
            let listing = self.text_of(&assets, &asset.name, DIGEST_SUFFIX, download).await?;
            digest = listing.and_then(|listing| Digest::from_listing(&listing, &asset.name));
        }
        unchanged |= digest.is_some_and(|digest| download.is_known(&digest));
        if unchanged {
            (self.etag, self.asset) = (etag, identity);
            return Ok(Found::Unchanged);
        }
        let (address, headers) = self.address(asset);
        let response = self.client.get(&address, &headers, download).await?;
        self.client.save(response, download).await?;
        let mut published = Published::new().version(text(&release, "tag_name")).digest(digest);
        if download.wants_signature() {
            published =
                published.signature(self.text_of(&assets, &asset.name, SIGNATURE_SUFFIX, download).await?);
        }
        (self.etag, self.asset) = (etag, identity);
        Ok(Found::New(published))
    }

    fn source(&self) -> String {
        format!("{} ({})", self.repository, self.pattern)
    }

    fn forget(&mut self) {
        (self.etag, self.asset) = (None, None);
    }

    fn floor(&self) -> Duration {
        let anonymous = !self.client.has_token() && self.base.host_str() == Some(API_HOST);
        if anonymous { ANONYMOUS_FLOOR } else { FLOOR }
    }
}

impl Asset {
    fn parse(asset: &Value) -> Option<Asset> {
        let url = |key| text(asset, key).and_then(|url| client::parse(&url).ok());
        Some(Asset {
            id: asset["id"].as_u64()?,
            name: text(asset, "name")?,
            updated: text(asset, "updated_at").unwrap_or_default(),
            download: url("browser_download_url")?,
            api: url("url")?,
            digest: text(asset, "digest")
                .and_then(|digest| digest.strip_prefix("sha256:").and_then(|digits| digits.parse().ok())),
        })
    }
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("GitHub");
        debug.field("repository", &self.repository).field("pattern", &self.pattern).finish_non_exhaustive()
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

const API: &str = "https://api.github.com";
const API_HOST: &str = "api.github.com";

/// 30 requests an hour, of the 60 that an address has.
const ANONYMOUS_FLOOR: Duration = Duration::from_secs(120);

/// A release with a thousand assets, at 2 KiB each.
const LARGEST_RELEASE: u64 = 2 * 1024 * 1024;
