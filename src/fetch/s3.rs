//! An object in S3, or in a store that speaks like it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, Error, GetOptions, GetResult, ObjectStore, RetryConfig};

use super::client::{self, Client};
use super::fetcher::{DIGEST_SUFFIX, SIGNATURE_SUFFIX, SMALL};
use super::{Digest, Download, FetchError, Fetcher, Found, Published};

/// An object in S3 or a compatible store, plain or as a gzip file.
///
/// Region, credentials and endpoint come from the environment that AWS's own tools read (`AWS_REGION`,
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, web identity and container credentials,
/// the instance's role), unless they are set here. A poll is one conditional request. `KEY.sha256` and
/// `KEY.minisig` are looked for as by [`Http`](super::Http).
///
/// ```
/// use heirloom::fetch::S3;
///
/// let source = S3::new("releases", "server/linux-x86_64.gz").region("eu-central-1");
/// let own = S3::new("releases", "server.gz").endpoint("https://store.example.com");
/// let own = own.credentials("id", "secret");
/// ```
#[must_use = "nothing is fetched before it is given to an Updater"]
pub struct S3 {
    bucket: String,
    key: String,
    builder: AmazonS3Builder,
    client: Client,
    endpoint: Option<String>,
    store: Option<AmazonS3>,
    /// Of the object that was brought.
    etag: Option<String>,
}

impl S3 {
    /// The object `key` in `bucket`.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> S3 {
        let bucket = bucket.into();
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_FOR };
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket.as_str()).with_retry(retry);
        let (client, key) = (Client::default(), key.into());
        S3 { bucket, key, builder, client, endpoint: None, store: None, etag: None }
    }

    /// The region, instead of the environment's or `us-east-1`.
    pub fn region(mut self, region: &str) -> S3 {
        self.builder = self.builder.with_region(region);
        self
    }

    /// Another store than AWS's: its URL, without the bucket, which goes into the path. If it is http, so is
    /// the traffic.
    pub fn endpoint(mut self, url: &str) -> S3 {
        self.builder = self.builder.with_endpoint(url.trim_end_matches('/'));
        self.endpoint = Some(url.to_owned());
        self
    }

    /// The access key's id and secret, instead of the environment's.
    pub fn credentials(mut self, id: &str, secret: &str) -> S3 {
        self.builder = self.builder.with_access_key_id(id).with_secret_access_key(secret);
        self
    }

    /// Without credentials, for a public bucket.
    pub fn anonymous(mut self) -> S3 {
        self.builder = self.builder.with_skip_signature(true);
        self
    }

    /// Trusts these certificates, PEM, beside the machine's own. They are read at the first poll.
    pub fn root_certificates(mut self, pem: &[u8]) -> S3 {
        self.client.add_certificates(pem);
        self
    }

    async fn get(
        &mut self,
        suffix: &str,
        options: GetOptions,
        download: &Download,
    ) -> Result<Option<GetResult>, FetchError> {
        self.connect()?;
        let Some(store) = &self.store else { return Ok(None) };
        let key = format!("{}{suffix}", self.key);
        let path = Path::parse(&key).map_err(|source| self.failed(source.into()))?;
        // A request as a whole: object_store makes several of one that fails.
        match download.next(store.get_opts(&path, options)).await? {
            Ok(result) => Ok(Some(result)),
            Err(Error::NotModified { .. }) => Ok(None),
            // Without the permission to list, what is not there is forbidden.
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) if !suffix.is_empty() => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn text_beside(&mut self, suffix: &str, download: &Download) -> Result<Option<String>, FetchError> {
        let Some(result) = self.get(suffix, GetOptions::default(), download).await? else { return Ok(None) };
        let from = || format!("{}{suffix}", self.source());
        if result.meta.size > SMALL {
            return Err(FetchError::TooLarge { from: from(), bytes: result.meta.size, largest: SMALL });
        }
        let bytes = download.next(result.bytes()).await?.map_err(|error| self.failed(error))?;
        let what = "it is not UTF-8 text";
        String::from_utf8(bytes.into()).map(Some).map_err(|_| FetchError::Answer { url: from(), what })
    }

    fn connect(&mut self) -> Result<(), FetchError> {
        if self.store.is_none() {
            let address = self.endpoint.as_deref().unwrap_or(AWS);
            let url = client::parse(address)?;
            let connector = Connector(self.client.client(&url)?);
            let builder = self.builder.clone().with_http_connector(connector);
            let builder = if self.endpoint.is_some() {
                builder.with_allow_http(url.scheme() == "http")
            } else {
                builder
            };
            self.store = Some(builder.build().map_err(|error| self.failed(error))?);
        }
        Ok(())
    }

    fn failed(&self, error: Error) -> FetchError {
        FetchError::Store { object: self.source(), source: io::Error::other(error) }
    }
}

impl Fetcher for S3 {
    async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
        let condition = GetOptions { if_none_match: self.etag.clone(), ..GetOptions::default() };
        let Some(object) = self.get("", condition, download).await? else { return Ok(Found::Unchanged) };
        let etag = object.meta.e_tag.clone();
        // Not every store knows conditions.
        if etag.is_some() && etag == self.etag {
            return Ok(Found::Unchanged);
        }
        let name = self.key.rsplit('/').next().unwrap_or_default().to_owned();
        let listing = self.text_beside(DIGEST_SUFFIX, download).await?;
        let digest = listing.and_then(|listing| Digest::from_listing(&listing, &name));
        if digest.is_some_and(|digest| download.is_known(&digest)) {
            self.etag = etag;
            return Ok(Found::Unchanged);
        }
        download.expect(object.meta.size)?;
        let mut stream = object.into_stream();
        while let Some(bytes) = download.next(poll_fn(|cx| stream.as_mut().poll_next(cx))).await? {
            let bytes = bytes.map_err(|error| download.cut(io::Error::other(error)))?;
            download.write(&bytes).await?;
        }
        let mut published = Published::new().digest(digest);
        if download.wants_signature() {
            published = published.signature(self.text_beside(SIGNATURE_SUFFIX, download).await?);
        }
        self.etag = etag;
        Ok(Found::New(published))
    }

    fn source(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    fn forget(&mut self) {
        self.etag = None;
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("object", &self.source()).finish_non_exhaustive()
    }
}

/// object_store's own would look for a TLS provider of the whole process.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

const AWS: &str = "https://s3.amazonaws.com";

/// The next poll is a retry too.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);
