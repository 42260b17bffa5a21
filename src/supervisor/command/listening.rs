//! A socket for workers of a command, as one writes it: `[NAME=]ADDRESS[=FD]`.

use std::os::fd::RawFd;
use std::str::FromStr;

use crate::sockets::listen::{Listen, ListenParseError};
use crate::sys::address::Address;

/// A socket that the supervisor binds for its workers.
///
/// ```
/// use heirloom::supervisor::Listening;
///
/// for text in ["127.0.0.1:8080", "http=[::]:8080", "unix:/run/app.sock=7", "dns=udp:127.0.0.1:53"] {
///     text.parse::<Listening>()?;
/// }
/// # Ok::<(), heirloom::ListenParseError>(())
/// ```
///
/// `NAME` is for `LISTEN_FDNAMES`. `FD` is the number under which the worker finds it; without one it gets
/// the first that is free, from 3 up. An IPv6 address takes IPv6 alone, so that `0.0.0.0:80` and `[::]:80`
/// can stand beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "for WorkerCommand::listen"]
pub struct Listening {
    pub(crate) listen: Listen,
    pub(crate) udp: bool,
    pub(crate) chosen: Option<RawFd>,
}

impl Listening {
    /// A TCP or Unix listener.
    pub fn new(listen: Listen) -> Listening {
        Listening { listen, udp: false, chosen: None }
    }

    /// A UDP socket instead.
    pub fn udp(mut self) -> Listening {
        self.udp = true;
        self
    }

    /// The number under which the worker finds it.
    pub fn number(mut self, fd: RawFd) -> Listening {
        self.chosen = Some(fd);
        self
    }

    /// As [`Listen::mode`], if this is the path of a Unix socket; else nothing.
    pub fn mode(mut self, mode: u32) -> Listening {
        if self.is_path() {
            self.listen = self.listen.mode(mode);
        }
        self
    }

    /// As [`Listen::owner`], if this is the path of a Unix socket; else nothing.
    pub fn owner(mut self, user: u32) -> Listening {
        if self.is_path() {
            self.listen = self.listen.owner(user);
        }
        self
    }

    /// As [`Listen::group`], if this is the path of a Unix socket; else nothing.
    pub fn group(mut self, group: u32) -> Listening {
        if self.is_path() {
            self.listen = self.listen.group(group);
        }
        self
    }

    fn is_path(&self) -> bool {
        matches!(self.listen.address(), Address::UnixPath(_))
    }

    /// How many connections may wait to be accepted.
    pub fn backlog(mut self, connections: u32) -> Listening {
        self.listen = self.listen.backlog(connections);
        self
    }
}

impl FromStr for Listening {
    type Err = ListenParseError;

    fn from_str(text: &str) -> Result<Listening, ListenParseError> {
        let (name, rest) = split_name(text);
        let (rest, chosen) = split_number(rest);
        let (address, udp) = match rest.strip_prefix("udp:") {
            Some(address) => (address, true),
            None => (rest, false),
        };
        if udp && address.starts_with("unix:") {
            return Err(ListenParseError::Malformed { address: text.to_owned() });
        }
        let listen = address.parse::<Listen>()?.name(name).only_v6(true);
        Ok(Listening { listen, udp, chosen })
    }
}

/// An address has a colon before any equals sign that may be in it, and a name has none.
fn split_name(text: &str) -> (&str, &str) {
    match text.find([':', '=']) {
        Some(at) if text[at..].starts_with('=') => (&text[..at], &text[at + 1..]),
        _ => ("", text),
    }
}

fn split_number(text: &str) -> (&str, Option<RawFd>) {
    let split = text.rsplit_once('=').and_then(|(rest, number)| Some((rest, number.parse().ok()?)));
    split.map_or((text, None), |(rest, number)| (rest, Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, bool, Option<RawFd>) {
        let Listening { listen, udp, chosen } = text.parse().unwrap();
        (listen.name.clone(), listen.to_string(), udp, chosen)
    }

    #[test]
    fn all_parts_are_told_apart() {
        let expected = |name: &str, address: &str, udp, chosen| (name.into(), address.into(), udp, chosen);
        for (text, parts) in [
            ("127.0.0.1:80", expected("", "127.0.0.1:80", false, None)),
            ("web=127.0.0.1:80", expected("web", "127.0.0.1:80", false, None)),
            ("web=[::1]:80=9", expected("web", "[::1]:80", false, Some(9))),
            ("[::1]:80=9", expected("", "[::1]:80", false, Some(9))),
            ("unix:/run/a=b", expected("", "unix:/run/a=b", false, None)),
            ("x=unix:/run/a=b=4", expected("x", "unix:/run/a=b", false, Some(4))),
            ("dns=udp:127.0.0.1:53", expected("dns", "127.0.0.1:53", true, None)),
            ("udp:127.0.0.1:53=5", expected("", "127.0.0.1:53", true, Some(5))),
        ] {
            assert_eq!(parsed(text), parts, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "80", "web=", "web=80", "udp:unix:/a", "=127.0.0.1"] {
            text.parse::<Listening>().expect_err(text);
        }
    }
}
