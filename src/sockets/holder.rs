//! Which process has the port that cannot be bound, for the error's text.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::sys::socket::Kind;

/// The process that has a socket in the way of `address`; this one if it is among them. `None` where nobody
/// says: it is another user's or lives in another PID namespace, or there is no /proc.
pub(super) fn holder(address: SocketAddr, kind: Kind) -> Option<u32> {
    let sockets: Vec<_> = in_the_way(address, kind).map(|inode| format!("socket:[{inode}]")).collect();
    if sockets.is_empty() {
        return None;
    }
    let own = std::process::id();
    std::iter::once(own).chain(processes()).find(|pid| holds(*pid, &sockets))
}

/// The inodes of the sockets that are bound to what overlaps with `address`.
fn in_the_way(address: SocketAddr, kind: Kind) -> impl Iterator<Item = String> {
    let tables = if kind == Kind::Udp { ["udp", "udp6"] } else { ["tcp", "tcp6"] };
    let rows = tables.into_iter().flat_map(move |table| {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    });
    rows.filter_map(move |row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let bound = kind == Kind::Udp || *state == LISTENING;
        (bound && overlaps(parsed(local)?, address)).then(|| (*inode).to_owned())
    })
}

fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let [a, b] = [one, other].map(|address| address.ip().to_canonical());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// `0100007F:1F90`: words in the byte order of the machine.
fn parsed(field: &str) -> Option<SocketAddr> {
    let (address, port) = field.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let bytes = words?.concat();
    let ip = match <[u8; 4]>::try_from(&*bytes) {
        Ok(four) => IpAddr::from(Ipv4Addr::from(four)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path());
        target.is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

/// TCP_LISTEN, as /proc/net/tcp writes it.
const LISTENING: &str = "0A";

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_holder_is_found_by_what_it_is_bound_to() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let own = Some(std::process::id());
        assert_eq!(holder(address, Kind::Tcp), own);
        for wildcard in ["0.0.0.0", "::"] {
            let wildcard = SocketAddr::new(wildcard.parse().unwrap(), address.port());
            assert_eq!(holder(wildcard, Kind::Tcp), own, "{wildcard}");
        }
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        assert_eq!(holder(udp.local_addr().unwrap(), Kind::Udp), own);
        drop(tcp);
        assert_eq!(holder(address, Kind::Tcp), None);
    }

    #[test]
    fn addresses_of_the_kernel_s_tables() {
        if cfg!(target_endian = "little") {
            assert_eq!(parsed("0100007F:1F90"), Some("127.0.0.1:8080".parse().unwrap()));
            let loopback = "00000000000000000000000001000000:0050";
            assert_eq!(parsed(loopback), Some("[::1]:80".parse().unwrap()));
        }
        for nonsense in ["", ":", "0100007F", "01:1F90", "0100007F0100007F:50", "zz00007F:50"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
    }
}
