//! A successor or predecessor that speaks wrongly of connections: they fall back, nothing leaks, nothing hangs.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt::socket_cookie,
};
use support::keep::{Client, number, request};
use support::load::Target;
use support::{PATIENCE, Setup, Signal, alone, proc};

#[test]
fn an_older_successor_is_sent_none() {
    all_are_told_to_close("old");
}

#[test]
fn a_successor_that_refuses_all_of_them() {
    all_are_told_to_close("refuse");
}

#[test]
fn what_came_back_and_stays_idle_is_closed_in_its_time() {
    let _alone = alone();
    let args = ["--probation", "50ms", "--idle-linger", "300ms"];
    let server = Setup::example("mover").args(&args).start();
    std::fs::write(server.binary.path().with_file_name("part"), "refuse").unwrap();
    let mut clients = idle(server.target(), 20);
    clients[0].send(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(clients[0].answered_pid(), server.first_pid);
    server.binary.become_example("impostor");
    server.restart(Signal::SIGUSR2);
    clients.iter_mut().for_each(Client::wait_for_close);
    drop(clients);
    server.wait_for_exit(server.first_pid);
}

#[test]
fn a_successor_that_babbles() {
    all_are_told_to_close("babble");
}

#[test]
fn a_successor_that_closes_the_channel_or_never_answers() {
    for part in ["deaf", "mute"] {
        let _alone = alone();
        let server = Setup::hello().args(&["--probation", "50ms", "--drain-timeout", "1s"]).start();
        std::fs::write(server.binary.path().with_file_name("part"), part).unwrap();
        let mut clients = idle(server.target(), 300);
        server.binary.become_example("impostor");
        let mark = server.mark();
        let impostor = server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        let began = Instant::now();
        // Those that were sent may have a reader; only the hammer ends the wait for it.
        server.wait_for_exit(server.first_pid);
        println!("{part}: gone {:?} after the drain began", began.elapsed());
        proc::signal(impostor, Signal::SIGKILL);
        server.wait_for_exit(impostor);
        clients
            .iter_mut()
            .for_each(|client| assert!(client.try_get("/pid").is_none_or(|answer| answer.closes)));
    }
}

fn all_are_told_to_close(part: &str) {
    let _alone = alone();
    // It waits longer for the last request on an idle connection than this test takes to send it.
    let args = ["--probation", "50ms", "--idle-linger", "50s"];
    let server = Setup::example("mover").args(&args).start();
    std::fs::write(server.binary.path().with_file_name("part"), part).unwrap();
    let mut clients = idle(server.target(), 500);
    let fds = proc::fd_count(server.first_pid);
    server.binary.become_example("impostor");
    let mark = server.mark();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "draining");
    for client in &mut clients {
        // A request that meets the beginning of the drain is answered before its connection is offered.
        let answer = client.told_to_close("/pid");
        assert_eq!((number(&answer), answer.closes), (server.first_pid, true));
        assert!(proc::fd_count(server.first_pid) <= fds + 253, "descriptors that nobody closes");
        client.wait_for_close();
    }
    server.wait_for_exit(server.first_pid);
}

#[test]
fn a_predecessor_that_sends_what_is_no_connection() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let setup = Setup::hello().listen(&predecessor.listener.local_addr().unwrap().to_string());
    let setup = setup.env("HEIRLOOM", predecessor.announcement(setup_program()));
    let server = setup.start();
    predecessor.wait_for(READY);
    predecessor.send(b"\x01\x04\x04\x08\0\0\0\x32\0\0\0\0\0\0\0", &[]);

    server.pid();
    predecessor.send(b"\x01\x05", &[]);
    // One that does not read the answers is not read from either.
    let near = predecessor.near.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1 << 16];
        let mut control = RecvAncillaryBuffer::new(&mut []);
        let mut next =
            || recvmsg(&near, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
        while next().is_ok_and(|received| received.bytes > 0) {}
    });
    let before = proc::fd_count(server.first_pid);

    let cookie = socket_cookie(&predecessor.listener).unwrap();
    let (udp, null) = (UdpSocket::bind("127.0.0.1:0").unwrap(), std::fs::File::open("/dev/null").unwrap());
    let (pipe, _end) = std::io::pipe().unwrap();
    let strange =
        [udp.as_fd(), null.as_fd(), pipe.as_fd(), predecessor.listener.as_fd(), predecessor.near.as_fd()];
    let mut id = 0;
    let mut ids = |count: u64| {
        id += count;
        id - count + 1..id + 1
    };
    // Four of them cannot be read, and a peer is heard 32 times in vain.
    for _ in 0..7 {
        // No connections at all.
        predecessor.send(&moved(cookie, ids(5)), &strange);
        // Fewer descriptors than connections, and more.
        predecessor.send(&moved(cookie, ids(5)), &strange[..1]);
        predecessor.send(&moved(cookie, ids(5)), &[]);
        predecessor.send(&moved(cookie, ids(1)), &strange);
        // From a listener that nobody knows.
        predecessor.send(&moved(cookie ^ 1, ids(5)), &strange);
        // Another version, the end of a field missing, a field too long, more than is allowed, nothing.
        predecessor.send(b"\x02\x07", &strange);
        predecessor.send(b"\x01\x07\x05\xff\0\0\0\0", &strange);
        predecessor.send(&[&b"\x01\x07\x05\x1a\0\0\0"[..], &[0xFF; 26]].concat(), &strange);
        predecessor.send(&moved(cookie, ids(201)), &strange);
        predecessor.send(b"\x01\x07", &strange);
        // Not for a successor.
        predecessor.send(b"\x01\x08\x06\x08\0\0\0neverhad", &strange);
    }
    // A real one behind all that, which blocks, with its request half read.
    let (mut client, accepted) = predecessor.connection();
    accepted.set_nonblocking(false).unwrap();
    let entry = [&ids(1).start.to_le_bytes()[..], &cookie.to_le_bytes(), b"\x03\0\0\0GET\0\0\0\0\0"].concat();
    let field = [b"\x01\x07\x05", &u32::try_from(entry.len()).unwrap().to_le_bytes()[..], &entry].concat();
    predecessor.send(&field, &[accepted.as_fd()]);
    drop(accepted);
    client.send(&request("/pid")[3..]);
    assert_eq!(client.answered_pid(), server.first_pid);
    assert_eq!(server.pid(), server.first_pid);
    let deadline = Instant::now() + PATIENCE;
    // The one that was moved is one more.
    while proc::fd_count(server.first_pid) > before + 1 {
        assert!(Instant::now() < deadline, "{:?}, {before} before", proc::fds(server.first_pid));
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The test itself, as the process that hands a listener down.
struct Predecessor {
    listener: TcpListener,
    near: OwnedFd,
    far: OwnedFd,
    pidfd: OwnedFd,
}

impl Predecessor {
    fn new() -> Predecessor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // As a predecessor has it.
        listener.set_nonblocking(true).unwrap();
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let this = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(this, rustix::process::PidfdFlags::empty()).unwrap();
        for fd in [listener.as_fd(), far.as_fd(), pidfd.as_fd()] {
            fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        Predecessor { listener, near, far, pidfd }
    }

    fn announcement(&self, program: String) -> String {
        let address = self.listener.local_addr().unwrap();
        format!(
            "1 generation=2 predecessor={} pidfd={} channel={}/{} program={program} directory=%2f \
             socket={}/{}/tcp//{address}/{address}/",
            std::process::id(),
            self.pidfd.as_raw_fd(),
            self.far.as_raw_fd(),
            socket_cookie(&self.far).unwrap(),
            self.listener.as_raw_fd(),
            socket_cookie(&self.listener).unwrap(),
        )
    }

    fn wait_for(&self, kind: u8) {
        let mut bytes = [0; 1024];
        let mut control = RecvAncillaryBuffer::new(&mut []);
        recvmsg(&self.near, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(bytes[1], kind);
    }

    /// Waits while the channel is full.
    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        sendmsg(&self.near, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    /// A connection, and what accept gives for it; no other process accepts it meanwhile.
    fn connection(&self) -> (Client, TcpStream) {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(&Target::Tcp(other.local_addr().unwrap()));
        (client, other.accept().unwrap().0)
    }
}

/// A message that moves these, without a byte or a state.
fn moved(listener: u64, ids: std::ops::Range<u64>) -> Vec<u8> {
    let entries: Vec<u8> =
        ids.flat_map(|id| [&id.to_le_bytes()[..], &listener.to_le_bytes(), &[0; 9]].concat()).collect();
    [b"\x01\x07\x05", &u32::try_from(entries.len()).unwrap().to_le_bytes()[..], &entries].concat()
}

fn setup_program() -> String {
    support::binary::example_path("hello").display().to_string().replace('/', "%2f")
}

fn idle(target: &Target, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(target)).collect();
    for client in clients.iter_mut().step_by(2) {
        client.pid();
    }
    clients
}

const READY: u8 = 1;
