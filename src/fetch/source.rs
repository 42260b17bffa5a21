//! Any of the ready sources, by its name.

use std::str::FromStr;
use std::time::Duration;

use super::{Download, FetchError, Fetcher, File, Found, GitHub, Http, S3};

/// A source whose kind its name tells: what a configuration or a command line has.
///
/// ```
/// use heirloom::fetch::Source;
///
/// # fn example() -> Result<(), heirloom::fetch::FetchError> {
/// let file: Source = "/srv/incoming/server".parse()?;
/// let url: Source = "https://example.com/server.gz".parse()?;
/// let releases: Source = "github:someone/server/server-*-x86_64-linux.gz".parse()?;
/// // Credentials, region and endpoint from the environment, as with the store's own tools.
/// let object: Source = "s3://releases/server.gz".parse()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A path.
    File(File),
    /// `http://` or `https://`.
    Http(Box<Http>),
    /// `github:OWNER/NAME/PATTERN`.
    GitHub(Box<GitHub>),
    /// `s3://BUCKET/KEY`.
    S3(Box<S3>),
}

impl FromStr for Source {
    type Err = FetchError;

    fn from_str(name: &str) -> Result<Source, FetchError> {
        let unusable = || FetchError::Url { url: name.to_owned() };
        if let Some(object) = name.strip_prefix("s3://") {
            let (bucket, key) =
                object.split_once('/').filter(|(_, key)| !key.is_empty()).ok_or_else(unusable)?;
            return Ok(Source::S3(Box::new(S3::new(bucket, key))));
        }
        if let Some(releases) = name.strip_prefix("github:") {
            let (repository, pattern) = releases.rsplit_once('/').ok_or_else(unusable)?;
            return Ok(Source::GitHub(Box::new(GitHub::new(repository, pattern)?)));
        }
        if name.contains("://") {
            return Ok(Source::Http(Box::new(Http::new(name)?)));
        }
        Ok(Source::File(File::new(name)))
    }
}

impl Fetcher for Source {
    async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
        match self {
            Source::File(source) => source.fetch(download).await,
            Source::Http(source) => source.fetch(download).await,
            Source::GitHub(source) => source.fetch(download).await,
            Source::S3(source) => source.fetch(download).await,
        }
    }

    fn source(&self) -> String {
        match self {
            Source::File(source) => source.source(),
            Source::Http(source) => source.source(),
            Source::GitHub(source) => source.source(),
            Source::S3(source) => source.source(),
        }
    }

    fn forget(&mut self) {
        match self {
            Source::File(source) => source.forget(),
            Source::Http(source) => source.forget(),
            Source::GitHub(source) => source.forget(),
            Source::S3(source) => source.forget(),
        }
    }

    fn floor(&self) -> Duration {
        match self {
            Source::File(source) => source.floor(),
            Source::Http(source) => source.floor(),
            Source::GitHub(source) => source.floor(),
            Source::S3(source) => source.floor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_kind() {
        let source = |name: &str| name.parse::<Source>();
        assert!(matches!(source("incoming/server"), Ok(Source::File(_))));
        assert!(matches!(source("https://127.0.0.1/server"), Ok(Source::Http(_))));
        assert!(matches!(source("github:a/b/server-*"), Ok(Source::GitHub(_))));
        assert!(matches!(source("s3://bucket/a/key"), Ok(Source::S3(_))));
        for bad in ["s3://bucket", "s3://bucket/", "github:a/b", "github:nobody", "ftp://127.0.0.1/server"] {
            let error = source(bad).unwrap_err();
            assert!(
                error.to_string().contains(bad.trim_start_matches("github:").split('/').next().unwrap()),
                "{error}"
            );
        }
    }
}
