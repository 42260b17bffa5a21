//! UDP: how conversations over datagrams outlive a restart (feature `udp`).
//!
//! | protocol | what to use |
//! |---|---|
//! | each datagram is a request by itself (DNS, statsd, logs) | `Restarter::flows` with `Classifier::requests`; `examples/dns.rs` |
//! | a conversation is what comes from one address (games, tunnels) | `Classifier::by_peer`; `examples/game.rs` |
//! | datagrams carry ids that the server gives out | `Classifier::by`, a function that reads them |
//! | QUIC with quinn | `quic::Quic`, see [below](#quic); `examples/quic.rs`, with HTTP/3 `examples/http3.rs` |
//! | something that reads the socket by itself | [`Restarter::udp`](crate::Restarter::udp); `examples/udp.rs` |
//!
//! # What goes wrong without
//!
//! A UDP socket has one queue, whoever reads it. During a restart two processes do, and the kernel gives each
//! datagram to either. A client's conversation is then with two servers, of which neither knows the whole.
//! With one reader at a time it is little better: the new process gets what belongs to the old one's
//! conversations.
//!
//! # What `Flows` does
//!
//! ```text
//!                         ┌────────────────────────────────┐
//! clients ──► socket ──►  │ newest generation reads it all │
//!                ▲        │  mine, or new? ──► recv_from   │
//!                │        │  older? ──► forward ───────────┼──► older generation ──► recv_from
//!                │        └──────────────┬─────────────────┘             │
//!                └───────── answers ─────┴──────────── answers ──────────┘
//! ```
//!
//! * **One reader.** Before COMMIT the predecessor has stopped reading; from then on the successor alone
//!   reads. If the successor is lost in probation, the predecessor reads again: its own conversations go on,
//!   and those that had begun with the successor begin anew.
//! * **Forwarding.** What belongs to an older generation goes there over a channel that was handed down, with
//!   the peer's address, the address it was sent to, the congestion mark (ECN) and the size. It is read and
//!   forwarded in batches. The newest generation reaches every older one directly, however many restarts lie
//!   between. The older one answers on the socket itself.
//! * **Nobody waits for an older generation.** One that does not read has 4 MiB of datagrams kept for it, and
//!   what the kernel's buffer holds. Beyond that its datagrams are dropped and counted, as the kernel drops
//!   what a full socket has no room for. One that is gone is found out at once, by its end of the channel.
//! * **The end.** `recv_from` in an older generation returns `None` when its last conversation is idle, and
//!   its drain waits for that, up to the drain deadline. With ids of the program's own heirloom does not know
//!   of conversations: hold the drain with [`Restarter::hold`](crate::Restarter::hold) while there are some.
//!
//! # Whose is it?
//!
//! By address, the table of conversations goes from generation to generation with the socket. It is handed
//! over when the predecessor stops reading, so no conversation can begin that it does not have. By ids, the
//! function is asked for each datagram, in the generation that reads: put
//! [`Restarter::generation`](crate::Restarter::generation) into the ids. What belongs to a generation that is
//! gone, or to nothing that is known, is given to the newest one, which can tell the peer; it is counted.
//!
//! Nothing in a datagram proves who has sent it. A peer that writes another generation's number into its
//! datagrams reaches that generation, and nothing of others. A table of addresses is bounded (262,144), since
//! addresses can be forged.
//!
//! # QUIC
//!
//! The feature `quic` has this for [quinn](https://docs.rs/quinn): `heirloom::quic::Quic` makes an endpoint.
//!
//! * **A connection stays with its process** until it ends, up to the drain deadline; then it is closed with
//!   the application's code. The ids of connections carry the generation, with a keyed check, so a packet
//!   reaches the process that has the connection, whatever address its client has by then. While a client has
//!   no id of ours yet, its address and the id that it chose are remembered for 10 s.
//! * **New connections are with the successor.** A process that drains goes on to accept those that had begun
//!   with it, and ends when none is left.
//! * **Keys are handed down**: those of session tickets, of Retry and address validation, and of stateless
//!   resets. So a session is resumed in the next generation, a token is good there, and clients of a process
//!   that was killed are told by the one that serves.
//! * **0-RTT** is off by default, since what comes with a first packet can be a copy. With `Quic::early_data`
//!   sessions are in memory, and go to the successor with the table of conversations: each is good once, in
//!   one generation.
//! * **HTTP/3** is h3's, over the same endpoint: `examples/http3.rs` has it beside HTTP/1 and HTTP/2 on one
//!   port, and lets their clients know of it (Alt-Svc). When it drains it tells its own to go (GOAWAY). Such
//!   a client has all its answers, and begins one new connection in each restart; nothing fails. One that
//!   does not go is closed, without an error, when it has had no request for 2 s. `tests/quic/foreign.rs`
//!   has aioquic and Chromium as the clients.
//!
//! # With what is it compatible?
//!
//! * **A supervisor**: as without. If the worker that serves is killed, its table is lost with it: the
//!   conversations of still older workers begin anew, too.
//! * **From `udp` to `flows`** in a restart, and back: during probation the plain predecessor reads beside
//!   the successor, as plain ones do. Back again, the conversations of the generations with flows end: nobody
//!   forwards to them.
//! * **Sizes.** Datagrams may be fragmented by the network, as on any socket. Coalesced ones (UDP_GRO) are
//!   read as one where the kernel offers it; `recv_from` gives them one by one.
//!
//! # Counting
//!
//! `Flows::status` and [`Restarter::status`](crate::Restarter::status) have conversations by generation, and
//! what was received, forwarded, dropped and unknown; `heirloom status --json` has the same (`flows`), and so
//! have metrics (`heirloom_flows`, `heirloom_datagrams_forwarded_total` and others). The event `FlowsGone`
//! says what an older generation got. Of connections of QUIC the newest process knows what older ones have
//! told it, once a second while they drain. For people `heirloom status` has a column of conversations, as
//! soon as there are any.
//!
//! `scripts/udp-test.sh` measures all this beside a plain shared socket, and `scripts/quic-test.sh` QUIC.
//!
//! ---
//!
//! Before: [`tls`](super::tls). Next: [`command`](super::command).
