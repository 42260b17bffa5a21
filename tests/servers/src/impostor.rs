//! A successor that speaks the handover without the library, as the file `part` beside it says. It takes the arguments
//! of `hello`, and answers every request on the first listener with its pid and a goodbye.
//!
//! ```text
//! old      knows nothing of moved connections
//! refuse   gives each back, more than once, and some that it never had
//! babble   as refuse, after a flood of what is not an answer
//! deaf     closes its end of the channel at the first message with connections, and lives on
//! mute     takes what it is sent, and never answers
//! refuse+, mute+    the same, and says that it knows of sessions and of HTTP/2
//! ```

use std::error::Error;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args_os().next().ok_or("no program name")?;
    let mut babbled = false;
    let part = std::fs::read_to_string(Path::new(&program).with_file_name("part"))?;
    let announcement = std::env::var("HEIRLOOM")?;
    let (channel, listener) = (inherited(&announcement, "channel")?, inherited(&announcement, "socket")?);

    let ready: &[u8] = match &*part {
        "old" => b"\x01\x01",
        "refuse+" | "mute+" => b"\x01\x01\x80\0\0\0\0\x82\0\0\0\0\x83\0\0\0\0",
        _ => b"\x01\x01\x80\0\0\0\0",
    };
    send(&channel, ready, 0)?;
    let mut bytes = vec![0; 1 << 16];
    let mut listener = Some(TcpListener::from(listener));
    let mut kept = Vec::new();
    loop {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        poll(&mut [PollFd::new(&channel, PollFlags::IN)], None)?;
        let count = recvmsg(&channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?.bytes;
        let fds: Vec<OwnedFd> = control.drain().flat_map(owned).collect();
        match bytes.get(1).filter(|_| count > 0) {
            Some(&COMMIT) => {
                if let Some(listener) = listener.take() {
                    std::thread::spawn(move || serve(&listener));
                }
            }
            Some(&MOVE) => match part.as_str() {
                "refuse" | "refuse+" => refuse(&channel, &bytes[..count])?,
                "babble" => {
                    if !std::mem::replace(&mut babbled, true) {
                        babble(&channel)?;
                    }
                    refuse(&channel, &bytes[..count])?;
                }
                "deaf" => shutdown(&channel, Shutdown::Both)?,
                "mute" | "mute+" => kept.extend(fds),
                other => return Err(format!("connections for one who plays {other:?}").into()),
            },
            Some(_) => {}
            // The predecessor is gone; whoever connects is still answered.
            None => loop {
                std::thread::park();
            },
        }
    }
}

/// The descriptor that the announcement names first under this key.
fn inherited(announcement: &str, key: &str) -> Result<OwnedFd, Box<dyn Error>> {
    let value = announcement.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = value.and_then(|value| value.split('/').next()).ok_or("no such key")?;
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(&this, number.parse()?, PidfdGetfdFlags::empty())?)
}

fn owned(message: RecvAncillaryMessage<'_>) -> Vec<OwnedFd> {
    match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    }
}

/// Each id in the message: twice, and with ids between them that nobody sent.
fn refuse(channel: &OwnedFd, message: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut ids = Vec::new();
    let mut rest = &message[HEAD..];
    while !rest.is_empty() {
        ids.push(u64::from_le_bytes(rest[..8].try_into()?));
        let received = u32::from_le_bytes(rest[16..20].try_into()?) as usize;
        let state = u32::from_le_bytes(rest[21 + received..25 + received].try_into()?) as usize;
        let has_session = rest[20 + received] & 2 != 0;
        rest = &rest[25 + received + state..];
        if has_session {
            let session = u32::from_le_bytes(rest[..4].try_into()?) as usize;
            rest = &rest[4 + session..];
        }
    }
    for kind in [REFUSED, TAKEN, REFUSED] {
        let ids = ids.iter().flat_map(|id| [*id, u64::MAX - id, 0]).flat_map(u64::to_le_bytes);
        let ids: Vec<u8> = ids.collect();
        let length = u32::try_from(ids.len())?.to_le_bytes();
        send(channel, &[&[1, kind, IDS], &length[..], &ids].concat(), 0)?;
    }
    Ok(())
}

fn babble(channel: &OwnedFd) -> rustix::io::Result<()> {
    let long = [&[1, TAKEN, IDS, 0xF8, 0xFF, 0x01, 0][..], &vec![0xAA; 0x1FFF8]].concat();
    // Eight that are heard in vain, of the 32 that a peer may say.
    for _ in 0..3 {
        send(channel, b"\x02\x08", 3)?;
        send(channel, b"\x01", 3)?;
        send(channel, b"\x01\x08\x06\xff\xff\xff\xff", 1)?;
        send(channel, b"\x01\x08\x06\x07\0\0\0shorter", 0)?;
        send(channel, b"\x01\x08\x06\x08\0\0\0neverhad", 200)?;
        send(channel, b"\x01\x07\x05\x01\0\0\0?", 1)?;
        send(channel, b"\x01\x01\x80\0\0\0\0", 1)?;
        send(channel, b"\x01\x63", 0)?;
        send(channel, &long, 0)?;
    }
    Ok(())
}

/// Sends, with so many descriptors that nobody asked for.
fn send(channel: &OwnedFd, bytes: &[u8], fds: usize) -> rustix::io::Result<()> {
    let fds = vec![channel.as_fd(); fds];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    loop {
        match sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            // The channel may be non-blocking for the process that it came from, and so is here.
            Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
            sent => return sent.map(drop),
        }
    }
}

fn serve(listener: &TcpListener) {
    let body = std::process::id().to_string();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    listener.set_nonblocking(false).expect("a listener");
    while let Ok((mut client, _)) = listener.accept() {
        let mut request = [0; 1024];
        if client.read(&mut request).is_ok_and(|count| count > 0) {
            let _ = client.write_all(answer.as_bytes());
        }
    }
}

const COMMIT: u8 = 4;
const MOVE: u8 = 7;
const TAKEN: u8 = 8;
const REFUSED: u8 = 9;
const IDS: u8 = 6;

/// Version, kind, and the tag and length of the one field.
const HEAD: usize = 1 + 1 + 1 + 4;
