//! The HTTP client of all fetchers: who may be told a secret, and where a redirect may lead.
//!
//! Redirects are followed here and not by reqwest, so that three things are certain: credentials go to the
//! origin that they are for and nowhere else, nothing goes from https to http, and the errors say where it
//! ended.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url, redirect};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::fetcher::{DIGEST_SUFFIX, SIGNATURE_SUFFIX, SMALL};
use super::{Digest, Download, FetchError};

/// Made at its first use: reading the machine's certificates takes milliseconds.
#[derive(Debug, Default)]
pub(super) struct Client {
    made: OnceLock<reqwest::Client>,
    authorization: Option<HeaderValue>,
    certificates: Vec<u8>,
}

impl Client {
    pub(super) fn set_bearer(&mut self, token: &str) -> Result<(), reqwest::header::InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    pub(super) fn has_token(&self) -> bool {
        self.authorization.is_some()
    }

    pub(super) fn add_certificates(&mut self, pem: &[u8]) {
        self.certificates.extend_from_slice(pem);
        self.certificates.push(b'\n');
    }

    /// Gets `url`, through redirects. The answer is 200 or 304.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
        download: &Download,
    ) -> Result<Response, FetchError> {
        let client = self.client(url)?;
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = client.get(at.clone()).headers(headers.clone());
            if let Some(authorization) = &self.authorization
                && at.origin() == url.origin()
            {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = download.next(request.send()).await?;
            let response = response.map_err(|error| request_error(&at, error))?;
            if !FOLLOWED.contains(&response.status()) {
                return judge(&at, response);
            }
            at = next(&at, &response)?;
        }
        Err(FetchError::TooManyRedirects { url: shown(url), limit: REDIRECTS })
    }

    /// Puts the body of an answer into the download.
    pub(super) async fn save(
        &self,
        mut response: Response,
        download: &mut Download,
    ) -> Result<(), FetchError> {
        if let Some(total) = response.content_length() {
            download.expect(total)?;
        }
        loop {
            match download.next(response.chunk()).await? {
                Ok(Some(bytes)) => download.write(&bytes).await?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(download.cut(io::Error::other(error.without_url()))),
            }
        }
    }

    /// The text at `url`; none if there is nothing there.
    pub(super) async fn text(
        &self,
        url: &Url,
        headers: &HeaderMap,
        download: &Download,
    ) -> Result<Option<String>, FetchError> {
        match self.get(url, headers, download).await {
            Err(FetchError::Status { status: 403 | 404 | 410, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(response) => Ok(Some(body(url, response, SMALL, download).await?)),
        }
    }

    /// The digest beside `url`, if one is published there.
    pub(super) async fn digest_beside(
        &self,
        url: &Url,
        download: &Download,
    ) -> Result<Option<Digest>, FetchError> {
        let listing = self.text(&beside(url, DIGEST_SUFFIX), &HeaderMap::new(), download).await?;
        let name = url.path_segments().and_then(Iterator::last).unwrap_or_default();
        // Many servers answer what they do not have with a page of their own: that is no digest, and no
        // error.
        Ok(listing.and_then(|listing| Digest::from_listing(&listing, name)))
    }

    /// The signature beside `url`, if one is published there.
    pub(super) async fn signature_beside(
        &self,
        url: &Url,
        download: &Download,
    ) -> Result<Option<String>, FetchError> {
        self.text(&beside(url, SIGNATURE_SUFFIX), &HeaderMap::new(), download).await
    }

    pub(super) fn client(&self, url: &Url) -> Result<reqwest::Client, FetchError> {
        if let Some(client) = self.made.get() {
            return Ok(client.clone());
        }
        let tls = |source| FetchError::Tls { url: shown(url), source };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls().map_err(tls)?)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .http1_only()
            // Polls are minutes apart: a connection kept that long is one that the server has closed.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("heirloom/", env!("CARGO_PKG_VERSION")));
        let client = client.build().map_err(|error| tls(io::Error::other(error)))?;
        Ok(self.made.get_or_init(|| client).clone())
    }

    fn tls(&self) -> io::Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        // What cannot be read of the machine's is as if it were not there: without any, https fails by
        // itself.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in CertificateDer::pem_slice_iter(&self.certificates) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Ok(config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
    }
}

/// An address to fetch from.
pub(super) fn parse(url: &str) -> Result<Url, FetchError> {
    let parsed =
        Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| FetchError::Url { url: url.to_owned() })
}

/// For people: without a password, and without a query, which may hold a signature that opens the object.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

pub(super) fn accept(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(kind))])
}

/// A body that is to be small.
pub(super) async fn body(
    url: &Url,
    mut response: Response,
    largest: u64,
    download: &Download,
) -> Result<String, FetchError> {
    let mut bytes = Vec::new();
    loop {
        match download.next(response.chunk()).await? {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(request_error(url, error)),
        }
        if bytes.len() as u64 > largest {
            return Err(FetchError::TooLarge { from: shown(url), bytes: bytes.len() as u64, largest });
        }
    }
    String::from_utf8(bytes).map_err(|_| FetchError::Answer { url: shown(url), what: "it is not UTF-8 text" })
}

fn beside(url: &Url, suffix: &str) -> Url {
    let mut url = url.clone();
    url.set_path(&format!("{}{suffix}", url.path()));
    url
}

fn next(at: &Url, response: &Response) -> Result<Url, FetchError> {
    let answer = |what| FetchError::Answer { url: shown(at), what };
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| at.join(location).ok());
    let to = to.ok_or_else(|| answer("it redirects to no address"))?;
    match (at.scheme(), to.scheme()) {
        ("https", "http") => Err(FetchError::Downgrade { url: shown(at), to: shown(&to) }),
        (_, "http" | "https") => Ok(to),
        _ => Err(answer("it redirects to something that is not HTTP")),
    }
}

fn judge(url: &Url, response: Response) -> Result<Response, FetchError> {
    let status = response.status();
    if status == StatusCode::OK || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let (url, status) = (shown(url), status.as_u16());
    match retry_after(response.headers()) {
        Some(retry_after) if matches!(status, 403 | 429 | 503) => {
            Err(FetchError::RateLimited { url, status, retry_after })
        }
        None if status == 429 => Err(FetchError::RateLimited { url, status, retry_after: UNSAID }),
        _ => Err(FetchError::Status { url, status }),
    }
}

/// By `Retry-After`, in seconds or as a date, or by GitHub's own headers once nothing is left.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(after) = text(RETRY_AFTER.as_str()) {
        let until = |date: SystemTime| date.duration_since(SystemTime::now()).unwrap_or_default();
        let seconds = after.parse().ok().map(Duration::from_secs);
        return seconds.or_else(|| httpdate::parse_http_date(after).ok().map(until));
    }
    if text("x-ratelimit-remaining") != Some("0") {
        return None;
    }
    let reset = Duration::from_secs(text("x-ratelimit-reset")?.parse().ok()?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(reset.saturating_sub(now).max(Duration::from_secs(1)))
}

fn request_error(url: &Url, error: reqwest::Error) -> FetchError {
    FetchError::Request { url: shown(url), source: io::Error::other(error.without_url()) }
}

const FOLLOWED: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// A release on GitHub takes one, a shortener and a mirror one each; more is a loop.
const REDIRECTS: usize = 5;

/// Three SYNs and a half.
const CONNECT: Duration = Duration::from_secs(10);

/// Behind the stall timeout, which is the user's: for what object_store does by itself.
const SILENCE: Duration = Duration::from_secs(60);

/// For a server that says "too many" and not for how long.
const UNSAID: Duration = Duration::from_secs(60);
