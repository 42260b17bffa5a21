//! Who holds a port, as the kernel tells it: its sockets by sock_diag (netlink), their processes by `/proc`.
//!
//! Nothing is asked of the server, so any server can be looked at. What another user's processes hold is not
//! to be seen; then a port has sockets, and no process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// A process, which its number alone does not name for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// In the kernel's ticks since it was booted.
    started: u64,
}

/// A socket of TCP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    /// 0 while it waits to be accepted, and after its process has closed it.
    inode: u64,
    local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Process {
    /// `None` if it has ended, reaped or not.
    pub(super) fn find(pid: i32) -> Option<Process> {
        let fields = stat(&pid.to_string())?;
        let has_ended = matches!(fields.first()?.as_str(), "Z" | "X");
        let started = fields.get(19)?.parse().ok()?;
        (!has_ended).then_some(Process { pid, started })
    }

    pub(super) fn is_alive(self) -> bool {
        Process::find(self.pid) == Some(self)
    }

    /// By SIGSTOP, with all of its threads.
    pub(super) fn is_stopped(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let states: Vec<_> = threads
            .filter_map(|thread| stat(&format!("{}/task/{}", self.pid, thread.file_name().to_str()?)))
            .collect();
        !states.is_empty() && states.iter().all(|fields| fields.first().is_some_and(|state| state == "T"))
    }

    /// The later, the higher.
    pub(super) fn started(self) -> u64 {
        self.started
    }

    /// Whether this process has started that one, or what started it.
    pub(super) fn is_above(self, other: Process) -> bool {
        let mut at = parent(other.pid);
        while let Some(pid) = at.filter(|pid| *pid > 1) {
            if pid == self.pid {
                return true;
            }
            at = parent(pid);
        }
        false
    }
}

/// Not part of a process's name: when it ends, another one takes its place.
fn parent(pid: i32) -> Option<i32> {
    stat(&pid.to_string())?.get(1)?.parse().ok()
}

/// What the kernel says of a process, or of a thread (`1/task/2`), behind its name, from its state on.
fn stat(process: &str) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may itself hold anything.
    let end = stat.windows(2).rposition(|pair| pair == b") ")?;
    let fields = str::from_utf8(&stat[end + 2..]).ok()?.split_ascii_whitespace();
    Some(fields.map(str::to_owned).collect())
}

/// Those of the processes that none of the others has started: a master among its workers.
pub(super) fn roots(processes: &BTreeSet<Process>) -> impl Iterator<Item = Process> {
    processes.iter().copied().filter(|one| processes.iter().all(|other| parent(one.pid) != Some(other.pid)))
}

/// Those that have started none of the others: the workers.
pub(super) fn leaves(processes: &BTreeSet<Process>) -> impl Iterator<Item = Process> {
    processes.iter().copied().filter(|one| processes.iter().all(|other| parent(other.pid) != Some(one.pid)))
}

/// The sockets that listen where a client of this address arrives.
pub(super) fn listening(address: SocketAddr) -> io::Result<Vec<Socket>> {
    let all = ask(address.port(), LISTEN)?;
    let is_there = |ip: IpAddr| ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical();
    Ok(all.into_iter().filter(|socket| is_there(socket.local.ip())).collect())
}

/// The server's ends of connections to this port.
pub(super) fn connections(port: u16) -> io::Result<Vec<Socket>> {
    ask(port, ESTABLISHED | FIN_WAIT_1 | FIN_WAIT_2 | CLOSE_WAIT | LAST_ACK)
}

/// The processes that hold one of these.
pub(super) fn holders(sockets: &[Socket]) -> BTreeSet<Process> {
    let own = std::process::id() as i32;
    pids().filter(|pid| *pid != own).filter(|pid| holds(*pid, sockets)).filter_map(Process::find).collect()
}

/// As [`holders`], of these processes and those that are not among `known`: most of a machine's processes
/// hold nothing of the server, and to look at them all takes long.
pub(super) fn holders_but(
    known: &BTreeSet<i32>,
    besides: &BTreeSet<Process>,
    sockets: &[Socket],
) -> BTreeSet<Process> {
    let is_wanted = |pid: &i32| !known.contains(pid) || besides.iter().any(|process| process.pid == *pid);
    let own = std::process::id() as i32;
    let wanted = pids().filter(is_wanted).filter(|pid| *pid != own);
    wanted.filter(|pid| holds(*pid, sockets)).filter_map(Process::find).collect()
}

pub(super) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The process that serves the client of this address.
pub(super) fn server_of(client: SocketAddr, port: u16) -> Option<Process> {
    let ip = client.ip().to_canonical();
    let is_it =
        |socket: &Socket| socket.remote.port() == client.port() && socket.remote.ip().to_canonical() == ip;
    let found = connections(port).ok()?.into_iter().find(is_it)?;
    holders(&[found]).first().copied()
}

/// The clients whose connections to this port the process holds.
pub(super) fn clients_of(process: Process, port: u16) -> BTreeSet<SocketAddr> {
    let held: BTreeSet<u64> = inodes(process.pid).collect();
    let connections = connections(port).unwrap_or_default();
    connections
        .into_iter()
        .filter(|socket| held.contains(&socket.inode))
        .map(|socket| SocketAddr::new(socket.remote.ip().to_canonical(), socket.remote.port()))
        .collect()
}

fn holds(pid: i32, sockets: &[Socket]) -> bool {
    inodes(pid).any(|inode| sockets.iter().any(|socket| socket.inode == inode))
}

/// Of the sockets that it holds.
fn inodes(pid: i32) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).filter_map(|link| {
        let number = link.as_os_str().as_bytes().strip_prefix(b"socket:[")?;
        str::from_utf8(number.strip_suffix(b"]")?).ok()?.parse().ok()
    })
}

fn ask(port: u16, states: u32) -> io::Result<Vec<Socket>> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&netlink, ReceiveTimeout, &TimeVal::milliseconds(LONGEST_MS))?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = request(family as u8, port, states);
        sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        while read_some(&netlink, port, &mut found)? {}
    }
    Ok(found)
}

/// A `nlmsghdr` and an `inet_diag_req_v2` that asks for all sockets of a local port in these states.
fn request(family: u8, port: u16, states: u32) -> Vec<u8> {
    const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(REQUEST, 0);
    bytes
}

/// One datagram of the answer; whether more are to come.
fn read_some(netlink: &OwnedFd, port: u16, found: &mut Vec<Socket>) -> io::Result<bool> {
    let mut bytes = vec![0; DATAGRAM];
    let count = recv(netlink.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
    let mut left = &bytes[..count];
    while left.len() >= HEADER {
        let length = u32::from_ne_bytes([left[0], left[1], left[2], left[3]]) as usize;
        let kind = u16::from_ne_bytes([left[4], left[5]]);
        if length < HEADER || length > left.len() {
            break;
        }
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => return Err(refused(&left[HEADER..length])),
            _ => found.extend(told(&left[HEADER..length]).filter(|socket| socket.local.port() == port)),
        }
        // Messages begin at multiples of four.
        left = &left[length.next_multiple_of(4).min(left.len())..];
    }
    Ok(count > 0)
}

/// An `inet_diag_msg`.
fn told(message: &[u8]) -> Option<Socket> {
    if message.len() < MESSAGE {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let ip = |at: usize| match i32::from(message[0]) {
        libc::AF_INET => {
            IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&message[at..at + 4]).unwrap_or_default()))
        }
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&message[at..at + 16]).unwrap_or_default())),
    };
    let inode = <[u8; 4]>::try_from(&message[68..72]).unwrap_or_default();
    Some(Socket {
        inode: u64::from(u32::from_ne_bytes(inode)),
        local: SocketAddr::new(ip(8), port(4)),
        remote: SocketAddr::new(ip(24), port(6)),
    })
}

fn refused(error: &[u8]) -> io::Error {
    let number = error.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    io::Error::from_raw_os_error(-number.unwrap_or(-libc::EPROTO))
}

/// The kernel answers at once.
const LONGEST_MS: i64 = 1000;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const MESSAGE: usize = 72;
/// As much as the kernel puts into one.
const DATAGRAM: usize = 64 * 1024;

// The kernel's states of TCP, as bits.
const ESTABLISHED: u32 = 1 << 1;
const FIN_WAIT_1: u32 = 1 << 4;
const FIN_WAIT_2: u32 = 1 << 5;
const CLOSE_WAIT: u32 = 1 << 8;
const LAST_ACK: u32 = 1 << 9;
const LISTEN: u32 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn sockets_of_a_port_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listening(address).unwrap().len(), 1);
        assert!(holds(std::process::id() as i32, &listening(address).unwrap()));
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert!(listening(other).unwrap().is_empty());
        let client = TcpStream::connect(address).unwrap();
        let waiting = connections(address.port()).unwrap();
        assert_eq!((waiting.len(), waiting[0].inode), (1, 0), "nobody has accepted it");
        assert_eq!(waiting[0].remote, client.local_addr().unwrap());
        let accepted = listener.accept().unwrap();
        assert!(holds(std::process::id() as i32, &connections(address.port()).unwrap()));
        // Dropped, it would listen on in a child that another test has forked, until that executes its
        // program.
        socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
        drop((listener, accepted));
        assert!(listening(address).unwrap().is_empty());
    }

    #[test]
    fn a_process_is_above_what_it_starts() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let own = Process::find(std::process::id() as i32).unwrap();
        let other = Process::find(child.id() as i32).unwrap();
        assert!(own.is_above(other) && !other.is_above(own));
        let both = BTreeSet::from([own, other]);
        assert!(roots(&both).eq([own]) && leaves(&both).eq([other]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!other.is_alive() && own.is_alive());
    }
}
