//! What to listen on: an address, a name, and the options that must be set before the bind.

mod access;
mod text;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use access::Access;
pub use text::ListenParseError;

use crate::sys::address::Address;

/// A listener to inherit or to bind.
///
/// Most programs pass a string to [`Restarter::listen`](crate::Restarter::listen) and never see this type:
///
/// ```
/// use heirloom::Listen;
///
/// let plain: Listen = "127.0.0.1:8080".parse()?;
/// let with_options = "[::]:8443".parse::<Listen>()?.name("tls").backlog(1024).only_v6(true);
/// let path: Listen = "unix:/run/app.sock".parse()?;
/// let hidden: Listen = "unix:@app".parse()?;
/// # Ok::<(), heirloom::ListenParseError>(())
/// ```
///
/// **Which inherited socket it finds.** One of the same kind and name whose address is the one asked for.
/// Port 0 finds the socket that an earlier generation got for port 0, so that it keeps its port. Equal specs
/// match in order. If a name's address has changed, the new address is bound and the old socket is served
/// empty and closed.
///
/// **A host name** (`localhost:8080`) is looked up when it is read, on a thread of its own, for ten seconds
/// at most: the resolver itself waits five seconds for one server that is silent. Within a runtime use
/// [`resolve`](Self::resolve), which does not block; `http::run` does. If the name has several addresses,
/// heirloom listens on one of them, as `std` does: on one that was inherited, or else on the first that this
/// machine has. (An address in use is an error, because its clients would reach another server if heirloom
/// went on to the next.) To listen on both families, write `[::]:8080`, or one listener for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing listens before Restarter::listen()"]
pub struct Listen {
    pub(crate) address: Address,
    /// What else a host name stands for.
    pub(crate) alternatives: Vec<Address>,
    pub(crate) name: String,
    pub(crate) backlog: u32,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) access: Access,
}

/// The queue for connections that are complete and not accepted. During a restart they wait in it, so it is
/// as long as the kernel allows (net.core.somaxconn, 4096 since Linux 5.4, cuts it).
const BACKLOG: u32 = 4096;

/// Go's servers ask after 15 s, Linux by itself after 7,200 s. Below an idle HTTP connection's own limit, so
/// that each is asked but once.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Listen {
    /// A listener on `address`, with the default options.
    pub fn new(address: Address) -> Listen {
        Listen {
            address,
            alternatives: Vec::new(),
            name: String::new(),
            backlog: BACKLOG,
            reuse_port: false,
            only_v6: None,
            nodelay: true,
            keepalive: Some(KEEPALIVE),
            access: Access::default(),
        }
    }

    /// As `text.parse()`, but looks a host name up without blocking this thread. It must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// As for [`parse`](str::parse).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a lookup whose future was dropped ends by itself.
    pub async fn resolve(text: &str) -> Result<Listen, ListenParseError> {
        text::resolve(text).await
    }

    /// This one, and those that differ from it in the address that a name stands for.
    pub(crate) fn choices(&self) -> impl Iterator<Item = Listen> {
        let other = |address: &Address| Listen { address: address.clone(), ..self.clone() };
        std::iter::once(self.clone()).chain(self.alternatives.iter().map(other))
    }

    /// Names it, for the match with an inherited socket (heirloom's own or `LISTEN_FDNAMES`) and for logs.
    pub fn name(mut self, name: impl Into<String>) -> Listen {
        self.name = name.into();
        self
    }

    /// How many complete connections may wait; 4096 by default, cut to net.core.somaxconn.
    pub fn backlog(mut self, connections: u32) -> Listen {
        self.backlog = connections;
        self
    }

    /// Sets SO_REUSEPORT, so that unrelated processes may bind the port too. Off by default: with it, a
    /// closing socket loses its queue, which inheritance never does.
    pub fn reuse_port(mut self, on: bool) -> Listen {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 socket takes IPv6 alone; by default as the system has it (net.ipv6.bindv6only, mostly
    /// off).
    pub fn only_v6(mut self, on: bool) -> Listen {
        self.only_v6 = Some(on);
        self
    }

    /// TCP_NODELAY on accepted connections; on by default, since otherwise a server that answers in more than
    /// one write waits for the client's delayed acknowledgement (40 ms).
    pub fn nodelay(mut self, on: bool) -> Listen {
        self.nodelay = on;
        self
    }

    /// After how long without a sign of life the kernel asks an accepted connection's client whether it is
    /// still there (SO_KEEPALIVE); to the whole second, at least one. It asks nine times, 10 s apart, before
    /// it breaks the connection.
    ///
    /// Default 60 s, so that a client which has vanished without a word (a cable, a crash, a NAT that has
    /// forgotten it) costs memory for two and a half minutes, and not for the two hours and more of the
    /// kernel's own default, if it has any. `None` leaves the connections without. Nothing is asked on Unix
    /// sockets, and what is inherited from systemd is as its unit has it (`KeepAlive=`, off by default).
    ///
    /// Sooner is not better where ten thousands of idle clients are on this machine, a proxy's for instance:
    /// the kernel asks all whose time comes within two seconds at once, loopback takes a thousand questions
    /// at once (net.core.netdev_max_backlog), and who cannot be asked nine times in a row is cut.
    pub fn keepalive(mut self, silence: impl Into<Option<Duration>>) -> Listen {
        self.keepalive = silence.into();
        self
    }

    /// The mode of a Unix socket's path: a user who may write to it may connect. By default it is 0777 less
    /// the umask, so mostly 0755, to which other users cannot connect: a web server of another user wants
    /// `0o660` and its [group](Self::group), or `0o666`.
    ///
    /// Mode, owner and group are set before anybody can connect, whatever the umask. A socket that is
    /// inherited keeps what it has. With any other address than a path, [`listen`](crate::Restarter::listen)
    /// fails.
    pub fn mode(mut self, mode: u32) -> Listen {
        self.access.mode = Some(mode);
        self
    }

    /// The user that the path of a Unix socket belongs to, by number; by default this process's. Only root
    /// may set another one.
    pub fn owner(mut self, user: u32) -> Listen {
        self.access.owner = Some(user);
        self
    }

    /// The group that the path of a Unix socket belongs to, by number; by default this process's. It must be
    /// one that this process is a member of, except for root.
    pub fn group(mut self, group: u32) -> Listen {
        self.access.group = Some(group);
        self
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// What [`Restarter::listen`](crate::Restarter::listen) takes: a [`Listen`], a [`SocketAddr`], or a string.
pub trait IntoListen: sealed::Sealed {
    /// The listener that is meant.
    fn into_listen(self) -> Result<Listen, ListenParseError>
    where
        Self: Sized,
    {
        match self.given() {
            sealed::Given::Listen(listen) => Ok(listen),
            sealed::Given::Text(text) => text.parse(),
        }
    }
}

/// As [`IntoListen::into_listen`], without blocking the thread.
#[cfg(feature = "http")]
pub(crate) async fn resolved(listen: impl IntoListen) -> Result<Listen, ListenParseError> {
    match listen.given() {
        sealed::Given::Listen(listen) => Ok(listen),
        sealed::Given::Text(text) => Listen::resolve(&text).await,
    }
}

impl IntoListen for Listen {}
impl IntoListen for SocketAddr {}
impl IntoListen for &str {}
impl IntoListen for String {}
impl IntoListen for &String {}

mod sealed {
    use super::{Address, Listen, SocketAddr};

    pub trait Sealed {
        fn given(self) -> Given;
    }

    /// What was given, before a name in it is looked up.
    #[derive(Debug)]
    pub enum Given {
        Listen(Listen),
        Text(String),
    }

    impl Sealed for Listen {
        fn given(self) -> Given {
            Given::Listen(self)
        }
    }

    impl Sealed for SocketAddr {
        fn given(self) -> Given {
            Given::Listen(Listen::new(Address::Inet(self)))
        }
    }

    impl Sealed for &str {
        fn given(self) -> Given {
            Given::Text(self.to_owned())
        }
    }

    impl Sealed for String {
        fn given(self) -> Given {
            Given::Text(self)
        }
    }

    impl Sealed for &String {
        fn given(self) -> Given {
            Given::Text(self.clone())
        }
    }
}
