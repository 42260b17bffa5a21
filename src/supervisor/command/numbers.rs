//! Which socket a worker finds under which number, and how it is told: `LISTEN_FDS` and its companions, and
//! Server::Starter's `SERVER_STARTER_PORT`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use thiserror::Error;

use crate::sys::address::Address;

/// One socket, as far as its number and its announcement go.
#[derive(Clone, Debug)]
pub(crate) struct Announced<'a> {
    /// For `LISTEN_FDNAMES`; empty without one.
    pub(crate) name: &'a str,
    /// Where it is bound.
    pub(crate) address: &'a Address,
    /// The number that the user chose for it.
    pub(crate) chosen: Option<RawFd>,
}

/// Why a worker cannot be handed its descriptors.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberError {
    /// Two for one number.
    #[error("fd {fd} is chosen for two things; choose another number for one of them, from 3 up")]
    #[non_exhaustive]
    Twice {
        /// The number.
        fd: RawFd,
    },
    /// Standard input, output, error, or no number at all.
    #[error("fd {fd} cannot be chosen: sockets start at 3")]
    #[non_exhaustive]
    TooLow {
        /// The number.
        fd: RawFd,
    },
    /// What the convention has no way to write.
    #[error(
        "the name {name:?} cannot be announced: it is at most 255 bytes long, without colons and control characters"
    )]
    #[non_exhaustive]
    Name {
        /// The name.
        name: String,
    },
}

/// A number for each socket, in their order, and for each of `others` (with the number that was chosen for
/// it, if any), which come after all sockets unless chosen.
pub(crate) fn assign(
    sockets: &[Announced<'_>],
    others: &[Option<RawFd>],
) -> Result<(Vec<RawFd>, Vec<RawFd>), NumberError> {
    let mut taken = BTreeSet::new();
    for fd in sockets.iter().filter_map(|socket| socket.chosen).chain(others.iter().copied().flatten()) {
        if fd < FIRST {
            return Err(NumberError::TooLow { fd });
        }
        if !taken.insert(fd) {
            return Err(NumberError::Twice { fd });
        }
    }
    if let Some(socket) = sockets.iter().find(|socket| !is_name(socket.name)) {
        return Err(NumberError::Name { name: socket.name.to_owned() });
    }
    let mut free = (FIRST..).filter(|fd| !taken.contains(fd));
    let mut next = || free.next().expect("descriptors run out before their numbers do");
    let numbers = sockets.iter().map(|socket| socket.chosen.unwrap_or_else(&mut next)).collect();
    Ok((numbers, others.iter().map(|chosen| chosen.unwrap_or_else(&mut next)).collect()))
}

/// The variables that announce `sockets` at `numbers`, but for `LISTEN_PID`, which only the worker itself can
/// know.
pub(crate) fn announce(
    sockets: &[Announced<'_>],
    numbers: &[RawFd],
    generation: u64,
) -> Vec<(OsString, OsString)> {
    // The convention says how many there are from 3 on: what a chosen number puts behind a gap, it cannot
    // say.
    let at = |fd: RawFd| numbers.iter().position(|number| *number == fd);
    let names: Vec<&str> = (FIRST..).map_while(at).map(|index| name_of(&sockets[index])).collect();
    let mut variables = vec![
        ("SERVER_STARTER_PORT".into(), server_starter_port(sockets, numbers)),
        ("SERVER_STARTER_GENERATION".into(), generation.to_string().into()),
    ];
    if !names.is_empty() {
        variables.push((LISTEN_FDS.into(), names.len().to_string().into()));
        variables.push(("LISTEN_FDNAMES".into(), names.join(":").into()));
    }
    variables
}

/// `host:port=fd;/path=fd`. A Unix socket without a path in the file system has no form there.
fn server_starter_port(sockets: &[Announced<'_>], numbers: &[RawFd]) -> OsString {
    let words = sockets.iter().zip(numbers).filter_map(|(socket, fd)| {
        let address = match socket.address {
            Address::Inet(address) => address.to_string().into_bytes(),
            Address::UnixPath(path) => path.as_os_str().as_bytes().to_vec(),
            _ => return None,
        };
        Some([&address[..], b"=", fd.to_string().as_bytes()].concat())
    });
    OsString::from_vec(words.collect::<Vec<_>>().join(&b';'))
}

/// What systemd writes for a socket without a name.
fn name_of<'a>(socket: &Announced<'a>) -> &'a str {
    if socket.name.is_empty() { "unknown" } else { socket.name }
}

fn is_name(name: &str) -> bool {
    name.len() <= 255 && !name.chars().any(|character| character == ':' || character.is_control())
}

/// Whether `name` is a variable that speaks of this process's own descriptors, id, or manager: a worker must
/// not take it for its own.
pub(crate) fn is_ours_alone(name: &OsStr) -> bool {
    OURS_ALONE.iter().any(|own| name == *own)
}

/// The variable whose presence makes `LISTEN_PID` necessary.
pub(crate) const LISTEN_FDS: &str = "LISTEN_FDS";

const OURS_ALONE: [&str; 13] = [
    "HEIRLOOM",
    "HEIRLOOM_READY_FD",
    "LISTEN_FDNAMES",
    LISTEN_FDS,
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SERVER_STARTER_GENERATION",
    "SERVER_STARTER_PORT",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The first descriptor of the convention.
pub(crate) const FIRST: RawFd = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn socket<'a>(name: &'a str, address: &'a Address, chosen: Option<RawFd>) -> Announced<'a> {
        Announced { name, address, chosen }
    }

    fn variable(variables: &[(OsString, OsString)], name: &str) -> Option<String> {
        let found = variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn sockets_follow_each_other_from_3() {
        let (four, six, unix) = (inet("127.0.0.1:80"), inet("[::1]:80"), Address::UnixPath("/run/a".into()));
        let hidden = Address::UnixAbstract(b"app".to_vec());
        let sockets = [
            socket("http", &four, None),
            socket("", &six, None),
            socket("u", &unix, None),
            socket("", &hidden, None),
        ];
        let (numbers, others) = assign(&sockets, &[None, Some(9), None]).unwrap();
        assert_eq!((numbers.as_slice(), others.as_slice()), (&[3, 4, 5, 6][..], &[7, 9, 8][..]));
        let variables = announce(&sockets, &numbers, 7);
        assert_eq!(variable(&variables, "LISTEN_FDS").unwrap(), "4");
        assert_eq!(variable(&variables, "LISTEN_FDNAMES").unwrap(), "http:unknown:u:unknown");
        assert_eq!(
            variable(&variables, "SERVER_STARTER_PORT").unwrap(),
            "127.0.0.1:80=3;[::1]:80=4;/run/a=5"
        );
        assert_eq!(variable(&variables, "SERVER_STARTER_GENERATION").unwrap(), "7");
    }

    #[test]
    fn a_chosen_number_is_kept_and_others_go_around_it() {
        let address = inet("127.0.0.1:80");
        let sockets =
            [socket("", &address, None), socket("", &address, Some(4)), socket("far", &address, Some(10))];
        let (numbers, others) = assign(&sockets, &[None]).unwrap();
        assert_eq!((numbers.as_slice(), others.as_slice()), (&[3, 4, 10][..], &[5][..]));
        let variables = announce(&sockets, &numbers, 1);
        assert_eq!(variable(&variables, "LISTEN_FDS").unwrap(), "2", "10 is behind a gap");
        assert!(variable(&variables, "SERVER_STARTER_PORT").unwrap().ends_with(";127.0.0.1:80=10"));
    }

    #[test]
    fn without_sockets_only_server_starter_speaks() {
        let variables = announce(&[], &[], 1);
        assert_eq!(variable(&variables, "SERVER_STARTER_PORT").unwrap(), "");
        assert_eq!(variable(&variables, "LISTEN_FDS"), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let address = inet("127.0.0.1:80");
        let twice = [socket("", &address, Some(4)), socket("", &address, Some(4))];
        assert_eq!(assign(&twice, &[]), Err(NumberError::Twice { fd: 4 }));
        assert_eq!(assign(&twice[..1], &[Some(4)]), Err(NumberError::Twice { fd: 4 }));
        assert_eq!(assign(&[], &[Some(2)]), Err(NumberError::TooLow { fd: 2 }));
        for name in ["a:b", "a\nb"] {
            let error = assign(&[socket(name, &address, None)], &[]).unwrap_err();
            assert_eq!(error, NumberError::Name { name: name.to_owned() });
        }
    }
}
