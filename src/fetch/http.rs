//! A binary behind a URL.

use std::fmt;

use reqwest::Url;
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

use super::client::{self, Client};
use super::{Download, FetchError, Fetcher, Found, Published};

/// A binary behind a URL, plain or as a gzip file.
///
/// A poll is a conditional request (`If-None-Match`, `If-Modified-Since`): as long as nothing changes it
/// costs a few hundred bytes. The server's root certificates are those of the machine. At most 5 redirects
/// are followed, none from https to http; credentials go to the URL's own origin only. `URL.sha256` is asked
/// for beside it, and `URL.minisig` if a key is set; that the former is missing is no error unless
/// [`Checks::require_digest`](super::Checks::require_digest) makes it one.
///
/// ```
/// # fn example() -> Result<(), heirloom::fetch::FetchError> {
/// use heirloom::fetch::Http;
///
/// let source = Http::new("https://releases.example.com/server-linux.gz")?.bearer_token("a secret")?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is fetched before it is given to an Updater"]
pub struct Http {
    url: Url,
    client: Client,
    seen: Validators,
}

/// What the server said of the version that was brought.
#[derive(Default, PartialEq)]
struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Http {
    /// # Errors
    ///
    /// It is no http or https URL.
    pub fn new(url: &str) -> Result<Http, FetchError> {
        Ok(Http { url: client::parse(url)?, client: Client::default(), seen: Validators::default() })
    }

    /// Sends `Authorization: Bearer TOKEN`, to this URL's origin only.
    ///
    /// # Errors
    ///
    /// The token has characters that no header may have.
    pub fn bearer_token(mut self, token: &str) -> Result<Http, FetchError> {
        let unusable = |_| FetchError::Answer {
            url: client::shown(&self.url),
            what: "its token has characters that no header may have",
        };
        self.client.set_bearer(token).map_err(unusable)?;
        Ok(self)
    }

    /// Trusts these certificates, PEM, beside the machine's own. They are read at the first poll.
    pub fn root_certificates(mut self, pem: &[u8]) -> Http {
        self.client.add_certificates(pem);
        self
    }
}

impl Fetcher for Http {
    async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
        let response = self.client.get(&self.url, &self.seen.conditions(), download).await?;
        let now = Validators::of(response.headers());
        // Some servers answer every request in full.
        if response.status() == reqwest::StatusCode::NOT_MODIFIED || (now.etag.is_some() && now == self.seen)
        {
            return Ok(Found::Unchanged);
        }
        let digest = self.client.digest_beside(&self.url, download).await?;
        if digest.is_some_and(|digest| download.is_known(&digest)) {
            self.seen = now;
            return Ok(Found::Unchanged);
        }
        self.client.save(response, download).await?;
        let mut published = Published::new().digest(digest);
        if download.wants_signature() {
            published = published.signature(self.client.signature_beside(&self.url, download).await?);
        }
        // Not before everything is here: a download that broke off is to be made again.
        self.seen = now;
        Ok(Found::New(published))
    }

    fn source(&self) -> String {
        client::shown(&self.url)
    }

    fn forget(&mut self) {
        self.seen = Validators::default();
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Validators {
        Validators { etag: headers.get(ETAG).cloned(), modified: headers.get(LAST_MODIFIED).cloned() }
    }

    fn conditions(&self) -> HeaderMap {
        let etag = self.etag.clone().map(|etag| (IF_NONE_MATCH, etag));
        // The server's own words, sent back: no clock of ours is in it.
        let modified = self.modified.clone().map(|modified| (IF_MODIFIED_SINCE, modified));
        etag.into_iter().chain(modified).collect()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("url", &self.source()).finish_non_exhaustive()
    }
}
