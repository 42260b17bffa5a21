//! One HTTP/1 answer, read strictly: status, length, nothing after it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Target;

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The server announced that it closes after this answer.
    pub closes: bool,
}

/// Asks once on a fresh blocking connection; the whole of it ends within `patience`.
pub fn fetch(target: &Target, path: &str, patience: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, patience)?;
            ask(&stream, path, |left| stream.set_read_timeout(Some(left)), deadline)
        }
        Target::Unix(path_name) => {
            let stream = UnixStream::connect_addr(&unix_address(path_name)?)?;
            ask(&stream, path, |left| stream.set_read_timeout(Some(left)), deadline)
        }
    }
}

/// The request that every client here sends.
pub(super) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A Unix target as tokio takes it: a leading `@`, the abstract namespace, is a zero byte there.
pub(super) fn unix_path(path: &Path) -> PathBuf {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => PathBuf::from(std::ffi::OsString::from_vec([b"\0", name].concat())),
        None => path.to_owned(),
    }
}

/// `Ok(None)` while the answer is incomplete; `Err` says what makes it unusable.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Answer>, String> {
    if !bytes.starts_with(&b"HTTP/1."[..bytes.len().min(7)]) {
        return Err(format!("not HTTP: {:?}", excerpt(bytes)));
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text".to_owned())?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.get(9..12).and_then(|digits| digits.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("no status in {first:?}"))?;

    let mut closes = first.starts_with("HTTP/1.0");
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let length = length.ok_or_else(|| format!("no content-length in {:?}", excerpt(bytes)))?;
    let body = &bytes[end + 4..];
    if body.len() > length {
        return Err(format!("{} bytes after the answer", body.len() - length));
    }
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some(Answer { status, body: String::from_utf8_lossy(body).into_owned(), closes }))
}

fn ask<S>(
    mut stream: S,
    path: &str,
    limit: impl Fn(Duration) -> io::Result<()>,
    deadline: Instant,
) -> io::Result<Answer>
where
    S: Read + Write,
{
    stream.write_all(&request(path))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none.
        limit(left.max(Duration::from_millis(1)))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
        if let Some(answer) = parse(&bytes).map_err(io::Error::other)? {
            return Ok(answer);
        }
    }
}

pub fn unix_address(path: &Path) -> io::Result<UnixAddr> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::from_abstract_name(name),
        None => UnixAddr::from_pathname(path),
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_only_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: Close\r\n\r\nhi";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
        }
        let answer = Answer { status: 200, body: "hi".to_owned(), closes: true };
        assert_eq!(parse(whole), Ok(Some(answer)));
    }

    #[test]
    fn what_is_not_an_answer_is_told() {
        for bad in [
            &b"SSH-2.0"[..],
            b"HTTP/1.1 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
