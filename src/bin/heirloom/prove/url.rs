//! Where the server is: `http://127.0.0.1:8080/path`, or https.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(super) address: SocketAddr,
    /// As requests say it, with the port.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) is_tls: bool,
}

impl Url {
    /// Without the port.
    #[cfg(feature = "tls")]
    pub(super) fn name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            _ => &self.host,
        }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let (is_tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("an address that begins with http:// or https:// is wanted".to_owned()),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || host.contains('@') || !is_plain(rest) {
            return Err("http://HOST:PORT/PATH is wanted".to_owned());
        }
        let has_port =
            host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']'));
        let with_port =
            if has_port { host.to_owned() } else { format!("{host}:{}", if is_tls { 443 } else { 80 }) };
        let found = with_port.to_socket_addrs().map_err(|error| format!("{with_port}: {error}"))?;
        // A name with two addresses mostly has the IPv4 one in the server.
        let address =
            found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| format!("{with_port}: no address"))?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Url { address, host: host.to_owned(), path: path.to_owned(), is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| text.parse::<Url>().map(|url| (url.address.to_string(), url.host, url.path));
        let url = |address: &str, host: &str, path: &str| Ok((address.into(), host.into(), path.into()));
        assert_eq!(read("http://127.0.0.1:8080"), url("127.0.0.1:8080", "127.0.0.1:8080", "/"));
        assert_eq!(read("http://127.0.0.1/a?b=c"), url("127.0.0.1:80", "127.0.0.1", "/a?b=c"));
        assert_eq!(read("http://[::1]:81/"), url("[::1]:81", "[::1]:81", "/"));
        assert_eq!(read("http://[::1]/"), url("[::1]:80", "[::1]", "/"));
        assert_eq!(read("https://127.0.0.1/"), url("127.0.0.1:443", "127.0.0.1", "/"));
        for bad in ["127.0.0.1:80", "http://", "http://a b/", "http://u@127.0.0.1/", "http://127.0.0.1:x/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
