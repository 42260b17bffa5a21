//! `heirloom run --fetch`: new versions of the server by themselves.

use std::time::Duration;

use clap::Args;
use heirloom::Supervisor;
use heirloom::fetch::{Checks, Fetcher, SanityCheck, Source, Updater};

/// Where new versions of COMMAND's file come from, and what they must pass.
#[derive(Args, Debug)]
pub(crate) struct Fetching {
    /// Fetch new versions of COMMAND's own file from a path, a URL, s3://BUCKET/KEY or
    /// github:OWNER/NAME/PATTERN, put them in its place and restart. One that fails is put back.
    /// GITHUB_TOKEN, and the store's own variables, are for access.
    #[arg(long, value_name = "SOURCE")]
    fetch: Option<String>,

    /// How often to look, a tenth more or less. Not below a second (2 minutes for GitHub without a token).
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = humantime::parse_duration)]
    fetch_every: Duration,

    /// Take only what is signed with this minisign key.
    #[arg(long, value_name = "KEY")]
    fetch_key: Option<String>,

    /// Try a new version first: run it with this argument; it must exit with 0 within 10 s. As often as
    /// wanted.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    fetch_try: Vec<String>,

    /// Wait so long after a fetch before the new version is put in place.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    fetch_delay: Duration,

    /// Spread the restarts of many hosts over so long: each waits for its own part, by its name.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    fetch_stagger: Duration,

    /// Put new versions in place and leave the restart to somebody else.
    #[arg(long)]
    fetch_only: bool,
}

impl Fetching {
    /// A supervisor that fetches, if that is wanted.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, for people.
    pub(crate) fn configure(self, supervisor: Supervisor) -> Result<Supervisor, String> {
        let Some(name) = self.fetch else { return Ok(supervisor) };
        let source = source(&name)?;
        let floor = source.floor();
        if self.fetch_every < floor {
            return Err(format!("--fetch-every: {name} may be asked every {floor:?} at most"));
        }
        let mut checks = Checks::new().sanity(match self.fetch_try.is_empty() {
            true => SanityCheck::None,
            false => SanityCheck::Exits(self.fetch_try.into_iter().map(Into::into).collect()),
        });
        if let Some(key) = &self.fetch_key {
            checks = checks.minisign_key(key).map_err(|error| format!("--fetch-key: {error}"))?;
        }
        Ok(supervisor.fetch(move |handle| {
            let updater = Updater::new(source, handle.program(), handle.clone()).checks(checks);
            let updater = updater.delay(self.fetch_delay).stagger(self.fetch_stagger);
            let updater = updater.install_only(self.fetch_only);
            updater.interval(self.fetch_every).expect("the floor was looked at")
        }))
    }
}

fn source(name: &str) -> Result<Source, String> {
    let unusable = |error: heirloom::fetch::FetchError| format!("--fetch: {error}");
    let source: Source = name.parse().map_err(unusable)?;
    match (source, std::env::var("GITHUB_TOKEN")) {
        (Source::GitHub(releases), Ok(token)) => {
            let releases = releases.token(&token).map_err(unusable)?;
            Ok(Source::GitHub(Box::new(releases)))
        }
        (source, _) => Ok(source),
    }
}
