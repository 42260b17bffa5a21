//! What one generation writes to an older one, datagrams in frames, and what the older one writes to the
//! newest: once the table of flows, and where no table has them how many conversations it still has.
//!
//! A frame is one packet of a channel, `[version][kind]` and then its content. [`DATAGRAMS`] has one record
//! for each: `[peer][local address][ECN][segment size, 2][length, 2][bytes]`, numbers little endian. An
//! address begins with its family (0, 4 or 6). [`TABLE`] has the length of a sealed memfd, which comes along,
//! and so has [`LEFT`], which is sent before it. [`COUNT`] has a number.
//!
//! A frame of another version or kind is skipped and counted: between two releases that is no error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::Meta;

/// The version that this release writes.
pub(super) const VERSION: u8 = 1;
/// Datagrams.
pub(super) const DATAGRAMS: u8 = 1;
/// The table, as [`super::table`] writes it.
pub(super) const TABLE: u8 = 2;
/// What the protocol leaves to the next generation.
pub(super) const LEFT: u8 = 3;
/// How many conversations an older generation has.
pub(super) const COUNT: u8 = 4;

/// Longest frame in bytes: what a channel takes at once. One record is 64 KiB and its head at most.
pub(super) const MAX_FRAME: usize = 128 * 1024;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("it ends within a record")]
    Truncated,
    #[error("there is no family of addresses {0}")]
    Family(u8),
}

/// Begins a frame of datagrams.
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.extend_from_slice(&[VERSION, DATAGRAMS]);
}

/// Appends a record; `bytes` are at most 65,535, which is more than a datagram has.
pub(super) fn push(frame: &mut Vec<u8>, meta: &Meta, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    push_peer(frame, meta.peer);
    match meta.local {
        None => frame.push(0),
        Some(local) => push_ip(frame, local),
    }
    frame.push(meta.ecn);
    // The one as long as the whole, or no segments at all.
    let segment = u16::try_from(meta.segment).unwrap_or(u16::MAX);
    frame.extend_from_slice(&segment.to_le_bytes());
    frame.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    frame.extend_from_slice(bytes);
}

/// The announcement of a memfd of `length` bytes: [`TABLE`] or [`LEFT`].
pub(super) fn announce(kind: u8, length: u64) -> Vec<u8> {
    with_number(kind, length)
}

/// So many conversations.
#[cfg(any(feature = "quic", test))]
pub(super) fn count(conversations: u64) -> Vec<u8> {
    with_number(COUNT, conversations)
}

fn with_number(kind: u8, number: u64) -> Vec<u8> {
    let mut frame = vec![VERSION, kind];
    frame.extend_from_slice(&number.to_le_bytes());
    frame
}

/// Which memfd a frame announces, and how long it is.
pub(super) fn announced(frame: &[u8]) -> Option<(u8, u64)> {
    match frame {
        [VERSION, kind @ (TABLE | LEFT), length @ ..] => {
            Some((*kind, u64::from_le_bytes(length.try_into().ok()?)))
        }
        _ => None,
    }
}

/// How many conversations a frame says that there are.
pub(super) fn counted(frame: &[u8]) -> Option<u64> {
    match frame {
        [VERSION, COUNT, conversations @ ..] => Some(u64::from_le_bytes(conversations.try_into().ok()?)),
        _ => None,
    }
}

/// The records of a frame; none if it has none that this release knows.
pub(super) fn records(frame: &[u8]) -> &[u8] {
    match frame {
        [VERSION, DATAGRAMS, records @ ..] => records,
        _ => &[],
    }
}

/// Takes the next record; `None` at the end.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(Meta, &'a [u8])>, FrameError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut ahead = *rest;
    let peer = take_peer(&mut ahead)?;
    let local = take_ip(&mut ahead)?;
    let [ecn] = take::<1>(&mut ahead)?;
    let segment = usize::from(u16::from_le_bytes(take(&mut ahead)?));
    let length = usize::from(u16::from_le_bytes(take(&mut ahead)?));
    let (bytes, ahead) = ahead.split_at_checked(length).ok_or(FrameError::Truncated)?;
    *rest = ahead;
    let segment = if segment == 0 { length } else { segment.min(length) };
    Ok(Some((Meta { peer, local, ecn: ecn & 0b11, length, segment }, bytes)))
}

pub(super) fn push_peer(bytes: &mut Vec<u8>, peer: SocketAddr) {
    push_ip(bytes, peer.ip());
    bytes.extend_from_slice(&peer.port().to_le_bytes());
    if let SocketAddr::V6(peer) = peer {
        // Which interface a link-local one is on.
        bytes.extend_from_slice(&peer.scope_id().to_le_bytes());
    }
}

pub(super) fn take_peer(rest: &mut &[u8]) -> Result<SocketAddr, FrameError> {
    let ip = take_ip(rest)?.ok_or(FrameError::Family(0))?;
    let port = u16::from_le_bytes(take(rest)?);
    Ok(match ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, u32::from_le_bytes(take(rest)?)).into(),
    })
}

fn push_ip(bytes: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            bytes.push(4);
            bytes.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(6);
            bytes.extend_from_slice(&ip.octets());
        }
    }
}

fn take_ip(rest: &mut &[u8]) -> Result<Option<IpAddr>, FrameError> {
    Ok(match take(rest)? {
        [0] => None,
        [4] => Some(Ipv4Addr::from(take::<4>(rest)?).into()),
        [6] => Some(Ipv6Addr::from(take::<16>(rest)?).into()),
        [family] => return Err(FrameError::Family(family)),
    })
}

/// The next so many bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(FrameError::Truncated)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> [(Meta, Vec<u8>); 3] {
        let meta = |peer: &str, local: Option<&str>, ecn, length, segment| Meta {
            peer: peer.parse().unwrap(),
            local: local.map(|local| local.parse().unwrap()),
            ecn,
            length,
            segment,
        };
        [
            (meta("192.0.2.1:5000", Some("192.0.2.9"), 2, 5, 2), b"abcde".to_vec()),
            (meta("[fe80::1%7]:1", Some("fe80::2"), 0, 1, 1), b"x".to_vec()),
            (meta("[2001:db8::1]:65535", None, 3, 0, 0), Vec::new()),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let mut frame = Vec::new();
        begin(&mut frame);
        example().iter().for_each(|(meta, bytes)| push(&mut frame, meta, bytes));
        let mut rest = records(&frame);
        for (meta, bytes) in example() {
            assert_eq!(next(&mut rest), Ok(Some((meta, &bytes[..]))));
        }
        assert_eq!(next(&mut rest), Ok(None));
    }

    #[test]
    fn g7_the_bytes_are_these_for_ever() {
        let mut frame = Vec::new();
        begin(&mut frame);
        let [(meta, bytes), ..] = example();
        push(&mut frame, &meta, &bytes);
        let recorded = b"\x01\x01\x04\xc0\x00\x02\x01\x88\x13\x04\xc0\x00\x02\x09\x02\x02\x00\x05\x00abcde";
        assert_eq!(frame, recorded);
        assert_eq!(announce(TABLE, 258), b"\x01\x02\x02\x01\0\0\0\0\0\0");
        assert_eq!(announce(LEFT, 258), b"\x01\x03\x02\x01\0\0\0\0\0\0");
        assert_eq!(count(258), b"\x01\x04\x02\x01\0\0\0\0\0\0");
        assert_eq!((counted(&count(258)), announced(&count(258))), (Some(258), None));
        assert_eq!((counted(&announce(TABLE, 258)), counted(&[VERSION, COUNT, 0])), (None, None));
        assert_eq!(announced(&announce(TABLE, 258)), Some((TABLE, 258)));
        assert_eq!(announced(&announce(LEFT, 258)), Some((LEFT, 258)));
        assert_eq!((announced(&[VERSION, TABLE, 0]), announced(&announce(DATAGRAMS, 258))), (None, None));
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error_and_one_of_another_kind_is_empty() {
        let mut frame = Vec::new();
        begin(&mut frame);
        let [(meta, bytes), ..] = example();
        push(&mut frame, &meta, &bytes);
        for length in 3..frame.len() {
            assert_eq!(next(&mut records(&frame[..length])), Err(FrameError::Truncated), "{length}");
        }
        assert_eq!(records(&[VERSION + 1, DATAGRAMS, 9]), b"");
        assert_eq!(next(&mut &b"\x09"[..]), Err(FrameError::Family(9)));
    }
}
