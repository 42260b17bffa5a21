//! One connection in a message: a packed record, since there are up to two hundred of them.

use super::MAX_APART;
use super::private::Private;

/// One connection on its way to the successor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Moved {
    /// Names it in the answer; never used twice between two processes.
    pub id: u64,
    /// The cookie of the listening socket that it came from.
    pub listener: u64,
    /// What was read from it and belongs to a request that has not been answered.
    pub received: Vec<u8>,
    /// What the program itself has to say of it; `None` if it is as good as newly accepted.
    pub state: Option<Vec<u8>>,
    /// What the HTTP layer has to say of it, if it is in the middle of a session or encrypted. Only for a
    /// successor that takes those.
    pub session: Option<Private>,
    /// How many bytes were read of it in all, if they are not in `received` but in a sealed memfd, whose
    /// descriptor comes behind the connection's. Only for a successor that takes those.
    pub apart: Option<u32>,
}

impl Moved {
    /// How many bytes it adds to a message.
    pub fn size(&self) -> usize {
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let session = self.session.as_ref().map_or(0, |session| 4 + session.len());
        let apart = if self.apart.is_some() { 4 } else { 0 };
        MOVED_HEAD + self.received.len() + length(&self.state) + session + apart
    }

    /// How many descriptors go along.
    pub fn descriptors(&self) -> usize {
        1 + usize::from(self.apart.is_some())
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let length = |part: &[u8]| {
            u32::try_from(part.len()).expect("a message is bounded far below 4 GiB").to_le_bytes()
        };
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.listener.to_le_bytes());
        bytes.extend_from_slice(&length(&self.received));
        bytes.extend_from_slice(&self.received);
        let state = self.state.as_deref();
        let session = self.session.as_deref();
        let has = [state.is_some(), session.is_some(), self.apart.is_some()].map(u8::from);
        bytes.push(has[0] | has[1] << 1 | has[2] << 2);
        bytes.extend_from_slice(&length(state.unwrap_or_default()));
        bytes.extend_from_slice(state.unwrap_or_default());
        if let Some(session) = session {
            bytes.extend_from_slice(&length(session));
            bytes.extend_from_slice(session);
        }
        bytes.extend(self.apart.into_iter().flat_map(u32::to_le_bytes));
    }

    pub(super) fn decode(rest: &mut &[u8]) -> Option<Moved> {
        let id = u64::from_le_bytes(take(rest)?);
        let listener = u64::from_le_bytes(take(rest)?);
        let received = take_bytes(rest)?;
        let [has] = take::<1>(rest)?;
        if has > 7 {
            return None;
        }
        let state = take_bytes(rest)?;
        let state = (has & 1 != 0).then_some(state);
        let session = if has & 2 != 0 { Some(take_bytes(rest)?.into()) } else { None };
        let apart = if has & 4 != 0 { Some(u32::from_le_bytes(take(rest)?)) } else { None };
        if apart.is_some_and(|length| length as usize > MAX_APART) {
            return None;
        }
        Some(Moved { id, listener, received, state, session, apart })
    }
}

/// The bytes of a [`Moved`] without a session beside its contents: two numbers, two lengths, one byte of
/// flags.
const MOVED_HEAD: usize = 8 + 8 + 4 + 1 + 4;

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn take_bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken.to_vec())
}
