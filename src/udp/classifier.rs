//! Whose a datagram is.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::table::{Key, Table};

/// What a [`Classifier`] says of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It begins something: it is for the generation that reads.
    New,
    /// It belongs to this [generation](crate::Restarter::generation).
    Generation(u64),
    /// It belongs to something that nobody knows. The generation that reads gets it, so that it can tell the
    /// peer, and it is counted.
    Unknown,
}

/// What a datagram says of itself where conversations have ids, and need some time until they have one.
#[cfg(feature = "quic")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// It is of this generation.
    Of(u64),
    /// It begins, under an id of the peer's.
    Begins(u64),
    /// It is none.
    Unknown,
}

/// Says which generation a datagram belongs to.
///
/// It is asked in the generation that reads the socket, for each datagram, so it must be quick. Datagrams
/// whose generation is gone are for the generation that reads, as [`Owner::Unknown`] ones are.
pub struct Classifier {
    pub(super) how: How,
}

pub(super) enum How {
    Requests,
    ByPeer(Duration),
    By(OwnerOf),
    #[cfg(feature = "quic")]
    ByConversation(Duration, ConversationOf),
}

#[cfg(feature = "quic")]
type ConversationOf = Box<dyn FnMut(&[u8]) -> Conversation + Send>;

/// A program's own way to tell.
type OwnerOf = Box<dyn FnMut(&[u8], SocketAddr) -> Owner + Send>;

impl Classifier {
    /// Each datagram is a request by itself, as in DNS: it is for the generation that reads. Nothing is
    /// forwarded, and nothing holds a generation that drains.
    pub fn requests() -> Classifier {
        Classifier { how: How::Requests }
    }

    /// A conversation is all that comes from one address and port, until nothing has come for `idle`. It
    /// belongs to the generation that got the first datagram, and holds that one's drain until it is idle.
    ///
    /// `idle` is as long as the protocol lets a peer be silent; 30 s is what NATs keep an address for, so a
    /// peer that is silent for longer often comes back from another one anyway. At most 262,144 conversations
    /// are kept. A peer beyond that is served by whichever generation reads.
    pub fn by_peer(idle: Duration) -> Classifier {
        Classifier { how: How::ByPeer(idle) }
    }

    /// The protocol's own ids: a function of a datagram and the peer's address. A program that puts
    /// [`Restarter::generation`](crate::Restarter::generation) into the ids that it gives out can tell by
    /// them alone, and a peer may change its address.
    ///
    /// heirloom does not know of conversations then, so a program that has some holds its drain with
    /// [`Restarter::hold`](crate::Restarter::hold). A function that panics does so in the task that receives.
    pub fn by(owner: impl FnMut(&[u8], SocketAddr) -> Owner + Send + 'static) -> Classifier {
        Classifier { how: How::By(Box::new(owner)) }
    }

    /// As [`by`](Self::by), with a table of those that have begun and have no id of ours yet, for so long.
    #[cfg(feature = "quic")]
    pub(crate) fn by_conversation(
        beginning: Duration,
        conversation: impl FnMut(&[u8]) -> Conversation + Send + 'static,
    ) -> Classifier {
        Classifier { how: How::ByConversation(beginning, Box::new(conversation)) }
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Requests => f.write_str("Classifier::requests()"),
            How::ByPeer(idle) => write!(f, "Classifier::by_peer({idle:?})"),
            How::By(_) => f.write_str("Classifier::by(..)"),
            #[cfg(feature = "quic")]
            How::ByConversation(..) => f.write_str("Classifier::by_conversation(..)"),
        }
    }
}

/// A classifier with what it remembers.
pub(super) enum Judge {
    Requests,
    ByPeer(Table),
    By(OwnerOf),
    #[cfg(feature = "quic")]
    ByConversation(Table, ConversationOf),
}

impl Judge {
    pub(super) fn new(classifier: Classifier) -> Judge {
        match classifier.how {
            How::Requests => Judge::Requests,
            How::ByPeer(idle) => Judge::ByPeer(Table::new(idle)),
            How::By(owner) => Judge::By(owner),
            #[cfg(feature = "quic")]
            How::ByConversation(beginning, conversation) => {
                Judge::ByConversation(Table::new(beginning), conversation)
            }
        }
    }

    /// Whose it is, and which flow of the table.
    pub(super) fn owner(&mut self, now: Instant, bytes: &[u8], peer: SocketAddr) -> (Owner, Option<Key>) {
        let (table, key) = match self {
            Judge::Requests => return (Owner::New, None),
            Judge::By(owner) => return (owner(bytes, peer), None),
            Judge::ByPeer(table) => (table, (peer, 0)),
            #[cfg(feature = "quic")]
            Judge::ByConversation(table, conversation) => match conversation(bytes) {
                Conversation::Of(generation) => return (Owner::Generation(generation), None),
                Conversation::Unknown => return (Owner::Unknown, None),
                Conversation::Begins(id) => (table, (peer, id)),
            },
        };
        (table.seen(now, key).map_or(Owner::New, Owner::Generation), Some(key))
    }

    /// This flow is of this generation from now on.
    pub(super) fn open(&mut self, now: Instant, key: Option<Key>, generation: u64) {
        if let (Some(table), Some(key)) = (self.table_mut(), key) {
            table.open(now, key, generation);
        }
    }

    /// What is handed from generation to generation.
    pub(super) fn table(&self) -> Option<&Table> {
        match self {
            Judge::ByPeer(table) => Some(table),
            #[cfg(feature = "quic")]
            Judge::ByConversation(table, _) => Some(table),
            Judge::Requests | Judge::By(_) => None,
        }
    }

    /// The one that has all conversations.
    pub(super) fn complete_table(&self) -> Option<&Table> {
        match self {
            Judge::ByPeer(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut Table> {
        match self {
            Judge::ByPeer(table) => Some(table),
            #[cfg(feature = "quic")]
            Judge::ByConversation(table, _) => Some(table),
            Judge::Requests | Judge::By(_) => None,
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Judge::Requests => "Requests",
            Judge::ByPeer(_) => "ByPeer",
            Judge::By(_) => "By",
            #[cfg(feature = "quic")]
            Judge::ByConversation(..) => "ByConversation",
        })
    }
}
