//! One connection in a message: a packed record, since there are up to two hundred of them.

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
}

impl Moved {
    /// How many bytes it adds to a message.
    pub fn size(&self) -> usize {
        MOVED_HEAD + self.received.len() + self.state.as_ref().map_or(0, Vec::len)
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
        bytes.push(u8::from(state.is_some()));
        bytes.extend_from_slice(&length(state.unwrap_or_default()));
        bytes.extend_from_slice(state.unwrap_or_default());
    }

    pub(super) fn decode(rest: &mut &[u8]) -> Option<Moved> {
        let id = u64::from_le_bytes(take(rest)?);
        let listener = u64::from_le_bytes(take(rest)?);
        let received = take_bytes(rest)?;
        let has_state = match take::<1>(rest)? {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let state = take_bytes(rest)?;
        Some(Moved { id, listener, received, state: has_state.then_some(state) })
    }
}

/// The bytes of a [`Moved`] beside its contents: two numbers, two lengths, one flag.
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
